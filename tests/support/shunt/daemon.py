"""The daemon under test: written configuration, start, operator commands, and the checks at its end."""
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess

from . import config as config_module
from .process import Adopted, adopt_orphans, all_children, children, describe, descriptor_kinds, die_with_parent
from .waiting import scaled, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("SHUNT_BUILD", ROOT / "build" / "debug"))
# Pipes that a worker keeps for the next bulk transfer (PIPES_IDLE_MAX in proxy/pipes.h).
POOLED_PIPES = 32
SANITIZED = bool(os.environ.get("SHUNT_SANITIZE"))
SANITIZER_WORDS = ("Sanitizer", "runtime error:", "Assertion", "WARNING: ThreadSanitizer")


def program(name):
    """The path of shuntd, shuntctl or bench_load in the build folder."""
    folder = {"shuntd": "daemon", "shuntctl": "admin", "bench_load": "bench"}[name]
    found = [path for path in sorted((BUILD / folder).rglob(name)) if path.is_file() and os.access(path, os.X_OK)]
    assert found, f"{name} is not in {BUILD / folder}: build first"
    return found[0]


class Reply:
    """What shuntctl gave: exit code, standard output and error."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"Reply(code={self.code}, out={self.out!r}, err={self.err!r})"

    def ok(self):
        assert self.code == 0, self
        return self.out

    def refused(self, *words):
        """Asserts a refusal that says these words; returns its text."""
        assert self.code == 1, self
        text = self.out + self.err
        assert all(word in text for word in words), self
        return text


class Daemon:
    """One shuntd in a folder of its own. Its listening ports are chosen by the system."""

    def __init__(self, folder, services, files=None, environment=None, namespace=None, binary=None, **settings):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket_path = str(self.folder / "admin.sock")
        self.files = files
        self.namespace = namespace  # a network namespace, see shunt.namespaces
        self.environment = {**os.environ, **(environment or {})}
        self.settings = {"workers": 2, "state_dir": str(self.folder / "state"),
                         "admin": {"socket": self.socket_path}, "log": {"level": "debug"}, **settings,
                         "services": services}
        (self.folder / "state").mkdir(exist_ok=True)
        self.path = self.folder / "shunt.conf"
        self.errors_path = self.folder / "stderr"
        self.popen = None
        self.descriptors_at_start = self.pipes_at_start = None
        self.program = binary or program("shuntd")
        self.formers = []  # programs that were upgraded and may still have connections

    def write(self):
        self.path.write_text(config_module.write(self.settings) + "\n")

    def start(self):
        """Starts it and waits until the admin socket answers."""
        self.write()

        def prepare():
            die_with_parent()
            if self.namespace:
                self.namespace.enter()
            if self.files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))
            self.prepare()

        with open(self.errors_path, "ab") as errors:
            self.popen = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                                          close_fds=type(self) is Daemon, preexec_fn=prepare, env=self.environment)
        wait_until(self.answers, "the admin socket answers", within=10)
        self.descriptors_at_start = self.descriptors_held()
        self.pipes_at_start = descriptor_kinds(self.pid).get("pipe", 0)  # the event loops have some
        return self

    def command(self):
        return [self.program, "-c", self.path]

    def prepare(self):
        """In the new process, before the program runs."""

    def answers(self):
        assert self.popen.poll() is None, f"shuntd ended with {self.popen.returncode}:\n{self.log()}"
        try:
            return self.admin("status").strip() != ""
        except (ConnectionRefusedError, FileNotFoundError, ConnectionResetError):
            return False

    @property
    def pid(self):
        return self.popen.pid

    def log(self):
        return self.errors_path.read_text(errors="replace") if self.errors_path.exists() else ""

    def says(self, *texts):
        """Waits until all of them stand in the log, which a thread of its own writes; the log."""
        wait_until(lambda: all(text in self.log() for text in texts), f"the log tells {texts}")
        return self.log()

    # The operator's side.

    def admin_connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(scaled(10))
        connection.connect(self.socket_path)
        return connection

    def admin(self, line):
        """One command over the raw socket; the reply without its final empty line."""
        with self.admin_connect() as connection:
            connection.sendall(line.encode() + b"\n")
            return read_reply(connection)

    def ctl(self, *words, within=10):
        done = subprocess.run([program("shuntctl"), "-s", self.socket_path, *map(str, words)], capture_output=True,
                              text=True, timeout=scaled(within), env=self.environment, check=False)
        return Reply(done)

    def ctl_begin(self, *words):
        """As ctl without waiting for its end: for wait and watch."""
        return subprocess.Popen([program("shuntctl"), "-s", self.socket_path, *map(str, words)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                preexec_fn=die_with_parent, env=self.environment)

    def status(self):
        return json.loads(self.admin("status --json"))

    def service(self, name=None):
        services = self.status()["services"]
        return next(one for one in services if name in (None, one["name"]))

    def group(self, group, service=None):
        return next(one for one in self.service(service)["groups"] if one["name"] == group)

    def backend(self, group, index=0, service=None):
        return self.group(group, service)["backends"][index]

    def phase(self, service=None):
        return self.service(service)["phase"]

    def wait_phase(self, *phases, service=None, within=10):
        return wait_until(lambda: self.phase(service) in phases and self.phase(service),
                          f"phase {' or '.join(phases)}", within)

    def address(self, index=0, service=None):
        return self.service(service)["listen"][index]

    def port(self, index=0, service=None):
        return int(self.address(index, service).rsplit(":", 1)[1])

    # Another program takes its place.

    def upgrade(self, *words, within=30):
        """By command; what was asked is the new program from now on. Returns the reply's text."""
        adopt_orphans()
        text = self.ctl("upgrade", *words, within=within).ok()
        self.follow()
        return text

    def follow(self):
        """The program that answers now is the one that the tests look at; the one before is waited for at the end."""
        pid = wait_until(lambda: self.status()["pid"] != self.pid and self.status()["pid"], "another program answers")
        self.formers.append(self.popen)
        self.popen = Adopted(pid)

    def wait_formers(self, within=15):
        for former in self.formers:
            code = former.wait(scaled(within))
            assert code == 0, f"a former program ended with {code}:\n{self.log()[-8000:]}"
        self.formers = []
        self.descriptors_at_start = self.descriptors_held() if self.settled() else None

    # Its end.

    def settled(self):
        """True when no connection is open and the counters add up."""
        for one in self.status()["services"]:
            counts = one["connections"]
            if counts["open"] or counts["accepted"] != sum(counts["closed"].values()):
                return False
        return True

    def check_quiet(self):
        """What must hold when a test has closed its clients."""
        wait_until(self.settled, f"all connections closed and counted: {[s['connections'] for s in self.status()['services']]}")
        wait_until(lambda: self.descriptors_at_start is None or self.descriptors_held() <= self.descriptors_at_start,
                   f"descriptors back to {self.descriptors_at_start}: {descriptor_kinds(self.pid)}")
        pooled = descriptor_kinds(self.pid).get("pipe", 0) - self.pipes_at_start
        assert pooled <= POOLED_PIPES * 2 * self.settings["workers"], f"{pooled} ends of pipes are still open"
        wait_until(lambda: not children(self.pid), f"no child process is left: {[describe(one) for one in all_children(self.pid)]}")

    def descriptors_held(self):
        """Open descriptors without the pipes: each worker keeps some for later."""
        kinds = descriptor_kinds(self.pid)
        return sum(kinds.values()) - kinds.get("pipe", 0)

    def check_log(self):
        log = self.log()
        lines = [line for line in log.splitlines() if any(word in line for word in SANITIZER_WORDS)]
        assert not lines, f"{lines}\n{log[-8000:]}"

    def kill(self):
        """kill -9, as a crash would."""
        for one in (self.popen, *self.formers):
            one.kill()
            one.wait()
        self.formers = []

    def restart(self):
        """After kill: the same configuration and state again."""
        return self.start()

    def stop(self, check=True):
        """TERM; asserts a clean end within the deadline."""
        if not self.popen or self.popen.poll() is not None:
            if self.popen and self.popen.returncode != -signal.SIGKILL:
                raise AssertionError(f"shuntd had ended with {self.popen.returncode}:\n{self.log()[-8000:]}")
            return
        try:
            if check and self.formers:
                self.wait_formers()
            if check:
                self.check_quiet()
            self.popen.send_signal(signal.SIGTERM)
            code = self.popen.wait(scaled(15))
        except BaseException:
            self.kill()
            raise
        assert code == 0, f"shuntd ended with {code}:\n{self.log()[-8000:]}"
        assert not os.path.exists(self.socket_path), "the admin socket was left"
        self.check_log()
        self.popen = None


def read_reply(connection):
    """One reply of the admin protocol: lines up to an empty one."""
    reply = b""
    while not (reply == b"\n" or reply.endswith(b"\n\n")):
        part = connection.recv(65536)
        if not part:
            raise ConnectionResetError(f"the admin connection ended within a reply: {reply!r}")
        reply += part
    return reply.decode()[:-1]
