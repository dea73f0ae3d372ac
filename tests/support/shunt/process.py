"""What the kernel tells about a process: descriptors, CPU time, memory, children."""
import contextlib
import ctypes
import os
import pathlib
import select
import signal
import subprocess

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None)


def die_with_parent(number=signal.SIGKILL):
    """For preexec_fn: what a test starts ends with it, however it ends. A server with children needs a signal that
    it can pass on to them."""
    LIBC.prctl(PR_SET_PDEATHSIG, number)


def descriptors(pid):
    """Number of open descriptors."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def descriptor_kinds(pid):
    """What the descriptors are, for messages: {"socket": 3, "anon_inode:[eventpoll]": 2, …}."""
    kinds = {}
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except FileNotFoundError:
            continue
        kind = target.split(":[")[0] if not target.startswith("anon_inode") else target
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def cpu_s(pid):
    """CPU seconds of all threads, by the scheduler's account."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def wakeups(pid):
    """How often the main thread and the workers gave up the CPU on their own: what an idle process should hardly do.
    A sanitizer's own thread is not counted."""
    total = workers = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        is_worker = (task / "comm").read_text().startswith("shunt-w")
        workers += is_worker
        if task.name != str(pid) and not is_worker:
            continue
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    assert workers, "the threads of the workers were not found by their names"
    return total


def memory_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def name(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return ""


def describe(pid):
    """Name, state and where in the kernel it is, for messages."""
    try:
        folder = pathlib.Path(f"/proc/{pid}")
        state = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("State:"))
        return f"{pid} {name(pid)} {state} {(folder / 'wchan').read_text()}"
    except (FileNotFoundError, ProcessLookupError):
        return f"{pid} gone"


def all_children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        found.extend(int(child) for child in task.read_text().split())
    return found


def children(pid):
    """Without the small process that starts the next program at an upgrade."""
    return [child for child in all_children(pid) if name(child) != "shunt-starter"]


@contextlib.contextmanager
def stopped(pid):
    """No thread of our child runs inside: a signal alone is only on its way when it was sent."""
    os.kill(pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]), f"{pid} ended instead"
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def adopt_orphans():
    """What this process's children leave behind becomes its child, so that it can be waited for."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


class Adopted:
    """A process that was not started here, with the face of subprocess.Popen. Its status is known when it was our child at its
    end (see adopt_orphans)."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None
        self.fd = os.pidfd_open(pid)

    def poll(self):
        if self.returncode is None and select.select([self.fd], [], [], 0)[0]:
            try:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            except ChildProcessError:
                self.returncode = 0  # somebody else waited for it
            os.close(self.fd)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None and not select.select([self.fd], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self.poll()

    def send_signal(self, number):
        if self.poll() is None:
            signal.pidfd_send_signal(self.fd, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)
