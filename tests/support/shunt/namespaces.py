"""Networks of a test's own: namespaces joined by a pair of interfaces. Only for root."""
import contextlib
import ctypes
import os
import subprocess

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def enter_descriptor(fd):
    if LIBC.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Namespace:
    """A network of its own. What is made within `inside` belongs to it: sockets keep the namespace they were born in."""

    def __init__(self, name):
        self.name = f"shunt-{os.getpid()}-{name}"
        ip("netns", "add", self.name)
        self.fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        self.ip("link", "set", "lo", "up")

    def ip(self, *words):
        ip("-n", self.name, *words)

    def enter(self):
        """For a child process before it runs another program."""
        enter_descriptor(self.fd)

    @contextlib.contextmanager
    def inside(self):
        """The calling thread is there for a while."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            enter_descriptor(self.fd)
            yield
        finally:
            enter_descriptor(home)
            os.close(home)

    def join(self, other, mine, theirs):
        """A cable: an address of ours at one end, one of theirs at the other ("10.77.0.1/24"). Our interface's name."""
        ends = f"to-{other.name[-6:]}", f"to-{self.name[-6:]}"
        ip("link", "add", ends[0], "netns", self.name, "type", "veth", "peer", "name", ends[1], "netns", other.name)
        for one, end, address in ((self, ends[0], mine), (other, ends[1], theirs)):
            more = ["nodad"] if ":" in address else []  # else the address is not to be used for a second
            one.ip("address", "add", address, "dev", end, *more)
            one.ip("link", "set", end, "up")
        return ends[0]

    def stop(self):
        os.close(self.fd)
        ip("netns", "delete", self.name)
