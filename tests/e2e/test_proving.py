"""Backends that come to the group that a migration moves to, by a reload, by a name or with an upgrade, get no connection
before their first check has passed, whatever the share is."""
import socket
import threading

import pytest
from shunt.clients import connect, who
from shunt.config import group, steps
from shunt.dns import NameServer
from shunt.folders import open_folder
from shunt.peers import named
from shunt.waiting import scaled, wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

RELOADS = 50
CLIENTS = 4
GOOD, BAD = "127.0.0.1", "127.0.2.1"


def silent(peer):
    peer.stall()


@pytest.fixture(name="checks")
def fixture_checks(server):
    """The port of checks: one listens at GOOD, none at BAD, so that whoever comes to a bad backend is a client."""
    return int(server(silent, host=GOOD).address.rsplit(":", 1)[1])


class Callers:
    """Clients that connect, ask and leave, over and over."""

    def __init__(self, port):
        self.port, self.stopping, self.answers = port, threading.Event(), {}
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(CLIENTS)]

    def run(self):
        while not self.stopping.is_set():
            try:
                answer = who(self.port)
            except (OSError, AssertionError) as failure:
                answer = repr(failure)
            with self.lock:
                self.answers[answer] = self.answers.get(answer, 0) + 1

    def __enter__(self):
        for one in self.threads:
            one.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for one in self.threads:
            one.join(scaled(10))
            assert not one.is_alive(), "a client hangs"


def services(checks, old, new, **settings):
    health = {"health": {"type": "tcp", "interval": "200ms", "port": checks}}
    return {"name": "web", "listen": ["127.0.0.1:0"], "groups": [group("old", old, **health), group("new", new, **health)],
            "migration": steps(("50%", "1h"), ("100%", "1h"), drain="1h"), **settings}


@pytest.fixture(name="moving")
def fixture_moving(daemon, server, checks):
    """moving(first): a migration at 50 % to a group with one good backend and what else first names."""
    def make(*first, **more):
        shunt = daemon(services(checks, [server(named("old")).address], [server(named("new")).address, *first]), **more)
        wait_until(lambda: shunt.backend("new")["state"] == "up", "the good one has proven itself")
        shunt.ctl("start", "web", "force").ok()
        wait_until(lambda: shunt.service()["share_bp"] == 5000, "half of the connections go to new")
        return shunt
    return make


def change(shunt, backends):
    one = shunt.settings["services"][0]
    new = {**one["groups"][1], "backends": backends}
    shunt.settings["services"] = [{**one, "listen": [shunt.address()], "groups": [one["groups"][0], new]}]
    shunt.write()


def test_by_reloads(moving, server):
    """The bad ones would take connections; each is added, taken away, and is there once more."""
    shunt = moving()
    good = shunt.settings["services"][0]["groups"][1]["backends"]
    bad = server(named("bad"), host=BAD)
    with Callers(shunt.port()) as callers:
        for i in range(RELOADS):
            change(shunt, good + ([{"address": bad.address}] if i % 2 == 0 else []))
            shunt.ctl("reload").ok()
        wait_until(lambda: sum(callers.answers.values()) > 10 * RELOADS, "clients were there all the time", within=30)
    assert set(callers.answers) == {"old", "new"}, callers.answers
    assert bad.accepted == 0


def test_with_a_group_that_is_not_yet_the_target(daemon, server, checks):
    """A reload brings the group itself; what sni or a later plan sends there finds it down, too."""
    shunt = daemon(services(checks, [server(named("old")).address], [server(named("new")).address]))
    bad = server(named("bad"), host=BAD)
    one = shunt.settings["services"][0]
    more = {**one["groups"][1], "name": "more", "backends": [{"address": bad.address}]}
    shunt.settings["services"] = [{**one, "listen": [shunt.address()], "groups": [*one["groups"], more]}]
    shunt.write()
    shunt.ctl("reload").ok()
    assert shunt.backend("more")["state"] == "down"
    assert shunt.backend("old")["state"] != "down"


@pytest.mark.parametrize("how", ["another", "same name"])
def test_by_an_upgrade(moving, server, how):
    """The new file has one more backend; or the same name means another address now."""
    first = server(named("first"))
    shunt = moving({"name": "second", "address": first.address})
    wait_until(lambda: shunt.group("new")["usable"] == 2, "both are up")
    bad = server(named("bad"), host=BAD)
    backends = shunt.settings["services"][0]["groups"][1]["backends"]
    name = "third" if how == "another" else "second"
    change(shunt, [one for one in backends if one.get("name") != name] + [{"name": name, "address": bad.address}])
    with Callers(shunt.port()) as callers:
        shunt.upgrade()
        seen = sum(callers.answers.values())
        wait_until(lambda: sum(callers.answers.values()) > seen + 200, "clients come to the new program", within=20)
    assert set(callers.answers) == {"old", "new", "first"}, callers.answers
    assert bad.accepted == 0
    states = {one["name"]: one["state"] for one in shunt.group("new")["backends"]}
    assert states[name] == "down" and list(states.values()).count("up") == len(states) - 1, states
    shunt.wait_formers()


def test_by_a_name_after_an_upgrade(daemon, started, server):
    """Addresses that come after it are checked as before it, and one that went and comes back is checked anew."""
    dns = NameServer()
    started.backends.append(dns)
    one, two = "127.0.2.2", "127.0.2.3"
    with socket.socket() as free:
        free.bind((one, 0))
        port = free.getsockname()[1]
    server(named("one"), host=one, port=port)
    old = server(named("old"))
    dns.names["db.test"] = [one]
    health = {"health": {"type": "tcp", "interval": "200ms"}}
    shunt = daemon({"name": "web", "listen": ["127.0.0.1:0"], "groups": [group("old", [old.address], **health),
                                                                         group("new", [f"db.test:{port}"], **health)],
                    "migration": steps(("50%", "1h"), ("100%", "1h"), drain="1h")},
                   resolve={"servers": [dns.address], "min_ttl": "100ms", "max_ttl": "1s", "hold": "0s", "timeout": "1s"})
    wait_until(lambda: shunt.group("new")["usable"] == 1, "the target has proven itself")
    shunt.ctl("start", "web").ok()
    shunt.upgrade()
    second = server(named("two"), host=two, port=port)
    dns.names["db.test"] = [one, two]

    def state():
        return {each["address"].rsplit(":", 1)[0]: each["health"] for each in shunt.group("new")["backends"]}
    wait_until(lambda: state().get(two) == "up", "the new address is checked", within=10)
    kept = [connect(shunt.port()) for _ in range(8)]
    for each in kept:
        each.send(b"who\n")
    assert "two" in {each.receive_line().split()[0].decode() for each in kept}
    dns.names["db.test"] = [one]
    wait_until(lambda: "gone and draining" in shunt.ctl("events").ok(), "it drains")
    second.listener.shutdown(socket.SHUT_RDWR)
    second.listener.close()
    dns.names["db.test"] = [one, two]
    wait_until(lambda: state().get(two) == "down", "it is there again, and not for up")
    assert {who(shunt.port()) for _ in range(8)} == {"old", "one"}
    for each in kept:
        each.close()
    shunt.wait_formers()
