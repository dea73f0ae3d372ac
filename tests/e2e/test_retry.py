"""A backend that cannot be reached costs the client nothing as long as another one can serve."""
import time

import pytest
from shunt.clients import connect, who
from shunt.config import service, steps
from shunt.peers import accept_and_close, accept_and_reset, named
from shunt.waiting import SLOW, wait_until

HOLD = steps(("50%", "1h"), ("100%", "1h"))


def closed(shunt):
    return shunt.service()["connections"]["closed"]


def test_refused_goes_to_another_backend(daemon, server, refuser):
    shunt = daemon(service([refuser().address, server(named("good")).address]))
    assert {who(shunt.port()) for _ in range(20)} == {"good"}
    assert shunt.backend("old", 0)["errors"]["connect"] > 0
    wait_until(shunt.settled, "all are closed")
    assert closed(shunt)["client-closed"] == 20


def test_no_answer_goes_to_another_backend_after_the_connect_timeout(daemon, server, swallower):
    shunt = daemon(service([swallower().address, server(named("good")).address], timeouts={"connect": "300ms"}))
    longest = 0
    for _ in range(4):
        began = time.monotonic()
        assert who(shunt.port()) == "good"
        longest = max(longest, time.monotonic() - began)
    assert 0.29 < longest < 0.3 + 0.05 * SLOW + (SLOW - 1) * 0.3
    assert shunt.backend("old", 0)["errors"]["timeout"] > 0


def test_no_backend_of_the_group_goes_to_the_other_group(daemon, server, refuser):
    shunt = daemon(service([server(named("old")).address], [refuser().address, refuser().address], migration=HOLD))
    shunt.ctl("start", "web").ok()
    assert {who(shunt.port()) for _ in range(20)} == {"old"}
    wait_until(shunt.settled, "all are closed")
    assert closed(shunt)["client-closed"] == 20


def test_broken_old_group_is_served_by_new(daemon, server, refuser):
    shunt = daemon(service([refuser().address], [server(named("new")).address], migration=HOLD))
    shunt.ctl("start", "web").ok()
    assert {who(shunt.port()) for _ in range(20)} == {"new"}


def turned_away(port):
    """A connection that ends without a byte: by an end or by a reset, which may come before connect returns."""
    try:
        with connect(port) as client:
            assert client.receive_all() == b""
    except ConnectionResetError:
        pass


def test_all_refuse(daemon, refuser):
    shunt = daemon(service([refuser().address, refuser().address]))
    turned_away(shunt.port())
    wait_until(lambda: closed(shunt).get("connect-refused") == 1, "counted as refused")


def test_all_silent(daemon, swallower):
    shunt = daemon(service([swallower().address], timeouts={"connect": "200ms"}, retries=1))
    turned_away(shunt.port())
    wait_until(lambda: closed(shunt).get("connect-timeout") == 1, "counted as timed out")


@pytest.mark.parametrize("script", [accept_and_close, accept_and_reset])
def test_backend_that_accepts_and_ends_harms_nobody_else(daemon, server, script):
    bad, good = server(script), server(named("good"))
    shunt = daemon(service([bad.address], name="one"), service([good.address], name="two"))
    port = shunt.port(service="one")
    with connect(shunt.port(service="two")) as kept:
        for _ in range(20):
            turned_away(port)
            kept.send(b"x\n")
            assert kept.receive_line() == b"good x\n"
    wait_until(shunt.settled, "all are closed and counted")
    counts = shunt.service("one")["connections"]["closed"]
    assert sum(counts.values()) == 20
    # A reset that comes before the connection is known to stand looks like a refusal.
    seen = {reason for reason, count in counts.items() if count}
    assert seen <= {"backend-closed", "backend-reset", "connect-refused"}, counts


def test_backup_serves_only_while_no_other_can(daemon, server, refuser):
    backup = server(named("backup"))
    good = server(named("good"))
    shunt = daemon(service([good.address, {"address": backup.address, "backup": True}], name="one"),
                   service([refuser().address, {"address": backup.address, "backup": True}], name="two",
                           group_settings={"health": {"type": "tcp", "interval": "100ms", "timeout": "100ms",
                                                      "rise": 1, "fall": 1}}))
    assert {who(shunt.port(service="one")) for _ in range(10)} == {"good"}
    wait_until(lambda: shunt.backend("old", 0, "two")["state"] == "down", "the check fails")
    assert {who(shunt.port(service="two")) for _ in range(10)} == {"backup"}
