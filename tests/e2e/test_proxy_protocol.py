"""PROXY headers: in from those who may, out to those who want them, whole, split, slow and wrong."""
import json
import socket
import time

import pytest
from shunt.clients import connect
from shunt.config import service, steps
from shunt.peers import named
from shunt.waiting import SLOW, scaled, wait_until

TRUSTED = {"from": ["127.0.0.0/8"]}
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source="10.1.2.3", destination="10.9.9.9", ports=(1111, 2222), command=0x21, family=0x11, tlvs=b"", body=None):
    if body is None:
        body = (socket.inet_aton(source) + socket.inet_aton(destination)
                + ports[0].to_bytes(2) + ports[1].to_bytes(2) + tlvs)
    return V2_SIGNATURE + bytes([command, family]) + len(body).to_bytes(2) + body


V1 = b"PROXY TCP4 10.1.2.3 10.9.9.9 1111 2222\r\n"
V1_IPV6 = b"PROXY TCP6 2001:db8::7 2001:db8::9 1111 2222\r\n"


def clients(shunt):
    rows = json.loads(shunt.ctl("connections", "--json").ok())["connections"]
    return [row["client"] for row in rows]


def closed(shunt, reason):
    return shunt.service()["connections"]["closed"][reason]


@pytest.mark.parametrize("header, shown", [(V1, "10.1.2.3:1111"), (V1_IPV6, "[2001:db8::7]:1111"), (v2(), "10.1.2.3:1111"),
                                           (v2(tlvs=b"\x04\0\x02xx"), "10.1.2.3:1111")])
def test_the_client_in_the_header_counts(daemon, server, header, shown):
    shunt = daemon(service([server(named("a")).address], proxy_protocol=TRUSTED))
    with connect(shunt.port()) as client:
        client.send(header + b"who\n")
        assert client.receive_line() == b"a who\n"
        assert clients(shunt) == [shown]


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", v2(command=0x20), v2(family=0, body=b""),
                                    v2(family=0x31, body=bytes(216)), v2(command=0x20, family=0xff, body=b"\xff\xff\xff")])
def test_a_header_that_names_nobody_leaves_the_peer(daemon, server, header):
    shunt = daemon(service([server(named("a")).address], proxy_protocol=TRUSTED))
    with connect(shunt.port()) as client:
        client.send(header + b"who\n")
        assert client.receive_line() == b"a who\n"
        assert clients(shunt) == [f"127.0.0.1:{client.sock.getsockname()[1]}"]


def test_every_split(daemon, server):
    """Two segments, cut anywhere: the first is there before the second is sent."""
    shunt = daemon(service([server(named("a")).address], proxy_protocol=TRUSTED))
    whole = v2(tlvs=b"\x02\0\x03web") + b"who\n"
    for data in (V1 + b"who\n", whole):
        pairs = []
        for cut in range(1, len(data)):
            client = connect(shunt.port())
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.send(data[:cut])
            pairs.append((client, data[cut:]))
        for client, rest in pairs:
            client.send(rest)
        for client, _ in pairs:
            assert client.receive_line() == b"a who\n"
            client.close()


@pytest.mark.parametrize("text", [
    b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 10.1.2.3 10.9.9.9 1111\r\n", b"PROXY " + b"x" * 200,
    v2(command=0x31), v2(family=0x44), v2(tlvs=b"\x01\xff\xff"), v2(tlvs=b"\x03\0\x04\0\0\0\0"),
    V2_SIGNATURE + b"\x21\x11\xff\xff" + bytes(100)])
def test_whatever_is_wrong_is_refused(daemon, server, text):
    shunt = daemon(service([server(named("a")).address], proxy_protocol=TRUSTED))
    with connect(shunt.port()) as client:
        client.send(text)
        assert client.was_reset()
    wait_until(lambda: closed(shunt, "proxy-header") == 1, "counted by its reason")
    assert shunt.backend("old")["connections"] == 0


def test_half_a_header_and_an_end(daemon, server):
    shunt = daemon(service([server(named("a")).address], proxy_protocol=TRUSTED))
    for text in (V1[:20], v2()[:14], b""):
        with connect(shunt.port()) as client:
            if text:
                client.send(text)
            client.shut()
            assert client.was_reset()
    wait_until(lambda: closed(shunt, "proxy-header") == 3, "counted by its reason")


def test_a_slow_header_meets_the_deadline(daemon, server):
    """However it drips, it ends at the absolute time."""
    shunt = daemon(service([server(named("a")).address], proxy_protocol={**TRUSTED, "timeout": "1s"}))
    with connect(shunt.port()) as client, connect(shunt.port()) as silent:
        began = time.monotonic()
        try:
            client.drip(V1, 0.1)
        except (ConnectionResetError, BrokenPipeError):
            pass
        took = time.monotonic() - began
        assert 0.9 <= took <= 1 + scaled(1), took
        assert silent.was_reset()
    wait_until(lambda: closed(shunt, "proxy-header") == 2, "counted by its reason")


def test_only_from_those_who_may(daemon, server):
    shunt = daemon(service([server(named("a")).address], proxy_protocol={"from": ["127.9.0.0/16"]}))
    with connect(shunt.port()) as client:
        try:
            client.send(V1 + b"who\n")
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert client.was_reset()
    with socket.socket() as sock:
        sock.bind(("127.9.1.1", 0))
        sock.settimeout(scaled(10))
        sock.connect(("127.0.0.1", shunt.port()))
        sock.sendall(V1 + b"who\n")
        assert sock.recv(100) == b"a who\n"
    wait_until(lambda: closed(shunt, "proxy-header") == 1, "counted by its reason")


def test_optional(daemon, server):
    """A header where there is one; without one an ordinary client; from a stranger it is payload."""
    shunt = daemon(service([server(named("a")).address],
                           proxy_protocol={"from": ["127.0.0.1"], "accept": "optional", "timeout": "500ms"}))
    with connect(shunt.port()) as client:
        client.send(V1 + b"who\n")
        assert client.receive_line() == b"a who\n"
        assert clients(shunt) == ["10.1.2.3:1111"]
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
    with socket.socket() as sock:
        sock.bind(("127.0.0.2", 0))
        sock.settimeout(scaled(10))
        sock.connect(("127.0.0.1", shunt.port()))
        sock.sendall(V1)
        assert sock.recv(100) == b"a " + V1
    with connect(shunt.port()) as silent:
        wait_until(lambda: shunt.service()["connections"]["open"] == 1, "it is there")
        wait_until(lambda: shunt.backend("old")["open"] == 1, "a silent one is served after the deadline", within=3)
        silent.send(V1)
        assert silent.receive_line() == b"a " + V1, "and then nothing is taken for a header any more"
    with connect(shunt.port()) as half:
        half.send(V1[:9])
        assert half.was_reset(), "half a header is none"


def test_over_a_unix_path(daemon, server, tmp_path):
    shunt = daemon(service([server(named("a")).address], listen=[f"unix:{tmp_path}/in.sock"],
                           proxy_protocol={"accept": "required"}))
    with connect(f"unix:{tmp_path}/in.sock") as client:
        client.send(V1 + b"who\n")
        assert client.receive_line() == b"a who\n"
        assert clients(shunt) == ["10.1.2.3:1111"]


def test_stickiness_goes_by_the_header(daemon, server):
    """The same client behind the header stays on its side, whatever the balancer before us connects from."""
    shunt = daemon(service([server(named("o")).address], [server(named("n")).address], assign="client",
                           proxy_protocol=TRUSTED, migration=steps(("50%", "1h"), ("100%", "1h"))))
    shunt.ctl("start", "web").ok()
    wait_until(lambda: shunt.service()["share_bp"] == 5000, "half of the clients are moved")
    sides = {}
    for _ in range(3):
        for n in range(40):
            with connect(shunt.port()) as client:
                client.send(v2(source=f"10.1.2.{n}", ports=(n + 1, 80)) + b"who\n")
                side = client.receive_line()
            assert sides.setdefault(n, side) == side
    assert {side.split(b" ")[0] for side in sides.values()} == {b"o", b"n"}
    shunt.ctl("abort", "web").ok()


def test_many_slow_headers_cost_little(daemon, server):
    """Nothing is kept for those who drip; others are served meanwhile."""
    shunt = daemon(service([server(named("a")).address], proxy_protocol={**TRUSTED, "timeout": "20s"}))
    slow = [connect(shunt.port()) for _ in range(300)]
    for client in slow:
        client.send(V1[:10])
    began = time.monotonic()
    with connect(shunt.port()) as client:
        client.send(V1 + b"who\n")
        assert client.receive_line() == b"a who\n"
    assert time.monotonic() - began < 2 * SLOW
    for client in slow:
        client.close()
    wait_until(lambda: closed(shunt, "proxy-header") == 300, "all refused at their end")
