"""Traffic moves from the old group to the new one as the plan and the operator say, and nobody loses anything."""
import time

import pytest
from shunt.clients import connect, who
from shunt.config import service, steps
from shunt.peers import named
from shunt.waiting import scaled, stays, wait_until

SLOW_PLAN = steps(("25%", "1h"), ("50%", "1h"), ("100%", "1h"), drain="1s")


@pytest.fixture(name="web")
def fixture_web(daemon, server):
    """web(plan, **settings): a daemon with one backend on each side that tells its name."""
    def make(plan=None, **settings):
        return daemon(service([server(named("old")).address], [server(named("new")).address],
                              migration=plan or SLOW_PLAN, **settings))
    return make


def served(shunt, n=40):
    """How many of n new connections the new side serves."""
    return sum(who(shunt.port()) == "new" for _ in range(n))


def state(shunt):
    one = shunt.service()
    return one["phase"], one["share_bp"]


def test_before_a_migration_all_goes_to_old(web):
    shunt = web()
    assert state(shunt) == ("idle", 0)
    assert served(shunt, 20) == 0


def test_steps_by_hand_to_the_end(web):
    shunt = web()
    shunt.ctl("start", "web", "reason", "CHG-1").ok()
    assert state(shunt) == ("ramping", 2500)
    assert served(shunt) == 10
    shunt.ctl("skip", "web").ok()
    assert state(shunt) == ("ramping", 5000)
    assert served(shunt) == 20
    shunt.ctl("skip", "web").ok()
    assert state(shunt) == ("ramping", 10000)
    assert served(shunt) == 40
    shunt.ctl("skip", "web").ok()
    shunt.wait_phase("completed")
    one = shunt.service()
    assert one["active"] == "new"
    assert served(shunt, 20) == 20
    events = shunt.ctl("events", "web").ok()
    assert "CHG-1" in events


def test_a_plan_runs_by_itself_under_load(daemon, load_server, load_client):
    old, new = load_server(tag="o"), load_server(tag="n")
    plan = steps(*[(share, "300ms") for share in ("1%", "25%", "50%", "75%", "100%")], drain="5s")
    shunt = daemon(service([old.address], [new.address], migration=plan), log={"level": "info"})
    reconnecting = load_client("connect", shunt.port(), "--connections", 4).go()
    kept = load_client("rt", shunt.port(), "--connections", 4, "--seconds", 1).go()
    shunt.ctl("start", "web").ok()
    assert kept.report()["errors"] == 0
    kept.stop()
    assert shunt.ctl("wait", "web", "20s", within=30).code == 0
    assert shunt.phase() == "completed"
    report = reconnecting.stop_and_report()
    assert report["errors"] == 0, report
    assert report["tags"]["o"] > 0 and report["tags"]["n"] > 0


@pytest.mark.parametrize("shape", ["linear", "exponential"])
def test_a_ramp_only_rises(web, shape):
    shunt = web({"ramp": {"from": "1%", "to": "100%", "over": "2s", "shape": shape}, "drain": {"timeout": "1s"}})
    shunt.ctl("start", "web").ok()
    shares = []

    def ended():
        phase, share = state(shunt)
        if phase == "ramping":
            shares.append(share)
        return phase == "completed"

    wait_until(ended, "the ramp is through", within=15)
    assert shares == sorted(shares)
    assert len(set(shares)) >= 5, shares
    middle = [share for share in shares if 100 < share < 10000]
    assert middle, shares


def test_share_by_hand_opens_a_paused_migration(web):
    shunt = web()
    shunt.ctl("share", "web", "30%").ok()
    assert state(shunt) == ("paused", 3000)
    assert served(shunt) == 12
    shunt.ctl("share", "web", "75").ok()
    assert state(shunt) == ("paused", 7500)
    shunt.ctl("resume", "web").ok()
    assert shunt.phase() == "ramping"
    assert shunt.service()["share_bp"] >= 7500
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    assert served(shunt, 20) == 0


def test_share_pauses_a_running_plan(web):
    shunt = web()
    shunt.ctl("start", "web").ok()
    shunt.ctl("share", "web", "60%").ok()
    assert state(shunt) == ("paused", 6000)


def test_share_to_the_end_and_commit(web):
    shunt = web()
    shunt.ctl("share", "web", "100%").ok()
    shunt.ctl("commit", "web").ok()
    shunt.wait_phase("completed")
    assert shunt.service()["active"] == "new"


def test_pause_holds_the_step_and_resume_goes_on(web):
    shunt = web(steps(("25%", "2s"), ("100%", "1h"), drain="1s"))
    shunt.ctl("start", "web").ok()
    shunt.ctl("pause", "web").ok()
    stays(lambda: state(shunt) == ("paused", 2500), 2.5, "paused at 25%")
    shunt.ctl("resume", "web").ok()
    wait_until(lambda: state(shunt) == ("ramping", 10000), "the next step")


def test_abort_brings_all_back(web):
    shunt = web()
    shunt.ctl("start", "web").ok()
    shunt.ctl("skip", "web").ok()
    shunt.ctl("abort", "web", "reason", "new is slow").ok()
    assert shunt.service()["share_bp"] == 0
    shunt.wait_phase("rolled-back")
    one = shunt.service()
    assert one["active"] == "old"
    assert served(shunt, 20) == 0
    assert "new is slow" in shunt.ctl("events", "web").ok()


def test_next_migration_goes_back(web):
    shunt = web(steps(("100%", "100ms"), drain="1s"))
    shunt.ctl("start", "web").ok()
    shunt.wait_phase("completed")
    shunt.ctl("start", "web", "to", "old").ok()
    wait_until(lambda: shunt.service()["active"] == "old", "old is active again")
    shunt.wait_phase("completed")
    assert served(shunt, 20) == 0


def test_a_start_without_a_group_says_that_it_turns_back(web):
    shunt = web(steps(("100%", "100ms"), drain="1s"))
    assert "back to" not in shunt.ctl("start", "web").ok()
    shunt.wait_phase("completed")
    assert "it goes from new back to old" in shunt.ctl("start", "web").ok()


def test_start_from_a_share(web):
    shunt = web()
    shunt.ctl("start", "web", "from-share", "99%").ok()
    assert state(shunt) == ("ramping", 5000), "never more than was asked for"


def test_manual_commit_waits_for_the_operator(web):
    shunt = web(steps(("100%", "100ms"), drain="1s", commit="manual"))
    shunt.ctl("start", "web").ok()
    shunt.wait_phase("awaiting-commit")
    stays(lambda: shunt.phase() == "awaiting-commit", 0.5, "it waits")
    assert shunt.service()["active"] == "old"
    shunt.ctl("commit", "web").ok()
    shunt.wait_phase("completed")
    assert shunt.service()["active"] == "new"


def test_kept_connections_drain(web):
    shunt = web(steps(("100%", "100ms"), drain="1h"))
    with connect(shunt.port()) as kept:
        kept.send(b"a\n")
        assert kept.receive_line() == b"old a\n"
        shunt.ctl("start", "web").ok()
        shunt.wait_phase("draining")
        stays(lambda: shunt.phase() == "draining", 0.5, "one connection is left on old")
        kept.send(b"b\n")
        assert kept.receive_line() == b"old b\n"
    shunt.wait_phase("completed")


def test_drain_ends_at_its_deadline(web):
    shunt = web(steps(("100%", "100ms"), drain="700ms"))
    with connect(shunt.port()) as kept:
        kept.send(b"a\n")
        assert kept.receive_line() == b"old a\n"
        shunt.ctl("start", "web").ok()
        assert kept.ended()
    shunt.wait_phase("completed")
    wait_until(lambda: shunt.service()["connections"]["closed"].get("drained") == 1, "counted as drained")


def test_live_share_lags_behind(web):
    shunt = web()
    kept = [connect(shunt.port()) for _ in range(10)]
    for one in kept:
        one.send(b"a\n")
        assert one.receive_line() == b"old a\n"
    shunt.ctl("share", "web", "100%").ok()
    more = [connect(shunt.port()) for _ in range(10)]
    for one in more:
        one.send(b"a\n")
        assert one.receive_line() == b"new a\n"
    wait_until(lambda: shunt.service()["live_share_bp"] == 5000, "half of the open connections are on new")
    assert shunt.service()["share_bp"] == 10000
    for one in kept + more:
        one.close()


def test_sticky_clients_stay_where_they_are(web):
    shunt = web(assign="client")
    shunt.ctl("share", "web", "50%").ok()
    assert len({who(shunt.port()) for _ in range(20)}) == 1, "one address, one side"
    shunt.ctl("share", "web", "100%").ok()
    assert {who(shunt.port()) for _ in range(5)} == {"new"}


REFUSALS = [
    ("idle", ["skip", "web"]), ("idle", ["pause", "web"]), ("idle", ["resume", "web"]), ("idle", ["commit", "web"]),
    ("idle", ["start", "nowhere"]), ("idle", ["start", "web", "to", "nowhere"]), ("idle", ["start", "web", "to", "old"]),
    ("idle", ["share", "web", "101%"]), ("idle", ["share", "web", "-1"]), ("idle", ["share", "web", "x"]),
    ("idle", ["share", "web"]), ("idle", ["weight", "web/old/nobody", "1"]), ("idle", ["frobnicate"]),
    ("ramping", ["start", "web"]), ("ramping", ["resume", "web"]), ("ramping", ["commit", "web"]),
]


@pytest.mark.parametrize("phase,words", REFUSALS, ids=[f"{phase}-{'-'.join(words)}" for phase, words in REFUSALS])
def test_refusals_change_nothing(web, phase, words):
    shunt = web()
    if phase == "ramping":
        shunt.ctl("start", "web").ok()
    before = state(shunt)
    reply = shunt.ctl(*words)
    assert reply.code in (1, 64), reply
    assert "error" in reply.out + reply.err or reply.err.strip(), reply
    assert state(shunt) == before


def test_wait_tells_how_it_ended(web):
    shunt = web(steps(("50%", "1h"), ("100%", "100ms"), drain="1s"))
    shunt.ctl("start", "web").ok()
    assert shunt.ctl("wait", "web", "300ms").code == 124
    waiting = shunt.ctl_begin("wait", "web", "20s")
    shunt.ctl("pause", "web").ok()
    assert waiting.wait(scaled(5)) == 4
    shunt.ctl("resume", "web").ok()
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    assert shunt.ctl("wait", "web", "5s").code == 3
    shunt.ctl("start", "web").ok()
    waiting_again = shunt.ctl_begin("wait", "web", "20s")
    shunt.ctl("skip", "web").ok()
    assert waiting_again.wait(scaled(10)) == 0
    assert shunt.ctl("wait", "web").code == 0
    for one in (waiting, waiting_again):
        one.stdout.close()
        one.stderr.close()


def test_weights_at_run_time(daemon, server):
    backends = [server(named(name)) for name in "ab"]
    shunt = daemon(service([one.address for one in backends], group_settings={"balance": "weighted"}))
    name = f"web/old/{backends[0].address}"
    shunt.ctl("weight", name, 3).ok()
    names = [who(shunt.port()) for _ in range(40)]
    assert names.count("a") == 30
    shunt.ctl("weight", name, 0).ok()
    assert {who(shunt.port()) for _ in range(10)} == {"b"}
    shunt.ctl("weight", name, 65535).ok()
    assert {who(shunt.port()) for _ in range(10)} == {"a"}
    assert shunt.ctl("weight", name, 65536).code in (1, 64)
    assert shunt.backend("old")["weight"] == 65535


@pytest.mark.parametrize("verb", ["drain", "maint"])
def test_backend_taken_out_and_put_back(daemon, server, verb):
    backends = [server(named(name)) for name in "ab"]
    shunt = daemon(service([one.address for one in backends]))
    name = f"web/old/{backends[0].address}"
    with connect(shunt.port()) as kept:
        kept.send(b"x\n")
        first = kept.receive_line().split()[0].decode()
        shunt.ctl("backend", name, verb).ok()
        assert {who(shunt.port()) for _ in range(10)} == {"b"}
        assert shunt.backend("old")["admin"] == verb
        if first == "b" or verb == "drain":
            kept.send(b"y\n")
            assert kept.receive_line() == f"{first} y\n".encode()
    shunt.ctl("backend", name, "ready").ok()
    assert {who(shunt.port()) for _ in range(10)} == {"a", "b"}


def test_a_share_change_is_quick(web):
    shunt = web()
    shunt.ctl("share", "web", "0%")
    with shunt.admin_connect() as admin:
        for share, expected in ((100, "new"), (0, "old")) * 10:
            began = time.monotonic()
            admin.sendall(f"share web {share}\n".encode())
            reply = admin.recv(65536)
            assert not reply.startswith(b"error"), reply
            assert time.monotonic() - began < scaled(0.5)
            assert who(shunt.port()) == expected
