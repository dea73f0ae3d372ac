"""Clients of Redis whose every command is counted by themselves and by the server."""
import re
import threading

from .clients import connect
from .waiting import scaled

CLIENTS = 4


class Counting:
    """Clients that add 1 to a counter, again and again, on connections that last for a number of commands."""

    def __init__(self, port, commands, opens=connect):
        self.port, self.commands, self.opens = port, commands, opens
        self.done, self.failures, self.stopping = [0] * CLIENTS, [], threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def work(self, i):
        try:
            while not self.stopping.is_set():
                with self.opens(self.port) as peer:
                    for _ in range(self.commands):
                        peer.send(b"INCR counting\r\n")
                        reply = peer.receive_line()
                        assert re.fullmatch(rb":\d+\r\n", reply), reply
                        self.done[i] += 1
                        if self.stopping.is_set():
                            break
        except (OSError, AssertionError) as failure:
            self.failures.append(failure)

    def report(self):
        """Ends the load; how many commands were answered, all of them well."""
        self.stop()
        assert not self.failures, self.failures
        return sum(self.done)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(scaled(30))
            assert not thread.is_alive(), "a client did not end"
