"""nginx is moved to another nginx while curl and wrk use it: no request fails."""
import json
import pathlib

import pytest
from shunt import moves
from shunt.config import service
from shunt.programs import Client, find, output
from shunt.servers import Nginx, pair
from shunt.waiting import wait_until

COUNT = pathlib.Path(moves.__file__).with_name("wrk_count.lua")
CONNECTIONS = 8
CHECKED = {"health": {"type": "tcp", "interval": "500ms", "timeout": "2s", "rise": 1, "fall": 2}}


class Wrk(Client):
    """wrk until it is told to end; each answer is counted by who gave it."""

    def __init__(self, port, *words):
        super().__init__([find("wrk"), "-t1", f"-c{CONNECTIONS}", "-d10m", "--timeout", "60s", "-s", COUNT, *words,
                          f"http://127.0.0.1:{port}/"])

    def report(self):
        self.interrupt()
        code, out, err = self.finish()
        assert code == 0, err
        report = json.loads(out.splitlines()[-1])
        assert report["failed"] == 0 and report["requests"] > 0, out
        print(f"\nwrk: {report}")
        return report


RECONNECT = ("-H", "Connection: close")


@pytest.fixture(scope="module", name="servers")
def fixture_servers():
    with pair(Nginx) as servers:
        yield servers


@pytest.fixture(name="sides")
def fixture_sides(servers):
    """old and new, running."""
    for one in servers:
        if not one.running():
            one.start()
    return servers


@pytest.fixture(name="web")
def fixture_web(daemon, sides):
    def make(plan=None, **settings):
        old, new = sides
        front = service([old.address], [new.address], migration=plan or moves.HELD, group_settings=CHECKED, **settings)
        return moves.proven(daemon(front, log={"level": "info"}))
    return make


def curl(port, n):
    """Who answered n requests, each on a connection of its own."""
    text = output([find("curl"), "-sS", "--fail", "--max-time", "30", "-H", "Connection: close",
                   f"http://127.0.0.1:{port}/[1-{n}]"])
    names = text.split()
    assert len(names) == n and set(names) <= {"old", "new"}, text
    return names


def check_old_is_free(old, new):
    """All is served by new, and old can be switched off without anybody noticing."""
    requests = old.requests()
    moves.rises(new.requests, 1000, "requests on new")
    assert old.requests() == requests, "old gets nothing any more"
    old.halt()
    moves.rises(new.requests, 1000, "requests on new")


def test_a_connection_for_each_request(web, sides, client):
    old, new = sides
    shunt = web()
    before = old.requests(), new.requests()
    load = client(shunt.port(), *RECONNECT, kind=Wrk)
    moves.rises(old.requests, 1000, "requests on old")
    assert new.requests() == before[1]
    moves.climb(shunt, new.requests, 1000, "requests on new")
    served = old.requests() - before[0]
    check_old_is_free(old, new)
    report = load.report()
    # What wrk had under way when it was told to end was served and not counted by it.
    assert 0 <= served - report["old"] <= CONNECTIONS
    assert 0 <= new.requests() - before[1] - report["new"] <= CONNECTIONS
    moves.check_closed(shunt)


def test_kept_connections_end_by_themselves(web, sides, client):
    old, new = sides
    shunt = web(moves.TIMED)
    load = client(shunt.port(), kind=Wrk)
    wait_until(lambda: shunt.service()["connections"]["open"] == CONNECTIONS, "wrk is connected")
    moves.rises(old.requests, 2 * CONNECTIONS, "requests on old")
    shunt.ctl("start", "web").ok()
    assert shunt.ctl("wait", "web", "60s", within=70).code == 0
    assert shunt.phase() == "completed"
    check_old_is_free(old, new)
    report = load.report()
    assert report["requests"] == report["old"] + report["new"]
    moves.check_closed(shunt)


def test_each_step_splits_exactly(web):
    shunt = web()
    assert curl(shunt.port(), 40).count("new") == 0
    shunt.ctl("start", "web").ok()
    for part in (10, 20, 40):
        assert curl(shunt.port(), 40).count("new") == part
        shunt.ctl("skip", "web").ok()
    shunt.wait_phase("completed")
    assert curl(shunt.port(), 40).count("new") == 40
    moves.check_closed(shunt)


def test_an_address_stays_on_its_side(web):
    shunt = web(assign="client")
    for share in ("25%", "50%", "75%"):
        shunt.ctl("share", "web", share).ok()
        assert len(set(curl(shunt.port(), 20))) == 1
    shunt.ctl("share", "web", "100%").ok()
    assert set(curl(shunt.port(), 20)) == {"new"}
    shunt.ctl("commit", "web").ok()
    shunt.wait_phase("completed")


def test_abort_in_the_middle(web, sides, client):
    old, new = sides
    shunt = web()
    kept = client(shunt.port(), kind=Wrk)
    moves.rises(old.requests, 1000, "requests on old")
    shunt.ctl("start", "web").ok()
    shunt.ctl("skip", "web").ok()
    moves.rises(new.requests, 1000, "requests on new over kept connections")
    reconnecting = client(shunt.port(), *RECONNECT, kind=Wrk)
    moves.rises(lambda: shunt.backend("new")["connections"], 200, "connections to new")
    shunt.ctl("abort", "web", "reason", "just looking").ok()
    assert shunt.ctl("wait", "web", "60s", within=70).code == 3
    assert shunt.service()["active"] == "old"
    # Now it is new that is free.
    check_old_is_free(new, old)
    reports = [load.report() for load in (kept, reconnecting)]
    assert all(report["old"] and report["new"] for report in reports), reports
    moves.check_closed(shunt)
