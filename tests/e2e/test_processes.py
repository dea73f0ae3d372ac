"""Processes and threads that are refused: what needs them is put off and says why, all else goes on."""
import os
import resource
import subprocess

import pytest
from shunt.clients import who
from shunt.config import service, steps
from shunt.daemon import SANITIZED, Daemon
from shunt.folders import open_folder
from shunt.peers import named
from shunt.process import all_children, cpu_s
from shunt.waiting import SLOW, stays, wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


# The limit is one of a user, and does not hold for root: a user that nobody else is on this machine.
USER = 61000 + os.getpid() % 4000


class Plain(Daemon):
    """Started without any rights."""

    def prepare(self):
        os.setgroups([])
        os.setgid(USER)
        os.setuid(USER)


@pytest.fixture(name="plain")
def fixture_plain(started, tmp_path, reachable):
    def make(*services, **settings):
        one = Plain(tmp_path / "shunt0", list(services), **settings)
        started.daemons.append(one)
        for path in (one.folder, one.folder / "state"):
            os.chown(path, USER, USER)
        return one.start()
    return make


def set_processes(pid, soft):
    """As that user, who may do it where even root may not (in a container)."""
    _, hard = resource.prlimit(os.getpid(), resource.RLIMIT_NPROC)
    wanted = "unlimited" if hard == resource.RLIM_INFINITY else hard
    subprocess.run(["prlimit", "--pid", str(pid), f"--nproc={wanted if soft is None else soft}:{wanted}"], check=True,
                   user=USER, group=USER, extra_groups=[])


@NEEDS_ROOT
def test_no_more_processes_for_checks_and_hooks(plain, server):
    """What needs a command is put off and says why; backends are not taken for bad, and traffic is served."""
    shunt = plain(service([server(named("a")).address], [server(named("n")).address],
                          group_settings={"health": {"type": "exec", "exec": {"command": ["true"]}, "interval": "100ms"}},
                          migration={**steps(("50%", "1h"), ("100%", "1h")),
                                     "hooks": [{"on": "before-step", "command": ["true"]}]}))
    wait_until(lambda: all(shunt.group(g)["usable"] for g in ("old", "new")), "all are checked")
    set_processes(shunt.pid, 0)
    wait_until(lambda: "Resource temporarily unavailable" in shunt.admin("events"), "a check could not be run, and that is told")
    stays(lambda: all(shunt.backend(g)["state"] == "up" for g in ("old", "new")), 1, "that is not the backends' fault")
    shunt.ctl("start", "web").ok()
    wait_until(lambda: "Resource temporarily unavailable" in shunt.service()["reason"], "the step waits and says why")
    assert shunt.service()["share_bp"] == 0 and who(shunt.port()) == "a"
    before = cpu_s(shunt.pid)
    stays(lambda: cpu_s(shunt.pid) - before < 0.1 * SLOW, 1, "it does not try all the time")
    set_processes(shunt.pid, None)
    wait_until(lambda: shunt.backend("old")["check"]["passed"], "checks run again")
    shunt.ctl("skip", "web").ok()
    assert shunt.service()["share_bp"] == 5000
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")


@NEEDS_ROOT
@pytest.mark.skipif(SANITIZED, reason="sanitizers need a thread of their own, and complain")
def test_no_more_processes_for_an_upgrade(plain, server):
    """The new program cannot be started, or has no threads: the old one goes on each time."""
    shunt = plain(service([server(named("a")).address]))
    starter = all_children(shunt.pid)[0]
    threads = len(os.listdir(f"/proc/{shunt.pid}/task"))
    for most in (0, threads + 2, threads + 3):
        set_processes(starter, most)
        said = shunt.ctl("upgrade", within=40).refused("this program goes on")
        assert most > 0 or "Resource temporarily unavailable" in said
        assert who(shunt.port()) == "a" and shunt.status()["formers"] == []
    set_processes(starter, None)
    shunt.upgrade()
    shunt.wait_formers()
    assert who(shunt.port()) == "a"
