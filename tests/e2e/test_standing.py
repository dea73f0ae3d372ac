"""Who may get connections: operators above all, backups while nobody else can, panic when too few are usable."""
import json
import threading

import pytest
from shunt.clients import ask, who
from shunt.config import group, service, steps
from shunt.peers import Server, named
from shunt.waiting import stays, wait_until

FAST = {"type": "tcp", "interval": "50ms", "timeout": "50ms", "rise": 2, "fall": 2}
STRATEGIES = ("round-robin", "weighted", "least-latency", "least-connections", "hash")


def events(shunt, kind):
    return [one for one in json.loads(shunt.ctl("events", "web", "200", "--json").ok())["events"] if one["kind"] == kind]


def names(shunt, times=20):
    """Who serves; None where nobody does."""
    served = set()
    for _ in range(times):
        try:
            served.add(ask(shunt.port()).split()[0].decode())
        except (ConnectionError, IndexError):
            served.add(None)
    return served


def place(shunt, index=0, which="old"):
    return f"web/{which}/{shunt.backend(which, index)['name']}"


class Switch:
    """A backend that can be switched off and on again at its port."""

    def __init__(self, started, name):
        self.started, self.name = started, name
        self.server = Server(named(name))
        self.address, self.port = self.server.address, int(self.server.address.split(":")[1])

    def off(self):
        self.server.stop()

    def on(self):
        self.server = Server(named(self.name), port=self.port)

    def stop(self):
        self.server.stop()


@pytest.fixture(name="switch")
def fixture_switch(started):
    def make(name):
        one = Switch(started, name)
        started.backends.append(one)
        return one
    return make


# Operators.

def test_forced_up_against_its_checks(daemon, server, switch):
    gone = switch("gone")
    gone.off()
    shunt = daemon(service([gone.address, server(named("good")).address], group_settings={"health": FAST}))
    wait_until(lambda: shunt.backend("old", 0)["state"] == "down", "its checks fail")
    reply = shunt.ctl("backend", place(shunt), "force-up", "reason", "the check is wrong").ok()
    assert "is forced up, whatever its checks say (now: down); old has 2 of 2 usable" in reply
    backend = shunt.backend("old", 0)
    assert (backend["state"], backend["health"], backend["forced"], backend["usable"]) == ("up", "down", "up", True)
    assert backend["set_by"].startswith("operator:") and backend["reason"] == "the check is wrong" and backend["set_at"]
    assert "up forced, checks say down (operator:" in shunt.ctl("status").ok()
    checked = backend["check"]
    stays(lambda: shunt.backend("old", 0)["usable"], 0.3, "checks that fail change nothing")
    assert shunt.backend("old", 0)["check"] != checked, "they go on"
    failed = shunt.backend("old", 0)["errors"]["connect"]
    assert names(shunt) == {"good"}  # by retries
    assert shunt.backend("old", 0)["errors"]["connect"] > failed, "it is really tried"
    shunt.ctl("backend", place(shunt), "auto").ok()
    assert shunt.backend("old", 0)["state"] == "down"


def test_forced_down_against_its_checks(daemon, server):
    shunt = daemon(service([server(named("a")).address, server(named("b")).address], group_settings={"health": FAST}))
    wait_until(lambda: shunt.group("old")["usable"] == 2, "both are up")
    shunt.ctl("backend", place(shunt), "force-down", "reason", "disk").ok()
    stays(lambda: not shunt.backend("old", 0)["usable"], 0.3, "checks that pass change nothing")
    assert names(shunt) == {"b"}
    assert shunt.backend("old", 0)["health"] == "up"
    shunt.ctl("backend", place(shunt), "ready").ok()
    assert names(shunt) == {"b"}, "ready is another matter"
    shunt.ctl("backend", place(shunt), "auto").ok()
    wait_until(lambda: names(shunt) == {"a", "b"}, "its checks count again")


def test_an_agent_never_overrides_an_operator(daemon, server):
    line, lock = [b"ready up\n"], threading.Lock()

    def script(peer):
        with lock:
            peer.send(line[0])

    agent = server(script)
    health = {**FAST, "type": "agent", "port": int(agent.address.split(":")[1])}
    shunt = daemon(service([server(named("a")).address], group_settings={"health": health}))

    def tell(text, shows):
        with lock:
            line[0] = text
        wait_until(lambda: f"agent: {shows}" in (shunt.backend("old", 0)["check"] or {"reason": ""})["reason"], shows)

    words = ("ready up", "drain", "maint", "down#broken", "0%", "ready up 100%")
    for operator in ("force-up", "force-down", "drain", "maint"):
        shunt.ctl("backend", place(shunt), operator).ok()
        for text in words:
            tell(text.encode() + b"\n", text)
            backend = shunt.backend("old", 0)
            assert backend["admin"] == ("ready" if "force" in operator else operator)
            assert backend["usable"] is (operator == "force-up"), (operator, text)
            if operator == "force-up":
                assert who(shunt.port()) == "a", text
        shunt.ctl("backend", place(shunt), "ready").ok()
        shunt.ctl("backend", place(shunt), "auto").ok()
    wait_until(lambda: who(shunt.port()) == "a", "all agree")


def test_forced_up_is_not_ejected_and_an_ejection_is_forgotten(daemon, server, refuser):
    shunt = daemon(service([refuser().address, server(named("good")).address],
                           group_settings={"outlier": {"base_time": "1h", "max_time": "1h"}}))
    assert names(shunt) == {"good"}
    wait_until(lambda: shunt.backend("old", 0)["ejected"], "it is ejected")
    shunt.ctl("backend", place(shunt), "force-up").ok()
    wait_until(lambda: shunt.backend("old", 0)["ejected"] is None, "that is forgotten")
    failed = shunt.backend("old", 0)["errors"]["connect"]
    assert names(shunt, 40) == {"good"}
    assert shunt.backend("old", 0)["errors"]["connect"] >= failed + 20
    assert shunt.backend("old", 0)["ejected"] is None
    shunt.ctl("backend", place(shunt), "auto").ok()
    assert names(shunt, 40) == {"good"}
    wait_until(lambda: shunt.backend("old", 0)["ejected"], "now it may be again")


def test_what_operators_said_outlives_restart_and_reload(daemon, server):
    one = service([server(named(name)).address for name in "abc"], group_settings={"health": FAST})
    shunt = daemon(one)
    shunt.ctl("backend", place(shunt, 0), "force-down", "reason", "CHG-1").ok()
    shunt.ctl("backend", place(shunt, 1), "force-up", "reason", "CHG-2").ok()
    shunt.ctl("backend", place(shunt, 1), "drain", "reason", "CHG-3").ok()
    before = [{key: shunt.backend("old", i)[key] for key in ("forced", "admin", "set_by", "set_at", "reason")}
              for i in range(3)]
    assert before[1]["reason"] == "CHG-3" and before[2]["set_by"] is None

    def now():
        return [{key: shunt.backend("old", i)[key] for key in before[0]} for i in range(3)]

    one["groups"][0]["health"] = {**FAST, "interval": "60ms"}
    shunt.write()
    reply = shunt.ctl("reload").ok()
    assert "stays forced down, as it was set by hand" in reply and now() == before
    shunt.kill()
    shunt.restart()
    assert now() == before
    wait_until(lambda: shunt.backend("old", 0)["health"] == "up", "its check passes")
    assert names(shunt) == {"c"}
    assert "forced, checks say up (operator:" in shunt.ctl("status").ok()
    assert "CHG-2" in shunt.ctl("status").ok() and "CHG-3" in shunt.ctl("status").ok()
    assert any(event["text"].endswith("forced auto → down") and event["reason"] == "CHG-1"
               for event in events(shunt, "forced"))


# The last check, in sight.

def test_last_check_in_status_and_events(daemon, server, switch):
    wavering = switch("a")
    shunt = daemon(service([wavering.address, server(named("b")).address], group_settings={"health": FAST}))
    wait_until(lambda: shunt.backend("old", 0)["state"] == "up", "its check passes")
    check = shunt.backend("old", 0)["check"]
    assert check["passed"] and check["reason"] == "connected" and check["duration_us"] > 0 and check["age_s"] < 5
    assert "check ✔ connected in " in shunt.ctl("status").ok()
    wavering.off()
    wait_until(lambda: shunt.backend("old", 0)["state"] == "down", "its check fails")
    assert "check ✖ connection refused in " in shunt.ctl("status").ok()
    up, down = [one for one in events(shunt, "health") if one["text"].startswith(f"old/{wavering.address} ")]
    assert up["text"].startswith(f"old/{wavering.address} up: first check, took ") and up["reason"] == "connected"
    assert ": 2 of 2 checks failed, the last took " in down["text"] and down["reason"] == "connection refused"
    assert "connection refused" not in down["text"], "said once"


# Backups.

@pytest.mark.parametrize("balance", STRATEGIES)
def test_backups_take_over_and_step_back(daemon, server, switch, balance):
    one, two = switch("one"), switch("two")
    spare = [{"address": server(named(name)).address, "backup": True} for name in ("x", "y")]
    shunt = daemon(service([one.address, two.address, *spare], group_settings={"health": FAST, "balance": balance}))
    wait_until(lambda: shunt.group("old")["usable"] == 2, "both are up")
    assert names(shunt) <= {"one", "two"}
    assert shunt.group("old")["on_backups"] is False
    one.off()
    wait_until(lambda: shunt.group("old")["usable"] == 1, "one is down")
    assert names(shunt) == {"two"}
    two.off()
    wait_until(lambda: shunt.group("old")["on_backups"], "both are down")
    assert names(shunt) <= {"x", "y"}
    assert shunt.group("old")["usable"] == 2
    assert "⚠ on backups" in shunt.ctl("status").ok()
    assert 'shunt_group_on_backups{service="web",group="old"} 1\n' in shunt.ctl("show", "metrics").ok()
    two.on()
    wait_until(lambda: not shunt.group("old")["on_backups"], "one is up again")
    assert names(shunt) == {"two"}
    assert [event["severity"] for event in events(shunt, "backup")] == ["warn", "info"]


# Panic.

def half_gone(daemon, server, switch, panic, **settings):
    """A group of three of which two go down; the other group has one."""
    first, second = switch("first"), switch("second")
    old = group("old", [first.address, second.address, server(named("third")).address],
                health=FAST, panic=panic)
    shunt = daemon({**service([server(named("new")).address], **settings),
                    "groups": [old, group("new", [server(named("new")).address], health=FAST)]})
    wait_until(lambda: shunt.group("old")["usable"] == 3 and shunt.group("new")["usable"] == 1, "all are up")
    return shunt, first, second


def test_panic_uses_all(daemon, server, switch):
    shunt, first, second = half_gone(daemon, server, switch, {"action": "use-all"}, retries=0)
    first.off()
    wait_until(lambda: shunt.group("old")["usable"] == 2, "one is down")
    assert shunt.group("old")["panic"] is None and names(shunt) == {"second", "third"}
    second.off()
    wait_until(lambda: shunt.group("old")["panic"], "two are down")
    assert shunt.group("old")["panic"] == {"action": "use-all", "threshold_bp": 5000, "usable": 1, "eligible": 3}
    assert names(shunt) == {"third", None}, "those that are down are tried"
    assert "✖ panic (below 50%: use-all)" in shunt.ctl("status").ok()
    assert 'shunt_group_panic{service="web",group="old"} 1\n' in shunt.ctl("show", "metrics").ok()
    shunt.ctl("backend", place(shunt, 0), "maint").ok()
    wait_until(lambda: not shunt.group("old")["panic"], "one that an operator took out is not missing")
    assert names(shunt) == {"third"}
    begin, end = events(shunt, "panic")
    assert begin["severity"] == "error" and begin["reason"] == "1 of 3 usable, threshold 50%"
    assert begin["text"] == "group old is in panic: all of it is used, healthy or not"
    assert end["severity"] == "info" and end["text"] == "group old is not in panic any more"


def test_panic_refuses(daemon, server, switch):
    shunt, first, second = half_gone(daemon, server, switch, {"action": "refuse", "threshold": "100%"})
    first.off()
    wait_until(lambda: shunt.group("old")["panic"], "one is down")
    assert names(shunt) == {None}
    wait_until(lambda: shunt.service()["connections"]["closed"]["no-backend"] == 20, "counted by its reason")
    first.on()
    wait_until(lambda: not shunt.group("old")["panic"], "it is back")
    assert names(shunt) == {"first", "second", "third"}
    second.off()
    wait_until(lambda: names(shunt) == {None}, "again")


def test_panic_in_a_migration_goes_to_the_other_group(daemon, server, switch):
    shunt, first, second = half_gone(daemon, server, switch, {}, migration=steps(("50%", "1h"), ("100%", "1h")))
    first.off()
    second.off()
    wait_until(lambda: shunt.group("old")["panic"], "two are down")
    assert names(shunt) == {"third"}, "without a migration the one that is usable serves"
    shunt.ctl("start", "web", "force").ok()
    wait_until(lambda: names(shunt) == {"new"}, "the share of old goes to new")
    assert shunt.service()["connections"]["spilled"] > 0
    first.on()
    wait_until(lambda: not shunt.group("old")["panic"], "two of three are usable")
    wait_until(lambda: names(shunt) >= {"new", "first"}, "as the plan says")


def test_a_ramp_holds_while_the_target_is_in_panic(daemon, server, switch):
    first, second = switch("first"), switch("second")
    new = group("new", [first.address, second.address, server(named("third")).address], health=FAST,
                panic={"threshold": "60%"})
    old = group("old", [server(named("old")).address], health=FAST)
    shunt = daemon({**service([], migration=steps(("50%", "1s"), ("100%", "1s"), drain="1s")), "groups": [old, new]})
    wait_until(lambda: shunt.group("new")["usable"] == 3, "all are proven")
    first.off()
    second.off()
    wait_until(lambda: shunt.group("new")["usable"] == 1, "two are down")
    shunt.ctl("start", "web", "force").ok()
    wait_until(lambda: shunt.group("new")["panic"], "it is in panic")
    assert names(shunt) == {"old"}
    stays(lambda: shunt.service()["step"] == 1 and shunt.phase() == "ramping", 2.5, "the ramp holds")
    first.on()
    shunt.wait_phase("completed")
    assert names(shunt) == {"first", "third"}
