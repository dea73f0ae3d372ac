"""Child processes that die with us, and what the kernel says about their CPU time and memory."""
import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)
START_LIMIT_S = 10


def prepare_child():
    """Runs in the child before exec: a measurement that is killed leaves nothing behind."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Failure(Exception):
    """Something that was started did not work; the text says what."""


class Process:
    """One child with its own children. Standard input and output are pipes, errors go to a file in folder."""

    def __init__(self, command, folder):
        self.command = [str(word) for word in command]
        self.errors = pathlib.Path(folder) / f"{pathlib.Path(self.command[0]).name}-{time.monotonic_ns()}.stderr"
        with open(self.errors, "wb") as errors:
            self.popen = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                preexec_fn=prepare_child, text=True)

    @property
    def pid(self):
        return self.popen.pid

    def line(self):
        """The next line of its output; a Failure with its errors when there is none."""
        line = self.popen.stdout.readline()
        if not line:
            self.popen.wait()
            raise Failure(f"{' '.join(self.command)}: ended with {self.popen.returncode}: {self.errors.read_text()}")
        return line.strip()

    def say(self, line):
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def family(self):
        """The pids of the process and all below it."""
        found = [self.pid]
        for pid in found:
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                found.extend(int(child) for child in task.read_text().split())
        return found

    def cpu_ns(self):
        """Time on the CPU by the scheduler's account, of all threads of the whole family."""
        total = 0
        for pid in self.family():
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                total += int(task.read_text().split()[0])
        return total

    def memory_bytes(self):
        """Resident memory of the whole family."""
        total = 0
        for pid in self.family():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
        return total

    def alive(self):
        return self.popen.poll() is None

    def stop(self):
        """Ends it: by its end of input, then TERM, then KILL."""
        try:
            self.popen.stdin.close()
        except BrokenPipeError:
            pass
        for ask in (None, self.popen.terminate, self.popen.kill):
            if ask:
                ask()
            try:
                self.popen.wait(0.2 if ask is None else 3)
                break
            except subprocess.TimeoutExpired:
                continue
        self.popen.stdout.close()


def free_port():
    """A port that was free a moment ago: peers that cannot say which one they took must be told."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, what, process=None, limit_s=START_LIMIT_S):
    end = time.monotonic() + limit_s
    while not condition():
        if process and not process.alive():
            raise Failure(f"{what}: {' '.join(process.command)} ended: {process.errors.read_text()}")
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {limit_s} s")
        time.sleep(0.01)


def connects(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def version_of(*command):
    """The first line that a program says about its version, or None when it is not there."""
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10,
                                check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    lines = [line for line in result.stdout.splitlines() if line and "GeoIP" not in line]
    return lines[0] if lines else ""


def cpu_count():
    return len(os.sched_getaffinity(0))
