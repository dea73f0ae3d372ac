"""Bytes, ends and aborts are passed on as they came: the faults that other proxies had, from outside."""
import socket
import threading
import time

import pytest
from shunt.clients import ask, connect
from shunt.config import service
from shunt.payload import MIB, digest, pattern
from shunt.peers import echo, named
from shunt.process import stopped, wakeups
from shunt.waiting import scaled, stays, wait_until


class Seen:
    """What a backend's script saw, for the test to look at."""

    def __init__(self):
        self.event = threading.Event()
        self.value = None
        self.time = None

    def set(self, value):
        self.value, self.time = value, time.monotonic()
        self.event.set()

    def get(self):
        assert self.event.wait(scaled(20)), "the backend saw nothing"
        return self.value


def closed(shunt):
    return shunt.service()["connections"]["closed"]


def test_end_of_the_client_reaches_the_backend_at_once(daemon, server):
    seen = Seen()

    def script(peer):
        peer.send(peer.receive_line())
        seen.set(peer.ended())

    shunt = daemon(service([server(script).address]))
    client = connect(shunt.port())
    client.send(b"hello\n")
    assert client.receive(6) == b"hello\n"
    ended = time.monotonic()
    client.close()
    assert seen.get()
    assert seen.time - ended < scaled(0.1)
    wait_until(lambda: closed(shunt).get("client-closed") == 1, "counted as closed by the client")


def test_end_of_the_backend_reaches_the_client(daemon, server):
    shunt = daemon(service([server(lambda peer: peer.send(b"bye\n")).address]))
    with connect(shunt.port()) as client:
        assert client.receive_all() == b"bye\n"
    wait_until(lambda: closed(shunt).get("backend-closed") == 1, "counted as closed by the backend")


def read_slowly(peer, size):
    """Reads with a pause now and then, so that the sender's side fills up."""
    data = bytearray()
    while part := peer.sock.recv(65536):
        data += part
        if len(data) < size:
            time.sleep(0.002)
    return bytes(data)


def test_end_does_not_overtake_data_to_a_slow_client(daemon, server):
    data = pattern(8 * MIB)
    shunt = daemon(service([server(lambda peer: peer.send(data)).address]))
    with connect(shunt.port(), receive_buffer=16384) as client:
        assert digest(read_slowly(client, len(data))) == digest(data)


def test_end_does_not_overtake_data_to_a_slow_backend(daemon, server):
    data, seen = pattern(8 * MIB), Seen()
    shunt = daemon(service([server(lambda peer: seen.set(digest(read_slowly(peer, len(data))))).address]))
    with connect(shunt.port()) as client:
        client.send(data)
        client.shut()
        assert client.ended()
    assert seen.get() == digest(data)


SIZES = [1, 16383, 16384, 16385, 65535, 65536, 65537, MIB]


@pytest.mark.parametrize("size", SIZES)
def test_last_data_together_with_the_end(daemon, server, size):
    data, seen = pattern(size), Seen()

    def script(peer):
        seen.set(peer.digest_all())
        peer.send(data)

    shunt = daemon(service([server(script).address]))
    with connect(shunt.port()) as client:
        client.send(data)
        client.shut()
        assert client.digest_all() == digest(data)
    assert seen.get() == digest(data)


def test_reader_that_stops_is_closed_at_the_idle_timeout(daemon, server):
    backend_ended = Seen()

    def script(peer):
        try:
            while True:
                peer.send(bytes(65536))
        except OSError:
            backend_ended.set(True)

    shunt = daemon(service([server(script).address], timeouts={"idle": "1s"}))
    client = connect(shunt.port(), receive_buffer=16384)
    assert backend_ended.get()
    wait_until(shunt.settled, "both sides are gone")
    assert closed(shunt) == {"idle": 1} or closed(shunt)["idle"] == 1
    client.close()


def test_silent_connection_is_closed_at_the_idle_timeout(daemon, server):
    shunt = daemon(service([server(echo).address], timeouts={"idle": "500ms"}))
    with connect(shunt.port()) as client:
        client.send(b"x")
        assert client.receive(1) == b"x"
        began = time.monotonic()
        assert client.ended()
        assert 0.3 < time.monotonic() - began < scaled(2)
    wait_until(lambda: closed(shunt).get("idle") == 1, "counted as idle")


def test_traffic_keeps_a_connection_from_being_idle(daemon, server):
    shunt = daemon(service([server(echo).address], timeouts={"idle": "600ms"}))
    with connect(shunt.port()) as client:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            client.send(b"x")
            assert client.receive(1) == b"x"
            time.sleep(0.1)  # the rhythm of the client, not a wait
    wait_until(lambda: closed(shunt).get("client-closed") == 1, "ended by the client alone")


def test_half_closed_side_that_overstays_is_closed(daemon, server):
    shunt = daemon(service([server(lambda peer: peer.stall()).address], timeouts={"half_close": "500ms"}))
    with connect(shunt.port()) as client:
        client.shut()
        assert client.ended()
    wait_until(lambda: closed(shunt).get("idle") == 1, "counted as idle")


def test_half_closed_connection_costs_no_wakeups(daemon, server):
    got_end = Seen()

    def script(peer):
        got_end.set(peer.ended())
        peer.stall()

    shunt = daemon(service([server(script).address]))
    client = connect(shunt.port())
    client.shut()
    assert got_end.get()
    before = wakeups(shunt.pid)
    stays(lambda: wakeups(shunt.pid) - before <= 20, 5, "at most 20 wakeups in 5 s of all threads")
    client.reset()  # a close would send nothing more: the end was sent before
    wait_until(lambda: closed(shunt).get("client-reset") == 1, "the abort of a half-closed client is noticed")


@pytest.mark.parametrize("direction", ["client ends first", "backend ends first"])
def test_data_flows_on_after_the_other_side_has_ended(daemon, server, direction):
    data, seen = pattern(3 * MIB), Seen()

    def script(peer):
        if direction == "client ends first":
            seen.set(peer.ended())
            peer.send(data)
        else:
            peer.shut()
            seen.set(peer.digest_all())

    shunt = daemon(service([server(script).address]))
    with connect(shunt.port()) as client:
        if direction == "client ends first":
            client.shut()
            assert client.digest_all() == digest(data)
            assert seen.get()
        else:
            assert client.ended()
            client.send(data)
            client.shut()
            assert seen.get() == digest(data)


def test_reset_of_the_backend_comes_after_its_data_as_a_reset(daemon, server):
    data, reset = pattern(MIB), threading.Event()

    def script(peer):
        peer.send(data)
        assert reset.wait(scaled(20))
        peer.reset()

    shunt = daemon(service([server(script).address]))
    with connect(shunt.port()) as client:
        assert client.receive(len(data)) == data
        reset.set()
        assert client.was_reset()
    wait_until(lambda: closed(shunt).get("backend-reset") == 1, "counted as reset by the backend")


def test_what_was_read_before_a_reset_is_delivered(daemon, server):
    data, done = pattern(MIB), Seen()

    def script(peer):
        peer.receive_line()  # a reset before the proxy saw the connection come about would be a failed connect
        peer.send(data)
        peer.reset()
        done.set(True)

    shunt = daemon(service([server(script).address]))
    with connect(shunt.port(), receive_buffer=16384) as client:
        client.send(b"go\n")
        assert done.get()
        received, was_reset = bytearray(), False
        try:
            while part := client.sock.recv(65536):
                received += part
        except ConnectionResetError:
            was_reset = True
        assert was_reset, f"an abort must stay visible; {len(received)} bytes and a clean end came"
        assert data.startswith(bytes(received))
        wait_until(shunt.settled, "the connection is closed")
        assert len(received) >= shunt.backend("old")["bytes_out"] > 0


def test_an_end_and_a_reset_that_come_together(daemon, server):
    """Both before the proxy looks: it is told of them by one event, and must not wait for another."""
    seen = Seen()

    def script(peer):
        peer.send(peer.receive_line())
        seen.set(peer.was_reset() or peer.ended())

    shunt = daemon(service([server(script).address], timeouts={"half_close": "10m"}))
    client = connect(shunt.port())
    client.send(b"hello\n")
    assert client.receive(6) == b"hello\n"
    with stopped(shunt.pid):
        client.shut()
        client.reset()
    seen.get()
    wait_until(lambda: closed(shunt).get("client-reset") == 1, "the abort is noticed")


def test_reset_of_the_client_reaches_the_backend_as_a_reset(daemon, server):
    seen = Seen()

    def script(peer):
        peer.send(peer.receive_line())
        seen.set(peer.was_reset())

    shunt = daemon(service([server(script).address]))
    client = connect(shunt.port())
    client.send(b"hello\n")
    assert client.receive(6) == b"hello\n"
    client.reset()
    assert seen.get()
    wait_until(lambda: closed(shunt).get("client-reset") == 1, "counted as reset by the client")


def test_clean_ends_show_no_reset(daemon, server):
    resets = []

    def script(peer):
        try:
            while line := peer.receive_line():
                peer.send(line)
        except ConnectionResetError:
            resets.append(1)

    backend = server(script)
    shunt = daemon(service([backend.address]))
    for _ in range(200):
        assert ask(shunt.port(), b"x\n") == b"x\n"
    wait_until(shunt.settled, "all are closed")
    assert closed(shunt)["client-closed"] == 200
    assert not resets


def test_reply_is_whole_when_the_client_sends_on(daemon, server):
    data = pattern(MIB)

    def script(peer):
        peer.receive_line()
        peer.send(data)

    shunt = daemon(service([server(script).address]))
    with connect(shunt.port(), receive_buffer=16384) as client:
        client.send(b"go\n")
        received = bytearray()
        while len(received) < len(data):
            part = client.sock.recv(16384)
            assert part, f"the reply was cut after {len(received)} bytes"
            received += part
            try:
                client.send(b"more\n")
            except OSError:
                pass  # the backend is gone; its reply is what counts
        assert bytes(received) == data


def test_early_end_of_the_client_does_not_prevent_the_retry(daemon, server, refuser):
    def script(peer):
        peer.send(b"got " + peer.receive_all())

    shunt = daemon(service([refuser().address, server(script).address]))
    for _ in range(4):  # whichever backend has its turn
        with connect(shunt.port()) as client:
            client.send(b"data")
            client.shut()
            assert client.receive_all() == b"got data"


def test_client_that_sends_nothing_and_vanishes_is_freed(daemon, server):
    backend = server(named("a"))
    shunt = daemon(service([backend.address]))
    for _ in range(50):
        connect(shunt.port()).reset()
        connect(shunt.port()).close()
    wait_until(lambda: shunt.service()["connections"]["accepted"] >= 50 and shunt.settled(), "all are closed")
    assert ask(shunt.port()) == b"a who\n"


def test_one_byte_at_a_time_arrives(daemon, server):
    data = pattern(300)
    shunt = daemon(service([server(lambda peer: peer.drip(data, 0.001)).address]))
    with connect(shunt.port()) as client:
        assert client.receive_all() == data


@pytest.mark.parametrize("size", [100, 50_000, 500_000, 4 * MIB])
def test_urgent_data_is_no_end(daemon, server, size):
    """A byte sent as urgent may be lost, as between any two sockets, but nothing else is."""
    seen = Seen()
    shunt = daemon(service([server(lambda peer: seen.set(peer.receive_all())).address]))
    with connect(shunt.port()) as client:
        for part in (b"1", b"2", b"3"):
            client.send(part * size)
            client.sock.send(b"!", socket.MSG_OOB)
        client.send(b"4" * size)
        client.shut()
        assert client.ended()
    assert seen.get().replace(b"!", b"") == b"".join(part * size for part in (b"1", b"2", b"3", b"4"))


def test_disorder_of_both_sides_at_once(daemon, server):
    """Both ends send 4 MiB before they read: buffers fill in both directions and empty again."""
    data, seen = pattern(4 * MIB), Seen()

    def both(peer):
        sender = threading.Thread(target=lambda: (peer.send(data), peer.shut()))
        sender.start()
        result = peer.digest_all()
        sender.join()
        return result

    shunt = daemon(service([server(lambda peer: seen.set(both(peer))).address]))
    with connect(shunt.port()) as client:
        assert both(client) == digest(data)
    assert seen.get() == digest(data)


def test_mixed_families(daemon, server):
    backend = server(named("six"), family=socket.AF_INET6)
    shunt = daemon(service([backend.address]))
    assert ask(shunt.port()) == b"six who\n"
