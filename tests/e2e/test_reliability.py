"""Faults that other programs of this kind had and that no other file has its test for: clocks that jump, configurations
that are checked or read again under load, a kill in the middle of that, weights at their ends, bulk at the limit of
connections. docs/reliability.md has the whole list."""
import os
import pathlib
import re
import resource
import select
import signal
import subprocess
import threading
import time

import pytest
from shunt.clients import ask, connect, who
from shunt.config import service, steps
from shunt.daemon import SANITIZED, program
from shunt.faults import Faults
from shunt.peers import named
from shunt.process import children, cpu_s, descriptors, memory_bytes, wakeups
from shunt.waiting import SLOW, scaled, stays, wait_until

MIB = 1 << 20
NOT_PRELOADED = pytest.mark.skipif(SANITIZED, reason="a sanitizer owns the allocator, nothing can be preloaded")
QUIET_S = int(os.environ.get("SHUNT_QUIET_S", "6"))


class Asking:
    """Threads that ask who serves them, each time on a new connection, until stop: how many were served, what went wrong."""

    def __init__(self, port, names, threads=3):
        self.port, self.names = port, names
        self.enough, self.served, self.wrong = threading.Event(), [0] * threads, []
        self.threads = [threading.Thread(target=self.run, args=(at,)) for at in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, at):
        while not self.enough.is_set():
            try:
                name = who(self.port)
                if name not in self.names:
                    self.wrong.append(name)
                self.served[at] += 1
            except (OSError, AssertionError) as failure:
                self.wrong.append(repr(failure))

    def stop(self):
        self.enough.set()
        for thread in self.threads:
            thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def fixed(shunt, **changes):
    """Writes the file with the ports that the first start was given."""
    one = {**shunt.settings["services"][0], "listen": [shunt.address()], **changes}
    shunt.settings = {**shunt.settings, "services": [one]}
    shunt.write()


# Row 5.

def test_a_half_closed_session_sleeps(daemon, server):
    """SHUNT_QUIET_S=60 is the promise: at most 10 wakeups of the workers in that time."""
    got_end = threading.Event()

    def script(peer):
        assert peer.ended()
        got_end.set()
        peer.stall()

    shunt = daemon(service([server(script).address], timeouts={"half_close": "10m"}))
    with connect(shunt.port()) as client:
        client.shut()
        assert got_end.wait(scaled(10))
        before = wakeups_of_workers(shunt)
        stays(lambda: wakeups_of_workers(shunt) - before <= 10, QUIET_S, "10 wakeups of the workers")
        client.reset()
    wait_until(shunt.settled, "the abort of a half-closed client is noticed")


def kernel_number(path, name):
    return int(re.search(rf"^{name}:\s+(\d+)", pathlib.Path(path).read_text(encoding="ascii"), re.MULTILINE)[1])


def wakeups_of_workers(shunt):
    """Without the control thread, which keeps the history second by second."""
    return wakeups(shunt.pid) - kernel_number(f"/proc/{shunt.pid}/task/{shunt.pid}/status", "voluntary_ctxt_switches")


# Row 13.

def test_bulk_at_the_limit_of_connections(daemon, load_server, load_client):
    """So many transfers at once that the pipes are not enough for them: the others are copied, all are whole."""
    shunt = daemon(service([load_server("source").address]), files=160, workers=1, log={"level": "info"})
    limits = shunt.status()["limits"]
    # 160 descriptors: 56 kept back, 8 for 4 pipes, 2 for each of 48 connections
    assert limits["descriptors"] == 160 and limits["pipes"] == 4 and limits["connections"] == 48, limits
    assert limits["memory_bytes"] > 48 * 128 * 1024 and shunt.says("at most 48 connections in 6 MiB")
    most = limits["connections"]
    client = load_client("download", shunt.port(), "--connections", most, "--bytes", most * 4 * MIB, "--now", deadline=120)
    report = client.report()
    assert report["errors"] == 0 and report["operations"] == most, report
    spliced = int(re.search(r"^shunt_service_spliced_bytes_total\S* (\d+)", shunt.admin("show metrics"), re.MULTILINE)[1])
    assert 0 < spliced < most * 4 * MIB, "some went through pipes, some were copied"


def test_connections_beyond_the_limit_wait(daemon, server):
    """As many are served as the limit says, the next one once there is room; memory stays below what is told."""
    shunt = daemon(service([server(named("a")).address]), files=100, workers=1, log={"level": "info"})
    most, port = shunt.status()["limits"]["connections"], shunt.port()
    clients = [connect(port) for _ in range(most + 5)]
    for client in clients:
        client.send(b"x\n")
    for client in clients[:most]:
        assert client.receive_line() == b"a x\n"
    assert shunt.service()["connections"]["open"] == most
    assert shunt.service()["connections"]["closed"].get("no-backend", 0) == 0
    for client in clients[:5]:
        client.close()
    for client in clients[most:]:
        assert client.receive_line() == b"a x\n", "it has waited and is served"
        client.close()
    for client in clients[5:most]:
        client.close()


@NOT_PRELOADED
def test_memory_stays_below_the_bound(daemon, server):
    """Every connection stuffed on both sides: what the process has grown by is within what status tells."""
    def pour(peer):
        peer.send(bytes(32 * MIB))

    backend = server(pour)
    shunt = daemon(service([backend.address]), files=160, workers=1, log={"level": "info"})
    limits, port = shunt.status()["limits"], shunt.port()
    before = memory_bytes(shunt.pid)
    clients = [connect(port, receive_buffer=4096) for _ in range(limits["connections"])]
    for client in clients:
        client.sock.settimeout(0.02)
    wait_until(lambda: shunt.service()["connections"]["open"] == limits["connections"], "all are open")
    for _ in range(5):
        for client in clients:
            try:
                client.sock.send(bytes(MIB))
            except OSError:
                pass  # full: what is wanted
        assert memory_bytes(shunt.pid) - before < limits["memory_bytes"], limits
    backend.stop()  # it reads nothing, so what clients have sent could only be given up at the idle timeout
    for client in clients:
        client.close()


# Row 16.

def test_weights_from_one_to_the_most_and_back_under_load(daemon, server, refuser):
    """With a dead server among them: no one is lost, and nothing spins afterwards."""
    shunt = daemon(service([server(named("a")).address, server(named("b")).address, refuser().address],
                           group_settings={"balance": "weighted"}))
    port = shunt.port()
    backends = [one["name"] for one in shunt.group("old")["backends"]]
    with Asking(port, ("a", "b")) as asking:
        for weight in (1, 65535, 0, 65535, 1) * 3:
            for name in backends[:1] + backends[2:]:
                shunt.ctl("weight", f"web/old/{name}", weight).ok()
            assert who(port) in ("a", "b")
    assert not asking.wrong, asking.wrong[:5]
    assert min(asking.served) > 0
    wait_until(shunt.settled, "all are closed")
    before = cpu_s(shunt.pid)
    stays(lambda: cpu_s(shunt.pid) - before < 0.05 * SLOW, 1, "below 5 % of a core")


# Row 28.

@NOT_PRELOADED
def test_the_wall_clock_jumps(daemon, server, tmp_path):
    """An hour forth and back all the time: holds, checks and timeouts go by the other clock."""
    faults = Faults(tmp_path)
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], timeouts={"idle": "20s"},
                           group_settings={"health": {"type": "tcp", "interval": "100ms"}},
                           migration=steps(("25%", "700ms"), ("50%", "700ms"), ("100%", "700ms"))),
                   environment=faults.environment)
    wait_until(lambda: all(shunt.service()["groups"][g]["usable"] for g in (0, 1)), "all are checked")
    with connect(shunt.port()) as kept:
        kept.send(b"x\n")
        assert kept.receive_line() == b"old x\n"
        began = time.monotonic()
        shunt.ctl("start", "web").ok()
        for turn in range(10_000):
            faults.set_ahead("wall", (3600, -3600, 0)[turn % 3])
            if shunt.phase() not in ("ramping", "rolling-back"):
                break
            assert who(shunt.port()) in ("old", "new")
        assert shunt.phase() in ("draining", "completed")
        assert 2.0 < time.monotonic() - began < scaled(12), "as long as the holds, no less and not an hour"
        kept.send(b"y\n")
        assert kept.receive_line() == b"old y\n", "it was not idle for an hour"
        assert shunt.service()["groups"][1]["usable"] == 1
    shunt.wait_phase("completed")
    assert shunt.admin("events web").count("completed") >= 1


@NOT_PRELOADED
@pytest.mark.parametrize("edge", [2**31 / 1e3, 2**32 / 1e3, 2**31, 2**32], ids=["2^31 ms", "2^32 ms", "2^31 s", "2^32 s"])
def test_the_clock_passes_the_edge_of_a_number(daemon, server, tmp_path, edge):
    """A machine that has been up for that long: everything that takes time takes the time it should."""
    faults = Faults(tmp_path)
    faults.set_ahead("monotonic", edge - time.monotonic() - 1.5)
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], timeouts={"idle": "2s"},
                           group_settings={"health": {"type": "tcp", "interval": "100ms"}},
                           limits={"rate": "1000/s"}, migration=steps(("50%", "500ms"), ("100%", "500ms"))),
                   environment=faults.environment)
    began = time.monotonic()
    idle = connect(shunt.port())
    wait_until(lambda: all(shunt.service()["groups"][g]["usable"] for g in (0, 1)), "all are checked")
    shunt.ctl("start", "web").ok()
    while time.monotonic() - began < 1.6:
        assert who(shunt.port()) in ("old", "new")
    shunt.wait_phase("completed")
    assert idle.ended() and 1.5 < time.monotonic() - began < scaled(4), "idle for 2 s, no more and no less"
    idle.close()
    assert who(shunt.port()) == "new"


# Row 30.

def test_checking_a_configuration_takes_nothing(daemon, server, tmp_path):
    """`shuntd -t` of the very file that runs, addresses, Unix path, journal and all: nobody is disturbed."""
    path = f"unix:{tmp_path}/web.sock"
    shunt = daemon(service([server(named("a")).address], listen=("127.0.0.1:0", path)), metrics={"listen": "127.0.0.1:0"})
    fixed(shunt, listen=[shunt.address(), path])
    with Asking(shunt.port(), ("a",)) as asking, Asking(path, ("a",), threads=1) as over_path:
        for _ in range(20):
            done = subprocess.run([program("shuntd"), "-t", "-c", shunt.path], capture_output=True, text=True, check=False,
                                  timeout=scaled(20))
            assert done.returncode == 0, done.stderr
    assert not asking.wrong and not over_path.wrong, (asking.wrong + over_path.wrong)[:5]
    assert sum(asking.served) > 20 and sum(over_path.served) > 0


# Row 31.

def test_signals_and_descriptors_after_failed_reloads(daemon, server, tmp_path):
    log = tmp_path / "shunt.log"
    shunt = daemon(service([server(named("a")).address]), log={"level": "info", "to": "file", "file": str(log)})
    fixed(shunt)
    good = shunt.path.read_text()

    def seen(mark):
        return log.read_text().count(mark) if log.exists() else 0

    held = threads = None
    for turn in range(12):
        shunt.path.write_text("services = (")
        bad = seen("nothing was changed")
        shunt.popen.send_signal(signal.SIGHUP)
        wait_until(lambda: seen("nothing was changed") > bad, "the bad file is refused")
        shunt.path.write_text(good.replace("services =", f"shutdown_timeout = \"{20 + turn}s\"; services ="))
        before = shunt.admin("show settings")
        shunt.popen.send_signal(signal.SIGHUP)
        wait_until(lambda: shunt.admin("show settings") != before, "the good file after it is in force")
        now = descriptors(shunt.pid), len(os.listdir(f"/proc/{shunt.pid}/task"))
        held = held or now
        assert now[0] <= held[0] + 1 and now[1] == held[1], f"turn {turn}: {now} after {held}"
        assert not children(shunt.pid)
    log.rename(tmp_path / "rotated")
    shunt.popen.send_signal(signal.SIGUSR1)
    wait_until(log.exists, "USR1 opens the log again")
    assert who(shunt.port()) == "a"


# A kill in the middle of a reload.

def test_killed_while_it_reloads(daemon, server):
    """Whenever that is: it comes back with the file as it is, at the last step that was on disk."""
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address],
                           migration=steps(("25%", "1h"), ("100%", "1h"))))
    fixed(shunt)
    shunt.ctl("start", "web").ok()
    for turn in range(8):
        fixed(shunt, retries=turn % 4)
        reload = shunt.ctl_begin("reload")
        time.sleep(0.0008 * turn)  # where in its way it is met: any place will do
        shunt.kill()
        reload.communicate()
        shunt.restart()
        assert shunt.phase() == "ramping" and shunt.service()["share_bp"] == 2500
        assert ask(shunt.port()).split(b" ")[0] in (b"old", b"new")


# A thousand operators.

def test_a_crowd_of_operators_costs_the_traffic_nothing(daemon, load_server, load_client):
    """Round trips while hundreds of admin connections ask and never read."""
    shunt = daemon(service([load_server().address]), log={"level": "info"})
    port, crowd = shunt.port(), []
    quiet = load_client("rt", port, "--connections", 8, "--seconds", 1.5).go().report()
    busy = load_client("rt", port, "--connections", 8, "--seconds", 1.5).go()
    try:
        for _ in range(400):
            one = shunt.admin_connect()
            crowd.append(one)
            one.setblocking(False)
            try:
                one.send(b"status --json\nevents 1000\n" * 50)
            except OSError:
                pass
        report = busy.report()
    finally:
        for one in crowd:
            one.close()
    print(f"\np99 {quiet['p99_us']:.0f} us alone, {report['p99_us']:.0f} us with the crowd")
    assert report["errors"] == 0
    assert report["p99_us"] < quiet["p99_us"] * 2 + 2000 * SLOW  # the same two processors make the crowd's noise
    wait_until(lambda: "web" in shunt.admin("status"), "the admin socket answers")


# Memory that is refused.

def is_over(client):
    """Whether its connection has ended or was reset, without reading what lies in front of that."""
    poller = select.poll()
    poller.register(client.sock, select.POLLRDHUP)
    return poller.poll(0) != []


@NOT_PRELOADED
def test_memory_runs_out_for_all(daemon, server):
    """A limit that is reached while clients do not read: connections are lost, those that need no more go on."""
    def script(peer):
        line = peer.receive_line()
        peer.send(line if line.startswith(b"small") else bytes(16 * MIB))

    shunt = daemon(service([server(named("a")).address], name="small"), service([server(script).address], name="large"),
                   workers=1, files=1000)  # 25 pipes: for most what is not read stands in memory
    port = shunt.port(service="small")
    kept = connect(port)
    kept.send(b"x\n")
    assert kept.receive_line() == b"a x\n"
    now = kernel_number(f"/proc/{shunt.pid}/status", "VmData") * 1024
    resource.prlimit(shunt.pid, resource.RLIMIT_DATA, (now + MIB // 4, resource.RLIM_INFINITY))
    crowd = [connect(shunt.port(service="large"), receive_buffer=4096) for _ in range(120)]
    for client in crowd:
        client.sock.setblocking(False)
        try:
            client.send(b"much\n")
        except OSError:
            pass  # refused for want of memory
    wait_until(lambda: any(is_over(client) for client in crowd), "memory ran out for one of them", within=30)
    kept.send(b"z\n")
    assert kept.receive_line() == b"a z\n", "who is served already goes on"
    resource.prlimit(shunt.pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert "large" in shunt.admin("status")
    for client in crowd:
        client.close()
    assert who(port) == "a"
    kept.close()
