"""TLS handshakes that come to nothing are counted by reason, with clients and with backends, and add up."""
import contextlib
import ssl
import subprocess

import pytest
from shunt.certificates import Authority
from shunt.clients import connect
from shunt.config import service, steps
from shunt.peers import named
from shunt.programs import find, run
from shunt.tls import TlsPeer, client_context, over_tls, server_context
from shunt.waiting import scaled, wait_until


@pytest.fixture(name="pair", scope="module")
def fixture_pair(pki):
    return pki.issue("web.example", "DNS:web.example")


def failed(shunt, side):
    return {reason: n for reason, n in shunt.service()["connections"]["tls_failed"][side].items() if n}


def check_counted(shunt, side, **expected):
    """By reason, in status and in the metrics alike; with clients they are the handshakes that failed or were refused."""
    expected = {reason.replace("_", "-"): n for reason, n in expected.items()}
    wait_until(lambda: failed(shunt, side) == expected, f"counted {side}: {expected}")
    family = {"client": "shunt_tls_handshakes_failed_total", "backend": "shunt_tls_backend_handshakes_failed_total"}[side]
    text = shunt.ctl("show", "metrics").ok()
    for reason, n in expected.items():
        assert f'{family}{{service="web",reason="{reason}"}} {n}\n' in text, text
    line = f"TLS failed with {side}s: " + ", ".join(f"{reason} {n}" for reason, n in expected.items())
    assert line in shunt.ctl("status").ok()


def text_instead(port, _):
    with connect(port) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises((ssl.SSLError, OSError, AssertionError)):
            client.receive(1000)


def goes_away(port, _):
    client = TlsPeer(connect(port).sock, client_context())
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.sock.sendall(client.outgoing.read()[:100])
    client.sock.close()


def hangs(port, _):
    with connect(port) as client:
        assert client.ended()


def openssl_client(*words):
    def run_it(port, _):
        code, _ = run([find("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", *words], stdin=subprocess.DEVNULL)
        assert code != 0
    return run_it


def disbelieves(port, pki):
    """Shows an alert: it does not know who signed our certificate."""
    context = ssl.create_default_context()
    context.load_verify_locations(Authority(pki.folder / "stranger").certificate)
    plain = connect(port)
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsPeer(plain.sock, context, name="web.example").handshake()
    plain.sock.close()


def no_certificate(port, _):
    plain = connect(port)
    client = TlsPeer(plain.sock, client_context(version="1.2"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.handshake()
    plain.sock.close()


CLIENTS = {
    "not-tls": (text_instead, {}),
    "aborted": (goes_away, {}),
    "timeout": (hangs, {"handshake_timeout": "1s"}),
    "version": (openssl_client("-tls1_2"), {"min_version": "1.3"}),
    "cipher": (openssl_client("-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"), {}),
    "protocol": (openssl_client("-alpn", "nothing"), {"alpn": ["h2"]}),
    "server-name": (openssl_client("-servername", "other.example"), {"unknown_name": "refuse"}),
    "refused": (disbelieves, {}),
    "certificate": (no_certificate, {"client_auth": "required"}),
}


@pytest.mark.parametrize("reason", CLIENTS)
def test_with_clients(daemon, server, pki, pair, reason):
    script, settings = CLIENTS[reason]
    if "client_auth" in settings:
        settings = {**settings, "client_ca": str(pki.certificate)}
    shunt = daemon(service([server(named("a")).address],
                           tls={"certificates": [{"certificate": str(pair[0]), "key": str(pair[1])}], **settings}))
    for _ in range(2):
        script(shunt.port(), pki)
    check_counted(shunt, "client", **{reason.replace("-", "_"): 2})
    wait_until(lambda: shunt.service()["connections"]["closed"]["handshake-failed"] == 2, "counted by its reason")


def test_beyond_the_limit(daemon, server, pair):
    shunt = daemon(service([server(named("a")).address], tls={
        "certificates": [{"certificate": str(pair[0]), "key": str(pair[1])}], "max_handshakes": 1}))
    with connect(shunt.port()):
        wait_until(lambda: shunt.service()["connections"]["open"] == 1, "one is in its handshake")
        try:
            with connect(shunt.port()) as one_too_many:
                assert one_too_many.was_reset()
        except ConnectionResetError:
            pass  # so early that connecting says it
        check_counted(shunt, "client", limit=1)
    check_counted(shunt, "client", aborted=1, limit=1)
    closed = shunt.service()["connections"]["closed"]
    assert closed["handshake-failed"] == closed["limit"] == 1


def speaks_first(peer):
    peer.send(b"220 welcome to a server that speaks first\r\n")
    peer.stopping.wait(5)


def closes(peer):
    peer.receive(1)
    peer.close()


def silent(peer):
    peer.stopping.wait(scaled(5))


def tls_backend(**settings):
    """One that speaks TLS by these settings; it may not get through its handshake."""
    def make(pki, pair):
        def script(peer):
            try:
                over_tls(named("a"), server_context(settings.get("pair", lambda pki: pair)(pki), **{
                    key: value for key, value in settings.items() if key != "pair"}))(peer)
            except (ssl.SSLError, OSError):
                pass
        return script
    return make


def plainly(script):
    return lambda pki, pair: script


BACKENDS = {
    "not-tls": (plainly(speaks_first), {}),
    "aborted": (plainly(closes), {}),
    "timeout": (plainly(silent), {}),
    "version": (tls_backend(version="1.2"), {"min_version": "1.3"}),
    "certificate": (tls_backend(pair=lambda pki: pki.issue("other.example", "DNS:other.example")), {}),
}


@pytest.mark.parametrize("reason", BACKENDS)
def test_with_backends(daemon, server, pki, pair, reason):
    make, settings = BACKENDS[reason]
    tls = {"ca": str(pki.certificate), "server_name": "web.example", **settings}
    shunt = daemon(service([server(make(pki, pair)).address], timeouts={"connect": "1s"}, retries=0,
                           group_settings={"tls": tls}))
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        assert client.was_reset()
    check_counted(shunt, "backend", **{reason.replace("-", "_"): 1})
    assert shunt.backend("old")["errors"]["handshake"] == 1


def shown(kind, pki, folder):
    """What we show to a backend that wants a certificate."""
    if kind == "none":
        return {}
    pair = {"a stranger's": lambda: Authority(folder / "stranger").issue("shunt", "DNS:shunt"),
            "expired": lambda: pki.issue("shunt", "DNS:shunt", days=-1, file="expired-shunt"),
            "good": lambda: pki.issue("shunt", "DNS:shunt", file="good-shunt")}[kind]()
    return {"certificate": str(pair[0]), "key": str(pair[1])}


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("speaks", [True, False])
@pytest.mark.parametrize("kind, why", [("none", "certificate required|handshake failure"), ("a stranger's", "unknown ca"),
                                       ("expired", "certificate expired")])
def test_a_backend_that_refuses_our_certificate(daemon, server, pki, pair, tmp_path, version, speaks, kind, why):
    """In TLS 1.3 it says so when the handshake lies behind us and bytes of the client may be on their way."""
    make = tls_backend(authority=pki, version=version)
    tls = {"ca": str(pki.certificate), "server_name": "web.example", **shown(kind, pki, tmp_path)}
    shunt = daemon(service([server(make(pki, pair)).address], retries=0, group_settings={"tls": tls}))
    for _ in range(5):
        with connect(shunt.port()) as client:
            if speaks:
                client.send(b"who\n")
            assert client.was_reset()
    reason = "cipher" if (version, kind) == ("1.2", "none") else "refused"
    check_counted(shunt, "backend", **{reason: 5})
    errors = shunt.backend("old")["errors"]
    assert errors["handshake"] == 5 and sum(errors.values()) == 5, errors
    wait_until(lambda: shunt.service()["connections"]["closed"]["handshake-failed"] == 5, "counted by its reason")
    assert any(one in shunt.log() for one in why.split("|")), shunt.log()


def test_one_that_is_satisfied_with_it(daemon, server, pki, pair, tmp_path):
    """And aborts later: that is no handshake any more."""
    def script(peer):
        over_tls(lambda tls: (tls.send(tls.receive_line()), tls.receive_line(), tls.reset()),
                 server_context(pair, authority=pki, version="1.3"))(peer)

    tls = {"ca": str(pki.certificate), "server_name": "web.example", **shown("good", pki, tmp_path)}
    shunt = daemon(service([server(script).address], retries=0, group_settings={"tls": tls}))
    with connect(shunt.port()) as client:
        client.send(b"hello\n")
        assert client.receive_line() == b"hello\n"
        client.send(b"and\n")
        assert client.was_reset()
    wait_until(lambda: shunt.backend("old")["errors"]["abort"] == 1, "an abort")
    assert failed(shunt, "backend") == {}


def test_who_refuses_our_certificate_is_ejected(daemon, server, pki, pair):
    """By the threshold for handshakes, not by that for resets."""
    refuses = server(tls_backend(authority=pki, version="1.3")(pki, pair))
    good = server(over_tls(named("a"), server_context(pair)))
    shunt = daemon(service([refuses.address, good.address], group_settings={
        "tls": {"ca": str(pki.certificate), "server_name": "web.example"},
        "outlier": {"handshake_failures": 3, "early_resets": 0, "connect_failures": 0, "timeouts": 0}}))

    def asked():
        with connect(shunt.port()) as client:
            client.send(b"who\n")
            with contextlib.suppress(ConnectionResetError):
                client.receive_line()
        return shunt.backend("old")["ejected"]
    wait_until(asked, "it is taken out")
    assert "3 failed handshakes in a row" in shunt.ctl("status").ok()
    assert shunt.backend("old")["errors"] == {"connect": 0, "timeout": 0, "reset": 0, "abort": 0, "handshake": 3}


def test_a_new_version_that_refuses_our_certificate_fails_the_gate(daemon, server, pki, pair):
    refuses = server(tls_backend(authority=pki, version="1.3")(pki, pair))
    good = server(over_tls(named("a"), server_context(pair)))
    shunt = daemon(service([good.address], [refuses.address], migration=steps(
        ("50%", "1h"), ("100%", "1h"), gate={"max_error_rate": "10%", "min_samples": 20, "window": "10s", "failures": 1}),
        group_settings={"tls": {"ca": str(pki.certificate), "server_name": "web.example"}}))
    shunt.ctl("start", "web", "force").ok()

    def asked():
        with connect(shunt.port()) as client:
            client.send(b"who\n")
            with contextlib.suppress(ConnectionResetError):
                client.receive_line()
        return shunt.phase() in ("rolling-back", "rolled-back")
    wait_until(asked, "it goes back", within=20)
    assert shunt.backend("new")["errors"]["reset"] == 0 and shunt.backend("new")["errors"]["handshake"] >= 3


def test_they_outlive_an_upgrade(daemon, server, pair):
    shunt = daemon(service([server(named("a")).address],
                           tls={"certificates": [{"certificate": str(pair[0]), "key": str(pair[1])}]}))
    text_instead(shunt.port(), None)
    check_counted(shunt, "client", not_tls=1)
    shunt.upgrade()
    check_counted(shunt, "client", not_tls=1)
