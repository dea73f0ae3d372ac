"""Real programs, started and stopped: servers as an unprivileged user in folders of their own, and clients."""
import glob
import os
import pathlib
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

from .process import die_with_parent
from .waiting import scaled, wait_until

START_TRIES = 5
USER = "nobody"


def find(*names):
    """The path of the first of these programs that is there; an AssertionError names the packages' programs."""
    for name in names:
        matches = sorted(glob.glob(name)) if "/" in name else [shutil.which(name)]
        if matches and matches[-1]:
            return matches[-1]
    raise AssertionError(f"none of {', '.join(names)} is installed")


def as_user(command, death_signal=signal.SIGKILL):
    """The command under an unprivileged user when we are root: PostgreSQL refuses root, and the rest needs none.
    It gets the signal when the test dies; the change of user would have cleared what die_with_parent set."""
    command = [str(word) for word in command]
    if os.geteuid() != 0:
        return command
    user = pwd.getpwnam(USER)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
            f"--pdeathsig={signal.Signals(death_signal).name[3:]}", "--", *command]


def run(command, within=60, **more):
    """Runs a client to its end; (exit code, output)."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=scaled(within), preexec_fn=die_with_parent, check=False, **more)
    return done.returncode, done.stdout


def output(command, **more):
    """What a client that must end well prints."""
    code, text = run(command, **more)
    assert code == 0, f"{command} ended with {code}:\n{text}"
    return text


class Program:
    """A server that listens on a TCP port, and on a Unix socket in its folder for the test's own questions.

    It cannot be handed a socket, so it gets a port that was free a moment ago; when that one was taken meanwhile it
    ends, and another is tried. The Unix socket tells that this very server is the one that serves."""

    stop_signal = signal.SIGTERM

    def __init__(self, name):
        self.name = name
        # Not below pytest's own folder: that one is closed to other users.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"shunt-{type(self).__name__.lower()}-"))
        self.popen = None
        try:
            if os.geteuid() == 0:
                user = pwd.getpwnam(USER)
                os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.prepare()
            self.start()
        except BaseException:
            self.stop()
            raise

    def prepare(self):
        """Makes what the server needs before its first start."""

    def command(self):
        raise NotImplementedError

    def ready(self):
        """True when it answers over its Unix socket."""
        raise NotImplementedError

    def log(self):
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def start(self):
        for _ in range(START_TRIES):
            if self.try_start():
                return
        raise AssertionError(f"{type(self).__name__} did not start:\n{self.log()}")

    def try_start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.launch()
        return self.running()

    def again(self):
        """Starts it on the port that it had."""
        self.launch()
        assert self.running(), f"{self.name} did not start again:\n{self.log()}"

    def launch(self):
        with open(self.folder / "log", "ab") as log:
            self.popen = subprocess.Popen(as_user(self.command(), self.stop_signal), stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, cwd=self.folder,
                                          preexec_fn=lambda: die_with_parent(self.stop_signal))
        wait_until(lambda: not self.running() or self.ready(), f"{self.name} answers", within=30)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def halt(self):
        """Ends the server as an operator would; its folder and data stay."""
        self.popen.send_signal(self.stop_signal)
        try:
            self.popen.wait(scaled(15))
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise

    def stop(self):
        """The end: nothing of it is left."""
        try:
            if self.running():
                self.halt()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


class Client:
    """A client program that runs beside the test; ended by a signal when the test did not see to its end."""

    def __init__(self, command, **more):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
        self.popen = subprocess.Popen([str(word) for word in command], preexec_fn=die_with_parent, **pipes)

    def say(self, line):
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def ask(self, line):
        """One line there, one line back."""
        self.say(line)
        assert select.select([self.popen.stdout], [], [], scaled(30))[0], f"no answer to {line!r}"
        return self.popen.stdout.readline().rstrip("\n")

    def interrupt(self):
        """Ctrl-C."""
        self.popen.send_signal(signal.SIGINT)

    def finish(self, within=30):
        """Waits for its end; (exit code, standard output, standard error)."""
        out, err = self.popen.communicate(timeout=scaled(within))
        return self.popen.returncode, out, err

    def stop(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe and not pipe.closed:
                pipe.close()


class Repeat:
    """Runs a client command again and again in a thread until it is stopped; every run must pass its check."""

    def __init__(self, command, check):
        self.command, self.check = command, check
        self.stopping, self.outputs, self.failure = threading.Event(), [], None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        while not self.stopping.is_set() and not self.failure:
            try:
                text = output(self.command)
                self.check(text)
                self.outputs.append(text)
            except Exception as failure:  # shown by runs and finish
                self.failure = failure

    def runs(self):
        """How many runs have ended well; raises what went wrong with one."""
        if self.failure:
            raise self.failure
        return len(self.outputs)

    def more(self, n=2, within=60):
        """Waits until n more runs have begun and ended well."""
        target = self.runs() + n + 1
        wait_until(lambda: self.runs() >= target, f"{n} more runs of {self.command[0]}", within)

    def finish(self):
        """Lets the run under way end; the outputs of all runs."""
        self.stop()
        self.runs()
        return self.outputs

    def stop(self):
        self.stopping.set()
        self.thread.join(scaled(70))
        assert not self.thread.is_alive(), "a client did not end"
