"""What an operator in a hurry does wrong, and what is told: true words, nothing lost."""
import json
import os
import pathlib
import signal
import subprocess

import pytest
from shunt.config import service, steps
from shunt.daemon import program
from shunt.peers import named
from shunt.waiting import wait_until


def begin(daemon, server, **settings):
    return daemon(service([server(named("old")).address], [server(named("new")).address],
                          migration=steps(("25%", "1h"), ("100%", "1h"))), **settings)


def test_what_waits_for_a_restart_is_told_as_long_as_it_does(daemon, server):
    shunt = begin(daemon, server, workers=1)
    shunt.settings["services"][0]["listen"] = [shunt.address()]
    shunt.settings["workers"] = 2
    shunt.write()
    waits = "workers: changed in the file, in force only after a restart"
    assert waits in shunt.ctl("reload").ok()
    assert waits in shunt.ctl("reload").ok(), "it still does"
    shunt.settings["workers"] = 1
    shunt.write()
    assert "workers" not in shunt.ctl("reload").ok(), "that is what is in force"


def line_of(shunt, path):
    return next((line for line in shunt.admin("show settings").splitlines() if line.startswith(path + " = ")), None)


def test_settings_are_shown_as_they_are_in_force(daemon, server):
    shunt = begin(daemon, server, workers=1)
    shunt.settings["services"][0]["listen"] = [shunt.address()]
    before = {path: line_of(shunt, path) for path in ("workers", "state_dir", "services.web.assign")}
    assert all(before.values()), before
    written = {**shunt.settings}
    shunt.settings.update(workers=2, state_dir="elsewhere", shutdown_timeout="7s", metrics={"listen": "127.0.0.1:0"})
    shunt.settings["services"] = [{**written["services"][0], "assign": "client", "retries": 7}]
    shunt.write()
    for _ in range(2):
        shunt.ctl("reload").ok()
        assert line_of(shunt, "workers") == "workers = 1  # the file has 2, after a restart"
        assert 'elsewhere", after a restart' in line_of(shunt, "state_dir")
        assert line_of(shunt, "state_dir").startswith(before["state_dir"].split("  #")[0])
        assert line_of(shunt, "services.web.assign") == 'services.web.assign = "connection"  # the file has "client", after a restart'
        assert line_of(shunt, "shutdown_timeout").startswith('shutdown_timeout = "7s"  # default'), "this one is in force"
        assert line_of(shunt, "services.web.retries").startswith("services.web.retries = 7")
        assert line_of(shunt, "metrics.listen") is None, "nor is anything served there"
        settings = json.loads(shunt.admin("show settings --json"))["settings"]
        assert (settings["workers"], settings["services.web.assign"]) == ("1", '"connection"'), settings
    shunt.settings["services"].append({**written["services"][0], "name": "more", "listen": ["127.0.0.1:0"], "assign": "client"})
    shunt.write()
    shunt.ctl("reload").ok()
    assert line_of(shunt, "services.more.assign").startswith('services.more.assign = "client"  # default'), "it came with it"
    shunt.settings = written
    shunt.write()
    shunt.ctl("reload").ok()
    assert {path: line_of(shunt, path) for path in before} == before
    assert line_of(shunt, "services.more.assign") is None


def test_a_file_that_is_gone_has_no_line(daemon, server):
    shunt = begin(daemon, server)
    path = shunt.folder / "shunt.conf"
    text = path.read_text()
    for spoil in (path.unlink, path.mkdir):
        spoil()
        said = shunt.ctl("reload").refused("nothing was changed", "cannot be read")
        assert "shunt.conf: cannot" in said, said
        if path.is_dir():
            path.rmdir()
    path.write_text("")
    assert 'shunt.conf: required setting "services"' in shunt.ctl("reload").refused("nothing was changed")
    path.write_text(text)
    shunt.ctl("reload").ok()


def test_an_empty_socket_is_none(tmp_path):
    for words in (["-s", "", "status"], ["status", "-s", ""], ["-s"]):
        done = subprocess.run([program("shuntctl"), *words], capture_output=True, text=True, timeout=10, check=False,
                              cwd=tmp_path)
        assert done.returncode == 64 and "-s needs a socket" in done.stderr, done


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")
def test_who_may_not_open_the_socket_is_told_so(daemon, server):
    shunt = begin(daemon, server)
    done = subprocess.run([program("shuntctl"), "-s", shunt.socket_path, "status"], capture_output=True, text=True,
                          timeout=30, check=False, user=65534, group=65534, extra_groups=[])
    assert done.returncode == 77 and done.stdout == "", done
    assert "not permitted to ask the daemon at" in done.stderr and "no daemon" not in done.stderr, done


def test_a_foreign_journal_is_left_alone(daemon, server):
    shunt = begin(daemon, server)
    shunt.ctl("start", "web").ok()
    shunt.kill()
    path = shunt.folder / "state" / "journal"
    good = path.read_bytes()
    elsewhere = shunt.folder / "elsewhere"
    for bad in (good.replace(b"\n", b"\r\n"), b"\0garbled\n" * 40, good[3:]):
        path.write_bytes(bad)
        done = subprocess.run([program("shuntd"), "-c", shunt.path], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 73 and "journal line 1 (byte 0)" in done.stderr, done
        assert path.read_bytes() == bad
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    elsewhere.write_bytes(b"somebody else's")
    done = subprocess.run([program("shuntd"), "-c", shunt.path], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 73 and "is a symbolic link" in done.stderr, done
    assert elsewhere.read_bytes() == b"somebody else's"
    path.unlink()
    path.write_bytes(good)
    shunt.restart()
    assert shunt.phase() == "ramping" and shunt.service()["share_bp"] == 2500


def clients(shunt):
    """Connections that the daemon has taken from its admin socket (state 03: connected)."""
    lines = [line.split() for line in pathlib.Path("/proc/net/unix").read_text().splitlines()]
    return sum(line[-1] == str(shunt.socket_path) and line[5] == "03" for line in lines)


def begin_wait(shunt):
    wait_until(lambda: clients(shunt) == 0, "those of before are gone")
    waiting = shunt.ctl_begin("wait", "web")
    wait_until(lambda: clients(shunt) == 1, "it waits")
    return waiting


def test_who_follows_is_told_that_the_daemon_stops(daemon, server):
    shunt = begin(daemon, server)
    shunt.ctl("start", "web").ok()
    asked = [begin_wait(shunt), shunt.ctl_begin("watch", "web")]
    assert asked[1].stdout.readline().startswith("web web-1 ramping")
    with shunt.admin_connect() as raw:
        raw.sendall(b"watch\n")
        lines = raw.makefile()
        assert lines.readline().startswith("web web-1 ramping")
        shunt.popen.send_signal(signal.SIGTERM)
        assert lines.read().endswith("error: shuntd stops: nothing more comes until it is started again\n\n")
    shunt.popen.wait(timeout=30)
    for one in asked:
        _, err = one.communicate(timeout=30)
        assert one.returncode == 69 and "the daemon stops" in err and "no daemon at" in err, err
    shunt.start()


def test_a_wait_goes_on_over_a_restart(daemon, server):
    shunt = begin(daemon, server)
    shunt.ctl("start", "web").ok()
    waiting = begin_wait(shunt)
    shunt.popen.send_signal(signal.SIGTERM)
    shunt.popen.wait(timeout=30)
    shunt.start()
    shunt.ctl("abort", "web").ok()
    out, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, out) == (3, "rolled-back\n"), err


def watched(watching, last):
    lines = []
    while not lines or last not in lines[-1]:
        lines.append(watching.stdout.readline())
        assert lines[-1], lines
    return lines


def test_a_stream_tells_what_it_missed(daemon, server):
    shunt = begin(daemon, server)
    watching = shunt.ctl_begin("watch", "web")
    watched(watching, "idle")
    shunt.ctl("start", "web").ok()
    first = watched(watching, "started")
    watching.send_signal(signal.SIGSTOP)  # it looks for the daemon only when all is over
    shunt.ctl("pause", "web", "reason", "lunch").ok()
    shunt.kill()
    shunt.restart()
    shunt.ctl("share", "web", "30%").ok()
    shunt.upgrade()
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    watching.send_signal(signal.SIGCONT)
    lines = first + watched(watching, "web web-1 rolled-back")
    watching.terminate()
    watching.communicate(timeout=10)
    for text in ("started:", "paused at 25% reason", "25% → 30% by hand", "rollback 30%", "all traffic on old"):
        assert sum(text in line for line in lines) == 1, text + "\n" + "".join(lines)


def test_what_waits_for_its_commit_names_it(daemon, server):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address],
                           migration=steps(("100%", "1h"), commit="manual")))
    shunt.ctl("start", "web").ok()
    said = shunt.ctl("skip", "web").ok()  # nothing is open on old: it is drained at once
    assert "awaiting-commit" in said and "complete: shuntctl commit web" in said and "go back: shuntctl abort web" in said, said
