"""How long it takes until a backend that fails is out, by its checks and by live connections. -rP shows the figures."""
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from shunt.clients import ask
from shunt.config import service
from shunt.peers import named
from shunt.process import die_with_parent
from shunt.waiting import SLOW, scaled, stays, wait_until

SERVER = """
import asyncio, signal, sys
slow = [0]
signal.signal(signal.SIGUSR1, lambda *_: slow.__setitem__(0, 60))
async def serve(reader, writer):
    try:
        while await reader.readline():
            await asyncio.sleep(slow[0])
            writer.write(b"other x\\n")
            await writer.drain()
        writer.close()
    except ConnectionError:
        pass
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
INTERVAL_S, FALL, TIMEOUT_S, CONNECT_S = 0.4, 3, 0.3, 0.3
CHECKS = {"health": {"type": "send-expect", "interval": f"{INTERVAL_S * 1000:.0f}ms", "timeout": f"{TIMEOUT_S * 1000:.0f}ms",
                     "rise": 2, "fall": FALL, "send_expect": {"steps": [{"send": "who\\n", "expect": "x"}]}}}
OUTLIER = {"outlier": {"base_time": "1h", "max_time": "1h"}}


class Process:
    """A backend in a process of its own, which can be killed, stopped and slowed down."""

    def __init__(self):
        self.popen = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True,
                                      preexec_fn=die_with_parent)
        self.address = f"127.0.0.1:{self.popen.stdout.readline().strip()}"

    def stop(self):
        self.popen.kill()
        self.popen.wait()
        self.popen.stdout.close()


class Traffic:
    """Clients that connect, ask and leave, again and again, until they are stopped."""

    def __init__(self, port, clients):
        self.port, self.over, self.asked = port, threading.Event(), 0
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as client:
                    client.sendall(b"who\n")
                    client.recv(100)
                self.asked += 1
            except OSError:
                pass
            self.over.wait(0.01)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(scaled(10))


FAULTS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP, "slow": signal.SIGUSR1}


def prepare(daemon, server, started, settings):
    backend = Process()
    started.backends.append(backend)
    shunt = daemon(service([backend.address, server(named("good")).address], group_settings=settings,
                           timeouts={"connect": f"{CONNECT_S * 1000:.0f}ms", "idle": "2s"}), log={"level": "info"})
    wait_until(lambda: shunt.group("old")["usable"] == 2, "both are up")
    wait_until(lambda: {ask(shunt.port()).split()[0] for _ in range(4)} == {b"other", b"good"}, "both serve")
    traffic = Traffic(shunt.port(), 20)
    started.clients.append(traffic)
    wait_until(lambda: traffic.asked > 100, "there is traffic")
    return backend, shunt


def measure(backend, shunt, fault, within):
    backend.popen.send_signal(FAULTS[fault])
    begun = time.monotonic()
    wait_until(lambda: not shunt.backend("old", 0)["usable"], f"it is found {fault}", within=within)
    return time.monotonic() - begun


@pytest.mark.parametrize("fault", FAULTS)
def test_by_checks(daemon, server, started, fault):
    """Interval times fall at most, and the timeout of the last check where it has no answer."""
    backend, shunt = prepare(daemon, server, started, CHECKS)
    took = measure(backend, shunt, fault, 10)
    print(f"\n{fault}: found by checks after {took * 1000:.0f} ms (interval {INTERVAL_S:g} s, fall {FALL})")
    longest = INTERVAL_S * FALL + TIMEOUT_S
    assert (FALL - 1) * INTERVAL_S * 0.9 < took < longest + 0.5 * SLOW
    assert shunt.backend("old", 0)["health"] == "down"


@pytest.mark.parametrize("fault, most", (("killed", 0.3), ("stopped", CONNECT_S + 1)))
def test_by_live_connections(daemon, server, started, fault, most):
    """As soon as five in a row have failed: at once where they are refused, after the connect timeout else."""
    backend, shunt = prepare(daemon, server, started, OUTLIER)
    took = measure(backend, shunt, fault, 10)
    why = shunt.backend("old", 0)["ejected"]["reason"]
    print(f"\n{fault}: found by live connections after {took * 1000:.0f} ms: {why}")
    assert took < most * SLOW


def test_who_answers_late_is_not_found_by_live_connections(daemon, server, started):
    """It establishes connections and resets none: that is for a check with a timeout to find."""
    backend, shunt = prepare(daemon, server, started, OUTLIER)
    backend.popen.send_signal(FAULTS["slow"])
    stays(lambda: shunt.backend("old", 0)["usable"], 2, "nothing fails")


def test_flapping_at_the_interval_of_checks(daemon, server):
    """Good and bad turn by turn: with two in a row needed either way, the state never changes."""
    count = {"n": 0}

    def turn_by_turn(peer):
        peer.receive_line()
        count["n"] += 1
        if count["n"] % 2 == 0:
            peer.send(b"other x\n")

    health = {**CHECKS["health"], "interval": "20ms", "timeout": "20s", "rise": 2, "fall": 2}
    shunt = daemon(service([server(turn_by_turn).address, server(named("good")).address],
                           group_settings={"health": health}), log={"level": "info"})
    wait_until(lambda: shunt.backend("old", 0)["check"], "the first check is done")
    first = shunt.backend("old", 0)["state"]
    before = count["n"]
    wait_until(lambda: count["n"] > before + 50 or shunt.backend("old", 0)["state"] != first, "fifty checks")
    assert shunt.backend("old", 0)["state"] == first
    lines = [line for line in shunt.log().splitlines() if "kind=health" in line and "2 of 2 checks" in line]
    assert not lines, lines
