"""Which certificate clients are shown, what they show themselves, and the sessions that they take up again."""
import hashlib
import socket
import ssl
import subprocess

import pytest
from shunt.certificates import Authority, openssl
from shunt.config import service
from shunt.peers import named
from shunt.programs import find
from shunt.proxyheaders import TLV_SSL, Header
from shunt.tls import TlsPeer, client_context, connect_tls
from shunt.clients import connect
from shunt.waiting import scaled, wait_until


@pytest.fixture(name="pairs", scope="module")
def fixture_pairs(pki):
    return {"default": pki.issue("default.example", "DNS:default.example"),
            "rsa": pki.issue("web.example", "DNS:web.example,DNS:only-rsa.example", kind="rsa", file="rsa"),
            "ec": pki.issue("web.example", "DNS:web.example", file="ec"),
            "star": pki.issue("*.star.example", "DNS:*.star.example"),
            "exact": pki.issue("one.star.example", "DNS:one.star.example")}


def certificate(pair, **more):
    return {"certificate": str(pair[0]), "key": str(pair[1]), **more}


def tls(*pairs, **settings):
    return {"certificates": [certificate(one) for one in pairs], **settings}


@pytest.fixture(name="front")
def fixture_front(daemon, server):
    def make(settings, script=named("a"), **more):
        return daemon(service([server(script).address], tls=settings, **more))
    return make


def shown(port, name, ciphers=None, version=None):
    """The common name and the kind of key of what the server shows."""
    with connect_tls(port, client_context(ciphers=ciphers, version=version), name) as client:
        der = client.tls.getpeercert(binary_form=True)
    text = openssl("x509", "-inform", "DER", "-noout", "-subject", "-text", input=der).stdout.decode()
    return text.split("CN = ")[1].split("\n")[0], "rsa" if "rsaEncryption" in text else "ec"


def test_by_name(front, pairs):
    port = front(tls(*pairs.values())).port()
    assert shown(port, "default.example")[0] == "default.example"
    assert shown(port, "WEB.Example.")[0] == "web.example"
    assert shown(port, "two.star.example")[0] == "*.star.example"
    assert shown(port, "one.star.example")[0] == "one.star.example", "exact before wildcard"
    for unknown in ("other.example", "a.b.star.example", "star.example", None, "127.0.0.1"):
        assert shown(port, unknown)[0] == "default.example", unknown


def test_two_kinds_of_key_for_one_name(front, pairs):
    port = front(tls(*pairs.values())).port()
    assert shown(port, "web.example", "ECDHE+aRSA", "1.2") == ("web.example", "rsa")
    assert shown(port, "web.example", "ECDHE+aECDSA", "1.2") == ("web.example", "ec")
    assert shown(port, "only-rsa.example") == ("web.example", "rsa")


def test_a_name_that_is_not_known_is_refused_where_that_is_wanted(front, pairs):
    port = front(tls(pairs["ec"], unknown_name="refuse")).port()
    assert shown(port, "web.example")[0] == "web.example"
    for unknown in ("other.example", None):
        with pytest.raises(ssl.SSLError, match="unrecognized_name|UNRECOGNIZED_NAME"):
            connect_tls(port, client_context(), unknown)


def resume(port, version, first="default.example", second="default.example", context=None):
    """Whether a session of a connection under the first name is taken up under the second."""
    context = context or client_context(version=version)
    with connect_tls(port, context, first) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        session = client.tls.session
    try:
        with connect_tls(port, context, second, session=session) as client:
            client.send(b"who\n")
            assert client.receive_line() == b"a who\n"
            return client.tls.session_reused
    except ssl.SSLError:
        return None


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_sessions_over_all_workers(front, pairs, version):
    shunt = front(tls(*pairs.values()))
    assert all(resume(shunt.port(), version) for _ in range(8)), "workers share the keys"
    text = shunt.ctl("show", "metrics").ok()
    assert 'shunt_service_tls_resumed_total{service="web"} 8' in text, text


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_each_connection_has_what_the_next_one_needs(front, pairs, version):
    """Clients of TLS 1.3 use a ticket once: whoever comes with one gets another."""
    port = front(tls(*pairs.values())).port()
    context, session, reused, tickets = client_context(version=version), None, [], set()
    for _ in range(6):
        with connect_tls(port, context, "web.example", session=session) as client:
            client.send(b"who\n")
            assert client.receive_line() == b"a who\n"
            session = client.tls.session
            reused.append(client.tls.session_reused)
            tickets.add(session.id)
    assert reused == [False] + 5 * [True]
    assert version == "1.2" or len(tickets) == 6, "in 1.3 the id is made of the ticket"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_sessions_over_an_upgrade(front, pairs, version):
    shunt = front(tls(*pairs.values()))
    context = client_context(version=version)
    with connect_tls(shunt.port(), context, "default.example") as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        session = client.tls.session
    shunt.upgrade()
    shunt.wait_formers()
    with connect_tls(shunt.port(), context, "default.example", session=session) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        assert client.tls.session_reused, "the keys of tickets were handed over"


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_session_is_of_one_name(front, pairs, version):
    """RFC 6066 3; also where both names have the same certificate."""
    port = front(tls(*pairs.values())).port()
    assert resume(port, version, "default.example", "web.example") is False
    assert resume(port, version, "one.star.example", "two.star.example") is False
    assert resume(port, version, "a.star.example", "b.star.example") is False


def test_a_session_without_tickets(front, pairs):
    context = client_context(version="1.2")
    context.options |= ssl.OP_NO_TICKET
    cached = front(tls(*pairs.values()))
    assert resume(cached.port(), "1.2", context=context)
    bare = front(tls(*pairs.values(), session_cache=0))
    assert resume(bare.port(), "1.2", context=context) is False


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_no_sessions_where_none_are_wanted(front, pairs, version):
    port = front(tls(*pairs.values(), sessions=False)).port()
    context = client_context(version=version)
    with connect_tls(port, context) as client:
        client.send(b"who\n")
        client.receive_line()
        assert client.tls.session is None or not client.tls.session.has_ticket


def trusting(pki, auth, **more):
    return {"client_auth": auth, "client_ca": str(pki.certificate), **more}


def answer(port, **settings):
    """What a client gets: a line, or None where it is refused (with TLS 1.3 after its own handshake)."""
    try:
        with connect_tls(port, client_context(**settings)) as client:
            client.send(b"who\n")
            return client.receive_line() or None
    except (ssl.SSLError, ConnectionError):
        return None


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_certificates_of_clients(front, pki, pairs, tmp_path, version):
    good, revoked = pki.issue("alice"), pki.issue("bob")
    expired = pki.issue("old", days=-1)
    stranger = Authority(tmp_path / "other").issue("alice")
    crl = pki.revoke(revoked[0])
    required = front(tls(pairs["default"], **trusting(pki, "required", client_crl=str(crl))))
    optional = front(tls(pairs["default"], **trusting(pki, "optional", client_crl=str(crl))))
    assert answer(required.port(), certificate=good, version=version) == b"a who\n"
    assert answer(optional.port(), certificate=good, version=version) == b"a who\n"
    assert answer(required.port(), version=version) is None
    assert answer(optional.port(), version=version) == b"a who\n"
    for bad in (revoked, expired, stranger):
        assert answer(required.port(), certificate=bad, version=version) is None
        assert answer(optional.port(), certificate=bad, version=version) is None
    wait_until(lambda: required.service()["connections"]["closed"]["handshake-failed"] == 4, "counted")
    assert required.backend("old")["connections"] == 1


@pytest.mark.parametrize("name", ["web.example", "one.star.example", "no.example"])
def test_certificates_of_clients_whatever_is_shown_to_them(front, pki, pairs, tmp_path, name):
    """The authorities and lists of the revoked are the same for each certificate of ours."""
    good, revoked, stranger = pki.issue("carol"), pki.issue("dave"), Authority(tmp_path / "other").issue("carol")
    shunt = front(tls(*pairs.values(), **trusting(pki, "required", client_crl=str(pki.revoke(revoked[0])))))

    def enter(pair):
        try:
            with connect_tls(shunt.port(), client_context(certificate=pair), name) as client:
                client.send(b"who\n")
                return client.receive_line()
        except (ssl.SSLError, ConnectionError):
            return b""

    assert [enter(pair) for pair in (good, revoked, stranger)] == [b"a who\n", b"", b""]
    said = subprocess.run([find("openssl"), "s_client", "-connect", f"127.0.0.1:{shunt.port()}", "-servername", name],
                          input=b"", capture_output=True, timeout=scaled(20), check=False).stdout.decode()
    assert "Acceptable client certificate CA names" in said and "CN = test authority" in said


def test_a_client_below_an_authority_that_was_revoked(front, pairs, tmp_path):
    """Lists of the revoked count for the authorities in between as well, and one is needed of each."""
    root = Authority(tmp_path / "root")
    inner, bad = root.below("good", tmp_path / "good"), root.below("bad", tmp_path / "bad")
    crl, few = tmp_path / "all.pem", tmp_path / "few.pem"
    lists = [one.read_text() for one in (inner.revoke(), bad.revoke(), root.revoke(bad.certificate))]
    crl.write_text("".join(lists))
    few.write_text("".join(lists[:2]))
    alice, mallory = inner.chained(inner.issue("alice")), bad.chained(bad.issue("mallory"))
    settings = {"client_auth": "required", "client_ca": str(root.certificate)}
    strict = front(tls(pairs["default"], client_crl=str(crl), **settings))
    assert answer(strict.port(), certificate=alice) == b"a who\n"
    assert answer(strict.port(), certificate=mallory) is None
    blind = front(tls(pairs["default"], client_crl=str(few), **settings))
    assert answer(blind.port(), certificate=alice) is None
    wait_until(lambda: "unable to get certificate CRL" in blind.log(), "told why")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_session_does_not_get_around_a_required_certificate(daemon, server, pki, pairs, version):
    """Two services, one ring of keys: a session of the open one is none for the strict one (CVE-2025-23419)."""
    backend = server(named("a")).address
    shunt = daemon(service([backend], name="open", tls=tls(pairs["default"])),
                   service([backend], name="strict", tls=tls(pairs["default"], **trusting(pki, "required"))))
    context = client_context(version=version)
    with connect_tls(shunt.port(service="open"), context, "default.example") as client:
        client.send(b"who\n")
        client.receive_line()
        session = client.tls.session
    with pytest.raises((ssl.SSLError, ConnectionError)):
        with connect_tls(shunt.port(service="strict"), context, "default.example", session=session) as client:
            client.send(b"who\n")
            assert client.receive_line() == b""
            raise ConnectionError
    assert shunt.backend("old", service="strict")["connections"] == 0


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_session_keeps_who_the_client_is(daemon, server, pki, pairs, version):
    headers = []

    def script(peer):
        headers.append(Header(peer))
        named("a")(peer)

    alice = pki.issue("alice")
    shunt = daemon(service([server(script).address], tls=tls(pairs["default"], **trusting(pki, "required")),
                           group_settings={"send_proxy": "v2", "send_proxy_tlvs": ["ssl"]}))
    assert resume(shunt.port(), version, context=client_context(certificate=alice, version=version))
    first, second = (header.tlvs[TLV_SSL] for header in headers)
    assert first[0] == 7 and first[1:5] == b"\0\0\0\0" and b"alice" in first, first
    assert second[0] == 5 and second[1:5] == b"\0\0\0\0" and b"alice" in second, "of the session, not of this connection"


def test_an_encrypted_key(front, pki, tmp_path):
    pair = pki.issue("locked.example", "DNS:locked.example")
    locked = tmp_path / "locked.key"
    openssl("pkey", "-in", pair[1], "-aes256", "-passout", "pass:open sesame", "-out", locked)
    with_command = {"certificates": [{"certificate": str(pair[0]), "key": str(locked),
                                      "passphrase_command": ["printf", "open sesame\\nsecond line"]}]}
    port = front(with_command).port()
    assert shown(port, "locked.example")[0] == "locked.example"


@pytest.mark.parametrize("command, words", [
    ([], "passphrase_command tells"), (["printf", "wrong"], "the pass phrase is wrong"), (["false"], "failed: exit status 1"),
    (["true"], "printed nothing"), (["/nonexistent"], "/nonexistent")])
def test_an_encrypted_key_that_stays_closed(tmp_path, pki, command, words):
    from shunt.config import write
    from shunt.daemon import program
    pair = pki.issue("locked.example", "DNS:locked.example")
    locked = tmp_path / "locked.key"
    openssl("pkey", "-in", pair[1], "-aes256", "-passout", "pass:open sesame", "-out", locked)
    more = {"passphrase_command": command} if command else {}
    path = tmp_path / "shunt.conf"
    path.write_text(write({"state_dir": str(tmp_path), "admin": {"socket": str(tmp_path / "admin.sock")}, "services": [
        service(["127.0.0.1:1"], tls={"certificates": [{"certificate": str(pair[0]), "key": str(locked), **more}]})]}))
    done = subprocess.run([program("shuntd"), "-t", "-c", path], capture_output=True, text=True, timeout=scaled(30),
                          stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 78 and words in done.stderr, done


def test_a_stapled_response(front, pki, tmp_path, pairs):
    pair = pairs["default"]
    der = tmp_path / "response.der"
    index = tmp_path / "index.txt"
    serial = openssl("x509", "-in", pair[0], "-noout", "-serial").stdout.decode().strip().split("=")[1]
    index.write_text(f"V\t350101000000Z\t\t{serial}\tunknown\t/CN=default.example\n")
    request = tmp_path / "request.der"
    openssl("ocsp", "-issuer", pki.certificate, "-cert", pair[0], "-reqout", request, "-no_nonce")
    openssl("ocsp", "-index", index, "-CA", pki.certificate, "-rsigner", pki.certificate, "-rkey", pki.key, "-reqin",
            request, "-respout", der, "-ndays", "2")
    shunt = front({"certificates": [certificate(pair, ocsp=str(der)), certificate(pairs["exact"])]})

    def status(name, port=shunt.port()):
        return subprocess.run([find("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-status", "-servername", name],
                              input=b"", capture_output=True, timeout=scaled(20), check=False).stdout.decode()

    assert "OCSP Response Status: successful" in status("default.example")
    assert "OCSP response: no response sent" in status("one.star.example")
    assert "about another certificate" not in shunt.log()
    renewed = front({"certificates": [certificate(pairs["exact"], ocsp=str(der))]})
    assert "OCSP response: no response sent" in status("one.star.example", renewed.port())
    renewed.says("an OCSP response is not shown: it is about another certificate")


def test_without_authorities_nobody_can_be_verified(tmp_path, pairs):
    from shunt.config import write
    from shunt.daemon import program
    path = tmp_path / "shunt.conf"
    path.write_text(write({"services": [service(["127.0.0.1:1"], tls=tls(pairs["ec"], client_auth="required"))]}))
    done = subprocess.run([program("shuntd"), "-t", "-c", path], capture_output=True, text=True, timeout=scaled(20), check=False)
    assert done.returncode == 78 and 'needs "client_ca"' in done.stderr, done


def test_a_hello_with_many_names_and_none(front, pairs):
    """A server_name extension that is broken does not become a name; the daemon goes on."""
    shunt = front(tls(*pairs.values()))
    client = TlsPeer(connect(shunt.port()).sock, client_context(), name="default.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    hello = client.outgoing.read()
    at = hello.index(b"default.example")
    for position in range(at - 9, at + 3):
        for value in (0, 0xff):
            broken = hello[:position] + bytes([value]) + hello[position + 1:]
            with socket.create_connection(("127.0.0.1", shunt.port())) as sock:
                sock.sendall(broken)
                sock.settimeout(scaled(5))
                try:
                    while sock.recv(4096):
                        if hashlib.sha256(broken).digest() == hashlib.sha256(hello).digest():
                            break
                        sock.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
    assert shown(shunt.port(), "web.example")[0] == "web.example"
