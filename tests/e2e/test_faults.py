"""Calls of the system that fail or fall short: one connection or one function suffers, never the program."""
import contextlib
import json
import random
import threading

import pytest
from shunt.clients import ask, connect
from shunt.config import service, steps
from shunt.daemon import SANITIZED
from shunt.faults import Faults
from shunt.peers import echo, named
from shunt.waiting import scaled, wait_until

pytestmark = pytest.mark.skipif(SANITIZED, reason="a sanitizer owns the allocator, nothing can be preloaded")

MIB = 1 << 20
# How many calls of each kind are made to fail, one after the other, while clients come and go.
DEEPEST = 80


@pytest.fixture(name="faults")
def fixture_faults(tmp_path):
    return Faults(tmp_path)


@pytest.fixture(name="shunt")
def fixture_shunt(daemon, server, faults):
    backends = [server(echo).address, server(echo).address]
    return daemon(service(backends, group_settings={"health": {"type": "none"}}), workers=1,
                  environment=faults.environment)


def random_bytes(seed, size):
    return random.Random(seed).randbytes(size)


def exchange(port, data):
    """Sends all, ends, and reads all; the bytes that came back. An OSError when the connection broke."""
    with connect(port) as client:
        client.sock.settimeout(scaled(5))
        received = bytearray()

        def read():
            with contextlib.suppress(ConnectionError):  # what came before counts
                while part := client.sock.recv(1 << 16):
                    received.extend(part)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            client.send(data)
            client.shut()
        finally:
            reader.join(scaled(20))
        assert not reader.is_alive(), f"stalled after {len(received)} of {len(data)} bytes"
        return bytes(received)


def dialogue(port, data, seed):
    """Sends data in parts and waits for each to come back: small messages, which are copied."""
    generator, at = random.Random(seed), 0
    with connect(port) as client:
        while at < len(data):
            part = data[at:at + generator.randrange(1, 4_000)]
            client.send(part)
            assert client.receive(len(part)) == part, f"other bytes after {at}"
            at += len(part)
    return data


@pytest.mark.parametrize("talk", ["dialogue", "bulk"])
@pytest.mark.parametrize("error", [None, "EINTR"])
def test_short_and_interrupted_moves(shunt, faults, talk, error):
    """Every byte arrives in order. (EAGAIN from a socket that is ready cannot be injected: the edge that
    follows a true one would be missing.)"""
    generator = random.Random(f"{talk}{error}")
    data = random_bytes(7, MIB if talk == "dialogue" else 24 * MIB)
    calls = ("recv", "send") if talk == "dialogue" else ("recv", "send", "splice")
    wrong, enough = [], threading.Event()

    def talk_on():
        try:
            while not enough.is_set():
                if talk == "dialogue":
                    dialogue(shunt.port(), data, 11)
                else:
                    assert exchange(shunt.port(), data) == data
        except BaseException as failure:  # the test's own thread tells
            wrong.append(failure)

    worker = threading.Thread(target=talk_on)
    worker.start()
    try:
        for _ in range(2_000):
            if wrong or sum(faults.hits(call) for call in calls) > 25:
                break
            faults.arm(generator.choice(calls), error, most=generator.choice((1, 7, 100, 4096)),
                       after=generator.randrange(3), times=generator.randrange(1, 4))
            worker.join(0.005)
    finally:
        enough.set()
        worker.join(scaled(60))
    assert not wrong, wrong
    assert sum(faults.hits(call) for call in calls) > 25, "hardly anything was struck"


@pytest.mark.parametrize("call,error", [("malloc", "ENOMEM"), ("socket", "EMFILE"), ("connect", "ENOBUFS"),
                                        ("accept4", "EMFILE"), ("accept4", "ECONNABORTED"), ("pipe2", "EMFILE"),
                                        ("epoll_ctl", "ENOMEM"), ("splice", "ENOMEM"), ("splice", "EINVAL"),
                                        ("recv", "ENOMEM"), ("send", "ENOBUFS")])
def test_each_call_fails_once(shunt, faults, call, error):
    """The n-th call fails, for every n: what is served is right or ends, and the next is served."""
    data = random_bytes(3, 300_000)
    struck, port = 0, shunt.port()
    for after in range(DEEPEST):
        faults.arm(call, error, after=after)
        for _ in range(2):
            try:
                answer = exchange(port, data)
            except TimeoutError:
                raise
            except OSError:
                continue
            assert data.startswith(answer), "bytes that were never sent"
        struck += faults.hits(call) > 0
        faults.disarm(call)
        faults.reset(call)
    assert struck > 0, f"{call} was never struck"
    assert exchange(port, data) == data
    assert json.loads(shunt.admin("status --json"))["services"][0]["connections"]["accepted"] > 0


def test_descriptors_run_out_for_a_while(shunt, faults):
    """accept4 fails a thousand times in a row: accepting waits, and goes on by itself."""
    faults.arm("accept4", "EMFILE", times=3)
    assert exchange(shunt.port(), b"late but whole") == b"late but whole"
    assert faults.hits("accept4") == 3


def test_memory_fails_under_the_operator(daemon, server, faults):
    """Commands that find no memory are refused or cut off; the next one is carried out."""
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address],
                           migration=steps(("25%", "1h"), ("100%", "1h"))), environment=faults.environment)
    shunt.ctl("start", "web").ok()
    for after in range(0, 1200, 3):
        faults.arm("malloc", "ENOMEM", after=after)
        for line in ("status", "status --json", "events", "show metrics", "plan web"):
            try:
                shunt.admin(line)
            except OSError:
                pass  # cut off
        faults.disarm("malloc")
    assert shunt.service()["share_bp"] == 2500 and shunt.phase() == "ramping"
    assert ask(shunt.port()).split(b" ")[0] in (b"old", b"new")


def test_memory_fails_under_a_change(daemon, server, faults):
    """A share is set or it is not; what the status says is what is in force."""
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address],
                           migration=steps(("25%", "1h"), ("100%", "1h"))), environment=faults.environment)
    shunt.ctl("start", "web").ok()
    done = refused = 0
    for after in range(0, 600, 3):
        share = 1000 + after
        faults.arm("malloc", "ENOMEM", after=after)
        try:
            reply = shunt.admin(f"share web {share / 100}%")
        except OSError:
            reply = None
        faults.disarm("malloc")
        now = shunt.service()["share_bp"]
        if reply is not None and not reply.startswith("error"):
            assert now == share, reply
            done += 1
        elif reply is not None:
            refused += 1
    assert done > 10 and refused > 3, (done, refused)


def test_disk_fails_in_the_middle(daemon, server, faults):
    """EIO from the disk: the step is refused, traffic goes on, and once the disk is well the step is taken."""
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address],
                           migration=steps(("25%", "1h"), ("100%", "1h"))), environment=faults.environment)
    shunt.ctl("start", "web").ok()
    faults.arm("fdatasync", "EIO", times=1000)
    shunt.ctl("skip", "web").refused("journal")
    assert shunt.service()["share_bp"] == 2500
    faults.disarm("fdatasync")
    wait_until(lambda: shunt.ctl("skip", "web").code == 0, "the step is taken")
    assert shunt.service()["share_bp"] == 10000
