"""Another program takes the place of the running one: sockets, journal and counters go over, clients notice nothing."""
import os
import pathlib
import pwd
import signal
import socket

import pytest
from shunt.clients import connect, who
from shunt.config import service, steps
from shunt.folders import open_folder
from shunt.knocker import Knocker
from shunt.namespaces import Namespace
from shunt.peers import echo, named
from shunt.process import adopt_orphans, all_children
from shunt.waiting import scaled, stays, wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

UPGRADES = int(os.environ.get("SHUNT_UPGRADES", "10"))
CHECKED = {"health": {"type": "tcp", "interval": "200ms"}}
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(name="shunt")
def fixture_shunt(daemon, server):
    one = daemon(service([server(named("a")).address, server(named("b")).address], [server(named("n")).address],
                         group_settings=CHECKED, migration=steps(("25%", "1h"), ("100%", "1h"), drain="1h")),
                 metrics={"listen": "127.0.0.1:0"})
    wait_until(lambda: all(one.service()["groups"][g]["usable"] for g in (0, 1)), "all are checked")
    return one


def scrape(shunt):
    """The metrics over their own socket."""
    port = int(next(line for line in shunt.log().splitlines() if "metrics are served" in line).split("address=127.0.0.1:")[1])
    with connect(port) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        return client.receive_all().decode()


def test_an_open_connection_goes_on(shunt):
    before, address = shunt.pid, shunt.address()
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        stayed = client.receive_line()
        text = shunt.upgrade()
        assert f"pid {before}" in text and f"pid {shunt.pid}" in text and "1 open connection goes on" in text
        assert shunt.address() == address
        assert {who(shunt.port()) for _ in range(4)} == {"a", "b"}
        client.send(b"who\n")
        assert client.receive_line() == stayed
        assert shunt.service()["connections"]["open"] >= 1, "what is open in the former program counts"
        assert "shunt_connections_open" in scrape(shunt)
    shunt.wait_formers()
    wait_until(shunt.settled, f"the counters add up: {shunt.service()['connections']}")


def test_operators_that_wait_and_watch_go_on(shunt):
    shunt.ctl("start", "web").ok()
    waiting, watching = shunt.ctl_begin("wait", "web", "60s"), shunt.ctl_begin("watch", "web")
    assert "ramping" in watching.stdout.readline()
    shunt.upgrade()
    assert "ramping" in watching.stdout.readline(), "it begins again with where things stand"
    assert waiting.poll() is None
    shunt.ctl("abort", "web").ok()
    assert waiting.wait(scaled(10)) == 3
    while "rolled back" not in (line := watching.stdout.readline()):
        assert line, "the stream goes on"
    watching.terminate()
    watching.wait(scaled(10))
    for one in (waiting, watching):
        one.stdout.close()
        one.stderr.close()
    shunt.wait_formers()


def test_what_was_set_by_hand_and_counted_goes_on(shunt):
    backends = shunt.service()["groups"][0]["backends"]
    shunt.ctl("weight", f"web/old/{backends[0]['name']}", 7).ok()
    shunt.ctl("backend", f"web/old/{backends[1]['name']}", "drain").ok()
    shunt.ctl("log-level", "warn").ok()
    for _ in range(20):
        who(shunt.port())
    wait_until(shunt.settled, "all are counted")
    counted = shunt.service()
    for _ in range(3):
        shunt.upgrade("reason", "CHG-1")
        shunt.wait_formers()
        now = shunt.service()
        assert now["connections"] == counted["connections"]
        for old, new in zip(counted["groups"][0]["backends"], now["groups"][0]["backends"]):
            assert {**old, "check": None} == {**new, "check": None}
    assert shunt.admin("log-level info") == "log level is info (before: warn)\n"
    assert "CHG-1" in shunt.admin("events")
    name = wait_until(lambda: shunt.backend("old")["check"] and shunt.backend("old")["name"], "checks are shown again")
    assert "passed" in shunt.ctl("check", f"web/old/{name}").ok()


def test_a_migration_goes_on_where_it_was(shunt):
    shunt.ctl("start", "web").ok()
    wait_until(lambda: shunt.status()["services"][0]["eta_s"] < 7199, "some of the hold is served")
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        client.receive_line()
        served = 3600 - (shunt.service()["eta_s"] - 3600)
        shunt.upgrade()
        one = shunt.service()
        assert (one["phase"], one["share_bp"], one["step"]) == ("ramping", 2500, 1)
        assert 3600 - (one["eta_s"] - 3600) >= served, "the part of the hold that was served counts"
        shunt.ctl("skip", "web").ok()
        assert shunt.service()["share_bp"] == 10000
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")


def test_the_exact_count_goes_on(shunt):
    shunt.ctl("start", "web").ok()
    names = []
    for _ in range(5):
        names += [who(shunt.port()) for _ in range(7)]
        shunt.upgrade()
    assert names.count("n") in (len(names) // 4, len(names) // 4 + 1), names
    shunt.ctl("abort", "web").ok()


def test_a_drain_waits_for_the_former_program(shunt):
    """Twice over: the connection is in the program before the last."""
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        client.receive_line()
        shunt.upgrade()
        shunt.upgrade()
        for words in (("start",), ("skip",), ("skip",)):
            shunt.ctl(words[0], "web").ok()
        assert shunt.phase() == "draining"
        stays(lambda: shunt.phase() == "draining" and shunt.group("old")["backends"], 0.6, "the drain waits")
        assert sum(one["open"] for one in shunt.group("old")["backends"]) == 1
        client.send(b"who\n")
        assert client.receive_line()
    shunt.wait_phase("completed")
    shunt.wait_formers()


def test_a_drain_closes_in_the_former_program(daemon, server):
    shunt = daemon(service([server(named("a")).address], [server(named("n")).address],
                           migration=steps(("100%", "1h"), drain="500ms")))
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        client.receive_line()
        shunt.upgrade()
        shunt.ctl("start", "web").ok()
        shunt.ctl("skip", "web").ok()
        shunt.wait_phase("completed")
        assert client.receive_all() == b"", "closed in order"
    shunt.wait_formers()
    wait_until(lambda: shunt.service()["connections"]["closed"]["drained"] == 1, "counted by its reason")


def test_former_programs_are_shown_with_what_they_have_open(shunt):
    with connect(shunt.port()) as first, connect(shunt.port()) as second:
        for client in (first, second):
            client.send(b"who\n")
            client.receive_line()
        oldest = shunt.pid
        shunt.upgrade()
        with connect(shunt.port()) as third:
            third.send(b"who\n")
            third.receive_line()
            middle = shunt.pid
            shunt.upgrade()
            wanted = [{"pid": oldest, "open": 2}, {"pid": middle, "open": 1}]
            wait_until(lambda: shunt.status()["formers"] == wanted, f"all are told: {shunt.status()['formers']}")
            assert f"pid {oldest}: 2 open, pid {middle}: 1 open" in shunt.admin("status")
        wait_until(lambda: shunt.status()["formers"] == wanted[:1], "who has nothing open is gone")
    wait_until(lambda: shunt.status()["formers"] == [], "the last one as well")
    assert "before it" not in shunt.admin("status")
    shunt.wait_formers()


def test_connections_of_a_service_that_was_taken_away_are_shown_too(shunt, server):
    """The program that is left for them alone says why it stays."""
    other = service([server(named("o")).address], name="other")
    shunt.settings = {**shunt.settings, "services": [shunt.settings["services"][0], other]}
    shunt.write()
    shunt.ctl("reload").ok()
    with connect(shunt.port(service="other")) as client:
        client.send(b"who\n")
        assert client.receive_line().startswith(b"o")
        shunt.settings = {**shunt.settings, "services": [shunt.settings["services"][0]]}
        shunt.write()
        shunt.ctl("reload").ok()
        before = shunt.pid
        shunt.upgrade()
        wait_until(lambda: shunt.status()["formers"] == [{"pid": before, "open": 1}], f"{shunt.status()['formers']}")
        client.send(b"who\n")
        assert client.receive_line().startswith(b"o")
    shunt.wait_formers()


def test_a_stop_reaches_the_former_program(daemon, server):
    shunt = daemon(service([server(named("a")).address]), shutdown_timeout="300ms")
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        client.receive_line()
        shunt.upgrade()
        former = shunt.formers[0]
        shunt.stop(check=False)
        assert former.wait(10) == 0
        assert client.receive_all() == b""


def test_a_signal_to_the_former_program_is_for_that_one(daemon, server):
    shunt = daemon(service([server(named("a")).address]))
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        client.receive_line()
        shunt.upgrade()
        shunt.formers[0].terminate()
        shunt.wait_formers()
        assert who(shunt.port()) == "a"


def test_the_former_program_has_a_timeout(daemon, server):
    shunt = daemon(service([server(named("a")).address]), upgrade={"drain_timeout": "200ms"})
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        client.receive_line()
        shunt.upgrade()
        assert client.receive_all() == b""
    shunt.wait_formers()


def test_signal(shunt):
    adopt_orphans()
    shunt.popen.send_signal(signal.SIGUSR2)
    shunt.follow()
    shunt.popen.send_signal(signal.SIGUSR2)  # while the last one settles: it is not lost
    shunt.follow()
    shunt.wait_formers()
    events = shunt.admin("events")
    assert events.count("took over from shuntd") == 2 and "is ready" in events, "what was before is there too"


def test_workers_and_addresses_change(shunt, server):
    """Fewer workers take several sockets each, more share those that there are; what is new in the file is there."""
    other = service([server(echo).address], name="other")
    for workers in (1, 3, 2):
        shunt.settings = {**shunt.settings, "workers": workers, "services": [shunt.settings["services"][0], other]}
        shunt.write()
        address = shunt.address()
        shunt.upgrade()
        shunt.wait_formers()
        assert shunt.status()["workers"] == workers and shunt.address() == address
        assert {who(shunt.port()) for _ in range(12)} == {"a", "b"}
        with connect(shunt.port(service="other")) as client:
            client.send(b"x\n")
            assert client.receive_line() == b"x\n"
    shunt.settings = {**shunt.settings, "services": [shunt.settings["services"][0]]}
    port = shunt.port(service="other")
    shunt.write()
    shunt.upgrade()
    shunt.wait_formers()
    with pytest.raises(ConnectionRefusedError):
        connect(port)


def test_unix_paths_stay(daemon, server, tmp_path):
    front, more = tmp_path / "front.sock", tmp_path / "more.sock"
    shunt = daemon(service([server(named("a")).address], listen=[f"unix:{front}"]),
                   admin={"socket": str(tmp_path / "shunt0" / "admin.sock"), "sockets": [{"socket": str(more), "most": "viewer"}]})
    inode = front.stat().st_ino
    for _ in range(2):
        shunt.upgrade()
        shunt.wait_formers()
        assert front.stat().st_ino == inode and who(f"unix:{front}") == "a"
        with socket.socket(socket.AF_UNIX) as viewer:
            viewer.connect(str(more))
            viewer.sendall(b"show version\n")
            assert f"pid {shunt.pid}" in viewer.recv(1000).decode()
    shunt.stop()
    assert not front.exists() and not more.exists()


@NEEDS_ROOT
def test_as_another_user(daemon, server, reachable):
    """What the first start could as root, the next one can too, and gives it away as well."""
    shunt = daemon(service([server(named("a")).address], [server(named("n")).address], migration=steps(("50%", "1h"), ("100%", "1h"))),
                   user="nobody")
    user = str(pwd.getpwnam("nobody").pw_uid)
    shunt.ctl("start", "web").ok()
    for _ in range(2):
        shunt.upgrade()
        shunt.wait_formers()
        status = pathlib.Path(f"/proc/{shunt.pid}/status").read_text()
        assert f"Uid:\t{user}\t{user}\t{user}\t{user}" in status and "NoNewPrivs:\t1" in status
        assert shunt.phase() == "ramping"
    assert [pathlib.Path(f"/proc/{one}/comm").read_text().strip() for one in all_children(shunt.pid)] == ["shunt-starter"]
    shunt.ctl("abort", "web").ok()


class Manager:
    """A service manager's socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.told = []

    def hears(self, *lines):
        while True:
            try:
                self.told.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                break
        return any(all(line in one.splitlines() for line in lines) for one in self.told)

    def stop(self):
        self.socket.close()


def test_the_service_manager_is_told(daemon, server, started, tmp_path):
    manager = Manager(tmp_path / "notify.sock")
    started.backends.append(manager)
    shunt = daemon(service([server(named("a")).address]),
                   environment={"NOTIFY_SOCKET": str(tmp_path / "notify.sock"), "WATCHDOG_USEC": "400000"})
    wait_until(lambda: manager.hears("READY=1"), "it is ready")
    manager.told.clear()
    shunt.upgrade()
    wait_until(lambda: manager.hears(f"MAINPID={shunt.pid}", "READY=1"), f"which one is the main process: {manager.told}")
    assert any(one.startswith("RELOADING=1") for one in manager.told)
    shunt.wait_formers()
    manager.told.clear()
    wait_until(lambda: manager.hears("WATCHDOG=1"), "the new one keeps the watchdog quiet")
    assert not manager.hears("STOPPING=1"), "the service does not stop"


def under_new_connections(shunt, knockers, change, turns):
    """What came of the connections that others made while `change` was done so many times."""
    for turn in range(turns):
        change(turn)
    counts = {}
    for knocker in knockers:
        for what, n in knocker.stop().items():
            counts[what] = counts.get(what, 0) + n
    shunt.wait_formers(60)
    bad = {what: n for what, n in counts.items() if what != "served"}
    print(f"\n{turns} times: {counts.get('served', 0)} connections served byte for byte, "
          f"{', '.join(f'{n} {what}' for what, n in bad.items()) or 'none refused, reset or corrupt'}")
    assert not bad and counts["served"] > turns, counts


def test_under_new_connections(daemon, server, started, tmp_path):
    shunt = daemon(service([server(echo).address], listen=["127.0.0.1:0", f"unix:{tmp_path}/front.sock"]))
    knockers = [Knocker(shunt.address(0)), Knocker(shunt.address(1))]
    started.clients.extend(knockers)
    under_new_connections(shunt, knockers, lambda turn: shunt.upgrade(), UPGRADES)


@NEEDS_ROOT
@pytest.mark.parametrize("what", ["upgrade", "reload"])
def test_under_new_connections_without_tcp_migrate_req(daemon, server, started, what):
    """Where the kernel does not move what waits in the queue of a socket that is closed."""
    place = Namespace("plain")
    started.backends.insert(0, place)
    with place.inside():
        setting = pathlib.Path("/proc/sys/net/ipv4/tcp_migrate_req")
        if not setting.exists():
            pytest.skip("this kernel knows no tcp_migrate_req")
        setting.write_text("0")
        backend, other = server(echo), server(echo)
    shunt = daemon(service([backend.address]), namespace=place)
    first = {**shunt.settings["services"][0], "listen": [shunt.address()]}
    knocker = Knocker(shunt.address(), namespace=place)
    started.clients.append(knocker)

    def reload(turn):
        groups = first["groups"] if turn % 2 else [{**first["groups"][0], "backends": [{"address": other.address}]}]
        shunt.settings = {**shunt.settings, "services": [{**first, "groups": groups}]}
        shunt.write()
        shunt.ctl("reload").ok()

    change = reload if what == "reload" else lambda turn: shunt.upgrade()
    under_new_connections(shunt, [knocker], change, UPGRADES if what == "upgrade" else 10 * UPGRADES)


def test_descriptors_and_processes_do_not_grow(shunt):
    held = []
    for _ in range(6):
        shunt.upgrade()
        shunt.wait_formers()
        held.append(shunt.descriptors_held())
    assert max(held[1:]) - min(held[1:]) <= 2, f"a check may be under way, no more: {held}"


def test_ipv6(daemon, server):
    shunt = daemon(service([server(named("a")).address], listen=["[::1]:0"]))
    for _ in range(2):
        shunt.upgrade()
        shunt.wait_formers()
        assert who(shunt.address()) == "a"
