"""Where log lines go, and that nothing ever waits for them."""
import json
import os
import re
import signal
import socket
import subprocess
import time

import pytest
from shunt.clients import ask, connect, who
from shunt.config import service
from shunt.daemon import program
from shunt.peers import echo, named
from shunt.waiting import wait_until


def lines_of(path):
    return path.read_text().splitlines() if path.exists() else []


def fields(line):
    """The fields of a logfmt line."""
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)
    return {key: value.strip('"') for key, value in found}


def test_a_file_that_is_rotated(daemon, server, tmp_path):
    path = tmp_path / "shunt.log"
    shunt = daemon(service([server(named("old")).address]), log={"level": "info", "to": "file", "file": str(path)})
    wait_until(lambda: any("is ready" in line for line in lines_of(path)), "the file has the first lines")
    assert path.stat().st_mode & 0o777 == 0o640
    assert shunt.log() == "", "nothing goes to standard error any more"
    old = tmp_path / "shunt.log.1"
    path.rename(old)
    shunt.admin("log-level warn")
    wait_until(lambda: any("log-level" in line for line in lines_of(old)), "the old file goes on until told")
    shunt.popen.send_signal(signal.SIGUSR1)
    wait_until(lambda: path.exists() and os.path.getsize(old) > 0, "a new file is there")
    shunt.admin("log-level info")
    wait_until(lambda: any("log-level info" in line for line in lines_of(path)), "lines go to the new one")
    assert not any("log-level info" in line for line in lines_of(old))


def test_a_file_that_cannot_be_opened_again(daemon, server, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / "shunt.log"
    shunt = daemon(service([server(named("old")).address]), log={"to": "file", "file": str(path)})
    path.rename(tmp_path / "moved")
    folder.rmdir()
    shunt.popen.send_signal(signal.SIGUSR1)
    wait_until(lambda: any("cannot be opened again" in line for line in lines_of(tmp_path / "moved")),
               "the old file goes on and says why")
    assert who(shunt.port()) == "old"


def test_a_reload_moves_the_log(daemon, server, tmp_path):
    """From file to file to the system's log and to standard error: each line is in one place, whole, in order."""
    system = LogDaemon(tmp_path / "log.sock")
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    shunt = daemon(service([server(named("old")).address]), log={"to": "file", "file": str(first)})

    def move(reply, **log):
        shunt.settings["log"] = {"level": "info", **log}
        shunt.write()
        assert f"log.to: {reply}" in shunt.ctl("reload").ok()
        shunt.ctl("log-level", "info", "reason", f"now to {reply}").ok()

    move("file", to="file", file=str(second))
    wait_until(lambda: any("now to file" in line for line in lines_of(second)), "lines go to the new file")
    assert not any("now to" in line for line in lines_of(first)) and all(fields(line)["time"] for line in lines_of(first))
    shunt.settings["log"] = {"to": "file", "file": str(tmp_path / "missing" / "shunt.log")}
    shunt.write()
    assert "cannot write the log" in shunt.ctl("reload").refused()
    move("syslog", to="syslog", syslog_socket=system.path, facility="local3")
    wait_until(lambda: system.has("now to syslog"), "lines go to the log daemon")
    assert not any("now to syslog" in line for line in lines_of(second))
    move("stderr", to="stderr")
    wait_until(lambda: "now to stderr" in shunt.log(), "lines go to standard error")
    assert not system.has("now to stderr") and who(shunt.port()) == "old"
    system.socket.close()


def test_no_file_at_the_start(tmp_path):
    config = tmp_path / "bad.conf"
    config.write_text(f'state_dir = "{tmp_path}/state"; admin = {{ socket = "{tmp_path}/a.sock"; }}; '
                      f'log = {{ to = "file"; file = "{tmp_path}/none/shunt.log"; }}; services = ( {{ name = "web"; '
                      'listen = [ "127.0.0.1:0" ]; groups = ( { name = "old"; backends = ( { address = "127.0.0.1:81"; } '
                      '); } ); } );')
    done = subprocess.run([program("shuntd"), "-c", config], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 73 and "cannot write the log" in done.stderr and "none/shunt.log" in done.stderr


class LogDaemon:
    """The system's log daemon: a datagram socket."""

    def __init__(self, path):
        self.path, self.lines = str(path), []
        self.open()

    def open(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)

    def close(self):
        self.socket.close()
        os.unlink(self.path)

    def has(self, pattern):
        try:
            while True:
                self.lines.append(self.socket.recv(65536).decode())
        except BlockingIOError:
            pass
        return next((line for line in self.lines if re.search(pattern, line)), None)


def test_syslog(daemon, server, tmp_path):
    system = LogDaemon(tmp_path / "log.sock")
    shunt = daemon(service([server(named("old")).address]),
                   log={"level": "info", "to": "syslog", "syslog_socket": system.path, "facility": "local3"})
    line = wait_until(lambda: system.has("is ready"), "the log daemon has the line")
    # local3 is 19, info is 6 (RFC 3164, 4.1.1).
    assert re.match(rf"<{19 * 8 + 6}>[A-Z][a-z][a-z] [ 0-9]\d \d\d:\d\d:\d\d shuntd\[{shunt.pid}\]: time=", line), line
    assert "\n" not in line
    system.close()
    shunt.admin("log-level warn")  # into nothing
    assert who(shunt.port()) == "old"
    system.open()

    def is_back():
        shunt.admin("log-level info")
        return system.has("log-level info")
    wait_until(is_back, "lines go to the log daemon that came back", within=10)
    assert wait_until(lambda: system.has("lines were lost") or is_back() and None, "what was lost is told", within=10)
    system.socket.close()


def test_connection_log(daemon, server, tmp_path):
    path = tmp_path / "shunt.log"
    backend = server(echo)
    shunt = daemon(service([backend.address], connection_log="100%"),
                   log={"level": "error", "to": "file", "file": str(path)})
    began = time.monotonic()
    with connect(shunt.port()) as client:
        client.send(b"hello\n")
        assert client.receive(6) == b"hello\n"
        address = client.sock.getsockname()
    line = wait_until(lambda: next((one for one in lines_of(path) if "msg=connection" in one), None), "it has its line")
    seen = fields(line)
    assert seen["service"] == "web" and seen["client"] == f"{address[0]}:{address[1]}"
    assert seen["group"] == "old" and seen["backend"] == backend.address and seen["reason"] == "client-closed"
    assert seen["bytes_in"] == seen["bytes_out"] == "6"
    assert 0 <= float(seen["connect_s"]) <= float(seen["first_byte_s"]) <= float(seen["duration_s"])
    assert float(seen["duration_s"]) <= time.monotonic() - began


def test_connection_log_is_a_sample(daemon, server, tmp_path):
    path = tmp_path / "shunt.log"
    shunt = daemon(service([server(named("old")).address], connection_log="25%"),
                   log={"to": "file", "file": str(path), "format": "json", "level": "info"})
    for _ in range(400):
        ask(shunt.port())
    shunt.admin("log-level warn")
    wait_until(lambda: any("log-level warn" in line for line in lines_of(path)), "the log is written up to here")
    logged = [json.loads(line) for line in lines_of(path) if '"msg":"connection"' in line]
    assert 60 <= len(logged) <= 140, "a quarter of 400, within 4.6 standard deviations"
    assert all(one["reason"] in ("backend-closed", "client-closed") for one in logged)


@pytest.mark.parametrize("how", ["fifo", "full"])
def test_a_log_that_is_stuck_blocks_nothing(daemon, server, tmp_path, how):
    """A FIFO that nobody reads, a disk that is full: traffic goes on, and the count of what was lost is told."""
    path = tmp_path / "shunt.log"
    reader = None
    if how == "fifo":
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    else:
        path.symlink_to("/dev/full")
    shunt = daemon(service([server(named("old")).address], connection_log="100%"),
                   log={"to": "file", "file": str(path), "level": "debug"})
    for _ in range(900):
        assert who(shunt.port()) == "old"
    wait_until(lambda: int(re.search(r"^shunt_log_lines_dropped_total (\d+)$", shunt.admin("show metrics"),
                                     re.MULTILINE)[1]) > 0, "lines were lost, and counted")
    if reader is not None:
        os.close(reader)
