"""Scripted backends: what each does with a connection is a function of the test."""
import contextlib
import hashlib
import socket
import struct
import threading
import time

from .waiting import scaled


class Peer:
    """One end of a connection, with the verbs of scripts."""

    def __init__(self, sock, stopping=None):
        self.sock = sock
        self.stopping = stopping or threading.Event()
        sock.settimeout(scaled(30))

    def receive(self, n):
        """Exactly n bytes; an AssertionError when the stream ends before."""
        data = bytearray()
        while len(data) < n:
            part = self.sock.recv(min(n - len(data), 1 << 16))
            assert part, f"the stream ended after {len(data)} of {n} bytes"
            data += part
        return bytes(data)

    def receive_line(self):
        line = b""
        while not line.endswith(b"\n"):
            part = self.sock.recv(1)
            if not part:
                return line
            line += part
        return line

    def receive_all(self):
        """All bytes up to the end of the stream."""
        parts = []
        while part := self.sock.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)

    def digest_all(self):
        """(length, SHA-256) of all bytes up to the end of the stream."""
        digest, length = hashlib.sha256(), 0
        while part := self.sock.recv(1 << 18):
            digest.update(part)
            length += len(part)
        return length, digest.hexdigest()

    def send(self, data):
        self.sock.sendall(data)

    def drip(self, data, pause_s):
        """One byte at a time."""
        for byte in data:
            self.sock.sendall(bytes([byte]))
            time.sleep(pause_s)

    def shut(self):
        """Ends our direction: a FIN, the other direction goes on."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Aborts: the other end gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def stall(self):
        """Does nothing until the test ends."""
        self.stopping.wait()

    def ended(self):
        """True when the other end has ended its direction and nothing is left to read; waits for it."""
        return self.sock.recv(1) == b""

    def was_reset(self):
        """True when reading ends with a reset; data before it is thrown away."""
        try:
            while self.sock.recv(1 << 16):
                pass
        except ConnectionResetError:
            return True
        return False

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Server:
    """Listens on a free port (or a Unix path) and runs script(peer) in a thread for each connection."""

    def __init__(self, script, family=socket.AF_INET, path=None, port=0, backlog=128, host=None):
        self.script = script
        self.listener = socket.socket(socket.AF_UNIX if path else family)
        self.path = path
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for a port that comes back
        host = host or ("::1" if family == socket.AF_INET6 else "127.0.0.1")
        self.listener.bind(str(path) if path else (host, port))
        self.listener.listen(backlog)
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.peers, self.threads, self.failures = [], [], []
        self.accepted = 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @property
    def address(self):
        if self.path:
            return f"unix:{self.path}"
        host, port = self.listener.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            peer = Peer(sock, self.stopping)
            thread = threading.Thread(target=self.serve, args=(peer,), daemon=True)
            with self.lock:
                self.accepted += 1
                self.peers.append(peer)
                self.threads.append(thread)
            thread.start()

    def serve(self, peer):
        try:
            with peer:
                self.script(peer)
        except (OSError, AssertionError) as failure:
            if not self.stopping.is_set():
                self.failures.append(failure)

    def stop(self):
        """Stops listening at once (new connections are refused) and ends all scripts."""
        self.stopping.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(scaled(5))
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(scaled(5))
            assert not thread.is_alive(), "a script did not end"


class Refuser:
    """A port that is taken and refuses: bound, but nobody listens."""

    def __init__(self):
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.sock.getsockname()[1]

    def stop(self):
        self.sock.close()


class Swallower:
    """A port that never answers: its queue is full, the kernel drops what comes."""

    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.settimeout(0.2)
            self.fillers.append(filler)
            try:
                filler.connect(self.listener.getsockname())
            except TimeoutError:
                return
        raise AssertionError("the queue of the silent listener did not fill")

    def stop(self):
        for one in (*self.fillers, self.listener):
            one.close()


# Scripts that many tests use.

def named(name):
    """Answers every line with its own name: who served this connection?"""
    def script(peer):
        while line := peer.receive_line():
            peer.send(name.encode() + b" " + line)
    return script


def echo(peer):
    while part := peer.sock.recv(1 << 16):
        peer.send(part)


def accept_and_close(peer):
    peer.close()


def accept_and_reset(peer):
    peer.reset()


def stall(peer):
    peer.stall()
