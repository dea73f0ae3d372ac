"""Checks go the way that connections go: through the TLS of their group, unless they have a port of their own or it is said."""
import struct

import pytest
from shunt.clients import ask
from shunt.config import service
from shunt.peers import named
from shunt.tls import over_tls, server_context
from shunt.waiting import stays, wait_until

QUICK = {"interval": "100ms", "timeout": "2s", "rise": 1, "fall": 1, "initial": "down"}


@pytest.fixture(name="good", scope="module")
def fixture_good(pki):
    return pki.issue("db.example", "DNS:db.example")


@pytest.fixture(name="ours", scope="module")
def fixture_ours(pki):
    return pki.issue("shunt", "DNS:shunt", file="ours")


def grouped(pki, ours, health, **tls):
    return {"group_settings": {"tls": {"ca": str(pki.certificate), "server_name": "db.example", "certificate": str(ours[0]),
                                       "key": str(ours[1]), **tls}, "health": {**QUICK, **health}}}


def lines(*pairs):
    """Answers by the beginning of each line; "" greets."""
    def script(peer):
        for begin, answer in pairs:
            if begin:
                while not (line := peer.receive_line()).startswith(begin):
                    if not line:
                        return
            peer.send(answer)
    return script


def http(peer):
    asked = []
    while (line := peer.receive_line()) not in (b"\r\n", b""):
        asked.append(line)
    good = b"Host: db.example\r\n" in asked
    peer.send(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % (200 if good else 400))


def postgresql(peer):
    """Speaks TLS from the first byte, as a program in front of it would, and knows no SSLRequest."""
    length, = struct.unpack("!I", peer.receive(4))
    version, = struct.unpack("!I", peer.receive(length - 4)[:4])
    assert version == 196608, version
    peer.send(b"R" + struct.pack("!II", 8, 3))


def mysql(peer):
    body = (b"\x0a8.0\0" + struct.pack("<I", 7) + b"12345678\0" + b"\xff\xf7\x08\x02\x00\xff\xc1\x15" + bytes(10) +
            b"123456789012\0mysql_native_password\0")
    peer.send(struct.pack("<I", len(body))[:3] + b"\0" + body)
    peer.stall()


def ldap(peer):
    peer.receive(12)
    peer.send(bytes.fromhex("300c02010161070a010004000400"))


KINDS = {
    "http": ({"type": "http"}, http),
    "send-expect": ({"type": "send-expect", "send_expect": {"steps": [{"send": "hi\\n", "expect": "there"}]}},
                    lines((b"hi", b"there\n"))),
    "redis": ({"type": "redis"}, lines((b"PING", b"+PONG\r\n"))),
    "postgresql": ({"type": "postgresql"}, postgresql),
    "mysql": ({"type": "mysql"}, mysql),
    "smtp": ({"type": "smtp"}, lines((b"", b"220 x\r\n"), (b"EHLO", b"250 x\r\n"), (b"QUIT", b"221 x\r\n"))),
    "ldap": ({"type": "ldap"}, ldap),
    "tls": ({"type": "tls"}, lambda peer: peer.stall()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_the_way_of_connections(daemon, server, pki, good, ours, kind):
    """Authority, name, SNI, the certificate that is shown, what is offered: all of it as the group has it."""
    health, script = KINDS[kind]
    asked, chosen = [], []
    context = server_context(good, alpn=["h2", "http/1.1", "x"], authority=pki)
    context.sni_callback = lambda _, name, __: asked.append(name)

    def watched(peer):
        chosen.append(peer.tls.selected_alpn_protocol())
        assert peer.tls.getpeercert()["subject"][0][0][1] == "shunt"
        script(peer)

    backend = server(over_tls(watched, context))
    shunt = daemon(service([backend.address], **grouped(pki, ours, health, alpn=["h2", "http/1.1"])))
    wait_until(lambda: shunt.backend("old")["state"] == "up", f"up: {shunt.backend('old')}", within=10)
    text = shunt.backend("old")["check"]["reason"]
    assert "TLSv1.3, certificate valid" in text, text
    assert set(asked) == {"db.example"} and set(chosen) == {"http/1.1" if kind == "http" else "h2"}
    assert not backend.failures


def test_what_connections_do_not_believe_checks_do_not(daemon, server, pki, ours):
    other = pki.issue("other.example", "DNS:other.example")
    backend = server(over_tls(lambda peer: peer.stall(), server_context(other)))
    shunt = daemon(service([backend.address], **grouped(pki, ours, {"type": "tls"})),
                   service([backend.address], name="trusting", **grouped(pki, ours, {"type": "tls"}, verify=False)),
                   service([backend.address], name="own", **grouped(pki, ours, {
                       "type": "tls", "tls": {"server_name": "other.example", "expiry_warning": "60d"}})))
    wait_until(lambda: shunt.backend("old", service="web")["check"], "checked")
    assert "hostname mismatch" in shunt.backend("old", service="web")["check"]["reason"]
    for name in ("trusting", "own"):
        wait_until(lambda name=name: shunt.backend("old", service=name)["state"] == "up", f"{name} is up")
    assert "warning: certificate expires in" in shunt.backend("old", service="own")["check"]["reason"]


def test_the_host_name_in_the_address(daemon, server, pki, ours):
    pair = pki.issue("localhost", "DNS:localhost")
    backend = server(over_tls(lambda peer: peer.stall(), server_context(pair)))
    address = {"address": f"localhost:{backend.address.rsplit(':', 1)[1]}", "name": "db@home"}
    one = service([address], **grouped(pki, ours, {"type": "tls"}))
    del one["groups"][0]["tls"]["server_name"]
    shunt = daemon(one)
    wait_until(lambda: shunt.backend("old")["state"] == "up", "verified for the name", within=10)


def test_a_port_of_its_own_is_plain_and_so_is_what_says_so(daemon, server, pki, good, ours):
    plain = server(lines((b"PING", b"+PONG\r\n")))
    secure = server(over_tls(named("a"), server_context(good)))
    port = int(plain.address.rsplit(":", 1)[1])
    shunt = daemon(service([secure.address], **grouped(pki, ours, {"type": "redis", "port": port})),
                   service([plain.address], name="said", **grouped(pki, ours, {"type": "redis", "tls": {"enabled": False}})),
                   service([secure.address], name="plainly", **grouped(pki, ours, {"type": "redis", "tls": {"enabled": False}})))
    for name in ("web", "said"):
        wait_until(lambda name=name: shunt.backend("old", service=name)["state"] == "up", f"{name} is up")
    assert ask(shunt.port(service="web")) == b"a who\n"
    wait_until(lambda: shunt.backend("old", service="plainly")["check"], "checked")
    assert shunt.backend("old", service="plainly")["state"] == "down"


def test_a_check_that_connects_only_connects(daemon, server, pki, good, ours):
    seen = []

    def script(peer):
        seen.append(peer.sock.recv(1))
    backend = server(script)
    shunt = daemon(service([backend.address], **grouped(pki, ours, {"type": "tcp"})))
    wait_until(lambda: shunt.backend("old")["state"] == "up" and len(seen) > 2, "up")
    stays(lambda: set(seen) == {b""}, 0.3, "not a byte")
