"""shuntctl watch on a real terminal (tmux): both sizes, a resize while it runs, keys, and leaving."""
import os
import pathlib
import shutil
import subprocess

import pytest
from shunt.config import service, steps
from shunt.daemon import program
from shunt.process import stopped
from shunt.waiting import stays, wait_until

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")


class Screen:
    """A tmux server of its own, with one window."""

    def __init__(self, folder, columns, rows, command, environment):
        self.gone = False
        self.tmux = ["tmux", "-f", "/dev/null", "-S", str(folder / "tmux.sock")]
        self.run("new-session", "-d", "-x", str(columns), "-y", str(rows), command, environment=environment)
        self.run("set-option", "-g", "status", "off")
        self.run("set-option", "-g", "window-size", "manual")
        self.run("resize-window", "-x", str(columns), "-y", str(rows))

    def run(self, *words, environment=None):
        return subprocess.run([*self.tmux, *words], capture_output=True, text=True, check=True, timeout=20,
                              env=environment).stdout

    def text(self):
        return self.run("capture-pane", "-p")

    def shows(self, *words):
        wait_until(lambda: all(word in self.text() for word in words), f"{words} on the screen", within=20)
        return self.text()

    def key(self, *keys):
        self.run("send-keys", *keys)

    def processes(self):
        """Those that live in the window."""
        leader = int(self.run("display-message", "-p", "#{pane_pid}"))
        return [pid for pid in every_process() if session_of(pid) == leader]

    def stop(self):
        """Leaves the view as an operator would. Where the terminal vanishes under it instead, its leak checker never
        ends: the SIGCONT of the hang-up takes away the stop that its tracer waits for."""
        if self.gone:
            return
        try:
            self.key("Escape")  # out of a question
            wait_until(lambda: "left with" in self.text() or self.key("q"), "the view was left", within=20)
        finally:
            left = self.processes()
            subprocess.run([*self.tmux, "kill-server"], capture_output=True, check=False, timeout=20)
            wait_until(lambda: not any(session_of(pid) for pid in left), "nothing is left in the window", within=20)


def every_process():
    return [int(one.name) for one in pathlib.Path("/proc").iterdir() if one.name.isdigit()]


def session_of(pid):
    """The session that a process belongs to; None when it is gone, or dead and not yet collected."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[3])


@pytest.fixture(name="shunt")
def fixture_shunt(daemon, load_server):
    old, new = load_server(tag="o"), load_server(tag="n")
    return daemon(service([old.address], [new.address], migration=steps(("25%", "1h"), ("50%", "1h"), ("100%", "1h"))),
                  log={"level": "info"})


@pytest.fixture(name="screen")
def fixture_screen(shunt, started, tmp_path):
    def make(columns, rows, words="watch", after="cat", **environment):
        ctl = f"{program('shuntctl')} -s {shunt.socket_path} {words}; echo left with $?; {after}"
        one = Screen(tmp_path, columns, rows, ctl, {**os.environ, "LC_ALL": "C.UTF-8", **environment})
        started.clients.append(one)
        return one
    return make


@pytest.mark.parametrize("columns,rows", [(80, 24), (200, 50)])
def test_sizes(shunt, screen, columns, rows):
    view = screen(columns, rows)
    shunt.ctl("start", "web", "reason", "CHG-1").ok()
    lines = view.shows("◌ ramping", "step 1/3", "share 25%", "├─ old", "└─ new", "░ 25%", "q quit").splitlines()
    assert len(lines) <= rows and max(map(len, lines)) <= columns
    assert lines[0].startswith("web") and lines[-1].startswith("p pause")
    view.shows("CHG-1")


def test_resized_while_running(shunt, screen):
    view = screen(80, 24)
    shunt.ctl("start", "web").ok()
    view.shows("ramping", "q quit")
    view.run("resize-window", "-x", "120", "-y", "40")
    wait_until(lambda: len(view.text().splitlines()) == 40 and view.text().splitlines()[39].startswith("p pause"),
               "the last line is at the bottom", within=20)
    view.run("resize-window", "-x", "60", "-y", "12")
    wait_until(lambda: len(view.text().splitlines()) == 12 and view.text().splitlines()[11].startswith("p pause"),
               "the last line is at the new bottom", within=20)
    assert max(map(len, view.text().splitlines())) <= 60


def test_keys(shunt, screen):
    view = screen(80, 24)
    shunt.ctl("start", "web").ok()
    view.shows("ramping")
    view.key("p")
    view.shows("paused")
    view.key("r")
    view.shows("resume web? type yes")
    view.key("n", "o", "Enter")
    view.shows("not done")
    assert shunt.phase() == "paused"
    view.key("r")
    view.shows("resume web? type yes")
    view.key("y", "e", "s", "Enter")
    shunt.wait_phase("ramping")
    view.key("s")
    view.shows("skip web? type yes")
    view.key("y", "e", "s", "Enter")
    view.shows("step 2/3")
    view.key("q")
    view.shows("left with 0")
    assert shunt.phase() == "ramping"


def test_abort_never_asks(shunt, screen):
    view = screen(80, 24)
    shunt.ctl("start", "web").ok()
    view.shows("ramping")
    view.key("s")
    view.shows("skip web?")
    view.key("a")
    shunt.wait_phase("rolling-back", "rolled-back")
    view.shows("rolled-back")


def test_ascii(shunt, screen):
    view = screen(80, 24, LC_ALL="C", NO_COLOR="1")
    shunt.ctl("start", "web").ok()
    text = view.shows("o ramping", "|- old", "`- new", "q quit")
    assert text.isascii()
    assert "\033[3" not in view.run("capture-pane", "-p", "-e")


def test_daemon_comes_back(shunt, screen):
    view = screen(80, 24)
    shunt.ctl("start", "web").ok()
    view.shows("ramping")
    shunt.kill()
    view.shows("the daemon is gone")
    shunt.restart()
    view.shows("the daemon is back")
    view.key("C-c")
    view.shows("left with 0")


def test_a_daemon_that_is_gone_or_silent_is_told_all_the_time(shunt, screen):
    """Figures of before must never look like those of now; a key that cannot be sent is told, too."""
    view = screen(80, 24)
    shunt.ctl("start", "web").ok()
    view.shows("ramping", "q quit")
    with stopped(shunt.pid):
        view.shows("the daemon has not answered for")
    view.shows("p pause  r resume")
    shunt.kill()
    view.shows("the daemon is gone")
    view.key("a")
    view.shows("abort was not sent")
    view.shows("the daemon is gone")
    stays(lambda: "p pause" not in view.text(), 9, "the notice, longer than others do")
    shunt.restart()
    view.shows("the daemon is back")


def test_what_does_not_exist_ends_with_a_refusal(screen):
    view = screen(80, 24, words="watch wep")
    assert 'no service "wep" (did you mean "web"?)' in view.shows("left with 1")


def test_suspended_and_taken_up_again(shunt, screen):
    """Ctrl-Z gives the shell its screen and its terminal back."""
    view = screen(80, 24, words="status >/dev/null", after="exec bash --norc --noprofile -i")
    view.key(f"{program('shuntctl')} -s {shunt.socket_path} watch; echo left with $?", "Enter")
    view.shows("q quit")
    view.key("C-z")
    view.shows("Stopped")
    assert view.run("display-message", "-p", "#{alternate_on} #{cursor_flag}").strip() == "0 1"
    view.key("fg", "Enter")
    view.shows("q quit")
    assert view.run("display-message", "-p", "#{alternate_on} #{cursor_flag}").strip() == "1 0"
    view.key("q")
    view.shows("shuntctl")
    wait_until(lambda: view.run("display-message", "-p", "#{alternate_on} #{cursor_flag}").strip() == "0 1",
               "the shell has its screen", within=20)


def test_terminal_vanishes(shunt, screen):
    """The view ends with its terminal, and the migration goes on."""
    view = screen(80, 24, ASAN_OPTIONS="detect_leaks=0")  # why: Screen.stop
    shunt.ctl("start", "web").ok()
    view.shows("ramping")
    inside = view.processes()
    assert len(inside) >= 2, "the shell and the view"
    view.run("kill-server")
    wait_until(lambda: not any(session_of(pid) for pid in inside), "the view ended", within=20)
    assert shunt.phase() == "ramping"
    view.gone = True
