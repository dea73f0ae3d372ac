"""PROXY headers between Shunt and nginx and HAProxy, each way: what they write we read, what we write they read."""
import contextlib
import json

import pytest
from shunt.clients import connect
from shunt.config import service
from shunt.peers import named
from shunt.proxyheaders import TLV_UNIQUE_ID, Header
from shunt.servers import HaproxyReader, HaproxySender, NginxReader, NginxSender
from shunt.waiting import wait_until


@pytest.fixture(name="program")
def fixture_program(started):
    def make(kind, *words):
        one = kind(*words)
        started.backends.append(one)
        return one
    return make


def get(address):
    """The body of GET / over a new connection, and the address it came from."""
    with connect(address) as client:
        client.send(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        local = "127.0.0.1:%d" % client.sock.getsockname()[1]
        return client.receive_all().split(b"\r\n\r\n", 1)[1].decode().strip(), local


READERS = [(NginxReader, {"send_proxy": "v1"}), (NginxReader, {"send_proxy": "v2"}),
           (HaproxyReader, {"send_proxy": "v1"}), (HaproxyReader, {"send_proxy": "v2"}),
           (HaproxyReader, {"send_proxy": "v2", "send_proxy_tlvs": ["unique-id", "authority", "alpn", "ssl", "crc32c"]}),
           (NginxReader, {"send_proxy": "v2", "send_proxy_tlvs": ["unique-id", "crc32c"]})]


@pytest.mark.parametrize("kind, settings", READERS)
def test_they_read_what_we_write(daemon, program, kind, settings):
    reader = program(kind, "reader")
    shunt = daemon(service([reader.address], group_settings={**settings, "health": {"type": "tcp", "interval": "100ms"}}))
    for _ in range(3):
        body, local = get(shunt.port())
        assert body == local
    wait_until(lambda: shunt.backend("old")["state"] == "up", "checks with a header pass")


@pytest.mark.parametrize("kind, version", [(NginxSender, "v1"), (HaproxySender, "v1"), (HaproxySender, "v2")])
def test_we_read_what_they_write(daemon, server, program, kind, version):
    shunt = daemon(service([server(named("a")).address], proxy_protocol={"from": ["127.0.0.1"], "accept": "required"}))
    sender = program(kind, "sender", f"127.0.0.1:{shunt.port()}", version)
    with connect(sender.address) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        rows = json.loads(shunt.ctl("connections", "--json").ok())["connections"]
        assert [row["client"] for row in rows] == ["127.0.0.1:%d" % client.sock.getsockname()[1]]
    assert shunt.service()["connections"]["closed"]["proxy-header"] == 0


def test_a_chain_of_three(daemon, program):
    """HAProxy writes, Shunt reads and writes again, nginx reads: the first client is seen at the end."""
    reader = program(NginxReader, "reader")
    shunt = daemon(service([reader.address], proxy_protocol={"from": ["127.0.0.1"]},
                           group_settings={"send_proxy": "v2", "send_proxy_tlvs": ["unique-id", "crc32c"]}))
    sender = program(HaproxySender, "sender", f"127.0.0.1:{shunt.port()}", "v2")
    body, local = get(sender.address)
    assert body == local


def test_what_haproxy_tells_goes_on(daemon, server, program):
    """Its unique id with its checksum is read, and passed on."""
    seen = []

    def script(peer):
        seen.append(Header(peer))
        named("a")(peer)

    shunt = daemon(service([server(script).address], proxy_protocol={"from": ["127.0.0.1"]},
                           group_settings={"send_proxy": "v2", "send_proxy_tlvs": ["unique-id"]}))
    sender = program(HaproxySender, "sender", f"127.0.0.1:{shunt.port()}", "v2")
    with connect(sender.address) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
    assert seen[0].tlvs[TLV_UNIQUE_ID] == b"from-haproxy"


def test_the_checks_of_haproxy_are_local(daemon, server, program):
    """Its checks carry LOCAL and are let in as its own; they never count as a client's."""
    shunt = daemon(service([server(named("a")).address], proxy_protocol={"from": ["127.0.0.1"]}))
    program(HaproxySender, "sender", f"127.0.0.1:{shunt.port()}", "v2", "check inter 100ms")
    wait_until(lambda: shunt.service()["connections"]["accepted"] >= 3, "checks come")
    assert shunt.service()["connections"]["closed"]["proxy-header"] == 0


def test_haproxy_refuses_what_is_broken_and_so_do_we(daemon, server, program):
    """The same malformed headers, to both: neither serves them."""
    shunt = daemon(service([server(named("a")).address], proxy_protocol={"from": ["127.0.0.1"]}))
    reader = program(HaproxyReader, "reader")
    for header in (b"PROXY TCP4 10.1.2.3 10.9.9.9 1\r\n", b"PROXY TCP9 10.1.2.3 10.9.9.9 1 2\r\n",
                   b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04aaaa", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0d" + bytes(12) + b"\x04"):
        for address in (shunt.port(), reader.address):
            with connect(address) as client, contextlib.suppress(OSError):  # a reset, wherever it is noticed
                client.send(header + b"GET / HTTP/1.0\r\n\r\n")
                client.shut()
                assert client.receive_all() == b"", (header, address)
