"""A reload while a migration runs, in each of its phases: what runs goes on as it began, what it needs cannot be removed,
and a kill afterwards never brings more traffic to new than the journal says."""
import pytest
from shunt.clients import connect
from shunt.config import group, service, steps
from shunt.peers import named
from shunt.waiting import wait_until

PLAN = steps(("25%", "1h"), ("50%", "1h"), ("100%", "1h"), drain="1h", commit="manual",
             rollback={"shape": "linear", "over": "1h"})
EDITED = steps(("10%", "1h"), ("100%", "1h"))
HANGS = {"on": "before-step", "command": ["/bin/sleep", "1000"], "timeout": "10m"}


def start(shunt):
    shunt.ctl("start", "web").ok()


def skip(times):
    def go(shunt):
        start(shunt)
        for _ in range(times):
            shunt.ctl("skip", "web").ok()
    return go


def then(verb, go=start):
    def both(shunt):
        go(shunt)
        shunt.ctl(verb, "web").ok()
    return both


PHASES = {"preflight": start, "ramping": skip(1), "paused": then("pause"), "draining": skip(3),
          "awaiting-commit": skip(3), "rolling-back": then("abort", skip(1))}


@pytest.fixture(name="reach")
def fixture_reach(daemon, server):
    """reach(phase): a daemon whose migration is there; and a connection that is kept open on old where that needs one."""
    kept = []

    def make(phase):
        plan = {**PLAN, "hooks": [HANGS]} if phase == "preflight" else PLAN
        shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=plan))
        if phase == "draining":
            kept.append(connect(shunt.port()))
            kept[0].send(b"a\n")
            assert kept[0].receive_line() == b"old a\n"
        PHASES[phase](shunt)
        shunt.wait_phase(phase)
        shunt.first = {**shunt.settings["services"][0], "listen": [shunt.address()]}
        return shunt
    yield make
    for one in kept:
        one.close()


def reload(shunt, drop=(), **changes):
    changed = {name: value for name, value in {**shunt.first, **changes}.items() if name not in drop}
    shunt.settings["services"] = [changed]
    shunt.write()
    return shunt.ctl("reload")


def state(shunt):
    one = shunt.service()
    return one["phase"], one["share_bp"], one["step"], one["migration"], one["active"], one["target"]


@pytest.mark.parametrize("phase", PHASES)
def test_what_runs_goes_on(reach, server, phase):
    shunt = reach(phase)
    before = state(shunt)
    groups = shunt.first["groups"]
    for changes in ({"migration": EDITED}, {"migration": {**EDITED, "gate": {"max_error_rate": "1%"}}},
                    {"drop": ["migration"]}, {"groups": [*groups, group("more", [server(named("more")).address])]}):
        reload(shunt, **changes).ok()
        assert state(shunt) == before, changes
    for groups in ([groups[0]], [groups[1]], [groups[0], group("other", [server(named("other")).address])]):
        reload(shunt, groups=groups).refused("nothing was changed", "group")
        assert state(shunt) == before, groups
    reload(shunt).ok()
    if phase == "rolling-back":
        shunt.ctl("abort", "web").ok()
    elif phase == "awaiting-commit":
        shunt.ctl("commit", "web").ok()
        assert shunt.phase() == "completed"
        return
    else:
        shunt.ctl("abort", "web").ok()
        wait_until(lambda: shunt.service()["share_bp"] == 0 or shunt.phase() == "rolling-back", "it goes back")
        shunt.ctl("abort", "web") # what is left of a gradual rollback
    shunt.wait_phase("rolled-back")


def test_steps_of_a_plan_that_is_gone(reach):
    shunt = reach("awaiting-commit")
    shunt.ctl("commit", "web").ok()
    assert "step=3/3" in shunt.ctl("status", "web").ok()
    reload(shunt, drop=["migration"]).ok()
    assert "completed" in shunt.ctl("status", "web").ok() and "step=3/3" in shunt.ctl("status", "web").ok()
    assert (shunt.service()["step"], shunt.service()["steps"]) == (3, 3)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", ["edited", "removed"])
def test_a_kill_after_it(reach, phase, how):
    shunt = reach(phase)
    before = state(shunt)
    reload(shunt, **({"migration": EDITED} if how == "edited" else {"drop": ["migration"]})).ok()
    shunt.kill()
    shunt.restart()
    after = state(shunt)
    assert after[1] <= before[1] and after[3:] == before[3:], (before, after)
    expected = {"preflight": {"rolled-back"}, "ramping": {"paused"}, "rolling-back": {"rolling-back", "rolled-back"},
                # no connection has survived, and the drain of the plan as it is now may complete at once
                "draining": {"draining", "awaiting-commit", "completed"}}
    assert after[0] in expected.get(phase, {phase}), (before, after)
