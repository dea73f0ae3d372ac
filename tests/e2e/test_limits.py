"""Running out of descriptors costs those who come too late, for as long as it lasts; nothing spins."""
import os
import resource
import socket
import subprocess

from shunt.clients import ask, connect
from shunt.config import service, write
from shunt.daemon import program
from shunt.peers import named
from shunt.process import cpu_s, descriptors, die_with_parent
from shunt.waiting import SLOW, scaled, stays, wait_until


def set_files(pid, soft):
    """The limit of a live process, as prlimit does."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def assert_calm(shunt, seconds=2):
    """Below 5 % of a core for a while."""
    before = cpu_s(shunt.pid)
    stays(lambda: cpu_s(shunt.pid) - before < 0.05 * seconds * SLOW, seconds, "below 5 % of a core")


def test_accepting_pauses_at_the_end_of_descriptors_and_goes_on(daemon, server):
    shunt = daemon(service([server(named("a")).address]))
    port = shunt.port()
    kept = connect(port)
    kept.send(b"x\n")
    assert kept.receive_line() == b"a x\n"
    admin = shunt.admin_connect()
    set_files(shunt.pid, descriptors(shunt.pid))
    waiting = [connect(port) for _ in range(10)]
    for one in waiting:
        one.send(b"y\n")
    assert_calm(shunt)
    kept.send(b"x\n")
    assert kept.receive_line() == b"a x\n", "who is served already goes on"
    admin.sendall(b"status\n")
    assert b"web" in admin.recv(65536)
    admin.close()
    set_files(shunt.pid, 4096)
    served = 0
    for one in waiting:
        one.sock.settimeout(scaled(3))
        try:
            served += one.receive_line() == b"a y\n"
        except ConnectionResetError:
            pass  # it was turned away instead of made to wait
        one.close()
    assert served > 0
    wait_until(lambda: ask(port) == b"a who\n", "new connections are served", within=1)
    kept.close()


def test_more_clients_than_descriptors(daemon, server):
    shunt = daemon(service([server(named("a")).address]), files=128, workers=1)
    port = shunt.port()
    clients = []
    for _ in range(150):
        client = connect(port)
        client.sock.settimeout(scaled(1))
        try:
            client.send(b"x\n")
        except OSError:
            pass
        clients.append(client)
    served = 0
    for client in clients[:20]:
        served += client.receive_line() == b"a x\n"
    assert served == 20, "the first ones are served"
    assert_calm(shunt)
    assert shunt.service()["connections"]["open"] < 60
    for client in clients:
        client.close()
    wait_until(lambda: ask(port) == b"a who\n", "new connections are served", within=1)


def test_the_limit_that_was_raised_is_used(daemon, server):
    """The soft limit is raised to the hard one at start."""
    shunt = daemon(service([server(named("a")).address]))
    soft, hard = resource.prlimit(shunt.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def test_closed_standard_descriptors_are_not_taken_by_others(tmp_path, server):
    """A line for standard error must never reach a socket or the journal that happens to have its number."""
    conf = tmp_path / "shunt.conf"
    admin = tmp_path / "admin.sock"
    conf.write_text(write({"state_dir": str(tmp_path / "state"), "admin": {"socket": str(admin)},
                           "services": [service([server(named("a")).address])]}))
    with subprocess.Popen(["sh", "-c", 'exec "$0" -c "$1" <&- >&- 2>&-', program("shuntd"), conf],
                          preexec_fn=die_with_parent) as shuntd:
        try:
            wait_until(admin.exists, "it runs")
            assert [os.readlink(f"/proc/{shuntd.pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
        finally:
            shuntd.terminate()
        assert shuntd.wait(scaled(15)) == 0


def test_backends_without_end(daemon, server):
    """A thousand backends in one group; each has its turn."""
    backend = server(named("a"), family=socket.AF_INET)
    port = backend.address.split(":")[1]
    # All of 127/8 is loopback, but only one address listens: the others refuse and are passed over.
    addresses = [f"127.0.{i // 250}.{1 + i % 250}:{port}" for i in range(1000)]
    shunt = daemon(service(addresses, retries=3, group_settings={"balance": "least-connections"}))
    assert len(shunt.group("old")["backends"]) == 1000
