"""Limits on bandwidth: as much as was said comes through, intact, both ways, alone and together."""
import hashlib
import re
import threading
import time

import pytest
from shunt.clients import connect
from shunt.config import service
from shunt.peers import echo, named
from shunt.process import cpu_s
from shunt.waiting import SLOW, scaled

MIB = 1 << 20


def data_of(size):
    return hashlib.shake_256(b"bandwidth").digest(size)


def download(size):
    data = data_of(size)

    def script(peer):
        peer.receive_line()
        peer.send(data)
    return script, hashlib.sha256(data).hexdigest()


def timed(client):
    """(seconds, length, digest) of all that comes after one line was sent."""
    began = time.monotonic()
    client.send(b"go\n")
    length, digest = client.digest_all()
    return time.monotonic() - began, length, digest


@pytest.mark.parametrize("key, chunks", [("per_connection_out", 6), ("service_out", 6)])
def test_out(daemon, server, key, chunks):
    """6 MiB at 2 MiB/s: a quarter of a second's worth comes at once."""
    script, expected = download(chunks * MIB)
    shunt = daemon(service([server(script).address], bandwidth={key: "2MiB/s"}))
    with connect(shunt.port()) as client:
        took, length, digest = timed(client)
    assert (length, digest) == (chunks * MIB, expected)
    assert 2.6 <= took <= 2.75 + 0.75 * SLOW, took
    spliced = re.search(r'shunt_service_spliced_bytes_total{service="web"} (\d+)', shunt.ctl("show", "metrics").ok())
    assert int(spliced.group(1)) > length / 2, "bulk is not copied"


@pytest.mark.parametrize("key", ["per_connection_in", "service_in"])
def test_in(daemon, server, key):
    def script(peer):
        length, digest = peer.digest_all()
        peer.send(f"{length} {digest}\n".encode())

    shunt = daemon(service([server(script).address], bandwidth={key: "2MiB/s"}))
    data = data_of(6 * MIB)
    with connect(shunt.port()) as client:
        began = time.monotonic()
        client.send(data)
        client.shut()
        assert client.receive_line().decode().split() == [str(len(data)), hashlib.sha256(data).hexdigest()]
        took = time.monotonic() - began
    assert 2.6 <= took <= 2.75 + 0.75 * SLOW, took


def test_both_ways_at_once(daemon, server):
    """Each direction has its own, and the echo comes back whole."""
    shunt = daemon(service([server(echo).address],
                           bandwidth={"per_connection_in": "4MiB/s", "per_connection_out": "2MiB/s"}))
    data = data_of(4 * MIB)
    with connect(shunt.port()) as client:
        began = time.monotonic()
        sender = threading.Thread(target=lambda: (client.send(data), client.shut()))
        sender.start()
        length, digest = client.digest_all()
        took = time.monotonic() - began
        sender.join(scaled(10))
    assert (length, digest) == (len(data), hashlib.sha256(data).hexdigest())
    assert 1.6 <= took <= 1.75 + 0.75 * SLOW, took


def test_all_share_what_the_service_has(daemon, server):
    """Eight at once over all workers take eight times as long, and none of them is left out."""
    script, expected = download(MIB)
    shunt = daemon(service([server(script).address], bandwidth={"service_out": "4MiB/s"}), workers=4)
    results = []

    def work():
        with connect(shunt.port()) as client:
            results.append(timed(client))

    threads = [threading.Thread(target=work) for _ in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(30))
    took = time.monotonic() - began
    assert [one[1:] for one in results] == [(MIB, expected)] * 8
    assert 1.6 <= took <= 1.75 + SLOW, took
    # The first may find the bucket full and take it all; of the rest nobody is served before the others.
    assert sorted(one[0] for one in results)[1] > 0.5


def test_small_messages_are_not_held_up(daemon, server):
    shunt = daemon(service([server(named("a")).address], bandwidth={"per_connection_in": "64KiB/s", "service_out": "1MiB/s"}))
    with connect(shunt.port()) as client:
        began = time.monotonic()
        for _ in range(100):
            client.send(b"x\n")
            assert client.receive_line() == b"a x\n"
        assert time.monotonic() - began < SLOW


def test_whoever_waits_costs_nothing(daemon, server):
    """Fifty connections that wait for bandwidth leave the processor alone, and can be closed."""
    script, _ = download(8 * MIB)
    shunt = daemon(service([server(script).address], bandwidth={"service_out": "64KiB/s"}))
    clients = [connect(shunt.port()) for _ in range(50)]
    for client in clients:
        client.send(b"go\n")
    clients[0].receive(1024)
    before, began = cpu_s(shunt.pid), time.monotonic()
    while time.monotonic() < began + 2:
        clients[0].receive(1)
    assert cpu_s(shunt.pid) - before < 0.1 * 2 * SLOW
    for client in clients:
        client.close()


def test_an_end_and_an_abort_are_passed_on(daemon, server):
    """The tail arrives before the end; an abort does not wait for bandwidth for ever."""
    def script(peer):
        peer.receive_line()
        peer.send(data_of(MIB))

    shunt = daemon(service([server(script).address], bandwidth={"per_connection_out": "1MiB/s"}))
    with connect(shunt.port()) as client:
        took, length, _ = timed(client)
        assert length == MIB and took > 0.6
    with connect(shunt.port()) as client:
        client.send(b"go\n")
        client.receive(1000)
        client.reset()
