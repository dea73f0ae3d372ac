"""Certificates that change while connections are open: by reload, by their files, and ones that are no good."""
import json
import os
import shutil
import ssl

import pytest
from shunt.certificates import Authority
from shunt.clients import ask
from shunt.config import service
from shunt.peers import named
from shunt.tls import client_context, connect_tls, over_tls, server_context
from shunt.waiting import wait_until


class Files:
    """A certificate and its key where the daemon reads them, replaced as an operator's tool would: each file at once."""

    def __init__(self, folder, pair):
        self.certificate, self.key = folder / "live.pem", folder / "live.key"
        self.put(pair)

    def put(self, pair):
        for source, target in zip(pair, (self.certificate, self.key)):
            shutil.copy(source, str(target) + ".new")
            os.rename(str(target) + ".new", target)

    def settings(self, **more):
        return {"certificates": [{"certificate": str(self.certificate), "key": str(self.key)}], **more}


def serial(port, **settings):
    with connect_tls(port, client_context(**settings), "web.example") as client:
        client.send(b"who\n")
        client.receive_line()
        return hash(client.tls.getpeercert(binary_form=True))


def issue(pki, file, days=30):
    return pki.issue("web.example", "DNS:web.example", days=days, file=file)


@pytest.fixture(name="live")
def fixture_live(daemon, server, pki, tmp_path):
    files = Files(tmp_path, issue(pki, "first"))
    return daemon(service([server(named("a")).address], tls=files.settings()), log={"level": "info"}), files


def test_by_reload(live, pki):
    shunt, files = live
    with connect_tls(shunt.port(), client_context()) as old:
        before = serial(shunt.port())
        files.put(issue(pki, "second"))
        assert "read again" in shunt.ctl("reload").ok()
        assert serial(shunt.port()) != before
        old.send(b"who\n")
        assert old.receive_line() == b"a who\n", "what is open goes on"


def test_a_broken_one_keeps_the_old(live, pki):
    shunt, files = live
    before = serial(shunt.port())
    files.certificate.write_text("nothing")
    reply = shunt.ctl("reload")
    assert reply.code == 1 and "nothing was changed" in reply.err + reply.out and str(files.certificate) in reply.err + reply.out
    assert serial(shunt.port()) == before
    other = pki.issue("other.example")
    files.put((issue(pki, "third")[0], other[1]))
    assert "is not that of the certificate" in shunt.ctl("reload").refused()
    assert serial(shunt.port()) == before


def test_a_changed_file_is_noticed(live, pki):
    shunt, files = live
    before = serial(shunt.port())
    files.put(issue(pki, "noticed"))
    wait_until(lambda: serial(shunt.port()) != before, "the new one is shown", within=15)
    assert "files of TLS were changed: new handshakes go by them" in shunt.ctl("events").ok()


def test_a_changed_file_that_is_no_good_is_told_once(live, pki):
    shunt, files = live
    before = serial(shunt.port())
    files.key.write_text("nothing")
    wait_until(lambda: "cannot be used, those in force stay" in shunt.ctl("events").ok(), "told", within=15)
    assert serial(shunt.port()) == before
    files.put(issue(pki, "again"))
    wait_until(lambda: serial(shunt.port()) != before, "and mended", within=15)
    assert shunt.ctl("events").ok().count("those in force stay") == 1


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_sessions_outlive_a_reload(live, pki, version):
    shunt, files = live
    context = client_context(version=version)
    with connect_tls(shunt.port(), context, "web.example") as client:
        client.send(b"who\n")
        client.receive_line()
        session = client.tls.session
    files.put(issue(pki, "renewed" + version))
    shunt.ctl("reload").ok()
    with connect_tls(shunt.port(), context, "web.example", session=session) as client:
        client.send(b"who\n")
        client.receive_line()
        assert client.tls.session_reused


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_session_does_not_outlive_its_authority(daemon, server, pki, tmp_path, version):
    """Another authority, or a new list of the revoked: whoever was let in before is verified anew."""
    files = Files(tmp_path, issue(pki, "server"))
    authority, other = Authority(tmp_path / "one"), Authority(tmp_path / "two")
    ca, crl = tmp_path / "ca.pem", tmp_path / "crl.pem"
    shutil.copy(authority.certificate, ca)
    shutil.copy(authority.revoke(), crl)
    shunt = daemon(service([server(named("a")).address],
                           tls=files.settings(client_auth="required", client_ca=str(ca), client_crl=str(crl))))
    alice = authority.issue("alice")
    context = client_context(certificate=alice, version=version)

    def enter(session=None):
        try:
            with connect_tls(shunt.port(), context, "web.example", session=session) as client:
                client.send(b"who\n")
                return client.receive_line() == b"a who\n" and (client.tls.session, client.tls.session_reused)
        except (ssl.SSLError, ConnectionError):
            return None

    session, _ = enter()
    assert enter(session)[1]
    shutil.copy(authority.revoke(alice[0]), crl)
    shunt.ctl("reload").ok()
    assert not enter(session)
    shutil.copy(other.certificate, ca)
    shutil.copy(other.revoke(), crl)
    shunt.ctl("reload").ok()
    assert not enter(session)


def test_backends_are_verified_by_the_new_authority(daemon, server, pki, tmp_path):
    """A session that was verified by the one before is not taken up."""
    other = Authority(tmp_path / "other")
    ca = tmp_path / "ca.pem"
    shutil.copy(pki.certificate, ca)
    context = server_context(pki.issue("db.example", "DNS:db.example"))
    shunt = daemon(service([server(over_tls(named("a"), context)).address],
                           group_settings={"tls": {"ca": str(ca), "server_name": "db.example"}}), workers=1)
    for _ in range(3):
        assert ask(shunt.port()) == b"a who\n"
    shutil.copy(other.certificate, ca)
    shunt.ctl("reload").ok()
    with pytest.raises(ConnectionError):
        ask(shunt.port())
    wait_until(lambda: shunt.backend("old")["errors"]["handshake"] >= 1, "refused")


@pytest.mark.parametrize("by_reload", [True, False])
def test_checks_verify_by_the_new_authority(daemon, server, pki, tmp_path, by_reload):
    """Who changes the authority of backends and their certificates does not lose them to checks that know only the old one."""
    other, ca = Authority(tmp_path / "other"), tmp_path / "ca.pem"
    shutil.copy(pki.certificate, ca)
    contexts = [server_context(pki.issue("db.example", "DNS:db.example", file="old-db"))]
    trust = {"server_name": "db.example"}
    shunt = daemon(service([server(lambda peer: over_tls(named("a"), contexts[-1])(peer)).address], group_settings={
        "tls": {"ca": str(ca), **trust},
        "health": {"type": "tls", "tls": {"ca_file": str(ca), **trust}, "interval": "100ms", "rise": 1, "fall": 2}}))

    def change(text):
        (tmp_path / "new").write_text(text)
        os.rename(tmp_path / "new", ca)

    wait_until(lambda: shunt.backend("old")["state"] == "up", "by the old one")
    change("nothing")
    if by_reload:
        assert "nothing was changed" in shunt.ctl("reload").refused()
    else:
        wait_until(lambda: "files of checks were changed and cannot be used" in shunt.ctl("events").ok(), "told", within=15)
    assert shunt.backend("old")["state"] == "up"
    contexts.append(server_context(other.issue("db.example", "DNS:db.example")))
    wait_until(lambda: shunt.backend("old")["state"] == "down", "not believed yet")
    change(other.certificate.read_text())
    if by_reload:
        assert "read again" in shunt.ctl("reload").ok()
    wait_until(lambda: shunt.backend("old")["state"] == "up", "by the new one", within=15)
    assert ask(shunt.port()) == b"a who\n"
    assert by_reload or "files of checks were changed: checks to come go by them" in shunt.ctl("events").ok()


def test_tls_comes_and_goes_with_a_reload(live):
    shunt, files = live
    port = shunt.port()
    settings = shunt.settings["services"][0]
    tls = settings.pop("tls")
    shunt.write()
    shunt.ctl("reload").ok()
    assert ask(port) == b"a who\n"
    settings["tls"] = {**tls, "min_version": "1.3"}
    shunt.write()
    shunt.ctl("reload").ok()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        serial(port, version="1.2")
    serial(port, version="1.3")
    assert files.certificate.exists()


def test_days_left(daemon, server, pki, tmp_path):
    pairs = [issue(pki, "long", days=30), issue(pki, "short", days=3), issue(pki, "over", days=-1)]
    certificates = [{"certificate": str(one[0]), "key": str(one[1])} for one in pairs]
    shunt = daemon(service([server(named("a")).address], tls={"certificates": certificates}))
    rows = json.loads(shunt.admin("status --json"))["services"][0]["certificates"]
    days = [row["days_left"] for row in rows]
    assert days[0] in (29, 30) and days[1] in (2, 3) and days[2] in (-1, -2), rows
    assert rows[0]["name"] == "web.example" and rows[0]["file"] == str(pairs[0][0])
    text = shunt.ctl("status").ok()
    assert "certificates ✔ web.example " in text and "⚠ web.example " in text and "✖ web.example expired" in text, text
    lines = [line for line in shunt.ctl("show", "metrics").ok().splitlines()
             if line.startswith("shunt_certificate_expires_seconds{")]
    left = [float(line.rsplit(" ", 1)[1]) for line in lines]
    assert len(left) == 3 and 29 * 86400 < left[0] <= 30 * 86400 and left[2] < 0, lines


def test_a_hundred_reloads_under_new_connections(live, pki):
    shunt, files = live
    pairs = [issue(pki, "even"), issue(pki, "odd")]
    before = shunt.descriptors_held()
    for i in range(100):
        files.put(pairs[i % 2])
        shunt.ctl("reload").ok()
        assert serial(shunt.port()) is not None
    wait_until(lambda: shunt.descriptors_held() <= before, "nothing is left open")


def test_sessions_outlive_an_upgrade(live):
    shunt, _ = live
    context = client_context()
    with connect_tls(shunt.port(), context, "web.example") as client:
        client.send(b"who\n")
        client.receive_line()
        session = client.tls.session
    shunt.upgrade()
    with connect_tls(shunt.port(), context, "web.example", session=session) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        assert client.tls.session_reused
    shunt.wait_formers()
