"""How a migration ends: connections that stay are closed at a pace, and going back is quick or gradual, as set."""
import json
import time

import pytest
from shunt.clients import connect, who
from shunt.config import service, steps
from shunt.peers import named
from shunt.waiting import stays, wait_until


@pytest.fixture(name="web")
def fixture_web(daemon, server):
    """web(plan, **settings): a daemon with one backend on each side that tells its name."""
    def make(plan, **settings):
        return daemon(service([server(named("old")).address], [server(named("new")).address],
                              migration=plan, **settings))
    return make


def keep(shunt, n, name):
    """n connections that are open on the side of that name."""
    kept = [connect(shunt.port()) for _ in range(n)]
    for one in kept:
        one.send(b"a\n")
        assert one.receive_line() == f"{name} a\n".encode()
    return kept


def drained(shunt):
    return shunt.service()["connections"]["closed"].get("drained", 0)


def test_what_is_left_is_closed_at_the_pace(web):
    shunt = web({**steps(("100%", "100ms")), "drain": {"timeout": "300ms", "close_rate": 20, "jitter": "0%"}})
    kept = keep(shunt, 30, "old")
    shunt.ctl("start", "web").ok()
    wait_until(lambda: drained(shunt) > 0, "the first is closed")
    began = time.monotonic()
    status = shunt.service()
    assert status["phase"] == "draining"
    assert status["step_left_s"] is not None and status["step_left_s"] <= 1.6
    assert "closing" in status["reason"] and status["live_share_bp"] == 0
    seen = []
    while shunt.phase() == "draining":
        seen.append(drained(shunt))
    took = time.monotonic() - began
    assert 1.0 <= took, took
    assert len(set(seen)) > 5, seen
    assert max(b - a for a, b in zip(seen, seen[1:])) <= 15, seen
    assert shunt.phase() == "completed"
    assert drained(shunt) == 30
    for one in kept:
        assert one.ended()
        one.close()


def test_idle_ones_go_first_and_busy_ones_have_time(web):
    plan = {**steps(("100%", "100ms")),
            "drain": {"timeout": "1h", "close_rate": 1000, "idle_first": True, "idle_after": "400ms"}}
    shunt = web(plan)
    kept = keep(shunt, 5, "old")
    busy = kept[0]
    shunt.ctl("start", "web").ok()

    def others_are_closed():
        busy.send(b"b\n")
        assert busy.receive_line() == b"old b\n"
        return drained(shunt) == 4

    wait_until(others_are_closed, "the idle ones are closed")
    for _ in range(5):
        assert others_are_closed()
    assert shunt.phase() == "draining"
    for one in kept:
        one.close()
    shunt.wait_phase("completed")


def test_waiting_closes_nobody(web):
    shunt = web({**steps(("100%", "100ms")), "drain": {"timeout": "200ms", "on_timeout": "wait"}})
    kept = keep(shunt, 2, "old")
    shunt.ctl("start", "web").ok()
    wait_until(lambda: "its time is over" in shunt.service()["reason"], "the time is over")
    stays(lambda: drained(shunt) == 0 and shunt.phase() == "draining", 0.5, "nobody is closed")
    for one in kept:
        one.send(b"b\n")
        assert one.receive_line() == b"old b\n"
        one.close()
    shunt.wait_phase("completed")


def test_a_gradual_rollback_gives_back_part_by_part(web):
    shunt = web({**steps(("50%", "1h"), ("100%", "1h")), "rollback": {"shape": "linear", "over": "2s"}})
    shunt.ctl("start", "web").ok()
    shunt.ctl("abort", "web", "reason", "too slow").ok()
    shares = []

    def ended():
        shares.append(shunt.service()["share_bp"])
        return shunt.phase() == "rolled-back"

    wait_until(ended, "the rollback is through", within=10)
    assert shares[0] < 5000
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) >= 5, shares
    assert {who(shunt.port()) for _ in range(10)} == {"old"}
    last = shunt.ctl("events", "web", "1").ok()  # after twenty parts the beginning is out of sight
    assert "rolled back: all traffic on old" in last and 'reason="too slow"' in last, last


def test_a_second_abort_takes_the_rest_at_once(web):
    shunt = web({**steps(("100%", "1h")), "rollback": {"shape": "linear", "over": "1h"}})
    shunt.ctl("start", "web").ok()
    shunt.ctl("abort", "web", "reason", "too slow").ok()
    assert shunt.service()["share_bp"] == 9500
    shunt.ctl("abort", "web").ok()
    assert {who(shunt.port()) for _ in range(20)} == {"old"}
    shunt.wait_phase("rolled-back")
    assert shunt.service()["reason"] == "too slow"


def test_a_rollback_may_close_what_is_on_new(web):
    shunt = web({**steps(("100%", "1h")), "rollback": {"connections": "close"}, "drain": {"close_rate": 50}})
    shunt.ctl("start", "web").ok()
    kept = keep(shunt, 5, "new")
    shunt.ctl("abort", "web").ok()
    for one in kept:
        assert one.ended()
        one.close()
    shunt.wait_phase("rolled-back")
    assert drained(shunt) == 5
    shunt.ctl("start", "web", "from-share", "60%").refused("no step at or below 60%", "begins with 100%")
    shunt.ctl("start", "web", "from-share", "100%").ok()
    assert (shunt.phase(), shunt.service()["share_bp"]) == ("ramping", 10000)


def test_one_server_in_both_groups_is_not_started(daemon, server):
    one = server(named("old"))
    shunt = daemon(service([one.address], [one.address], migration=steps(("100%", "1h"))))
    reply = shunt.ctl("start", "web")
    assert reply.code == 1 and "one server in both groups" in reply.out + reply.err, reply
    assert shunt.phase() == "idle"
    assert "✖" in shunt.ctl("plan", "web").ok()
    shunt.ctl("start", "web", "force").ok()
    assert shunt.phase() == "ramping"
    assert "in spite of" in shunt.ctl("events", "web").ok()


def test_the_plan_tells_what_a_step_exposes(web):
    shunt = web({"steps": [{"share": "10%", "hold": "1h", "min_samples": 5}, {"share": "100%", "hold": "manual"}]})
    for _ in range(20):
        who(shunt.port())

    def exposed():
        step = json.loads(shunt.admin("plan web --json"))["plan"]["steps"][0]
        return step["exposes_per_minute"] and step["exposes_per_minute"] > 0

    wait_until(exposed, "a rate is known", within=10)
    text = shunt.ctl("plan", "web").ok()
    assert "step 1  10% for 1h, at least 5 connections   exposes" in text
    assert "step 2  100% until resume" in text


def test_a_manual_step_waits_for_resume(web):
    shunt = web({"steps": [{"share": "50%", "hold": "manual"}, {"share": "100%", "hold": "100ms"}]})
    shunt.ctl("start", "web").ok()
    shunt.wait_phase("paused")
    assert "manual" in shunt.service()["reason"]
    shunt.ctl("resume", "web").ok()
    shunt.wait_phase("completed")


def test_a_step_waits_for_its_connections(web):
    shunt = web({"steps": [{"share": "50%", "hold": "100ms", "min_samples": 4}, {"share": "100%", "hold": "1h"}]})
    shunt.ctl("start", "web").ok()
    for _ in range(4):
        who(shunt.port())
    wait_until(lambda: "2 of 4 connections" in shunt.service()["reason"], "it says what it waits for")
    assert shunt.service()["share_bp"] == 5000
    for _ in range(4):
        who(shunt.port())
    wait_until(lambda: shunt.service()["share_bp"] == 10000, "the next step")
