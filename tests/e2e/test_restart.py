"""kill -9 in every phase of a migration: the daemon comes back at the last durable step, never ahead of it."""
import socket
import subprocess
import zlib

import pytest
from shunt.clients import connect, who
from shunt.config import group, service, steps
from shunt.daemon import program
from shunt.peers import named
from shunt.waiting import stays, wait_until

HOLD = steps(("25%", "1h"), ("50%", "1h"), ("100%", "1h"), drain="1h")
MANUAL = steps(("100%", "100ms"), drain="1s", commit="manual")
QUICK = steps(("100%", "100ms"), drain="1s")


def start(shunt):
    shunt.ctl("start", "web", "reason", "CHG-7").ok()


def to_ramping(shunt):
    start(shunt)
    shunt.ctl("skip", "web").ok()


def to_paused(shunt):
    start(shunt)
    shunt.ctl("pause", "web").ok()


def to_share_by_hand(shunt):
    shunt.ctl("share", "web", "33%").ok()


def to_draining(shunt):
    start(shunt)
    for _ in range(3):
        shunt.ctl("skip", "web").ok()


def to_rolled_back(shunt):
    start(shunt)
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")


# name, plan, how to get there, keep a connection open on this side meanwhile, the phase before, the phases allowed after
CASES = [
    ("idle", HOLD, lambda shunt: None, None, "idle", {"idle"}),
    ("ramping", HOLD, to_ramping, None, "ramping", {"ramping"}),
    ("paused", HOLD, to_paused, None, "paused", {"paused"}),
    ("share by hand", HOLD, to_share_by_hand, None, "paused", {"paused"}),
    # The connections of the killed process are gone, so a drain finds nothing left and may end at once.
    ("draining", HOLD, to_draining, "old", "draining", {"draining", "completed"}),
    ("awaiting-commit", MANUAL, start, None, "awaiting-commit", {"awaiting-commit"}),
    ("completed", QUICK, start, None, "completed", {"completed"}),
    ("rolled-back", HOLD, to_rolled_back, None, "rolled-back", {"rolled-back"}),
]
KEPT = ("active", "target", "share_bp", "step", "migration")


def line(when, one):
    return f"{when:8} {one['phase']:16} active={one['active']:4} share={one['share_bp'] / 100:g}% step={one['step']}"


@pytest.mark.parametrize("name,plan,go,hold,before,after", CASES, ids=[case[0] for case in CASES])
def test_kill_and_come_back(daemon, server, name, plan, go, hold, before, after):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=plan))
    kept = None
    if hold:
        kept = connect(shunt.port())
        kept.send(b"x\n")
        assert kept.receive_line() == f"{hold} x\n".encode()
    go(shunt)
    shunt.wait_phase(before)
    was = shunt.service()
    shunt.kill()
    if kept:
        kept.close()
    shunt.restart()
    now = shunt.service()
    print(f"\n{name}\n  {line('before', was)}\n  {line('after', now)}")
    assert now["phase"] in after
    if now["phase"] == was["phase"]:
        for key in KEPT:
            assert now[key] == was[key], key
        assert sum(who(shunt.port()) == "new" for _ in range(20)) == (
            20 if now["active"] == "new" else was["share_bp"] * 20 // 10000)


def test_a_killed_ramp_goes_on_and_completes(daemon, server):
    plan = steps(("25%", "500ms"), ("50%", "500ms"), ("100%", "500ms"), drain="1s")
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=plan))
    start(shunt)
    highest = 0
    for _ in range(3):
        highest = max(highest, shunt.service()["share_bp"])
        shunt.kill()
        shunt.restart()
        one = shunt.service()
        assert one["active"] == "new" or one["share_bp"] >= highest, "no durable step was lost"
    wait_until(lambda: shunt.phase() == "completed", "it completes", within=20)
    assert shunt.service()["active"] == "new"


def test_killed_while_rolling_back(daemon, server):
    plan = steps(("100%", "1h"), drain="1h")
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=plan))
    start(shunt)
    with connect(shunt.port()) as kept:
        kept.send(b"x\n")
        assert kept.receive_line() == b"new x\n"
        shunt.ctl("abort", "web").ok()
        before = shunt.phase()
        assert before in ("rolling-back", "rolled-back")
        assert shunt.service()["share_bp"] == 0
        shunt.kill()
    shunt.restart()
    shunt.wait_phase("rolled-back")
    print(f"\nrolling-back\n  before   {before}\n  {line('after', shunt.service())}")
    assert {who(shunt.port()) for _ in range(10)} == {"old"}


def test_hold_time_already_served_counts(daemon, server):
    plan = steps(("50%", "2s"), ("100%", "1h"), drain="1s")
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=plan))
    start(shunt)
    stays(lambda: shunt.service()["share_bp"] == 5000, 0.3, "the first step holds")
    shunt.kill()
    shunt.restart()
    assert shunt.service()["share_bp"] == 5000
    wait_until(lambda: shunt.service()["share_bp"] == 10000, "the next step", within=6)


def test_weights_and_states_survive(daemon, server):
    backends = [server(named(name)) for name in "ab"]
    shunt = daemon(service([one.address for one in backends], [server(named("c")).address], migration=HOLD))
    shunt.ctl("weight", f"web/old/{backends[0].address}", 7).ok()
    shunt.ctl("backend", f"web/old/{backends[1].address}", "drain").ok()
    shunt.kill()
    shunt.restart()
    assert shunt.backend("old", 0)["weight"] == 7
    assert shunt.backend("old", 1)["admin"] == "drain"
    assert {who(shunt.port()) for _ in range(6)} == {"a"}


def test_each_client_stays_on_its_side(daemon, server):
    """assign = "client": who goes where is the same after a kill, and nobody goes back when the share rises."""
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=HOLD,
                           assign="client"))

    def sides():
        told = {}
        for i in range(1, 41):
            with socket.create_connection(("127.0.0.1", shunt.port()), 10, (f"127.0.1.{i}", 0)) as sock:
                sock.sendall(b"who\n")
                told[i] = sock.recv(100).split()[0]
        return told

    to_ramping(shunt)
    before = sides()
    assert 5 < list(before.values()).count(b"new") < 35, before
    shunt.kill()
    shunt.restart()
    assert sides() == before
    shunt.ctl("share", "web", "75%").ok()
    after = sides()
    assert all(after[i] == b"new" for i in before if before[i] == b"new"), "nobody goes back"


def test_a_torn_last_line_is_cut(daemon, server):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=HOLD))
    to_ramping(shunt)
    was = shunt.service()
    shunt.kill()
    journals = [path for path in (shunt.folder / "state").iterdir() if path.is_file() and path.stat().st_size]
    assert len(journals) >= 1
    for path in journals:
        if b"{" in path.read_bytes():
            with open(path, "ab") as journal:
                journal.write(b'{"half of a rec')
    shunt.restart()
    now = shunt.service()
    assert [now[key] for key in KEPT] == [was[key] for key in KEPT]


def test_a_phase_that_there_is_not_is_no_start(daemon, server):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=HOLD))
    to_ramping(shunt)
    shunt.kill()
    path = shunt.folder / "state" / "journal"
    good = path.read_bytes()
    line = good.splitlines()[-1][9:].replace(b'"ramping"', b'"rampant"').replace(b'"n":', b'"n":9')
    path.write_bytes(good + b"%08x %s\n" % (zlib.crc32(line), line))
    done = subprocess.run([program("shuntd"), "-c", shunt.path], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 73 and "says what cannot be (phase, in the phase rampant)" in done.stderr, done
    assert "move it away" in done.stderr, done
    path.write_bytes(good)
    shunt.restart()
    assert shunt.phase() == "ramping"


def test_the_target_is_gone_from_the_configuration(daemon, server):
    old, new, third = (server(named(name)).address for name in ("old", "new", "third"))
    shunt = daemon({**service([old], [new], migration=HOLD),
                    "groups": [group("old", [old]), group("new", [new]), group("third", [third])]})
    shunt.ctl("start", "web", "to", "third").ok()
    shunt.ctl("pause", "web", "reason", "CHG-7").ok()
    shunt.kill()
    shunt.settings["services"] = [service([old], [new], migration=HOLD)]
    shunt.restart()
    assert shunt.phase() == "rolled-back"
    assert "third" in shunt.service()["reason"], "the status says what happened"
    assert {who(shunt.port()) for _ in range(8)} == {"old"}
