"""The gate on real traffic: a new version that dies, is slow, resets, or is good."""
import json
import re
import time

from shunt.clients import connect, who
from shunt.config import service, steps
from shunt.peers import named
from shunt.waiting import wait_until

NO_CHECKS = {"health": {"type": "none"}}  # the gate alone is to find it
GATE = {"window": "1s", "min_samples": 50, "max_error_rate": "5%", "max_error_increase": "3%"}


def plan(*pairs, **gate):
    return steps(*pairs, drain="1s", gate={**GATE, **gate})


def gate(shunt):
    return shunt.service()["gate"]


def check(shunt, name):
    return next(one for one in gate(shunt)["checks"] if one["name"] == name)


def journal(shunt):
    """The records of the journal, without their checksums."""
    lines = (shunt.folder / "state" / "journal").read_text().splitlines()
    return [json.loads(line.split(" ", 1)[1]) for line in lines]


def slow(peer):
    """Answers as a version that is slower than the old one by far."""
    while line := peer.receive_line():
        time.sleep(0.05)  # the slowness that is measured, not a wait
        peer.send(b"new " + line)


def test_a_version_that_dies_costs_only_what_was_under_way(daemon, load_server, load_client):
    old, new = load_server(tag="o"), load_server(tag="n")
    shunt = daemon(service([old.address], [new.address], group_settings=NO_CHECKS,
                           migration=plan(("25%", "1h"), ("100%", "1h"))))
    load = load_client("connect", shunt.port(), "--connections", 4).go()
    shunt.ctl("start", "web").ok()
    wait_until(lambda: gate(shunt) and gate(shunt)["verdict"] == "pass", "the gate passes a good version", 30)
    new.stop()
    died = time.monotonic()
    wait_until(lambda: shunt.service()["share_bp"] == 0, "a rollback", 10)
    took = time.monotonic() - died
    shunt.wait_phase("rolled-back")
    report_of_load = load.stop_and_report()
    # At most those under way, and those that came about in the instant of its end: those refused went to old.
    assert report_of_load["errors"] <= 8, report_of_load
    assert report_of_load["errors_by_kind"]["connect"] == 0, report_of_load
    one = shunt.service()
    assert " > " in one["reason"] and one["reason"].startswith("error-"), one["reason"]
    assert one["gate"]["verdict"] == "fail"
    assert one["gate"]["errors"]["connect"] > 0
    events = shunt.ctl("events", "web").ok()
    assert "failure 1 of 2" in events and "rollback 25% → 0%" in events
    assert re.search(r"rolled back: all traffic on old; new failed \d+ \(connect \d+", events), events
    assert journal(shunt)[-1]["by"] == "gate"
    report = shunt.ctl("report", "web").ok()
    assert "    gate: ✖ error-" in report and " > " in report, report
    rolled = next(one for one in journal(shunt) if one.get("event") == "gate-fail")
    assert any(one["verdict"] == "fail" for one in rolled["gate"]["checks"])
    print(f"from death to rollback: {took:.2f} s, {report_of_load}")


def test_a_slow_version_is_rolled_back(daemon, server):
    shunt = daemon(service([server(named("old")).address], [server(slow).address], group_settings=NO_CHECKS,
                           migration=plan(("50%", "1h"), ("100%", "1h"), max_latency_ratio=2)))
    shunt.ctl("start", "web").ok()

    def until_rolled_back():
        who(shunt.port())
        return shunt.service()["share_bp"] == 0
    wait_until(until_rolled_back, "a rollback", 60)
    shunt.wait_phase("rolled-back")
    assert shunt.service()["reason"].startswith("p99 "), shunt.service()["reason"]
    assert check(shunt, "latency-ratio")["observed"] > 2


def test_resets_pause_where_that_is_asked_for(daemon, server):
    def reset_after_request(peer):
        peer.receive_line()
        peer.reset()
    shunt = daemon(service([server(named("old")).address], [server(reset_after_request).address],
                           group_settings=NO_CHECKS,
                           migration=plan(("50%", "1h"), ("100%", "1h"), on_fail="pause")))
    shunt.ctl("start", "web").ok()

    def until_paused():
        with connect(shunt.port()) as client:
            client.send(b"who\n")
            try:
                client.receive_line()
            except OSError:
                pass
        return shunt.phase() == "paused"
    wait_until(until_paused, "a pause", 30)
    one = shunt.service()
    assert one["share_bp"] == 5000
    assert one["reason"].startswith("paused by gate: error-"), one["reason"]
    assert one["gate"]["errors"]["reset"] > 0
    assert "⚠ web phase gate: paused at 50%" in shunt.ctl("events", "web").ok()
    metrics = shunt.ctl("show", "metrics").ok()
    for check in one["gate"]["checks"]:
        value = {"pass": 1, "more": 0, "fail": -1}[check["verdict"]] if check["judged"] else 0
        assert f'shunt_gate_verdict{{service="web",check="{check["name"]}"}} {value}\n' in metrics, (check, metrics)


def test_a_good_version_completes_and_waits_for_samples(daemon, load_server, load_client):
    old, new = load_server(tag="o"), load_server(tag="n")
    shunt = daemon(service([old.address], [new.address], group_settings=NO_CHECKS,
                           migration=plan(("10%", "200ms"), ("50%", "200ms"), ("100%", "200ms"))))
    shunt.ctl("start", "web").ok()
    wait_until(lambda: shunt.service()["reason"].startswith("holding for the gate: "), "it waits for samples")
    assert shunt.service()["share_bp"] == 1000
    assert "◌" in shunt.ctl("status", "web").ok()
    load = load_client("connect", shunt.port(), "--connections", 4).go()
    assert shunt.ctl("wait", "web", "40s", within=60).code == 0
    assert shunt.phase() == "completed"
    assert load.stop_and_report()["errors"] == 0


def test_the_plan_shows_limits_and_what_runs(daemon, server):
    migration = plan(("25%", "1h"), ("100%", "1h"))
    migration["steps"][1]["gate"] = {"max_error_rate": "2%"}
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], group_settings=NO_CHECKS,
                           migration=migration))
    text = shunt.ctl("plan", "web").ok()
    assert "gate  error-rate ≤ 5%  error-increase ≤ 3%  from 50 samples, else it goes back" in text
    assert "in step 2  error-rate ≤ 2%" in text and "under way" not in text
    assert "fastest 2h, slowest 4h" in text, "each step may wait an hour for the gate"
    shunt.ctl("start", "web").ok()
    assert "under way: web-1 ramping, share 25%" in shunt.ctl("plan", "web").ok()
    shown = json.loads(shunt.ctl("plan", "web", "--json").ok())["plan"]
    assert shown["running"]["share_bp"] == 2500 and shown["gate"]["max_error_rate_bp"] == 500
    assert shown["steps"][1]["gate"]["max_error_rate_bp"] == 200
