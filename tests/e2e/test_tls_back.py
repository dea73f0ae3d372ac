"""TLS to backends: who is believed, what follows when one is not, ends and aborts, sessions that are taken up again."""
import ssl
import threading

import pytest
from shunt.certificates import Authority
from shunt.clients import ask, connect
from shunt.config import service
from shunt.payload import MIB, digest, pattern
from shunt.peers import echo, named
from shunt.proxyheaders import TLV_ALPN, TLV_AUTHORITY, TLV_SSL, Header
from shunt.tls import Abort, TlsPeer, client_context, connect_tls, over_tls, server_context
from shunt.waiting import wait_until


@pytest.fixture(name="good", scope="module")
def fixture_good(pki):
    return pki.issue("db.example", "DNS:db.example")


def group(pki, **settings):
    return {"group_settings": {"tls": {"ca": str(pki.certificate), "server_name": "db.example", **settings}}}


def closed(shunt, reason):
    return shunt.service()["connections"]["closed"].get(reason, 0)


def metric(shunt, name):
    lines = [line for line in shunt.ctl("show", "metrics").ok().splitlines() if line.startswith(name + "{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def tls_echo(peer):
    while part := peer.recv(1 << 16):
        peer.send(part)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_one_line_there_and_back(daemon, server, pki, good, version):
    backend = server(over_tls(named("a"), server_context(good, version=version)))
    shunt = daemon(service([backend.address], **group(pki)))
    assert ask(shunt.port()) == b"a who\n"
    wait_until(lambda: closed(shunt, "client-closed") == 1, "in order on both sides")
    assert metric(shunt, "shunt_service_tls_backend_handshakes_total") == 1
    assert not backend.failures


def test_by_the_address_where_there_is_no_name(daemon, server, pki):
    by_address = pki.issue("by address", "IP:127.0.0.1")
    backend = server(over_tls(named("a"), server_context(by_address)))
    shunt = daemon(service([backend.address], group_settings={"tls": {"ca": str(pki.certificate)}}))
    assert ask(shunt.port()) == b"a who\n"


def test_by_the_host_name_in_the_address(daemon, server, pki):
    """localhost stands in the file; the backend's own name does not count."""
    pair = pki.issue("localhost", "DNS:localhost")
    asked = []
    context = server_context(pair)
    context.sni_callback = lambda _, name, __: asked.append(name)
    backend = server(over_tls(named("a"), context))
    port = backend.address.rsplit(":", 1)[1]
    shunt = daemon(service([{"address": f"localhost:{port}", "name": "db@home"}], retries=5,
                           group_settings={"tls": {"ca": str(pki.certificate)}}))
    assert ask(shunt.port()) == b"a who\n"
    assert asked == ["localhost"]


def self_signed(pki, tmp_path):
    other = Authority(tmp_path / "self", name="db.example")
    return other.certificate, other.key


NUL_NAME = b"db.example\0.evil"
BAD = {
    "expired": lambda pki, _: pki.issue("db.example", "DNS:db.example", days=-1, file="expired"),
    "wrong name": lambda pki, _: pki.issue("other.example", "DNS:other.example"),
    "a name with a NUL": lambda pki, _: pki.issue("nul", "DER:30%02x82%02x%s" % (
        len(NUL_NAME) + 2, len(NUL_NAME), NUL_NAME.hex()), file="nul"),
    "a partial wildcard": lambda pki, _: pki.issue("partial", "DNS:d*.example"),
    "self-signed": self_signed,
    "another authority": lambda _, tmp_path: Authority(tmp_path / "other").issue("db.example", "DNS:db.example"),
}


@pytest.mark.parametrize("kind", BAD)
def test_who_is_not_believed_gets_nothing(daemon, server, pki, good, tmp_path, kind):
    """Not a byte of a client; the next backend serves it. With verify = false it would be believed."""
    got = []

    def script(peer):
        got.append(peer.receive_line())

    bad = server(over_tls(script, server_context(BAD[kind](pki, tmp_path))))
    shunt = daemon(service([bad.address, server(over_tls(named("good"), server_context(good))).address], **group(pki)))
    for _ in range(4):
        assert ask(shunt.port()) == b"good who\n"
    assert not any(got)
    assert shunt.backend("old", 0)["errors"]["handshake"] >= 2
    shunt.says("TLS handshake with a backend failed", "certificate")


def test_insecure_only_by_saying_so(daemon, server, pki, tmp_path):
    backend = server(over_tls(named("a"), server_context(self_signed(pki, tmp_path))))
    shunt = daemon(service([backend.address], group_settings={"tls": {"verify": False}}))
    assert ask(shunt.port()) == b"a who\n"
    strict = daemon(service([backend.address], group_settings={"tls": {}}))
    with connect(strict.port()) as client:
        client.send(b"who\n")
        assert client.was_reset()
    wait_until(lambda: closed(strict, "handshake-failed") == 1, "counted")


def test_revoked(daemon, server, tmp_path):
    pki = Authority(tmp_path / "pki")
    bad, good = pki.issue("db.example", "DNS:db.example", file="bad"), pki.issue("db.example", "DNS:db.example", file="good")
    crl = pki.revoke(bad[0])
    shunt = daemon(service([server(over_tls(named("bad"), server_context(bad))).address,
                            server(over_tls(named("good"), server_context(good))).address], **group(pki, crl=str(crl))))
    for _ in range(4):
        assert ask(shunt.port()) == b"good who\n"
    shunt.says("revoked")


def test_below_an_authority_that_was_revoked(daemon, server, tmp_path):
    """Lists of the revoked count for the authorities in between as well."""
    root = Authority(tmp_path / "root")
    inner, bad = root.below("good", tmp_path / "good"), root.below("bad", tmp_path / "bad")
    peers = [server(over_tls(named(name), server_context(authority.chained(authority.issue("db.example", "DNS:db.example")))))
             for name, authority in (("bad", bad), ("good", inner))]
    crl = tmp_path / "all.pem"
    crl.write_text("".join(one.read_text() for one in (root.revoke(bad.certificate), inner.revoke(), bad.revoke())))
    shunt = daemon(service([peer.address for peer in peers], **group(root, crl=str(crl))))
    for _ in range(4):
        assert ask(shunt.port()) == b"good who\n"
    shunt.says("certificate revoked")


def test_our_certificate(daemon, server, pki, good):
    ours = pki.issue("shunt")
    seen = []

    def script(peer):
        seen.append(dict(x[0] for x in peer.tls.getpeercert()["subject"])["commonName"])
        named("a")(peer)

    backend = server(over_tls(script, server_context(good, authority=pki)))
    shunt = daemon(service([backend.address], **group(pki, certificate=str(ours[0]), key=str(ours[1]))))
    assert ask(shunt.port()) == b"a who\n"
    assert seen == ["shunt"]


def test_text_in_place_of_a_handshake(daemon, server, pki, good):
    """A backend that speaks first, and plainly, is not a TLS backend: nothing of it reaches a client."""
    def script(peer):
        peer.send(b"220 plain text ahead\r\n")
        over_tls(named("bad"), server_context(good))(peer)

    shunt = daemon(service([server(script).address, server(over_tls(named("good"), server_context(good))).address],
                           **group(pki)))
    for _ in range(4):
        assert ask(shunt.port()) == b"good who\n"


def test_a_silent_backend_meets_the_deadline(daemon, server, pki, good):
    shunt = daemon(service([server(lambda peer: peer.stall()).address,
                            server(over_tls(named("good"), server_context(good))).address],
                           timeouts={"connect": "300ms"}, **group(pki)))
    for _ in range(2):
        assert ask(shunt.port()) == b"good who\n"
    assert shunt.backend("old", 0)["errors"]["handshake"] >= 1
    shunt.says("not complete in time")


@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("size", [1, 16384, 16385, 65536, 3 * MIB])
def test_bytes_and_ends_both_ways(daemon, server, pki, good, size, front):
    data, results = pattern(size), []

    def script(peer):
        results.append(peer.digest_all())
        peer.send(data)
        peer.shut()

    settings = {"tls": {"certificates": [{"certificate": str(good[0]), "key": str(good[1])}]}} if front else {}
    shunt = daemon(service([server(over_tls(script, server_context(good))).address], **settings, **group(pki)))
    client = connect_tls(shunt.port(), client_context()) if front else connect(shunt.port())
    with client:
        client.send(data)
        client.shut()
        assert client.digest_all() == digest(data)
    assert results == [digest(data)]
    wait_until(lambda: closed(shunt, "client-closed") == 1, "in order")
    assert metric(shunt, "shunt_service_tls_truncated_total") == 0


def test_data_flows_on_after_the_backend_has_ended(daemon, server, pki, good):
    data, results = pattern(MIB), []

    def script(peer):
        peer.shut()
        results.append(peer.digest_all())

    shunt = daemon(service([server(over_tls(script, server_context(good))).address], **group(pki)))
    with connect(shunt.port()) as client:
        assert client.ended()
        client.send(data)
        client.shut()
        wait_until(lambda: results == [digest(data)], "the backend has all")
    wait_until(lambda: closed(shunt, "backend-closed") == 1, "in order")


def test_a_cut_reply_is_passed_on_as_an_abort_behind_the_tail(daemon, server, pki, good):
    def script(peer):
        peer.receive(1)
        peer.send(pattern(MIB))
        peer.cut()
        peer.stopping.wait(5)

    shunt = daemon(service([server(over_tls(script, server_context(good))).address], **group(pki)))
    with connect(shunt.port()) as client:
        client.send(b"x")
        assert client.receive(MIB) == pattern(MIB)
        assert client.was_reset()
    wait_until(lambda: closed(shunt, "backend-reset") == 1, "counted")
    assert metric(shunt, "shunt_service_tls_truncated_total") == 1
    assert shunt.backend("old")["errors"]["abort"] == 1


def test_an_end_answered_by_a_cut_is_nobodys_fault(daemon, server, pki, good):
    """Redis and nginx answer close_notify by closing without one. Whoever reads on sees an abort behind the tail, as
    always; but the client had ended first, and the backend is no worse for it."""
    def script(peer):
        assert peer.receive_all() == b"x"
        peer.send(pattern(MIB))
        peer.cut()
        peer.stopping.wait(5)

    shunt = daemon(service([server(over_tls(script, server_context(good))).address], **group(pki)))
    with connect(shunt.port()) as client:
        client.send(b"x")
        client.shut()
        assert client.receive(MIB) == pattern(MIB)
        assert client.was_reset()
    wait_until(lambda: closed(shunt, "client-closed") == 1, "counted")
    assert metric(shunt, "shunt_service_tls_truncated_total") == 1
    assert shunt.backend("old")["errors"]["abort"] == 0


@pytest.mark.parametrize("size", [1, 16384, 32768, 65536, 131072])
def test_ping_pong_through_tls_on_both_sides(daemon, server, pki, good, size):
    front = {"certificates": [{"certificate": str(good[0]), "key": str(good[1])}]}
    shunt = daemon(service([server(over_tls(tls_echo, server_context(good))).address], tls=front, **group(pki)))
    data = pattern(size)
    with connect_tls(shunt.port(), client_context()) as client:
        for _ in range(5):
            client.send(data)
            assert client.receive(size) == data


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_sessions_are_taken_up_again(daemon, server, pki, good, version):
    context = server_context(good, version=version)
    backend = server(over_tls(named("a"), context))
    shunt = daemon(service([backend.address], **group(pki)), workers=1)
    for _ in range(5):
        assert ask(shunt.port()) == b"a who\n"
    assert metric(shunt, "shunt_service_tls_backend_handshakes_total") == 5
    assert metric(shunt, "shunt_service_tls_backend_resumed_total") >= 3


def test_a_session_is_of_one_backend_alone(daemon, server, pki, good):
    """Both backends could decrypt each other's tickets; no ticket is shown to the wrong one."""
    context = server_context(good)
    reused, lock = [], threading.Lock()

    def script(name):
        def run(peer):
            with lock:
                reused.append((name, peer.tls.session_reused))
            named(name)(peer)
        return run

    shunt = daemon(service([server(over_tls(script(n), context)).address for n in "ab"], **group(pki)), workers=1)
    for _ in range(2):
        ask(shunt.port())
    assert sorted(reused) == [("a", False), ("b", False)]
    for _ in range(2):
        ask(shunt.port())
    assert sorted(reused[2:]) == [("a", True), ("b", True)]


def test_what_the_client_agreed_on_is_offered(daemon, server, pki, good):
    chosen = []

    def script(peer):
        chosen.append(peer.tls.selected_alpn_protocol())
        named("a")(peer)

    front = {"certificates": [{"certificate": str(good[0]), "key": str(good[1])}], "alpn": ["h2", "http/1.1"]}
    backend = server(over_tls(script, server_context(good, alpn=["h2", "http/1.1"])))
    shunt = daemon(service([backend.address], tls=front, **group(pki, alpn=["client"])))
    for offer in (["http/1.1"], ["http/1.1", "h2"], []):
        with connect_tls(shunt.port(), client_context(alpn=offer)) as client:
            client.send(b"who\n")
            assert client.receive_line() == b"a who\n"
            assert client.tls.selected_alpn_protocol() == (None if not offer else "h2" if "h2" in offer else "http/1.1")
    assert chosen == ["http/1.1", "h2", None]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect_tls(shunt.port(), client_context(alpn=["other"]))


def test_the_proxy_header_goes_ahead_and_tells_of_the_clients_tls(daemon, server, pki, good):
    headers = []

    def script(peer):
        headers.append(Header(peer))
        over_tls(named("a"), server_context(good))(peer)

    front = {"certificates": [{"certificate": str(good[0]), "key": str(good[1])}], "alpn": ["h2"]}
    settings = group(pki)
    settings["group_settings"].update(send_proxy="v2", send_proxy_tlvs=["ssl", "alpn", "authority", "crc32c"])
    shunt = daemon(service([server(script).address], tls=front, **settings))
    with connect_tls(shunt.port(), client_context(alpn=["h2"]), "web.example") as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
    tlvs = headers[0].tlvs
    assert tlvs[TLV_ALPN] == b"h2" and tlvs[TLV_AUTHORITY] == b"web.example"
    assert tlvs[TLV_SSL][0] == 1 and b"TLSv1.3" in tlvs[TLV_SSL] and b"TLS_AES" in tlvs[TLV_SSL]


def test_aborted_by_the_backend_at_every_byte(daemon, server, pki, good):
    """A backend that breaks off anywhere in its flight of more than 600 bytes costs no client anything."""
    state = {"n": 0}

    class Short:
        """Lets so many bytes of the backend's out, then ends or resets."""

        def __init__(self, peer, most, reset):
            self.peer, self.left, self.reset = peer, most, reset

        def sendall(self, data):
            self.peer.sock.sendall(data[:self.left])
            self.left -= len(data)
            if self.left <= 0:
                (self.peer.reset if self.reset else self.peer.close)()
                raise ConnectionAbortedError

        def __getattr__(self, name):
            return getattr(self.peer.sock, name)

    context = server_context(good)

    def script(peer):
        state["n"] += 1
        step = state["n"] % 85 + 1
        TlsPeer(Short(peer, 7 * step, step % 2 == 0), context, server_side=True).handshake()
        peer.reset()

    shunt = daemon(service([server(script).address, server(over_tls(named("good"), server_context(good))).address],
                           **group(pki)))
    for _ in range(250):
        assert ask(shunt.port()).endswith(b"who\n")
    assert shunt.backend("old", 0)["errors"]["handshake"] > 80
    assert "not complete in time" not in shunt.log(), "none of these ends was missed"


def test_files_that_are_wrong_are_said(tmp_path, pki, good):
    import subprocess
    from shunt.config import write
    from shunt.daemon import program
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for settings, words in (({"ca": str(empty)}, "tls.ca"), ({"crl": str(empty)}, "tls.crl"),
                            ({"ca": str(tmp_path / "none")}, "tls.ca"),
                            ({"certificate": str(good[0])}, "cannot be used")):
        path = tmp_path / "shunt.conf"
        path.write_text(write({"state_dir": str(tmp_path), "admin": {"socket": str(tmp_path / "admin.sock")},
                               "services": [service(["127.0.0.1:1"], **group(pki, **settings))]}))
        done = subprocess.run([program("shuntd"), "-t", "-c", path], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 78 and words in done.stderr and "group old" in done.stderr, done


def test_a_plain_client_that_aborts(daemon, server, pki, good):
    seen = []

    def script(peer):
        try:
            seen.append(peer.receive_all())
        except (ConnectionResetError, Abort):
            seen.append("aborted")

    shunt = daemon(service([server(over_tls(script, server_context(good))).address], **group(pki)))
    client = connect(shunt.port())
    client.send(b"x")
    wait_until(lambda: shunt.backend("old")["bytes_in"] == 1, "delivered")
    client.reset()
    wait_until(lambda: seen == ["aborted"], "an abort stays one")
    wait_until(lambda: closed(shunt, "client-reset") == 1, "counted")


def test_echo_over_plain_front_and_back_is_untouched(daemon, server):
    shunt = daemon(service([server(echo).address]))
    data = pattern(MIB)
    with connect(shunt.port()) as client:
        threading.Thread(target=client.send, args=(data,), daemon=True).start()
        assert client.receive(MIB) == data
