"""Thousands of open connections through a change of the share: it holds for the next one, and none is lost."""
import os
import resource
import time

import pytest
from shunt.clients import connect
from shunt.config import service, steps
from shunt.waiting import SLOW, scaled, wait_until

CONNECTIONS = int(os.environ.get("SHUNT_SCALE_CONNECTIONS", "8000"))


@pytest.fixture(autouse=True)
def fixture_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * CONNECTIONS + 500:
        pytest.skip(f"the hard limit of descriptors is {hard}; {2 * CONNECTIONS + 500} are needed")


def tag_of(port):
    """Which backend serves a new connection."""
    with connect(port) as client:
        client.send(bytes(128))
        return client.receive(128)[:1].decode()


def test_share_change_with_many_connections_open(daemon, load_server, load_client):
    old, new = load_server(tag="o"), load_server(tag="n")
    shunt = daemon(service([old.address], [new.address], migration=steps(("50%", "1h"), ("100%", "1h"), drain="1h")),
                   log={"level": "info"})
    port = shunt.port()
    idle = load_client("idle", port, "--connections", CONNECTIONS, deadline=120)
    assert idle.report()["tags"] == {"o": CONNECTIONS}
    assert idle.line() == "ready"
    wait_until(lambda: shunt.service()["connections"]["open"] == CONNECTIONS, "all are open")
    slowest = 0
    with shunt.admin_connect() as admin:
        for share, expected in ((100, "n"), (0, "o"), (100, "n")):
            began = time.monotonic()
            admin.sendall(f"share web {share}\n".encode())
            reply = admin.recv(65536)
            slowest = max(slowest, time.monotonic() - began)
            assert not reply.startswith(b"error"), reply
            assert [tag_of(port) for _ in range(20)] == [expected] * 20
    print(f"\n{CONNECTIONS} connections open, slowest share command with its journal: {slowest * 1000:.2f} ms")
    assert slowest < scaled(0.2)
    idle.say("check")
    report = idle.report()
    assert report["errors"] == 0 and report["tags"] == {"o": CONNECTIONS}, report
    wait_until(lambda: shunt.service()["live_share_bp"] == 0, "all that is open is on old")


def test_share_change_makes_no_pause(daemon, load_server, load_client):
    """Round trips on kept connections while the share moves and many connections are open."""
    old, new = load_server(tag="o"), load_server(tag="n")
    shunt = daemon(service([old.address], [new.address], migration=steps(("50%", "1h"), ("100%", "1h"), drain="1h")),
                   log={"level": "info"})
    port = shunt.port()
    idle = load_client("idle", port, "--connections", CONNECTIONS // 2, deadline=120)
    assert idle.report()["errors"] == 0
    assert idle.line() == "ready"
    quiet = load_client("rt", port, "--connections", 8, "--seconds", 2).go().report()
    moving = load_client("rt", port, "--connections", 8, "--seconds", 2).go()
    with shunt.admin_connect() as admin:
        for turn in range(20):
            admin.sendall(f"share web {100 - turn % 2 * 100}\n".encode())
            assert not admin.recv(65536).startswith(b"error")
    report = moving.report()
    assert report["errors"] == 0
    print(f"\np99 {quiet['p99_us']:.0f} us quiet, {report['p99_us']:.0f} us while the share moves")
    assert report["p99_us"] < quiet["p99_us"] * 2 + 2000 * SLOW
