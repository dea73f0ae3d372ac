"""Who is let in: lists of prefixes, limits on connections and rates, silent clients; each refusal has its reason."""
import re
import socket
import time

import pytest
from shunt.clients import ask, connect
from shunt.config import service
from shunt.daemon import SANITIZED
from shunt.peers import named
from shunt.process import memory_bytes
from shunt.waiting import SLOW, scaled, wait_until


def closed(shunt, reason, name=None):
    return shunt.service(name)["connections"]["closed"][reason]


def served(port, source="127.0.0.1", header=b""):
    """True when a connection from that address is served, False when it is refused with a reset."""
    with socket.socket() as sock:
        sock.bind((source, 0))
        sock.settimeout(scaled(10))
        try:
            sock.connect(("127.0.0.1", port))  # the reset may come before this has returned
            sock.sendall(header + b"who\n")
            return sock.recv(100) == b"a who\n"
        except (ConnectionResetError, BrokenPipeError):
            return False


@pytest.mark.parametrize("lists, inside, outside", [
    ({"allow": ["127.1.0.0/16", "127.0.0.9"]}, ["127.1.2.3", "127.0.0.9"], ["127.0.0.8", "127.2.0.1"]),
    ({"deny": ["127.1.0.0/16"]}, ["127.0.0.1"], ["127.1.0.1"]),
    ({"allow": ["127.0.0.0/8"], "deny": ["127.1.0.0/16"]}, ["127.2.0.1"], ["127.1.0.1"]),
])
def test_lists(daemon, server, lists, inside, outside):
    shunt = daemon(service([server(named("a")).address], **lists))
    assert all(served(shunt.port(), one) for one in inside)
    assert not any(served(shunt.port(), one) for one in outside)
    wait_until(lambda: closed(shunt, "denied") == len(outside), "counted by its reason")
    assert shunt.service()["connections"]["refused"] == len(outside)
    assert shunt.backend("old")["connections"] == len(inside), "a backend sees nothing of those who are refused"


def test_lists_from_a_file(daemon, server, tmp_path):
    (tmp_path / "blocked").write_text("# those\n127.1.0.0/16\n" + "".join(
        f"10.{i >> 8}.{i & 255}.0/24\n" for i in range(50000)))
    shunt = daemon(service([server(named("a")).address], deny=[f"@{tmp_path}/blocked"]))
    assert served(shunt.port()) and not served(shunt.port(), "127.1.9.9")


def test_lists_look_behind_the_header(daemon, server):
    shunt = daemon(service([server(named("a")).address], proxy_protocol={"from": ["127.0.0.0/8"]},
                           deny=["10.5.0.0/16", "127.0.0.0/8"]))
    assert served(shunt.port(), header=b"PROXY TCP4 10.4.0.1 10.9.9.9 1 2\r\n")
    assert not served(shunt.port(), header=b"PROXY TCP4 10.5.0.1 10.9.9.9 1 2\r\n")
    wait_until(lambda: closed(shunt, "denied") == 1, "counted by its reason")


def test_connections(daemon, server):
    shunt = daemon(service([server(named("a")).address], limits={"connections": 3}))
    kept = [connect(shunt.port()) for _ in range(3)]
    for one in kept:
        one.send(b"who\n")
        assert one.receive_line() == b"a who\n"
    for _ in range(5):
        assert not served(shunt.port())
    kept.pop().close()
    wait_until(lambda: served(shunt.port()), "there is room again")
    assert closed(shunt, "limit") >= 5
    for one in kept:
        one.close()


def test_connections_of_a_client(daemon, server):
    """Of each client, whichever workers its connections land on."""
    shunt = daemon(service([server(named("a")).address], limits={"connections_per_client": 2}), workers=4)
    kept = [connect(shunt.port()) for _ in range(2)]
    for one in kept:
        one.send(b"who\n")
        assert one.receive_line() == b"a who\n"
    assert [served(shunt.port()) for _ in range(10)] == [False] * 10
    assert served(shunt.port(), "127.0.0.2"), "others are let in"
    for one in kept:
        one.close()
    wait_until(lambda: served(shunt.port()), "there is room again")
    assert closed(shunt, "limit") >= 10


def test_connections_of_a_client_behind_a_header(daemon, server):
    shunt = daemon(service([server(named("a")).address], proxy_protocol={"from": ["127.0.0.0/8"]},
                           limits={"connections_per_client": 1}))
    first, second = connect(shunt.port()), connect(shunt.port())
    for one, client in ((first, 1), (second, 2)):
        one.send(b"PROXY TCP4 10.0.0.%d 10.9.9.9 1 2\r\nwho\n" % client)
        assert one.receive_line() == b"a who\n", "two clients through one balancer"
    assert not served(shunt.port(), header=b"PROXY TCP4 10.0.0.1 10.9.9.9 7 2\r\n")
    first.close()
    second.close()


def test_more_clients_than_the_table_holds(daemon, server):
    """Thousands of addresses pass through a small table: all are served, memory stays, and limits hold for who is there."""
    shunt = daemon(service([server(named("a")).address], proxy_protocol={"from": ["127.0.0.0/8"]},
                           limits={"connections_per_client": 1, "rate_per_client": "100/s", "table_size": 64}))

    def header(number):
        return b"PROXY TCP4 10.%d.%d.%d 10.9.9.9 1 2\r\n" % (number >> 16, number >> 8 & 255, number & 255)
    with connect(shunt.port()) as stays:
        stays.send(header(1) + b"who\n")
        assert stays.receive_line() == b"a who\n"
        before = 0
        for number in range(2, 3000):
            assert served(shunt.port(), header=header(number))
            if number == 500:
                before = memory_bytes(shunt.pid)
        assert SANITIZED or memory_bytes(shunt.pid) - before < 1 << 20  # a sanitizer keeps what was freed
        assert not served(shunt.port(), header=header(1)), "who has something open is not forgotten"
    wait_until(lambda: closed(shunt, "limit") == 1, "counted by its reason")
    assert shunt.service()["connections"]["accepted"] == 3000
    assert re.search(r"untracked\S* 0$", shunt.admin("show metrics"), re.MULTILINE)


@pytest.mark.parametrize("key", ["rate", "rate_per_client"])
def test_rates(daemon, server, key):
    shunt = daemon(service([server(named("a")).address], limits={key: "5/m"}), workers=4)
    began = time.monotonic()
    answers = [served(shunt.port()) for _ in range(20)]
    if time.monotonic() - began < 10:
        assert answers == [True] * 5 + [False] * 15
    assert served(shunt.port(), "127.0.0.2") == (key == "rate_per_client")
    wait_until(lambda: closed(shunt, "rate-limited") == 15 + (key == "rate"), "counted by its reason")


def test_limits_over_all_services(daemon, server):
    backend = server(named("a")).address
    shunt = daemon(service([backend], name="one"), service([backend], name="two"), limits={"connections": 2})
    kept = [connect(shunt.port(service=name)) for name in ("one", "two")]
    for one in kept:
        one.send(b"who\n")
        assert one.receive_line() == b"a who\n"
    for name in ("one", "two"):
        assert not served(shunt.port(service=name))
        wait_until(lambda name=name: closed(shunt, "limit", name) == 1, "counted where it came")
    kept.pop().close()
    wait_until(lambda: served(shunt.port(service="one")), "there is room again")
    kept.pop().close()


def test_the_first_byte(daemon, server):
    """Silent clients are closed at an absolute time; a backend that talks does not help them; others go on."""
    def greet(peer):
        peer.send(b"hello\n")
        while line := peer.receive_line():
            peer.send(line)

    shunt = daemon(service([server(greet).address], limits={"first_byte_timeout": "500ms"}))
    with connect(shunt.port()) as silent, connect(shunt.port()) as speaking:
        began = time.monotonic()
        assert silent.receive_line() == b"hello\n"
        speaking.send(b"x\n")
        assert silent.ended() and 0.4 < time.monotonic() - began < 0.5 + SLOW
        assert speaking.receive_line() == b"hello\n" and speaking.receive_line() == b"x\n"
        speaking.send(b"y\n")
        assert speaking.receive_line() == b"y\n", "who has spoken once may be silent"
    wait_until(lambda: closed(shunt, "first-byte") == 1, "counted by its reason")


def test_shown_in_metrics(daemon, server):
    shunt = daemon(service([server(named("a")).address], deny=["127.0.0.0/8"]))
    assert not served(shunt.port())
    wait_until(lambda: closed(shunt, "denied") == 1, "counted by its reason")
    assert 'shunt_connections_closed_total{service="web",reason="denied"} 1\n' in shunt.ctl("show", "metrics").ok()


def test_a_flood_of_those_who_are_refused(daemon, server):
    """It costs nothing that lasts, and those who are let in go on."""
    shunt = daemon(service([server(named("a")).address], deny=["127.1.0.0/16"]))
    with connect(shunt.port()) as client:
        for _ in range(500):
            assert not served(shunt.port(), "127.1.0.1")
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
    wait_until(lambda: closed(shunt, "denied") == 500, "all refused", within=10)
    assert ask(shunt.port()) == b"a who\n"
