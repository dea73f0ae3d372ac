"""Faults in calls of the C library of a running shuntd: arms the slots of tests/support/faults/shim.c."""
import errno as numbers
import mmap
import struct

from .daemon import BUILD

# The order of enum slot_index.
SLOTS = ("recv", "send", "splice", "accept4", "socket", "connect", "pipe2", "epoll_ctl", "malloc", "fdatasync", "write",
         "wall", "monotonic")
SLOT = struct.Struct("<qqiiq")  # after, times, error, most, hits


class Faults:
    """Give .environment to the daemon. Nothing is armed at first."""

    def __init__(self, folder):
        self.path = folder / "faults"
        self.path.write_bytes(SLOT.pack(-1, 0, 0, 0, 0) * len(SLOTS))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), SLOT.size * len(SLOTS))
        self.environment = {"LD_PRELOAD": str(BUILD / "tests" / "libfaults.so"), "SHUNT_FAULTS": str(self.path)}

    def arm(self, call, error=None, most=0, after=0, times=1):
        """After so many calls, so many fail with the errno of that name, or move at most so many bytes."""
        at = SLOTS.index(call) * SLOT.size
        number = getattr(numbers, error) if error else 0
        # `after` last: it is what switches the slot on.
        struct.pack_into("<qii", self.map, at + 8, times, number, most)
        struct.pack_into("<q", self.map, at, after)

    def set_ahead(self, clock, seconds):
        """From now on that clock ("wall", "monotonic") is so far ahead of the system's."""
        at = SLOTS.index(clock) * SLOT.size
        struct.pack_into("<q", self.map, at + 8, int(seconds * 1e6))
        struct.pack_into("<q", self.map, at, 0)

    def disarm(self, call):
        struct.pack_into("<q", self.map, SLOTS.index(call) * SLOT.size, -1)

    def reset(self, call):
        """Counts from 0 again."""
        struct.pack_into("<q", self.map, SLOTS.index(call) * SLOT.size + 24, 0)

    def hits(self, call):
        """Calls that were struck since the last reset."""
        return SLOT.unpack_from(self.map, SLOTS.index(call) * SLOT.size)[4]
