"""A journal that cannot be written stops the migration, never the traffic; a state_dir has one daemon."""
import os
import resource
import subprocess

import pytest

from shunt.clients import who
from shunt.config import service, steps
from shunt.daemon import program
from shunt.peers import named
from shunt.waiting import stays, wait_until

HOLD = steps(("25%", "1h"), ("100%", "1h"))
QUICK = steps(("1%", "2s"), ("100%", "1h"))


def start(daemon, server, plan):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=plan))
    shunt.ctl("start", "web").ok()
    return shunt


def journal(shunt):
    return shunt.folder / "state" / "journal"


def fill_disk(shunt):
    """The next record does not fit: the file may grow by a few bytes only."""
    limit = journal(shunt).stat().st_size + 10
    resource.prlimit(shunt.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def free_disk(shunt):
    resource.prlimit(shunt.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_commands_towards_new_are_refused_while_the_disk_is_full(daemon, server):
    shunt = start(daemon, server, HOLD)
    fill_disk(shunt)
    shunt.ctl("skip", "web").refused("journal", "nothing was changed")
    shunt.ctl("share", "web", "50%").refused("journal", "nothing was changed")
    assert shunt.service()["share_bp"] == 2500
    assert {who(shunt.port()) for _ in range(8)} == {"old", "new"}, "traffic goes on"
    free_disk(shunt)
    shunt.ctl("skip", "web").ok()
    assert shunt.service()["share_bp"] == 10000


def test_a_plan_freezes_and_goes_on_by_itself(daemon, server):
    shunt = start(daemon, server, QUICK)
    fill_disk(shunt)
    wait_until(lambda: "journal" in shunt.service()["reason"], "the status says why the plan stands still")
    stays(lambda: shunt.service()["share_bp"] == 100, 1, "the share of the last durable step")
    assert who(shunt.port()) in ("old", "new")
    free_disk(shunt)
    wait_until(lambda: shunt.service()["share_bp"] == 10000, "the next step, once it can be written")


def test_going_back_waits_for_no_disk(daemon, server):
    shunt = start(daemon, server, HOLD)
    shunt.ctl("skip", "web").ok()
    fill_disk(shunt)
    shunt.ctl("abort", "web").ok()
    assert {who(shunt.port()) for _ in range(8)} == {"old"}
    free_disk(shunt)
    wait_until(lambda: b"rolled-back" in journal(shunt).read_bytes(), "the journal catches up")
    shunt.kill()
    shunt.restart()
    assert shunt.phase() == "rolled-back"


def test_a_second_daemon_is_refused(daemon, server):
    shunt = start(daemon, server, HOLD)
    other = shunt.folder / "other.conf"
    other.write_text(shunt.path.read_text().replace("admin.sock", "other.sock"))
    done = subprocess.run([program("shuntd"), "-c", other], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 73 and "in use by another shuntd" in done.stderr, done
    assert shunt.phase() == "ramping" and who(shunt.port()) in ("old", "new")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to let go of it")
@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("spoil", ["no folder can be made", "not writable", "the journal is not", "the lock is not"])
def test_a_state_dir_without_rights_is_one_that_cannot_be_written(tmp_path, spoil):
    """As an ordinary user, since root may write anywhere: always 73, and the words name the folder."""
    folder = tmp_path / "ours"
    state = folder / "state"
    folder.mkdir(mode=0o755)
    config = folder / "shunt.conf"
    config.write_text('state_dir = "state"; admin = { socket = "admin.sock"; }; services = ( { name = "web"; '
                      'listen = [ "127.0.0.1:0" ]; groups = ( { name = "old"; health = { type = "none"; }; '
                      'backends = ( { address = "127.0.0.1:1"; } ); } ); } );')
    if spoil != "no folder can be made":
        state.mkdir(mode=0o755)
    if spoil in ("the journal is not", "the lock is not"):
        os.chown(state, 65534, 65534)
        (state / ("journal" if "journal" in spoil else "journal.lock")).touch(mode=0o600)
    done = subprocess.run([program("shuntd"), "-c", config], capture_output=True, text=True, timeout=30, check=False,
                          user=65534, group=65534, extra_groups=[])
    assert done.returncode == 73 and "state_dir" in done.stderr and str(state) in done.stderr, done
    assert "Permission denied" in done.stderr, done
