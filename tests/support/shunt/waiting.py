"""Waiting for conditions with a deadline; nothing here or in the tests sleeps and hopes."""
import os
import time

# Sanitizers and busy machines: every deadline is multiplied by this.
SLOW = float(os.environ.get("SHUNT_SLOW", "1"))
INTERVAL_S = 0.01


def scaled(seconds):
    return seconds * SLOW


def wait_until(condition, what, within=5.0):
    """Returns the first true value of condition(); an AssertionError that names what was waited for otherwise."""
    end = time.monotonic() + scaled(within)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {scaled(within):g} s: {what}")
        time.sleep(INTERVAL_S)


def stays(condition, seconds, what):
    """Looks for a while that a condition holds all the time: for what must not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"did not stay: {what}"
        time.sleep(INTERVAL_S)
