"""The daemon carries bytes: over IPv4, IPv6 and Unix sockets, on ports that the system chooses."""
import socket

import pytest
from shunt.clients import ask, connect, who
from shunt.config import service
from shunt.peers import echo, named
from shunt.waiting import wait_until


def test_round_trip_over_ipv4(daemon, server):
    backend = server(named("a"))
    shunt = daemon(service([backend.address]))
    assert ask(shunt.port(), b"hello\n") == b"a hello\n"
    wait_until(shunt.settled, "the connection is counted")
    assert shunt.service()["connections"]["accepted"] == 1


def test_round_trip_over_ipv6(daemon, server):
    backend = server(named("a"), family=socket.AF_INET6)
    shunt = daemon(service([backend.address], listen=["[::1]:0"]))
    assert ask(shunt.address(), b"hello\n") == b"a hello\n"


def test_round_trip_over_unix_sockets(daemon, server, tmp_path):
    backend = server(named("a"), path=tmp_path / "backend.sock")
    shunt = daemon(service([backend.address], listen=[f"unix:{tmp_path / 'front.sock'}"]))
    assert ask(shunt.address(), b"hello\n") == b"a hello\n"


@pytest.mark.parametrize("size", [1, 127, 65535, 65536, 65537, 1 << 20])
def test_bytes_come_back_as_they_went(daemon, server, size):
    shunt = daemon(service([server(echo).address]))
    data = bytes(i * 7 % 251 for i in range(size))
    with connect(shunt.port()) as client:
        for at in range(0, size, 32768):
            part = data[at:at + 32768]
            client.send(part)
            assert client.receive(len(part)) == part


def test_each_service_has_its_port(daemon, server):
    first, second = server(named("a")), server(named("b"))
    shunt = daemon(service([first.address], name="one"), service([second.address], name="two"))
    assert who(shunt.port(service="one")) == "a"
    assert who(shunt.port(service="two")) == "b"


def test_round_robin_uses_all_backends(daemon, server):
    backends = [server(named(name)) for name in "abc"]
    shunt = daemon(service([one.address for one in backends]))
    assert sorted(who(shunt.port()) for _ in range(9)) == list("aaabbbccc")


def test_bytes_are_counted(daemon, server):
    shunt = daemon(service([server(named("abc")).address]))
    assert ask(shunt.port(), b"12345\n") == b"abc 12345\n"
    wait_until(lambda: shunt.backend("old")["bytes_in"] == 6 and shunt.backend("old")["bytes_out"] == 10,
               "6 bytes in, 10 out")
