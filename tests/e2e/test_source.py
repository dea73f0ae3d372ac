"""source = ADDRESS over IPv6: where connections and checks come from, with several addresses, few ports, and one that goes."""
import os
import socket
import threading

import pytest
from shunt.clients import ask, connect
from shunt.config import group, service
from shunt.folders import open_folder
from shunt.namespaces import Namespace
from shunt.peers import Server
from shunt.waiting import wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
OWN, ONE, TWO, THREE = (f"fd00:79::{n}" for n in range(1, 5))
CHECK = {"type": "tcp", "interval": "100ms", "timeout": "1s", "rise": 1, "fall": 1}


class Witness:
    """Answers each line, and keeps where its peers came from: those that said something, and those that did not."""

    def __init__(self):
        self.lock = threading.Lock()
        self.clients, self.silent = [], []

    def __call__(self, peer):
        host = peer.sock.getpeername()[0]
        line = peer.receive_line()
        with self.lock:
            (self.clients if line else self.silent).append(host)
        while line:
            peer.send(b"a " + line)
            line = peer.receive_line()


def test_on_the_loopback(daemon, server):
    seen = Witness()
    backend = server(seen, family=socket.AF_INET6)
    shunt = daemon(service([backend.address], listen=["[::1]:0"], group_settings={"source": "::1", "health": CHECK}))
    wait_until(lambda: shunt.backend("old")["state"] == "up", "checked from there")
    assert ask(shunt.address()) == b"a who\n"
    assert set(seen.clients) == set(seen.silent) == {"::1"}


@pytest.fixture(name="place")
def fixture_place(started):
    one = Namespace("lone")
    started.backends.insert(0, one)  # the last to go
    for address in (OWN, ONE, TWO, THREE):
        one.ip("address", "add", f"{address}/128", "dev", "lo", "nodad")
    return one


@pytest.fixture(name="witness")
def fixture_witness(started, place):
    """witness(): a backend in the place, and what it has seen."""
    def make(family=socket.AF_INET6, host=OWN):
        seen = Witness()
        with place.inside():
            backend = Server(seen, family=family, host=host)
        started.backends.append(backend)
        return backend, seen
    return make


def ask_there(place, shunt, index=0):
    with place.inside():
        assert ask(shunt.address(index)) == b"a who\n"


def reload(shunt, *groups):
    shunt.settings["services"] = [{**shunt.settings["services"][0], "listen": [shunt.address()], "groups": list(groups)}]
    shunt.write()
    return shunt.ctl("reload")


@NEEDS_ROOT
def test_each_group_from_its_own(daemon, place, witness):
    """Checks as well; a reload gives another one; a backend of the other family is reached from where the system chooses."""
    (old, by_old), (new, by_new), (four, by_four) = witness(), witness(), witness(socket.AF_INET, "127.0.0.1")
    shunt = daemon({"name": "web", "listen": [f"[{OWN}]:0"], "sni": {"default": "serve"}, "groups": [
        group("old", [old.address, four.address], source=ONE, health=CHECK),
        group("new", [new.address], source=TWO, health=CHECK)]}, namespace=place)
    wait_until(lambda: shunt.group("old")["usable"] == 2 and shunt.group("new")["usable"] == 1 and by_new.silent, "checked")
    for _ in range(10):
        ask_there(place, shunt)
    assert set(by_old.clients) == set(by_old.silent) == {ONE}
    assert set(by_new.silent) == {TWO} and set(by_four.clients) == {"127.0.0.1"}
    del by_old.clients[:]
    groups = shunt.settings["services"][0]["groups"]
    reload(shunt, {**groups[0], "source": THREE}, groups[1]).ok()
    del by_old.silent[:]
    wait_until(lambda: THREE in by_old.silent, "checks come from the new one")
    for _ in range(10):
        ask_there(place, shunt)
    assert set(by_old.clients) == {THREE}


@NEEDS_ROOT
@pytest.mark.parametrize("address, words", [("fd00:80::1", "not an address of this machine"), ("ff02::1", "multicast"),
                                            ("fe80::1", "link-local"), ("fe80::1%lo", "neither an IP address")])
def test_what_cannot_be_one_is_told(daemon, place, witness, address, words):
    backend, _ = witness()
    one = service([backend.address], listen=[f"[{OWN}]:0"])
    shunt = daemon(one, namespace=place)
    text = reload(shunt, {**one["groups"][0], "source": address}).refused("nothing was changed")
    assert words in text and "source" in text, text
    ask_there(place, shunt)


@NEEDS_ROOT
def test_ports_are_those_of_a_pair_of_addresses(daemon, place, witness, tmp_path):
    """Twenty ports serve twenty connections to each backend; when all of one's are taken, its checks say nothing of it."""
    (first, by_first), (second, by_second) = witness(), witness()
    with place.inside():
        try:
            with open("/proc/sys/net/ipv4/ip_local_port_range", "w", encoding="ascii") as ports:
                ports.write("40000 40019")
            with open("/proc/sys/net/ipv4/tcp_tw_reuse", "w", encoding="ascii") as reuse:
                reuse.write("1")  # those of checks that have ended
        except OSError:
            pytest.skip("the ports of a network cannot be set here")
    shunt = daemon(service([first.address], listen=[f"unix:{tmp_path}/1"], name="one",
                           group_settings={"source": ONE, "health": CHECK}, retries=0),
                   service([second.address], listen=[f"unix:{tmp_path}/2"], name="two", group_settings={"source": ONE}),
                   namespace=place)
    wait_until(lambda: shunt.backend("old", service="one")["state"] == "up", "up")
    kept = []

    def hold(path):
        one = connect(f"unix:{path}")
        try:
            one.send(b"who\n")
            served = one.receive_line() == b"a who\n"
        except (ConnectionResetError, BrokenPipeError):
            served = False
        if served:
            kept.append(one)
        else:
            one.close()
        return served
    assert all([hold(tmp_path / "2") for _ in range(15)])
    wait_until(lambda: not hold(tmp_path / "1") and "no port is left to come from" in shunt.ctl("events").ok(),
               "no port is left for the first, neither for clients nor for checks", within=10)
    assert len(by_first.clients) > 5 and set(by_first.clients) == set(by_second.clients) == {ONE}
    assert shunt.backend("old", service="one")["state"] == "up"
    for one in kept:
        one.close()
    del kept[:]
    wait_until(lambda: hold(tmp_path / "1"), "ports are free again", within=10)
    kept.pop().close()


@NEEDS_ROOT
def test_an_address_that_goes(daemon, place, witness):
    """The backends cannot be reached from there: checks say so, and find them again when it is back."""
    backend, seen = witness()
    shunt = daemon(service([backend.address], listen=[f"[{OWN}]:0"], group_settings={"source": ONE, "health": CHECK}),
                   namespace=place)
    wait_until(lambda: shunt.backend("old")["state"] == "up", "up")
    place.ip("address", "del", f"{ONE}/128", "dev", "lo")
    wait_until(lambda: shunt.backend("old")["state"] == "down", "down")
    assert "source" in shunt.backend("old")["check"]["reason"], shunt.backend("old")["check"]
    place.ip("address", "add", f"{ONE}/128", "dev", "lo", "nodad")
    wait_until(lambda: shunt.backend("old")["state"] == "up", "up again")
    ask_there(place, shunt)
    assert seen.clients == [ONE]
