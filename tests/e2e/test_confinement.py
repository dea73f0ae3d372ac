"""An own user, no capabilities but what is needed, the kernel's fences, and what the service manager is told."""
import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess

import pytest
from shunt.clients import who
from shunt.config import service
from shunt.daemon import SANITIZED, program
from shunt.folders import open_folder
from shunt.peers import named
from shunt.waiting import wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

ROOT = pathlib.Path(__file__).resolve().parents[2]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def kernel_says(pid, thread=None):
    path = pathlib.Path(f"/proc/{pid}/task/{thread}/status" if thread else f"/proc/{pid}/status")
    return dict(line.split(":\t", 1) for line in path.read_text().splitlines() if ":\t" in line)


def threads(pid):
    return [int(one.name) for one in pathlib.Path(f"/proc/{pid}/task").iterdir()]


def workers(pid):
    return [one for one in threads(pid) if kernel_says(pid, one)["Name"].startswith("shunt-w")]


@NEEDS_ROOT
def test_becomes_another_user(daemon, server, reachable):
    shunt = daemon(service([server(named("old")).address]), user="nobody")
    user = pwd.getpwnam("nobody")
    for thread in threads(shunt.pid):
        status = kernel_says(shunt.pid, thread)
        assert status["Uid"].split() == [str(user.pw_uid)] * 4 and status["Gid"].split() == [str(user.pw_gid)] * 4
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        # The filter of system calls brings it to threads that were there before; sanitizers go without that filter.
        assert SANITIZED or status["NoNewPrivs"] == "1"
    assert int(kernel_says(shunt.pid)["CapBnd"], 16) == 0
    assert who(shunt.port()) == "old"
    wait_until(lambda: SANITIZED or json.loads(shunt.admin("show confinement --json"))["seccomp_workers"], "workers are confined further")
    confinement = json.loads(shunt.admin("show confinement --json"))
    assert confinement["user"] == "nobody" and confinement["capabilities"] == "none"
    assert json.loads(shunt.admin("status --json"))["confinement"] == confinement
    assert (shunt.folder / "state" / "journal").stat().st_uid == user.pw_uid
    shunt.ctl("weight", "web/old/" + shunt.service()["groups"][0]["backends"][0]["name"], "5").ok()  # it writes there


@NEEDS_ROOT
def test_a_folder_made_for_the_socket_is_the_users(daemon, server, reachable):
    shunt = daemon(service([server(named("old")).address]), user="nobody",
                   admin={"socket": "admin.sock", "sockets": [{"socket": "made/look.sock", "most": "viewer"}]})
    made = shunt.folder / "made"
    assert made.stat().st_uid == pwd.getpwnam("nobody").pw_uid and (made / "look.sock").is_socket()
    shunt.stop()
    assert list(made.iterdir()) == [], "its socket went with it"
    made.rmdir()
    made.mkdir()
    shunt.start()
    assert made.stat().st_uid == 0, "one that was there stays whose it is"
    shunt.stop()
    (made / "look.sock").unlink()


@NEEDS_ROOT
def test_journal_goes_on_as_another_user(daemon, server, reachable):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address],
                           migration={"steps": [{"share": "50%", "hold": "1h"}, {"share": "100%", "hold": "1h"}]}), user="nobody")
    shunt.ctl("start", "web").ok()
    shunt.kill()
    shunt.restart()
    assert shunt.phase() == "ramping" and shunt.service()["share_bp"] == 5000


@NEEDS_ROOT
def test_low_port_keeps_its_capability(daemon, server, reachable, tmp_path):
    namespace = f"shunt-low-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        config = tmp_path / "low.conf"
        config.write_text(f'workers = 1; user = "nobody"; state_dir = "{tmp_path}/low"; '
                          f'admin = {{ socket = "{tmp_path}/low.sock"; }}; services = ( {{ name = "web"; '
                          'listen = [ "127.0.0.1:80" ]; groups = ( { name = "old"; health = { type = "none"; }; '
                          'backends = ( { address = "127.0.0.1:81"; } ); } ); } );')
        with subprocess.Popen(["ip", "netns", "exec", namespace, program("shuntd"), "-c", config],
                              stderr=subprocess.PIPE) as running:
            try:
                wait_until(pathlib.Path(f"{tmp_path}/low.sock").exists, "the admin socket is there", within=10)
                wait_until(lambda: kernel_says(running.pid)["Uid"].split()[0] != "0", "it became another user")
                wait_until(lambda: int(kernel_says(running.pid)["CapEff"], 16) == 1 << 10, "CAP_NET_BIND_SERVICE alone")
                wait_until(lambda: len(workers(running.pid)) == 1, "the worker has its name")
                worker, = workers(running.pid)
                wait_until(lambda: int(kernel_says(running.pid, worker)["CapEff"], 16) == 0, "and the worker has not even that")
            finally:
                running.terminate()
                running.communicate(timeout=20)
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], check=True)


def test_fences(daemon, server):
    shunt = daemon(service([server(named("old")).address]))
    confinement = json.loads(shunt.admin("show confinement --json"))
    assert confinement["no_new_privileges"] and confinement["landlock"] == "on"
    assert confinement["seccomp"] == (not SANITIZED)
    for thread in threads(shunt.pid):
        assert kernel_says(shunt.pid, thread)["Seccomp"] == ("0" if SANITIZED else "2")
    wait_until(lambda: SANITIZED or json.loads(shunt.admin("show confinement --json"))["seccomp_workers"], "workers are confined further")
    if not SANITIZED:
        filters = {thread: int(kernel_says(shunt.pid, thread)["Seccomp_filters"]) for thread in threads(shunt.pid)}
        own = filters.pop(shunt.pid)
        assert sorted(filters.values())[-2:] == [own + 1] * 2, "both workers have one more"
        assert "stricter for workers" in shunt.admin("show confinement")
    assert who(shunt.port()) == "old"


def test_status_shows_limits_and_confinement(daemon, server):
    shunt = daemon(service([server(named("old")).address]), files=1000)
    lines = {line.split()[0]: line for line in shunt.admin("status").splitlines()}
    limits = shunt.status()["limits"]
    assert f"0 of at most {limits['connections']} connections open" in lines["limits"]
    assert f"{limits['memory_bytes'] >> 20} MiB" in lines["limits"] and "descriptors 1000" in lines["limits"]
    confinement = shunt.status()["confinement"]
    assert f"user {confinement['user']}, capabilities {confinement['capabilities']}, new privileges none" in lines["confinement"]
    assert "landlock on" in lines["confinement"]
    assert f"pid {shunt.pid}, up " in lines["program"]
    assert "limits" not in shunt.admin("status web"), "of one service only that service is told"


def test_commands_may_write(daemon, server, tmp_path):
    """Landlock stays away where the configuration runs commands; all else stands."""
    mark = tmp_path / "elsewhere"
    mark.mkdir()
    shunt = daemon(service([server(named("old")).address], group_settings={
        "health": {"type": "exec", "exec": {"command": ["sh", "-c", f"touch {mark}/here"]}, "interval": "1h"}}))
    wait_until((mark / "here").exists, "the check wrote its file")
    assert json.loads(shunt.admin("show confinement --json"))["landlock"] == "off: the configuration runs commands"


def test_switched_off(daemon, server):
    shunt = daemon(service([server(named("old")).address]), sandbox=False)
    text = shunt.admin("show confinement")
    assert "no new privileges  no" in text and "seccomp            off" in text and "off: sandbox = false" in text


def test_unknown_user(tmp_path):
    config = tmp_path / "bad.conf"
    config.write_text('user = "no-such-user-here"; services = ( { name = "web"; listen = [ "127.0.0.1:0" ]; '
                      'groups = ( { name = "old"; backends = ( { address = "127.0.0.1:81"; } ); } ); } );')
    done = subprocess.run([program("shuntd"), "-t", "-c", config], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 78 and "no such user" in done.stderr and "no-such-user-here" in done.stderr


class Manager:
    """A service manager: a datagram socket that keeps what it is told."""

    def __init__(self, path):
        self.path, self.told = str(path), []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)

    def stop(self):
        """After the daemon, which has said that it stops."""
        heard = self.heard("^STOPPING=1$")
        self.socket.close()
        assert heard, self.told

    def heard(self, pattern):
        while True:
            try:
                self.told.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                break
        return next((one for one in self.told if re.search(pattern, one, re.MULTILINE)), None)


def test_service_manager(daemon, server, started, tmp_path):
    manager = Manager(tmp_path / "notify.sock")
    started.backends.append(manager)
    environment = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}
    daemon(service([server(named("old")).address]), environment=environment)
    wait_until(lambda: manager.heard("^READY=1$"), "it is ready")
    wait_until(lambda: manager.heard(r"^STATUS=0 open; web on old$"), "what it does")
    wait_until(lambda: manager.heard("^WATCHDOG=1$"), "it is alive")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_unit_is_confined():
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", ROOT / "conf" / "systemd" / "shunt.service"],
                          capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "LC_ALL": "C"})
    level = re.search(r"Overall exposure level for shunt.service: ([0-9.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    assert float(level[1]) <= 1.5
