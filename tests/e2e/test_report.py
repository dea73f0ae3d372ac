"""The story of a migration from the journal, over restarts; and what a restart does to one that runs."""
import json

import pytest
from shunt.clients import who
from shunt.config import service, steps
from shunt.peers import named
from shunt.waiting import wait_until


@pytest.fixture(name="web")
def fixture_web(daemon, server):
    def make(plan, **settings):
        return daemon(service([server(named("old")).address], [server(named("new")).address],
                              migration=plan, **settings))
    return make


def test_the_report_tells_who_why_when_and_what(web):
    shunt = web(steps(("50%", "1h"), ("100%", "1h")))
    assert shunt.ctl("report", "web").code == 1
    shunt.ctl("start", "web", "reason", "CHG-1").ok()
    for _ in range(10):
        who(shunt.port())
    running = json.loads(shunt.admin("report web --json"))["report"]
    assert not running["over"] and "ramping" in shunt.ctl("report", "web").ok().splitlines()[0]
    wait_until(lambda: json.loads(shunt.admin("report web --json"))["report"]["duration_s"] > running["duration_s"], "its time goes on")
    assert shunt.ctl("report", "web").ok().splitlines()[0].endswith(" so far")
    shunt.ctl("skip", "web").ok()
    shunt.ctl("abort", "web", "reason", "too slow").ok()
    shunt.wait_phase("rolled-back")
    report = json.loads(shunt.admin("report web --json"))["report"]
    assert (report["migration"], report["from"], report["to"]) == ("web-1", "old", "new")
    assert report["phase"] == "rolled-back" and report["over"]
    events = [one["event"] for one in report["records"]]
    assert events == ["start", "skip", "abort", "drained"]
    assert report["records"][0]["reason"] == "CHG-1" and report["records"][0]["actor"].startswith("operator:")
    assert report["records"][1]["since_last"]["new"]["connections"] == 5
    assert report["records"][1]["since_last"]["old"]["connections"] == 5
    text = shunt.ctl("report", "web", "web-1").ok()
    assert "so far" not in text and "too slow" in text and "new 5 connections, 0 errors" in text
    assert "keeps the last" in (lambda one: one.out + one.err)(shunt.ctl("report", "web", "web-9"))


def test_a_restart_remembers_the_story(web):
    shunt = web({**steps(("50%", "1h"), ("100%", "1h")), "restart": "pause"})
    shunt.ctl("start", "web", "reason", "CHG-2").ok()
    shunt.kill()
    shunt.start()
    assert shunt.phase() == "paused"
    assert shunt.service()["share_bp"] == 5000
    assert "CHG-2" in shunt.ctl("events", "web").ok()
    assert "CHG-2" in shunt.ctl("report", "web").ok()
    shunt.ctl("resume", "web").ok()
    assert shunt.phase() == "ramping"
