"""Sockets that a service manager opened: taken by address, kept over an upgrade and beyond the end of the program."""
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest
from shunt.clients import connect, who
from shunt.config import service
from shunt.daemon import Daemon
from shunt.folders import open_folder
from shunt.peers import named
from shunt.process import die_with_parent
from shunt.waiting import wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Activated(Daemon):
    """A daemon that is started with sockets: {name: socket}, as systemd hands them over."""

    def __init__(self, folder, services, sockets, **settings):
        super().__init__(folder, services, **settings)
        self.sockets = sockets

    def command(self):
        # The shell's number is that of the program: LISTEN_PID says whom the sockets are for.
        return ["sh", "-c", f'LISTEN_PID=$$ LISTEN_FDS={len(self.sockets)} LISTEN_FDNAMES={":".join(name for name, _ in self.sockets)} '
                f'exec "{self.program}" -c "{self.path}"']

    def prepare(self):
        high = [os.dup2(one.fileno(), 100 + i) for i, (_, one) in enumerate(self.sockets)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)
            os.close(fd)

    def run(self):
        """To its end; what it says."""
        self.write()

        def prepare():
            die_with_parent()
            self.prepare()
        return subprocess.run(self.command(), preexec_fn=prepare, close_fds=False, capture_output=True, text=True, timeout=30,
                              check=False)


def listening(target):
    one = socket.socket(socket.AF_UNIX if isinstance(target, str) else socket.AF_INET)
    one.bind(target)
    one.listen(16)
    return one


@pytest.fixture(name="activated")
def fixture_activated(started, tmp_path):
    def make(services, sockets, **settings):
        one = Activated(tmp_path / "shunt0", services, sockets, **settings)
        started.daemons.append(one)
        return one
    return make


def address_of(one):
    return f"127.0.0.1:{one.getsockname()[1]}"


def test_sockets_find_their_places(activated, server, tmp_path):
    web, metrics = listening(("127.0.0.1", 0)), listening(("127.0.0.1", 0))
    (tmp_path / "shunt0").mkdir()
    admin, front = listening(str(tmp_path / "shunt0" / "admin.sock")), listening(str(tmp_path / "front.sock"))
    shunt = activated([service([server(named("a")).address], listen=[address_of(web), f"unix:{tmp_path}/front.sock"])],
                      [("shunt.socket", web), ("admin", admin), ("shunt.socket", front), ("shunt.socket", metrics)],
                      metrics={"listen": address_of(metrics)}, workers=3)
    waiting = connect(address_of(web))  # before the program is there
    waiting.send(b"who\n")
    shunt.start()
    assert waiting.receive_line().startswith(b"a")
    waiting.sock.close()
    for _ in range(2):
        assert {who(address_of(web)) for _ in range(8)} == {"a"} and who(f"unix:{tmp_path}/front.sock") == "a"
        with connect(address_of(metrics)) as scraper:
            scraper.send(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert b"200 OK" in scraper.receive_all()
        shunt.upgrade()
        shunt.wait_formers()
    shunt.check_quiet()
    shunt.popen.terminate()
    assert shunt.popen.wait(15) == 0
    shunt.popen = None
    assert (tmp_path / "front.sock").exists() and pathlib.Path(shunt.socket_path).exists(), "the paths are the manager's"
    for one in (web, admin, front, metrics):
        later = socket.socket(one.family)
        later.connect(one.getsockname())  # who comes now waits for the next start
        later.close()
        one.close()


def test_a_reload_gives_a_socket_up(activated, server, tmp_path):
    """What is the manager's stays with it: open, with its path, and in nobody else's hands."""
    web, front = listening(("127.0.0.1", 0)), listening(str(tmp_path / "front.sock"))
    (tmp_path / "shunt0").mkdir()
    more = [address_of(web), f"unix:{tmp_path}/front.sock"]
    shunt = activated([service([server(named("a")).address], listen=["127.0.0.1:0", *more])], [("x", web), ("x", front)]).start()
    kept = shunt.address()
    shunt.settings["services"][0]["listen"] = [kept]
    shunt.write()
    assert f"no longer listens on {more[0]}, {more[1]}" in shunt.ctl("reload").ok()
    assert (tmp_path / "front.sock").exists() and who(kept) == "a"
    wait_until(lambda: shunt.descriptors_held() < shunt.descriptors_at_start, "they were given up")
    for one in (web, front):
        with socket.socket(one.family) as client:
            client.settimeout(5)
            client.connect(one.getsockname())
            accepted, _ = one.accept()
            accepted.close()
    shunt.settings["services"][0]["listen"] = [kept, more[0]]
    shunt.write()
    shunt.ctl("reload").refused("nothing was changed", more[0], "already in use")
    for one in (web, front):
        one.close()


def test_a_socket_without_a_place(activated, server):
    web, other = listening(("127.0.0.1", 0)), listening(("127.0.0.1", 0))
    shunt = activated([service([server(named("a")).address], listen=[address_of(web)])], [("x", web), ("x", other)])
    done = shunt.run()
    assert done.returncode == 78 and address_of(other) in done.stderr and "nothing of the configuration listens" in done.stderr
    assert address_of(web) not in done.stderr


def test_an_admin_socket_elsewhere(activated, server, tmp_path):
    admin = listening(str(tmp_path / "elsewhere.sock"))
    shunt = activated([service([server(named("a")).address])], [("admin", admin)])
    done = shunt.run()
    assert done.returncode == 78 and "elsewhere.sock" in done.stderr and "admin.socket" in done.stderr


def test_a_socket_that_does_not_listen(activated, server):
    one = socket.socket()
    shunt = activated([service([server(named("a")).address])], [("x", one)])
    done = shunt.run()
    assert done.returncode == 78 and "is not a stream socket that listens" in done.stderr


def test_sockets_for_another_process(daemon, server):
    """LISTEN_PID of somebody else: nothing is taken."""
    shunt = daemon(service([server(named("a")).address]), environment={"LISTEN_PID": "1", "LISTEN_FDS": "3"})
    assert who(shunt.port()) == "a"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_units(tmp_path):
    """Both units are understood, and together as confined as promised."""
    for name in ("shunt.service", "shunt.socket"):
        shutil.copy(ROOT / "conf" / "systemd" / name, tmp_path / name)
    text = (tmp_path / "shunt.service").read_text()
    assert re.search(r"^ExecReload=.*-HUP \$MAINPID", text, re.MULTILINE)
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", tmp_path / "shunt.service"], capture_output=True,
                          text=True, check=False, timeout=60, env={**os.environ, "LC_ALL": "C"})
    level = re.search(r"Overall exposure level for shunt.service: ([0-9.]+)", done.stdout)
    assert level and float(level[1]) <= 1.5, done.stdout + done.stderr
    done = subprocess.run(["systemd-analyze", "verify", tmp_path / "shunt.socket"], capture_output=True, text=True, check=False,
                          timeout=60, env={**os.environ, "LC_ALL": "C"})
    words = [line for line in done.stderr.splitlines() if "shunt.socket" in line and "shuntd" not in line]
    assert not words, done.stderr
