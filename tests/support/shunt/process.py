"""What the kernel tells about a process: descriptors, CPU time, memory, children."""
import ctypes
import os
import pathlib
import signal

PR_SET_PDEATHSIG = 1
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
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if task.name != str(pid) and not (task / "comm").read_text().startswith("shunt-w"):
            continue
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    return total


def memory_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        found.extend(int(child) for child in task.read_text().split())
    return found
