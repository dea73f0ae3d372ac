"""Hooks that outlive the program that started them, as they do after kill -9 of it: known, waited for, ended in time."""
import os
import pathlib
import signal

import pytest
from shunt.config import service, steps
from shunt.folders import open_folder
from shunt.peers import named
from shunt.process import adopt_orphans
from shunt.waiting import stays, wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)


@pytest.fixture(name="asked")
def fixture_asked(daemon, server, tmp_path):
    """A migration whose hook before the first step notes its number and waits for a file; another is told afterwards."""
    adopt_orphans()
    pids, go, told = tmp_path / "pids", tmp_path / "go", tmp_path / "told"
    pids.touch()

    def make(timeout="1m"):
        script = f"echo $$ >> {pids}; until [ -e {go} ]; do sleep 0.02; done"
        hooks = [{"on": "before-step", "command": ["/bin/sh", "-c", script], "timeout": timeout},
                 {"on": "rollback", "command": ["/bin/sh", "-c", f"echo rollback >> {told}"], "timeout": "5s"}]
        shunt = daemon(service([server(named("old")).address], [server(named("new")).address],
                               migration={**steps(("25%", "1h"), ("100%", "1h")), "hooks": hooks}))
        shunt.ctl("start", "web").ok()
        wait_until(lambda: len(pids.read_text().split()) == 1, "the hook runs")
        return shunt, int(pids.read_text()), go, pids
    make.told = told
    return make


def lives(pid):
    """Runs, and is not only waiting to be reaped."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def notes(shunt):
    return sorted(path.name for path in pathlib.Path(shunt.folder).rglob("hook.*"))


def test_a_hook_that_outlives_a_killed_daemon_is_known_and_waited_for(asked):
    shunt, pid, go, pids = asked()
    assert notes(shunt) == [f"hook.{pid}"]
    shunt.kill()
    assert lives(pid), "it runs on: half of what it does would be worse than all of it"
    shunt.restart()
    told = f"hook before-step (/bin/sh) of the program before this one still runs, pid {pid}, killed in "
    assert shunt.service()["stray_hook"].startswith(told)
    assert told in shunt.admin("status")
    wait_until(lambda: told in shunt.service()["reason"], "the question waits for it")
    assert told in shunt.log() and "other hooks wait for that" in shunt.ctl("events", "web").ok()
    if shunt.phase() == "paused":
        shunt.ctl("resume", "web").ok()
    stays(lambda: pids.read_text().split() == [str(pid)] and shunt.service()["share_bp"] == 0, 0.6, "none beside it")
    go.touch()
    wait_until(lambda: shunt.service()["stray_hook"] is None, "its end is seen")
    assert f"has ended, pid {pid}" in shunt.ctl("events", "web").ok()
    wait_until(lambda: shunt.phase() == "ramping" and shunt.service()["share_bp"] == 2500, "the question was asked anew")
    assert len(pids.read_text().split()) == 2
    wait_until(lambda: notes(shunt) == [], "nothing is noted")


def test_its_time_limit_holds(asked):
    """And an abort waits for no hook; what it is to tell is told when the other is gone."""
    shunt, pid, _, _ = asked("3s")
    shunt.kill()
    shunt.restart()
    assert shunt.service()["stray_hook"]
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    wait_until(lambda: not lives(pid), "killed at its time")
    wait_until(lambda: shunt.service()["stray_hook"] is None, "and that is seen")
    wait_until(asked.told.exists, "the hook of the rollback is run")


def test_another_process_of_that_number_is_left_alone(asked):
    """What is noted is of another time, or of none: nobody is watched, nobody is killed."""
    shunt, pid, go, _ = asked()
    shunt.kill()
    os.kill(pid, signal.SIGKILL)
    note = next(pathlib.Path(shunt.folder).rglob("hook.*"))
    own = os.getpid()
    text = note.read_text().replace(f'"pid":{pid}', f'"pid":{own}')
    assert text != note.read_text()
    note.write_text(text)
    (note.parent / "hook.junk").write_text('{"pid": "x"')
    go.touch()
    shunt.restart()
    assert shunt.service()["stray_hook"] is None
    assert lives(own) and notes(shunt) == []


def test_an_upgrade_waits_for_the_hook_of_the_program_before(asked):
    shunt, pid, go, pids = asked()
    shunt.upgrade()
    wait_until(lambda: not lives(pid), "the program before ends its hook when it lets go")
    wait_until(lambda: len(pids.read_text().split()) == 2, "then the question is asked anew")
    go.touch()
    wait_until(lambda: shunt.service()["share_bp"] == 2500, "and answered")
    shunt.wait_formers()
