"""PROXY headers: in from those who may, out to those who want them, whole, split, slow and wrong."""
import json
import socket
import time

import pytest
from shunt.clients import connect
from shunt.config import service, steps
from shunt.peers import named
from shunt.proxyheaders import (TLV_ALPN, TLV_AUTHORITY, TLV_CRC32C, TLV_SSL, TLV_UNIQUE_ID, V2_SIGNATURE, Header, tlv,
                                v2)
from shunt.waiting import SLOW, scaled, wait_until

TRUSTED = {"from": ["127.0.0.0/8"]}
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
    with pytest.raises((ConnectionResetError, BrokenPipeError)):  # at whichever of these it arrives
        with connect(shunt.port()) as client:
            client.send(V1 + b"who\n")
            client.receive(1)
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
        wait_until(lambda: shunt.backend("old")["connections"] == 4, "a silent one is served after the deadline", within=3)
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


def test_the_log_names_the_client_in_the_header(daemon, server):
    shunt = daemon(service([server(named("a")).address], proxy_protocol=TRUSTED, connection_log="100%"))
    with connect(shunt.port()) as client:
        client.send(V1 + b"who\n")
        assert client.receive_line() == b"a who\n"
    wait_until(lambda: [line for line in shunt.log().splitlines()
                        if "msg=connection " in line and "client=10.1.2.3:1111" in line], "its line is written")


def test_seen_and_killed_while_it_waits(daemon, server):
    shunt = daemon(service([server(named("a")).address], proxy_protocol={**TRUSTED, "timeout": "1m"}))
    with connect(shunt.port()) as client, connect(shunt.port()) as other:
        client.send(V1[:10])
        rows = wait_until(lambda: [row for row in json.loads(shunt.ctl("connections", "--json").ok())["connections"]
                                   if row["client"].endswith(f":{client.sock.getsockname()[1]}")], "it is listed")
        assert (rows[0]["state"], rows[0]["backend"]) == ("proxy-header", "-")
        shunt.ctl("kill", rows[0]["id"]).ok()
        assert client.was_reset()
        other.send(V1 + b"who\n")
        assert other.receive_line() == b"a who\n"
    assert closed(shunt, "killed") == 1


def test_stopped_while_some_wait(daemon, server, started):
    shunt = daemon(service([server(named("a")).address], proxy_protocol={**TRUSTED, "timeout": "1m"}), shutdown_timeout="100ms")
    waiting = [connect(shunt.port()) for _ in range(20)]
    for client in waiting:
        client.send(V1[:10])
    wait_until(lambda: shunt.service()["connections"]["open"] == 20, "they are there")
    started.daemons.remove(shunt)
    shunt.stop(check=False)
    for client in waiting:
        assert client.was_reset() or client.ended()
        client.close()


# ---- out

ALL_TLVS = ["alpn", "authority", "unique-id", "ssl", "crc32c"]


class Headers:
    """A script that reads a header, keeps it, and then answers lines."""

    def __init__(self):
        self.seen = []

    def __call__(self, peer):
        self.seen.append(Header(peer))
        named("a")(peer)


def out_service(server, headers, **settings):
    group_settings = settings.pop("group_settings", {})
    return service([server(headers).address], group_settings=group_settings, **settings)


@pytest.mark.parametrize("version", [1, 2])
def test_out_names_the_client_and_where_it_connected(daemon, server, version):
    headers = Headers()
    shunt = daemon(out_service(server, headers, group_settings={"send_proxy": f"v{version}"}))
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        seen = headers.seen[-1]
        assert (seen.version, seen.local, seen.tlvs) == (version, False, {})
        assert seen.source == f"127.0.0.1:{client.sock.getsockname()[1]}"
        assert seen.destination == f"127.0.0.1:{shunt.port()}"
        assert shunt.backend("old")["bytes_in"] == len(b"who\n"), "the header is not the client's"


def test_out_where_the_server_speaks_first(daemon, server):
    def script(peer):
        Header(peer)
        peer.send(b"hello\n")
        peer.receive_line()

    shunt = daemon(service([server(script).address], group_settings={"send_proxy": "v2"}))
    with connect(shunt.port()) as client:
        assert client.receive_line() == b"hello\n"


def test_out_tlvs_of_our_own(daemon, server):
    headers = Headers()
    shunt = daemon(out_service(server, headers, group_settings={"send_proxy": "v2", "send_proxy_tlvs": ALL_TLVS}))
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        row = json.loads(shunt.ctl("connections", "--json").ok())["connections"][0]
        assert set(headers.seen[-1].tlvs) == {TLV_UNIQUE_ID, TLV_CRC32C}
        assert headers.seen[-1].tlvs[TLV_UNIQUE_ID].decode() == row["id"]


def test_what_came_in_goes_out(daemon, server):
    """A chain: the addresses and all that the first header told reach the backend behind us."""
    headers = Headers()
    shunt = daemon(out_service(server, headers, proxy_protocol=TRUSTED,
                               group_settings={"send_proxy": "v2", "send_proxy_tlvs": ALL_TLVS}))
    ssl = b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3")
    told = {TLV_ALPN: b"h2", TLV_AUTHORITY: b"db.example", TLV_UNIQUE_ID: b"theirs", TLV_SSL: ssl}
    with connect(shunt.port()) as client:
        client.send(v2("2001:db8::1", "2001:db8::2", (1, 2), tlvs=b"".join(tlv(*one) for one in told.items())) + b"who\n")
        assert client.receive_line() == b"a who\n"
    seen = headers.seen[-1]
    assert (seen.source, seen.destination) == ("2001:db8::1:1", "2001:db8::2:2")
    assert {kind: value for kind, value in seen.tlvs.items() if kind != TLV_CRC32C} == told


def test_out_after_a_failed_backend(daemon, server, refuser):
    """Each attempt begins with a header of its own."""
    headers = Headers()
    shunt = daemon(service([refuser().address, server(headers).address], group_settings={"send_proxy": "v1"}))
    for _ in range(4):
        with connect(shunt.port()) as client:
            client.send(b"who\n")
            assert client.receive_line() == b"a who\n"
    assert len(headers.seen) == 4


@pytest.mark.parametrize("version", [1, 2])
def test_out_over_unix_paths(daemon, server, tmp_path, version):
    """Nobody has an IP address there: UNKNOWN, or an unspecified family."""
    headers = Headers()
    backend = server(headers, path=tmp_path / "b.sock")
    shunt = daemon(service([backend.address], listen=[f"unix:{tmp_path}/in.sock"],
                           group_settings={"send_proxy": f"v{version}"}))
    with connect(f"unix:{tmp_path}/in.sock") as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
    assert headers.seen[-1].source is None and not headers.seen[-1].local


@pytest.mark.parametrize("version", [1, 2])
def test_checks_say_that_they_are_nobodys(daemon, server, version):
    headers = Headers()
    backend = server(headers)
    shunt = daemon(service([backend.address], group_settings={
        "send_proxy": f"v{version}", "health": {"type": "tcp", "interval": "50ms"}}))
    wait_until(lambda: len(headers.seen) >= 3, "checks have come")
    wait_until(lambda: shunt.backend("old")["state"] == "up", "they pass")
    assert all(one.source is None and one.version == version and one.local == (version == 2) for one in headers.seen)


def test_a_check_on_its_own_port_has_no_header(daemon, server):
    plain, heard = server(named("x")), []

    def script(peer):
        heard.append(peer.receive_all())

    checked = server(script)
    daemon(service([plain.address], group_settings={
        "send_proxy": "v2", "health": {"type": "tcp", "interval": "50ms", "port": int(checked.address.split(":")[1])}}))
    wait_until(lambda: len(heard) >= 2, "checks have come")
    assert set(heard) == {b""}


def test_the_source_address(daemon, server):
    """Connections and checks come from the address that was told."""
    sources = []

    def script(peer):
        sources.append(peer.sock.getpeername()[0])
        named("a")(peer)

    shunt = daemon(service([server(script).address], group_settings={
        "source": "127.0.0.77", "health": {"type": "tcp", "interval": "50ms"}}))
    for _ in range(5):
        with connect(shunt.port()) as client:
            client.send(b"who\n")
            assert client.receive_line() == b"a who\n"
    assert len(sources) >= 6 and set(sources) == {"127.0.0.77"}


def test_the_source_is_looked_at_by_family(daemon, server):
    """An IPv6 backend is not reached from an IPv4 address: there the system chooses."""
    shunt = daemon(service([server(named("a"), family=socket.AF_INET6).address], group_settings={"source": "127.0.0.77"}))
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
