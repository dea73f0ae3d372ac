"""The command for a key's pass phrase may hang: the program answers its operators and clients meanwhile."""
import shutil
import threading
import time

import pytest
from shunt.certificates import openssl
from shunt.config import service, steps
from shunt.peers import named
from shunt.process import children
from shunt.tls import client_context, connect_tls
from shunt.waiting import scaled, wait_until

PROMPT_S = 1  # held up it would be ten; how busy the machine is does not matter so


class Locked:
    """An encrypted key whose command prints the pass phrase as soon as a file lets it, and hangs until then."""

    def __init__(self, folder, pki):
        self.folder, self.pki = folder, pki
        self.certificate, self.key = folder / "locked.pem", folder / "locked.key"
        self.go, self.asked = folder / "go", folder / "asked"
        self.go.touch()
        self.renew("first")

    def renew(self, file):
        pair = self.pki.issue("web.example", "DNS:web.example", file=file)
        openssl("pkey", "-in", pair[1], "-aes256", "-passout", "pass:open sesame", "-out", self.key)
        shutil.copy(pair[0], self.certificate)

    def hang(self):
        self.go.unlink()
        self.asked.unlink()

    def settings(self):
        script = f"echo >> {self.asked}; until [ -e {self.go} ]; do sleep 0.02; done; echo 'open sesame'"
        return {"certificates": [{"certificate": str(self.certificate), "key": str(self.key),
                                  "passphrase_command": ["/bin/sh", "-c", script]}]}


@pytest.fixture(name="locked")
def fixture_locked(daemon, server, pki, tmp_path):
    files = Locked(tmp_path, pki)
    shunt = daemon(service([server(named("a")).address], [server(named("n")).address], tls=files.settings(),
                           migration=steps(("25%", "1h"), ("100%", "1h"))))
    return shunt, files


def serial(shunt):
    with connect_tls(shunt.port(), client_context(), "web.example") as client:
        client.send(b"who\n")
        client.receive_line()
        return client.tls.getpeercert(binary_form=True)


def slowest(shunt, admin, lines):
    """The longest of these commands takes so long, over one open connection, for half a second of asking."""
    longest, end = 0.0, time.monotonic() + 0.5
    while time.monotonic() < end:
        for line in lines:
            began = time.monotonic()
            admin.sendall(line)
            reply = b""
            while not reply.endswith(b"\n\n"):
                reply += admin.recv(65536)
            longest = max(longest, time.monotonic() - began)
    return longest


def in_background(call):
    replies = []
    thread = threading.Thread(target=lambda: replies.append(call()))
    thread.start()
    return thread, replies


def test_a_reload_waits_for_it_beside_everything_else(locked):
    shunt, files = locked
    shunt.ctl("start", "web").ok()
    before = serial(shunt)
    files.hang()
    files.renew("second")
    thread, replies = in_background(lambda: shunt.ctl("reload"))
    wait_until(files.asked.exists, "the command runs")
    with shunt.admin_connect() as admin:
        assert slowest(shunt, admin, (b"status\n", b"events\n")) < scaled(PROMPT_S)
        began = time.monotonic()
        shunt.ctl("abort", "web").ok()
        assert time.monotonic() - began < scaled(1)
        shunt.wait_phase("rolled-back")
    assert not replies, "the reload waits"
    shunt.ctl("reload").refused("another reload")
    shunt.ctl("upgrade").refused("a reload is under way")
    assert serial(shunt) == before, "clients are served by what is in force"
    files.go.touch()
    thread.join(scaled(10))
    assert "read again" in replies[0].ok()
    assert serial(shunt) != before
    assert files.asked.read_text() == "\n", "it was run once for it"
    wait_until(lambda: not children(shunt.pid) or len(children(shunt.pid)) == 1, "nobody but the starter is left")


def test_one_that_does_not_come_back_refuses_the_reload(locked):
    shunt, files = locked
    before = serial(shunt)
    files.hang()
    files.renew("second")
    thread, replies = in_background(lambda: shunt.ctl("reload", within=30))
    wait_until(files.asked.exists, "the command runs")
    with shunt.admin_connect() as admin:
        assert slowest(shunt, admin, (b"status\n",)) < scaled(PROMPT_S)
    thread.join(scaled(20))
    replies[0].refused("nothing was changed", str(files.key), "killed after 10s")
    assert serial(shunt) == before


def test_files_that_change_by_themselves_wait_beside_it_too(locked):
    shunt, files = locked
    before = serial(shunt)
    files.hang()
    files.renew("second")
    wait_until(files.asked.exists, "the change is seen, and the command runs", within=15)
    with shunt.admin_connect() as admin:
        assert slowest(shunt, admin, (b"status\n",)) < scaled(PROMPT_S)
    assert serial(shunt) == before
    files.go.touch()
    wait_until(lambda: serial(shunt) != before, "then they are in force")
    assert "new handshakes go by them" in shunt.ctl("events", "web").ok()


def test_a_stop_does_not_wait_for_it(locked):
    shunt, files = locked
    files.hang()
    files.renew("second")
    thread, replies = in_background(lambda: shunt.ctl("reload"))
    wait_until(files.asked.exists, "the command runs")
    began = time.monotonic()
    shunt.stop(check=False)
    assert time.monotonic() - began < scaled(5)
    thread.join(scaled(10))
    assert replies[0].code != 0
