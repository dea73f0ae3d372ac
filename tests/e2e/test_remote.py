"""Admin commands from another machine: only with a certificate, only what its name may."""
import contextlib
import os
import socket
import ssl
import subprocess

import pytest
from shunt.certificates import Authority
from shunt.config import service
from shunt.daemon import program
from shunt.process import descriptors
from shunt.waiting import wait_until

BACKEND = "127.0.0.1:1"


class Remote:
    """A daemon that listens for operators, and its authority."""

    def __init__(self, daemon, folder):
        self.authority = Authority(folder / "pki")
        self.server = self.authority.issue("daemon", "IP:127.0.0.1")
        self.crl = self.authority.revoke()
        self.people = {name: self.authority.issue(name) for name in ("alice", "victor", "mallory")}
        self.shunt = daemon(service([BACKEND]), admin={"socket": "admin.sock", "remote": {
            "listen": "127.0.0.1:0", "certificate": str(self.server[0]), "key": str(self.server[1]),
            "client_ca": str(self.authority.certificate), "client_crl": str(self.crl),
            "clients": [{"name": "alice", "role": "operator"}, {"name": "victor", "role": "viewer"}]}}, log={"level": "info"})
        self.address = self.shunt.status()["remote"]
        self.port = int(self.address.rsplit(":", 1)[1])

    def run(self, who, *words, **more):
        pair = who if isinstance(who, tuple) else self.people[who]
        environment = {**os.environ, "SHUNT_CERT": str(pair[0]), "SHUNT_KEY": str(pair[1]),
                       "SHUNT_CA": str(self.authority.certificate), **more}
        return subprocess.run([program("shuntctl"), "-s", f"tls://{self.address}", *words], capture_output=True, text=True,
                              check=False, timeout=30, env=environment)

    def connect(self, who=None):
        context = ssl.create_default_context(cafile=self.authority.certificate)
        if who:
            context.load_cert_chain(*self.people[who])
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), timeout=10), server_hostname="127.0.0.1")


@pytest.fixture(name="remote")
def fixture_remote(daemon, tmp_path):
    return Remote(daemon, tmp_path)


def test_each_may_what_its_name_may(remote):
    drain = ("backend", f"web/old/{BACKEND}", "drain", "reason", "from afar")
    assert "web - idle" in remote.run("victor", "status").stdout
    assert remote.run("victor", *drain).returncode == 77
    assert remote.run("alice", *drain).returncode == 0
    assert remote.run("alice", "reload").returncode == 77
    stranger = remote.run("mallory", "status")
    assert stranger.returncode == 77 and "you have none" in stranger.stderr
    remote.shunt.says("actor=certificate:alice", "from afar", "certificate:victor", "outcome=denied")
    assert remote.shunt.backend("old")["admin"] == "drain"


def test_nobody_without_a_certificate(remote, tmp_path):
    foreign = Authority(tmp_path / "foreign", "another").issue("alice")
    with pytest.raises((ssl.SSLError, ConnectionError)), remote.connect() as plain:
        plain.sendall(b"status\n")  # with TLS 1.3 the refusal comes after the client is done
        assert plain.recv(1) == b"", "answered without a certificate"
        raise ConnectionError("ended")
    refused = remote.run(foreign, "status")
    assert refused.returncode != 0 and "web" not in refused.stdout, refused
    with socket.create_connection(("127.0.0.1", remote.port), timeout=10) as clear:
        clear.sendall(b"status\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"web" not in clear.recv(4096)
    wait_until(lambda: remote.shunt.log().count("admin client refused") >= 2, "both refusals are told")
    assert "web - idle" in remote.run("victor", "status").stdout


def test_the_daemon_is_verified_too(remote, tmp_path):
    other = Authority(tmp_path / "other", "another")
    doubted = remote.run("alice", "status", SHUNT_CA=str(other.certificate))
    assert doubted.returncode == 77 and "is not believed" in doubted.stderr
    named = subprocess.run([program("shuntctl"), "-s", f"tls://localhost:{remote.port}", "status"], capture_output=True,
                           text=True, check=False, timeout=30, env={
                               **os.environ, "SHUNT_CERT": str(remote.people["alice"][0]),
                               "SHUNT_KEY": str(remote.people["alice"][1]), "SHUNT_CA": str(remote.authority.certificate)})
    assert named.returncode == 77 and "mismatch" in named.stderr, named
    bare = subprocess.run([program("shuntctl"), "-s", f"tls://{remote.address}", "status"], capture_output=True, text=True,
                          check=False, timeout=30)
    assert bare.returncode == 77 and "$SHUNT_CERT" in bare.stderr


def test_revoked_and_renewed_at_reload(remote):
    assert remote.run("alice", "status").returncode == 0
    remote.authority.revoke(remote.people["alice"][0])
    remote.shunt.ctl("reload").ok()
    assert remote.run("alice", "status").returncode != 0
    wait_until(lambda: "certificate revoked" in remote.shunt.log(), "the log says so")
    assert remote.run("victor", "status").returncode == 0
    text = remote.server[0].read_text()
    remote.server[0].write_text("nonsense")
    remote.shunt.ctl("reload").ok()
    wait_until(lambda: "keeps the certificates it has" in remote.shunt.log(), "the log says so")
    assert remote.run("victor", "status").returncode == 0
    remote.server[0].write_text(text)


def test_who_may_changes_at_reload(remote):
    assert remote.run("mallory", "status").returncode == 77
    settings = remote.shunt.settings["admin"]["remote"]
    settings["clients"] = [{"name": "mallory", "role": "viewer"}]
    remote.shunt.write()
    said = remote.shunt.ctl("reload").ok()
    assert "after a restart" not in said, said
    assert remote.run("mallory", "status").returncode == 0
    assert remote.run("alice", "status").returncode == 77
    settings["listen"] = "127.0.0.1:1"
    remote.shunt.write()
    assert "admin.remote.listen" in remote.shunt.ctl("reload").ok()


def test_many_commands_and_a_stream(remote):
    with remote.connect("alice") as stream:
        for _ in range(50):
            stream.sendall(b"show version\nnonsense\n")
        text = b""
        while text.count(b"\n\n") < 100:
            piece = stream.recv(65536)
            assert piece, text[-200:]
            text += piece
        assert text.count(b"error: unknown command") == 50
        stream.sendall(b"watch web\n")
        assert b"web" in stream.recv(4096)
        remote.shunt.ctl("weight", f"web/old/{BACKEND}", "7").ok()
        assert b"7" in stream.recv(4096)


def test_a_megabyte_without_end_and_a_hundred_that_vanish(remote):
    before = descriptors(remote.shunt.pid)
    with remote.connect("victor") as stream:
        reply = b""
        try:
            for _ in range(64):
                stream.sendall(b"x" * 16384)
            reply = stream.recv(4096)
        except (OSError, ssl.SSLError):
            pass  # refused and closed while it was sent
        assert b"16 KiB" in reply or reply == b""
    for turn in range(100):
        stream = socket.create_connection(("127.0.0.1", remote.port), timeout=10)
        stream.sendall(bytes([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][:turn % 12]))  # some of a client's hello
        stream.close()
    wait_until(lambda: "web - idle" in remote.run("victor", "status").stdout, "the places of those are free again")
    wait_until(lambda: descriptors(remote.shunt.pid) <= before, "descriptors are back")


def test_silence_is_ended(remote):
    with socket.create_connection(("127.0.0.1", remote.port), timeout=20) as silent:
        assert silent.recv(1) == b""
    wait_until(lambda: "no handshake within 5s" in remote.shunt.log(), "the log, which a thread writes, tells it")


def test_a_bad_file_is_told_at_the_start(tmp_path):
    authority = Authority(tmp_path / "pki")
    (tmp_path / "key").write_text("nonsense")
    certificate, _ = authority.issue("daemon", "IP:127.0.0.1")
    path = tmp_path / "shunt.conf"
    path.write_text(f'''admin = {{ socket = "a.sock"; remote = {{ listen = "127.0.0.1:0"; certificate = "{certificate}"; key = "key";
        client_ca = "{authority.certificate}"; clients = ( {{ name = "a"; role = "admin"; }} ); }}; }};
        state_dir = "state"; services = ( {{ name = "web"; listen = [ "127.0.0.1:0" ]; groups = ( {{ name = "a";
        backends = ( {{ address = "{BACKEND}"; }} ); }} ); }} );''')
    done = subprocess.run([program("shuntd"), "-c", path], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 78 and "admin.remote: key" in done.stderr, done
