"""What the migrations of real programs have in common: a plan that waits at each step, the way through it, and the
checks at its end."""
from .config import steps
from .waiting import wait_until

# At each step the test looks before it goes on.
HELD = steps(("25%", "1h"), ("50%", "1h"), ("100%", "1h"), drain="60s")
# By time alone, as an operator would run it; the drain is longer than any client keeps its connection.
TIMED = steps(*[(share, "300ms") for share in ("1%", "25%", "50%", "75%", "100%")], drain="60s")
# Reasons for a close that are not the doing of a client or a server.
OURS = ("drained", "killed", "backend-reset", "connect-refused", "connect-timeout", "no-backend", "idle", "limit",
        "queue-full", "queue-timeout", "internal")


def rises(counter, n, what):
    """Waits until a counter is n higher than now."""
    target = counter() + n
    wait_until(lambda: counter() >= target, f"{n} more {what}", within=60)


def proven(shunt):
    """The daemon, once the checks have found both sides up: a migration's target counts as down until then."""
    wait_until(lambda: all(one["state"] in ("up", "unknown") for group in shunt.service()["groups"]
                           for one in group["backends"]), "both sides are up")
    return shunt


def climb(shunt, served, n, what):
    """Starts the plan HELD and takes each step when the new side has served n more."""
    shunt.ctl("start", "web").ok()
    for share in (2500, 5000, 10000):
        one = shunt.service()
        assert (one["phase"], one["share_bp"]) == ("ramping", share), one
        rises(served, n, what)
        shunt.ctl("skip", "web").ok()
    shunt.wait_phase("completed", within=60)
    assert shunt.service()["active"] == "new"


def check_closed(shunt):
    """No connection was ended by anything but its client or its server."""
    closed = shunt.service()["connections"]["closed"]
    ours = {reason: n for reason, n in closed.items() if n and reason in OURS}
    assert not ours, closed
    return closed


def check_exact(old, new, share_bp):
    """The split of all connections at a share, as the servers counted it."""
    total = old + new
    assert total * share_bp // 10000 <= new <= -(-total * share_bp // 10000), (old, new, share_bp)
