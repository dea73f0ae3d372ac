"""Real programs behind and before the daemon: nginx, Redis, PostgreSQL and their clients, as unprivileged users in
folders of their own."""
import glob
import os
import pathlib
import pwd
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


def as_user(command):
    """The command under an unprivileged user when we are root: PostgreSQL refuses root, and the rest needs none."""
    command = [str(word) for word in command]
    if os.geteuid() != 0:
        return command
    user = pwd.getpwnam(USER)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups",
            "--pdeathsig=KILL", "--", *command]


def run(command, within=60):
    """Runs a client to its end; (exit code, output)."""
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=scaled(within), preexec_fn=die_with_parent, check=False)
    return done.returncode, done.stdout


class Program:
    """A server on a port that was free; another port is tried when it was taken meanwhile."""

    stop_signal = signal.SIGTERM

    def __init__(self, name):
        self.name = name
        # Not below pytest's own folder: that one is closed to other users.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"shunt-{type(self).__name__.lower()}-"))
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.popen = None
        self.prepare()
        for _ in range(START_TRIES):
            if self.try_start():
                return
        raise AssertionError(f"{type(self).__name__} did not start:\n{self.log()}")

    def prepare(self):
        pass

    def command(self):
        raise NotImplementedError

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def try_start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        with open(self.folder / "log", "ab") as log:
            self.popen = subprocess.Popen(as_user(self.command()), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          cwd=self.folder, preexec_fn=die_with_parent)
        return wait_until(lambda: self.popen.poll() is not None or self.ready() or None, f"{self.name} answers",
                          within=30) and self.popen.poll() is None

    def ready(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def stop(self):
        self.popen.send_signal(self.stop_signal)
        try:
            self.popen.wait(scaled(15))
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


class Nginx(Program):
    """Answers every request with its name."""

    def command(self):
        (self.folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 100000000;
    client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b; fastcgi_temp_path {self.folder}/c;
    uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
    server {{ listen {self.address} backlog=1024; location / {{ return 200 "{self.name}\\n"; }} }}
}}
""")
        return [find("nginx", "/usr/sbin/nginx"), "-p", self.folder, "-e", "stderr", "-c", self.folder / "nginx.conf"]


class Redis(Program):
    def command(self):
        return [find("redis-server"), "--port", self.port, "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
                "--appendonly", "no", "--tcp-backlog", 1024]

    def ask(self, *words):
        code, text = run([find("redis-cli"), "-p", self.port, *words])
        assert code == 0, text
        return text

    def connections(self):
        """How many connections it has had."""
        stats = self.ask("INFO", "stats")
        return int(next(line.split(":")[1] for line in stats.splitlines() if line.startswith("total_connections")))


class Postgresql(Program):
    stop_signal = signal.SIGINT  # its fast shutdown

    def prepare(self):
        self.data = self.folder / "data"
        command = as_user([find("/usr/lib/postgresql/*/bin/initdb"), "-D", self.data, "-U", "shunt", "-A", "trust",
                           "--no-sync", "-E", "UTF8", "--locale=C"])
        code, text = run(["env", "-C", self.folder, *command])
        assert code == 0, text

    def command(self):
        return [find("/usr/lib/postgresql/*/bin/postgres"), "-D", self.data, "-p", self.port, "-k", self.folder,
                "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=60"]

    def ready(self):
        code, _ = run([find("/usr/lib/postgresql/*/bin/pg_isready"), "-h", "127.0.0.1", "-p", self.port])
        return code == 0

    def fill(self):
        code, text = run([find("/usr/lib/postgresql/*/bin/pgbench"), "-i", "-s", "1", "-q", *self.where(self.port)])
        assert code == 0, text

    @staticmethod
    def where(port):
        return ["-h", "127.0.0.1", "-p", port, "-U", "shunt", "postgres"]

    def rows(self):
        """How many transactions of pgbench it has kept."""
        code, text = run([find("psql"), "-h", "127.0.0.1", "-p", self.port, "-U", "shunt", "-At", "-c",
                          "select count(*) from pgbench_history", "postgres"])
        assert code == 0, text
        return int(text)


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
                code, text = run(self.command)
                assert code == 0, f"exit code {code}: {text}"
                self.check(text)
                self.outputs.append(text)
            except Exception as failure:  # shown by finish
                self.failure = failure

    def runs(self):
        """How many runs have ended well; raises what went wrong with one."""
        if self.failure:
            raise self.failure
        return len(self.outputs)

    def finish(self):
        """Lets the run under way end; the outputs of all runs."""
        self.stop()
        self.runs()
        return self.outputs

    def stop(self):
        self.stopping.set()
        self.thread.join(scaled(70))
        assert not self.thread.is_alive(), "a client did not end"
