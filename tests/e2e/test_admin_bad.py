"""What is wrong on the admin socket costs that admin connection, and nobody else anything."""
import socket

import pytest
from shunt.clients import connect
from shunt.config import service, steps
from shunt.daemon import read_reply
from shunt.peers import named
from shunt.waiting import scaled, wait_until

PLAN = steps(("50%", "1h"), ("100%", "1h"))


@pytest.fixture(name="web")
def fixture_web(daemon, server):
    return daemon(service([server(named("old")).address], [server(named("new")).address], migration=PLAN))


def undisturbed(shunt, port=None, within=1):
    """A good command answers, and traffic flows."""
    with connect(port or shunt.port()) as client:
        client.send(b"x\n")
        assert client.receive_line() == b"old x\n"
    with shunt.admin_connect() as admin:
        admin.settimeout(scaled(within))
        admin.sendall(b"status\n")
        assert "web" in read_reply(admin)


def ends_or_refuses(admin):
    """The reply of an admin connection that did wrong: an error line, or its end."""
    try:
        data = b""
        while not data.endswith(b"\n\n"):
            part = admin.recv(65536)
            if not part:
                break
            data += part
    except ConnectionResetError:
        return True
    return data == b"" or data.startswith(b"error: ")


def test_one_byte_at_a_time(web):
    with web.admin_connect() as admin:
        for byte in b"status\n":
            admin.sendall(bytes([byte]))
        assert "web" in read_reply(admin)


def test_many_half_commands(web):
    halves = []
    for _ in range(200):
        admin = web.admin_connect()
        try:
            admin.sendall(b"stat")
        except OSError:
            pass  # the daemon may have turned it away
        halves.append(admin)
    try:
        with connect(web.port()) as client:
            client.send(b"x\n")
            assert client.receive_line() == b"old x\n"
    finally:
        for admin in halves:
            admin.close()
    wait_until(lambda: "web" in web.admin("status"), "the admin socket answers")
    undisturbed(web)


def test_a_megabyte_without_an_end(web):
    with web.admin_connect() as admin:
        try:
            admin.sendall(b"a" * (1 << 20))
            admin.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        assert ends_or_refuses(admin)
    undisturbed(web)


@pytest.mark.parametrize("line", [b"sta\0tus\n", b"\0\n", b"\xff\xfe\n", b"frobnicate\n", b'status "unclosed\n',
                                  b"status --json --json extra words that nobody knows\n", b"start\n",
                                  b"share web 1e3%\n", b"share web 100.001%\n", b"weight web/old/x 99999999999999999999\n",
                                  b"wait web never\n", b"events web -1\n", b"status \x1b[2J\n"])
def test_lines_that_mean_nothing_are_refused(web, line):
    before = web.service()
    with web.admin_connect() as admin:
        admin.sendall(line)
        assert ends_or_refuses(admin)
    after = web.service()
    assert (after["phase"], after["share_bp"]) == (before["phase"], before["share_bp"])
    undisturbed(web)


def test_empty_lines_are_harmless(web):
    with web.admin_connect() as admin:
        admin.sendall(b"\n\n   \n\r\nstatus\n")
        data = b""
        while b"web" not in data:
            part = admin.recv(65536)
            assert part, data
            data += part
    undisturbed(web)


def test_many_commands_at_once(web):
    with web.admin_connect() as admin:
        admin.sendall(b"status\n" * 100)
        data = b""
        while data.count(b"\n\n") < 100:
            part = admin.recv(65536)
            assert part, f"{data.count(b'web ')} replies"
            data += part
    undisturbed(web)


def test_a_client_that_never_reads(web):
    with web.admin_connect() as admin:
        admin.setblocking(False)
        sent = 0
        try:
            while sent < (4 << 20):
                sent += admin.send(b"status --json\n" * 100)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        undisturbed(web)
    undisturbed(web)


def test_a_thousand_clients_that_never_read(web):
    """More than there are places, each with hundreds of commands that it has sent at once."""
    port, crowd = web.port(), []
    try:
        for _ in range(1000):
            one = web.admin_connect()
            crowd.append(one)
            one.setblocking(False)
            try:
                one.send(b"status --json\nevents 1000\n" * 400)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                pass
        undisturbed(web, port, within=3)
    finally:
        for one in crowd:
            one.close()


@pytest.mark.parametrize("command", ["wait web 1h", "watch web", "watch --json"])
def test_a_client_that_vanishes_while_it_follows(web, command):
    before = web.descriptors_held()
    web.ctl("start", "web").ok()
    for _ in range(20):
        with web.admin_connect() as admin:
            admin.sendall(f"{command}\n".encode())
    dead = [web.ctl_begin(*command.split()) for _ in range(5)]
    wait_until(lambda: web.descriptors_held() > before, "some follow")
    for one in dead:
        one.kill()
        one.wait()
    assert web.phase() == "ramping", "whoever only looks changes nothing by leaving"
    wait_until(lambda: web.descriptors_held() <= before, "their descriptors are back")
    web.ctl("abort", "web").ok()


def test_control_bytes_do_not_reach_the_log(web):
    with web.admin_connect() as admin:
        admin.sendall(b'share web 10% reason "forged\x1b[31m\rlevel=error msg=forged"\n')
        read_reply(admin)
    web.ctl("weight", "web/old/" + web.backend("old")["name"], "7").ok()
    log = web.says("command=weight")  # what comes behind it in the log is there, so what came before is
    assert "\x1b" not in log and "\rlevel" not in log
