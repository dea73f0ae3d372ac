"""Connections seen, counted and closed by the operator, few and by the thousand, without traffic noticing."""
import json
import os
import resource
import time

import pytest
from shunt.clients import connect
from shunt.config import service
from shunt.waiting import SLOW, wait_until

CONNECTIONS = int(os.environ.get("SHUNT_SCALE_CONNECTIONS", "8000"))


def listed(shunt, *words):
    return json.loads(shunt.ctl("connections", *words, "--json", within=30).ok())


def test_seen_and_killed(daemon, load_server):
    old = load_server(tag="o")
    shunt = daemon(service([old.address]))
    with connect(shunt.port()) as first, connect(shunt.port()) as second:
        for client in (first, second):
            client.send(bytes(128))
            assert client.receive(128)[:1] == b"o"
        seen = listed(shunt, "web")
        assert seen["matched"] == 2 and seen["complete"]
        one = next(row for row in seen["connections"] if row["client"].endswith(f":{first.sock.getsockname()[1]}"))
        assert one["group"] == "old" and one["backend"] == old.address and one["state"] == "relay"
        assert one["bytes_in"] == 128 and one["bytes_out"] == 128
        assert listed(shunt, "--older", "1h")["matched"] == 0
        assert listed(shunt, "--client", "127.0.0.0/8")["matched"] == 2
        assert listed(shunt, "--client", "0.0.0.0/0")["matched"] == 2 and listed(shunt, "--client", "::/0")["matched"] == 0
        shunt.ctl("kill", "web", "--client", "0.0.0.0/0").refused("all connections of web?")
        shunt.ctl("kill", "web/old", "--client", "::/0").ok()
        counts = listed(shunt, "--count-by", "client")["counts"]
        assert counts == [{"key": "127.0.0.1", "open": 2}]
        assert shunt.ctl("kill", one["id"], "reason", "test").ok() == f"closed 1 connection: {one['id']}\n"
        assert first.ended()
        second.send(bytes(128))
        second.receive(128)
        shunt.ctl("kill", one["id"]).refused("no connection", one["id"])
        assert shunt.ctl("kill", "web/old").ok() == "closed 1 connection: web/old\n"
        assert second.ended()
    wait_until(lambda: shunt.service()["connections"]["closed"]["killed"] == 2, "counted by its reason")

    def logged():
        return [line for line in shunt.log().splitlines() if "command=kill" in line and "outcome=begun" not in line]

    wait_until(lambda: len(logged()) >= 5, "each is in the log")
    ends = logged()
    assert ["outcome=done" in end for end in ends] == [False, True, True, False, True], ends
    assert "outcome=refused" in ends[0] and "reason=test" in ends[2] and "no connection" in ends[3], ends


def test_thousands_do_not_disturb(daemon, load_server, load_client):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * CONNECTIONS + 500:
        pytest.skip(f"the hard limit of descriptors is {hard}; {2 * CONNECTIONS + 500} are needed")
    old = load_server(tag="o")
    shunt = daemon(service([old.address]), log={"level": "info"})
    idle = load_client("idle", shunt.port(), "--connections", CONNECTIONS, deadline=120)
    assert idle.report()["errors"] == 0
    assert idle.line() == "ready"
    quiet = load_client("rt", shunt.port(), "--connections", 8, "--seconds", 2).go().report()
    busy = load_client("rt", shunt.port(), "--connections", 8, "--seconds", 2).go()
    took = []
    deadline = time.monotonic() + 1.8
    while time.monotonic() < deadline:
        began = time.monotonic()
        reply = json.loads(shunt.admin("connections --limit 10000 --json"))
        took.append(time.monotonic() - began)
        assert reply["complete"] and reply["matched"] >= CONNECTIONS
    report = busy.report()
    assert report["errors"] == 0
    print(f"\n{CONNECTIONS} open: all listed {len(took)} times, slowest {max(took) * 1000:.0f} ms; p99 of traffic "
          f"{quiet['p99_us']:.0f} us quiet, {report['p99_us']:.0f} us meanwhile")
    assert report["p99_us"] < 50_000 * SLOW, "held up; how little it costs on a quiet machine is for bench/console to measure"
    assert shunt.ctl("kill", "web/old", "--idle", "1s", "--rate", 20000, within=60).code == 0
    wait_until(lambda: shunt.service()["connections"]["open"] == 0, "all are closed")
