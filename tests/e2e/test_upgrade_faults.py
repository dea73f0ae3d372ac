"""Upgrades that go wrong: the old program goes on as before and says why; whichever is killed, the other one serves."""
import json
import os
import shutil
import sys

import pytest
from shunt.clients import connect, who
from shunt.config import service, steps
from shunt.daemon import program
from shunt.folders import open_folder
from shunt.knocker import Knocker
from shunt.peers import echo, named
from shunt.process import adopt_orphans
from shunt.waiting import wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

OLD_POINTS = ("upgrade-started", "upgrade-ready", "upgrade-held", "upgrade-take", "upgrade-told", "upgrade-taken", "upgrade-left")
NEW_POINTS = ("successor-begin", "successor-loaded", "successor-built", "successor-ready", "successor-taking",
              "successor-accepting", "successor-taken")
FOREIGN = """#!{python}
# A program that hands over in another way.
import socket, struct, time
channel = socket.socket(fileno=3)
channel.send(struct.pack("=II", 3, 0) + b'{{"protocol": 99, "version": "9.9.9", "pid": 1}}')
time.sleep(600)
"""


@pytest.fixture(name="binary")
def fixture_binary(tmp_path):
    """A program of the test's own, to be replaced."""
    path = tmp_path / "shuntd"
    shutil.copy2(program("shuntd"), path)
    return path


def replace(binary, text):
    """As a package manager does: a new file under the old name."""
    new = binary.with_suffix(".new")
    if text is None:
        binary.unlink()
        return
    new.write_text(text)
    new.chmod(0o755)
    os.rename(new, binary)


def in_migration(daemon, server, **settings):
    shunt = daemon(service([server(named("a")).address], [server(named("n")).address],
                           migration=steps(("25%", "1h"), ("100%", "1h"))), **settings)
    shunt.ctl("start", "web").ok()
    return shunt


def check_one_writer(shunt):
    """The records of the journal have numbers without gaps, and another one can be written."""
    name = shunt.service()["groups"][0]["backends"][0]["name"]
    shunt.ctl("weight", f"web/old/{name}", "5").ok()
    lines = (shunt.folder / "state" / "journal").read_text().splitlines()
    numbers = [json.loads(line.split(" ", 1)[1]).get("n") for line in lines]
    numbers = [n for n in numbers if n is not None]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers


def check_as_before(shunt, pid):
    assert shunt.status()["pid"] == pid
    one = shunt.service()
    assert (one["phase"], one["share_bp"]) == ("ramping", 2500)
    assert {who(shunt.port()) for _ in range(8)} == {"a", "n"}
    check_one_writer(shunt)
    shunt.ctl("skip", "web").ok()
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")


@pytest.mark.parametrize("text,words", [
    (None, ["it cannot be run: No such file"]),
    ("this is no program\n", ["it ended before it had taken over", "exit status"]),
    ("#!/bin/sh\nexit 3\n", ["it ended before it had taken over", "exit status 3"]),
    # A child of its own that lives on has the channel, too.
    ("#!/bin/sh\ncat <&3 >/dev/null &\nexit 3\n", ["it ended before it had taken over", "exit status 3"]),
    ("#!/bin/sh\nkill -SEGV $$\n", ["it ended before it had taken over", "killed by SIGSEGV"]),
    ("#!/bin/sh\nexec sleep 600\n", ["not ready in time", "upgrade.ready_timeout"]),
    (FOREIGN.format(python=sys.executable), ["version 9.9.9 hands over in another way", "restart"]),
], ids=["missing", "no-program", "ends", "ends-before-its-child", "crashes", "hangs", "wrong-version"])
def test_another_program_that_is_none(daemon, server, binary, text, words):
    shunt = in_migration(daemon, server, binary=binary, upgrade={"ready_timeout": "1s"})
    pid, whole = shunt.pid, binary.read_bytes()
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        stayed = client.receive_line()
        replace(binary, text)
        shunt.ctl("upgrade").refused("this program goes on", *words)
        assert words[0] in shunt.admin("events")
        client.send(b"who\n")
        assert client.receive_line() == stayed
    check_as_before(shunt, pid)
    binary.unlink(missing_ok=True)
    binary.write_bytes(whole)
    binary.chmod(0o755)
    shunt.upgrade()
    shunt.wait_formers()


def test_a_bad_configuration(daemon, server):
    shunt = in_migration(daemon, server)
    pid, good = shunt.pid, shunt.path.read_text()
    shunt.path.write_text("services = (")
    shunt.ctl("upgrade").refused("this program goes on", "its configuration has errors", "shuntd -t", "shunt.conf:1")
    shunt.path.write_text(good.replace('name = "web"', 'name = "other"').replace("127.0.0.1:", "no-such-host.invalid:"))
    shunt.ctl("upgrade").refused("this program goes on", "no-such-host.invalid")
    shunt.path.write_text(good.replace(str(shunt.folder / "state"), str(shunt.folder / "elsewhere")))
    shunt.ctl("upgrade").refused("this program goes on", "elsewhere is not the state_dir of the program that runs")
    taken = server(echo)
    shunt.settings = {**shunt.settings, "services": [shunt.settings["services"][0],
                                                     service([server(echo).address], name="other", listen=[taken.address])]}
    shunt.write()
    shunt.ctl("upgrade").refused("this program goes on", taken.address)
    shunt.path.write_text(good)
    check_as_before(shunt, pid)


def test_while_one_is_under_way(daemon, server, binary):
    shunt = in_migration(daemon, server, binary=binary, upgrade={"ready_timeout": "2s"})
    pid = shunt.pid
    replace(binary, "#!/bin/sh\nexec sleep 600\n")
    first = shunt.ctl_begin("upgrade")
    wait_until(lambda: "the new program is started" in shunt.log(), "it has begun")
    shunt.ctl("upgrade").refused("an upgrade is under way")
    shunt.ctl("reload").refused("an upgrade is under way")
    shunt.ctl("abort", "web").ok()  # nothing stands in its way while the new program builds
    out, err = first.communicate(timeout=30)
    assert first.returncode == 1 and "not ready in time" in out + err
    assert shunt.pid == pid and shunt.phase() == "rolled-back"


def test_a_stop_ends_both(daemon, server, binary):
    shunt = in_migration(daemon, server, binary=binary)
    replace(binary, "#!/bin/sh\nexec sleep 600\n")
    first = shunt.ctl_begin("upgrade")
    wait_until(lambda: "the new program is started" in shunt.log(), "it has begun")
    shunt.stop(check=False)
    first.communicate(timeout=30)
    shunt.says("the program is told to stop")


def knocked_at(started, shunt):
    knocker = Knocker(shunt.address())
    started.clients.append(knocker)
    return knocker


def check_knocks(knocker, own):
    """Nobody was refused. What the killed program had open went with it; no more than its clients at a time."""
    counts = knocker.stop()
    assert counts.get("served", 0) > 0 and not counts.get("refused") and not counts.get("corrupt"), counts
    assert set(counts) <= {"served", "reset", "cut"}, counts
    assert counts.get("reset", 0) + counts.get("cut", 0) <= own, counts


@pytest.mark.parametrize("point", OLD_POINTS)
def test_the_old_program_is_killed(daemon, server, started, point):
    shunt = daemon(service([server(echo).address], [server(echo).address], migration=steps(("25%", "1h"), ("100%", "1h"))),
                   environment={"SHUNT_FAILPOINT": f"{point}:1:kill"})
    shunt.ctl("start", "web").ok()
    adopt_orphans()
    knocker = knocked_at(started, shunt)
    old = shunt.popen
    with shunt.ctl_begin("upgrade") as asked:
        asked.communicate(timeout=30)
    assert old.wait(10) == -9
    wait_until(lambda: answers(shunt), "the new program answers", within=15)
    shunt.follow()
    shunt.formers = []
    one = shunt.service()
    assert (one["phase"], one["share_bp"]) == ("ramping", 2500)
    check_knocks(knocker, 4)
    check_one_writer(shunt)
    shunt.ctl("abort", "web").ok()


def answers(shunt):
    try:
        return shunt.status()["pid"]
    except (ConnectionError, FileNotFoundError):
        return False


@pytest.mark.parametrize("point", NEW_POINTS)
@pytest.mark.parametrize("what", ["kill", "stop"])
def test_the_new_program_is_killed_or_hangs(daemon, server, started, point, what):
    if (what, point) == ("stop", "successor-taken"):
        pytest.skip("it has said that it serves: what hangs then is the watchdog's matter")
    shunt = daemon(service([server(echo).address], [server(echo).address], migration=steps(("25%", "1h"), ("100%", "1h"))),
                   environment={"SHUNT_FAILPOINT": f"{point}:1:{what}"}, upgrade={"ready_timeout": "1s"})
    shunt.ctl("start", "web").ok()
    knocker = knocked_at(started, shunt)
    pid = shunt.pid
    text = shunt.ctl("upgrade", within=30).refused("this program goes on")
    assert ("SIGKILL" in text) == (what == "kill"), text
    assert shunt.status()["pid"] == pid
    one = shunt.service()
    assert (one["phase"], one["share_bp"]) == ("ramping", 2500)
    check_knocks(knocker, 4)
    check_one_writer(shunt)
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")


@pytest.mark.parametrize("point", ["reload-read", "reload-made", "reload-done"])
def test_killed_in_a_reload(daemon, server, point):
    """A restart comes back with the file as it is, and the migration where it was."""
    shunt = daemon(service([server(named("a")).address], [server(named("n")).address],
                           migration=steps(("25%", "1h"), ("100%", "1h"))), environment={"SHUNT_FAILPOINT": f"{point}:1:kill"})
    shunt.ctl("start", "web").ok()
    shunt.settings = {**shunt.settings, "services": [{**shunt.settings["services"][0], "retries": 1}]}
    shunt.write()
    shunt.ctl("reload")
    assert shunt.popen.wait(10) == -9
    shunt.restart()
    one = shunt.service()
    assert (one["phase"], one["share_bp"]) == ("ramping", 2500) and "retries = 1" in shunt.admin("show settings")
    assert {who(shunt.port()) for _ in range(8)} == {"a", "n"}
    shunt.ctl("abort", "web").ok()


def test_a_reload_that_fails_at_the_last_moment(daemon, server):
    shunt = daemon(service([server(named("a")).address]), environment={"SHUNT_FAILPOINT": "reload-made:1:eio"})
    shunt.settings = {**shunt.settings, "services": [{**shunt.settings["services"][0], "retries": 1}]}
    shunt.write()
    shunt.ctl("reload").refused("nothing was changed")
    assert "retries = 3" in shunt.admin("show settings") and who(shunt.port()) == "a"
    assert "web: changed" in shunt.ctl("reload").ok()
