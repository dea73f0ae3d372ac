"""Slow start with a backend that really goes and comes back: its share rises steadily, whatever the strategy."""
import threading
import time

import pytest
from shunt.clients import who
from shunt.config import service
from shunt.peers import named
from shunt.waiting import SLOW, wait_until

RAMP = 4 * SLOW
# Under sanitizers, where time is slow, those that differ most: that all rise is shown without.
BALANCES = ["round-robin", "weighted", "least-latency", "least-connections", "hash"] if SLOW == 1 else ["least-latency", "hash"]
CHECKS = {"type": "tcp", "interval": "100ms", "timeout": "1s", "rise": 1, "fall": 1}


class Steady:
    """Clients that come one after the other all the time; each remembers when, and who served it."""

    def __init__(self, port, n=3):
        self.served, self.failures, self.stopping = [], [], False
        self.port = port
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(n)]
        for one in self.threads:
            one.start()

    def run(self):
        while not self.stopping:
            try:
                name = who(self.port)
                self.served.append((time.monotonic(), name))
            except OSError as failure:
                self.failures.append(failure)

    def stop(self):
        self.stopping = True
        for one in self.threads:
            one.join()

    def share(self, name, begin, end):
        names = [by for when, by in list(self.served) if begin <= when < end]
        assert len(names) > 50, "too few clients to tell"
        return names.count(name) / len(names)


def port_of(address):
    return int(address.rsplit(":", 1)[1])


@pytest.mark.parametrize("balance", BALANCES)
def test_the_share_rises(daemon, server, client, balance):
    """By hash there is one client only, who moves at once: the strategy's rise is the unit test's to show."""
    flapping = server(named("flapping"))
    port = port_of(flapping.address)
    others = [server(named(f"other{i}")) for i in range(2)]
    shunt = daemon(service([one.address for one in (flapping, *others)],
                           group_settings={"balance": balance, "health": CHECKS, "slow_start": f"{int(RAMP)}s"}))
    wait_until(lambda: all(shunt.backend("old", i)["state"] == "up" for i in range(3)), "all are up, none starts slowly")
    assert shunt.backend("old")["slow_start_percent"] == 100
    # By latency one that has refused clients is shunned for seconds: there it goes while nobody is looking.
    late = balance == "least-latency"
    clients = None if late else client(shunt.port(), kind=Steady)
    flapping.stop()
    wait_until(lambda: shunt.backend("old")["state"] == "down", "it is gone", within=10)
    clients = client(shunt.port(), kind=Steady) if late else clients
    clients.failures.clear()  # whoever it held or had in its queue when it went was reset with it
    server(named("flapping"), port=port)
    wait_until(lambda: shunt.backend("old")["state"] == "starting", "it comes back slowly", within=10)
    began = time.monotonic()
    percents = []

    def is_up():
        backend = shunt.backend("old")
        percents.append(backend["slow_start_percent"])
        return backend["state"] == "up"

    wait_until(is_up, "it is wholly back", within=RAMP + 5)
    took = time.monotonic() - began
    assert RAMP - 0.5 < took < RAMP + 2 * SLOW
    assert percents == sorted(percents) and percents[0] < 20 and len(set(percents)) > 10, percents
    if balance == "hash":
        return
    parts = [clients.share("flapping", began + took * i / 4, began + took * (i + 1) / 4) for i in range(4)]
    wait_until(lambda: time.monotonic() > began + took + 1, "a while at its whole weight")
    whole = clients.share("flapping", began + took, began + took + 1)
    assert parts[0] < 0.15 and not clients.failures, (parts, whole)
    if late:
        return  # what follows is as the measured times are; with times of its own the unit test shows it
    assert parts[0] < parts[2] < whole + 0.15 and parts[1] < parts[3] + 0.05, (parts, whole)
    assert max(parts) < max(0.45, whole + 0.1), (parts, whole)  # no spike


def test_a_short_absence_and_the_text(daemon, server):
    """Away for less than the ramp, twice: each time from the beginning; a backend may have a time of its own."""
    flapping = server(named("a"))
    address = flapping.address
    shunt = daemon(service([{"address": address, "slow_start": "1h"}, server(named("b")).address],
                           group_settings={"health": CHECKS, "slow_start": "2s"}))
    wait_until(lambda: shunt.backend("old")["state"] == "up", "up")
    for _ in range(2):
        flapping.stop()
        wait_until(lambda: shunt.backend("old")["state"] == "down", "gone", within=10)
        flapping = server(named("a"), port=port_of(address))
        wait_until(lambda: shunt.backend("old")["state"] == "starting", "back", within=10)
        assert shunt.backend("old")["slow_start_percent"] <= 1
    text = shunt.ctl("status", "web").ok()
    assert "starting" in text and "% of its weight" in text
    assert 'shunt_backend_slow_start_ratio{service="web",group="old"' in shunt.admin("show metrics")
    names = [who(shunt.port()) for _ in range(60)]
    assert names.count("a") <= 3
    # A reload that takes the ramp away ends it with the next turn of its clock.
    shunt.settings["services"] = [service([address, shunt.backend("old", 1)["address"]],
                                          group_settings={"health": CHECKS, "slow_start": "100ms"})]
    shunt.write()
    shunt.ctl("reload").ok()
    wait_until(lambda: shunt.backend("old")["state"] == "up", "its whole weight")


def test_from_maintenance_it_comes_slowly_and_from_a_drain_at_once(daemon, server):
    addresses = [server(named(name)).address for name in "ab"]
    shunt = daemon(service(addresses, group_settings={"slow_start": "1h"}))
    name = f"web/old/{addresses[0]}"
    shunt.ctl("backend", name, "drain").ok()
    shunt.ctl("backend", name, "ready").ok()
    assert shunt.backend("old")["slow_start_percent"] == 100
    shunt.ctl("backend", name, "maint").ok()
    shunt.ctl("backend", name, "ready").ok()
    assert shunt.backend("old")["slow_start_percent"] <= 1
    assert [who(shunt.port()) for _ in range(40)].count("a") <= 2


def test_a_target_that_has_just_proven_itself_has_its_share_at_once(daemon, server):
    """Down until proven is no absence: the steps of the plan are its ramp."""
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address, server(named("new")).address],
                           group_settings={"health": CHECKS, "slow_start": "1h"},
                           migration={"steps": [{"share": "50%", "hold": "1h"}, {"share": "100%", "hold": "1h"}]}))
    wait_until(lambda: all(shunt.backend("new", i)["state"] == "up" for i in range(2)), "proven")
    assert all(shunt.backend("new", i)["slow_start_percent"] == 100 for i in range(2))


def test_a_new_backend_in_a_group_that_serves_comes_slowly(daemon, server):
    addresses = [server(named(name)).address for name in "abc"]
    shunt = daemon(service(addresses[:2], group_settings={"slow_start": "1h", "balance": "least-connections"}))
    assert [who(shunt.port()) for _ in range(20)].count("c") == 0
    shunt.settings["services"] = [service(addresses, group_settings={"slow_start": "1h",
                                                                     "balance": "least-connections"})]
    shunt.write()
    shunt.ctl("reload").ok()
    assert [shunt.backend("old", i)["slow_start_percent"] for i in (0, 1)] == [100, 100]
    assert shunt.backend("old", 2)["slow_start_percent"] <= 1
    assert [who(shunt.port()) for _ in range(60)].count("c") <= 3
