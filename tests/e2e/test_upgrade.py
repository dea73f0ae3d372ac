"""Another program takes the place of the running one: sockets, journal and counters go over, clients notice nothing."""
import json
import os
import threading

import pytest
from shunt.clients import connect, who
from shunt.config import service, steps
from shunt.peers import echo, named
from shunt.waiting import wait_until

UPGRADES = int(os.environ.get("SHUNT_UPGRADES", "10"))


@pytest.fixture(name="shunt")
def fixture_shunt(daemon, server):
    one = daemon(service([server(named("a")).address, server(named("b")).address], [server(named("n")).address],
                         group_settings={"health": {"type": "tcp", "interval": "200ms"}},
                         migration=steps(("25%", "1h"), ("100%", "1h"))), metrics={"listen": "127.0.0.1:0"})
    wait_until(lambda: all(one.service()["groups"][g]["usable"] for g in (0, 1)), "all are checked")
    return one


def test_an_open_connection_goes_on(shunt):
    before, address = shunt.pid, shunt.address()
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        stayed = client.receive_line()
        text = shunt.upgrade()
        assert f"pid {before}" in text and f"pid {shunt.pid}" in text and "1 open connection goes on" in text
        assert shunt.address() == address
        assert {who(shunt.port()) for _ in range(4)} == {"a", "b"}
        client.send(b"who\n")
        assert client.receive_line() == stayed
        assert shunt.service()["connections"]["open"] >= 1, "what is open in the former program counts"
    shunt.wait_formers()
    wait_until(shunt.settled, f"the counters add up: {shunt.service()['connections']}")
