"""conf/tls.conf as an operator would use it: with certificates in their places it is good, starts, and serves."""
import re
import subprocess

import pytest
from shunt.certificates import Authority
from shunt.daemon import ROOT, Daemon, program
from shunt.tls import client_context, connect_tls, over_tls, server_context
from shunt.waiting import scaled, wait_until

SAMPLE = ROOT / "conf" / "tls.conf"


class Sample(Daemon):
    """The sample, with places of the test's own; backends: addresses that take those of the sample."""

    backends = ()

    def write(self):
        text = SAMPLE.read_text().replace("/var/lib/shunt", str(self.folder / "state"))
        text = text.replace("/run/shunt/admin.sock", self.socket_path).replace("127.0.0.1:9101", "127.0.0.1:0")
        text = re.sub(r'listen = \[ .* \];', 'listen = [ "127.0.0.1:0" ];', text)
        left = list(self.backends)
        text = re.sub(r'(?<=address = ")10\.[0-9.:]+', lambda _: left.pop(0), text)
        assert not left and '"10.' not in text
        self.path.write_text(text)


@pytest.fixture(name="pki")
def fixture_pki(tmp_path):
    """All files that the sample names, below tls."""
    folder = tmp_path / "shunt0" / "tls"
    one = Authority(tmp_path / "pki")
    folder.mkdir(parents=True)
    for file, kind, name in (("example", "rsa", "example.com"), ("example-ec", "ec", "example.com"), ("shunt", "ec", "shunt")):
        certificate, key = one.issue(name, f"DNS:{name}", kind=kind, file=file)
        certificate.rename(folder / f"{file}.pem")
        key.rename(folder / f"{file}.key")
    for file in ("internal-ca", "clients-ca"):
        (folder / f"{file}.pem").write_bytes(one.certificate.read_bytes())
    named = set(re.findall(r'"(tls/[^"]+)"', "\n".join(line.split("#")[0] for line in SAMPLE.read_text().splitlines())))
    assert named == {f"tls/{path.name}" for path in folder.iterdir()}
    return one


def web(peer):
    while peer.receive_line().strip():
        pass
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes")
    peer.shut()


def shows_a_certificate(peer):
    """Tells who the other side says it is."""
    subject = dict(one[0] for one in peer.tls.getpeercert()["subject"])
    peer.receive_line()
    peer.send(subject["commonName"].encode() + b"\n")


def test_it_starts_and_serves(started, server, tmp_path, pki):
    shunt = Sample(tmp_path / "shunt0", [])
    webs = [server(over_tls(web, server_context(pki.issue("web.internal", "DNS:web.internal")))) for _ in range(4)]
    caches = [server(over_tls(shows_a_certificate, server_context(pki.issue("redis.internal", "DNS:redis.internal"),
                                                                  authority=pki))) for _ in range(2)]
    shunt.backends = [one.address for one in (*webs, *caches)]
    shunt.write()
    done = subprocess.run([program("shuntd"), "-t", "-c", shunt.path], capture_output=True, text=True,
                          timeout=scaled(20), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    started.daemons.append(shunt)
    shunt.start()
    wait_until(lambda: all(one["state"] == "up" for group in shunt.service("web")["groups"] for one in group["backends"]),
               "the checks over TLS are good")
    with connect_tls(shunt.port(service="web"), client_context(pki, alpn=["http/1.1"]), "example.com") as client:
        client.send(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert client.receive_all().endswith(b"yes")
        assert client.tls.selected_alpn_protocol() == "http/1.1"
    ours = client_context(pki, certificate=pki.issue("client"))
    with connect_tls(shunt.port(service="redis"), ours, "example.com") as client:
        client.send(b"who\n")
        assert client.receive_line() == b"shunt\n"
    shunt.ctl("start", "web").ok()


def test_without_its_files_it_is_refused_by_name():
    done = subprocess.run([program("shuntd"), "-t", "-c", SAMPLE], capture_output=True, text=True, timeout=scaled(20),
                          check=False)
    assert done.returncode == 78 and "tls/example.pem" in done.stderr and "No such file" in done.stderr, done
