"""New connections without a pause, from a process of its own: what came of each. Run as a program it knocks until its standard
input ends, and then prints the counts as JSON."""
import collections
import json
import os
import random
import socket
import subprocess
import sys
import threading

THREADS = 4
TIME_S = 60
RESET = (ConnectionResetError, BrokenPipeError)


def knock(address, seed):
    """One connection that must bring back, byte by byte, what it sent."""
    randomness = random.Random(seed)
    payload = randomness.randbytes(randomness.choice((1, 100, 5000, 100000)))
    if address.startswith("unix:"):
        sock, target = socket.socket(socket.AF_UNIX), address[5:]
    else:
        host, port = address.rsplit(":", 1)
        sock, target = socket.socket(), (host, int(port))
    with sock:
        sock.settimeout(TIME_S)
        sock.connect(target)
        sender = threading.Thread(target=sock.sendall, args=(payload,)) if len(payload) > 10000 else None
        if sender:
            sender.start()
        else:
            sock.sendall(payload)
        back = bytearray()
        while len(back) < len(payload) and (part := sock.recv(65536)):
            back += part
        if sender:
            sender.join()
        return "served" if bytes(back) == payload else "cut" if payload.startswith(bytes(back)) else "corrupt"


def outcome(address, seed):
    try:
        return knock(address, seed)
    except ConnectionRefusedError:
        return "refused"
    except RESET:
        return "reset"
    except OSError as failure:
        return f"failed: {failure}"


def main(address):
    enough = threading.Event()
    counts = [collections.Counter() for _ in range(THREADS)]

    def run(at):
        turn = 0
        while not enough.is_set():
            turn += 1
            counts[at][outcome(address, at * 10 ** 9 + turn)] += 1

    outcome(address, 0)
    print("knocking", flush=True)
    threads = [threading.Thread(target=run, args=(at,)) for at in range(THREADS)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    enough.set()
    for thread in threads:
        thread.join()
    print(json.dumps(sum(counts, collections.Counter())))


class Knocker:
    """The process, with the face of the other clients of tests."""

    def __init__(self, address, namespace=None):
        self.popen = subprocess.Popen([sys.executable, "-B", __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                      preexec_fn=namespace.enter if namespace else None, env=os.environ)
        self.counts = None
        assert self.popen.stdout.readline() == "knocking\n"

    def stop(self):
        if self.counts is None:
            out, _ = self.popen.communicate("", timeout=TIME_S * 2)
            self.counts = json.loads(out) if out else {}
        return self.counts


if __name__ == "__main__":
    main(sys.argv[1])
