"""The gate with real servers: an nginx that goes away at 25 %, one that is slow, and a Redis that is good, with clients
that stay connected and are moved at the pace of the drain."""
import json
import pathlib
import threading
import time

import pytest
from shunt import moves
from shunt.clients import connect
from shunt.config import service, steps
from shunt.programs import Client, find
from shunt.servers import Nginx, Redis
from shunt.waiting import scaled, wait_until

COUNT = pathlib.Path(moves.__file__).with_name("wrk_count.lua")
CONNECTIONS = 8
NO_CHECKS = {"health": {"type": "none"}}  # the gate alone is to find it
GATE = {"window": "2s", "min_samples": 100, "max_error_rate": "5%", "max_error_increase": "3%"}


class SlowNginx(Nginx):
    """A version that serves no more than 100 requests a second, and lets the others wait."""

    def command(self):
        words = super().command()
        path = self.folder / "nginx.conf"
        text = path.read_text().replace("http {", "http { limit_req_zone $binary_remote_addr zone=slow:1m rate=100r/s;", 1)
        # A return is answered before limits are looked at; a file is not.
        (self.folder / "page").write_text(f"{self.name}\n")
        text = text.replace(f'location / {{ return 200 "{self.name}\\n"; }}',
                            f"location / {{ limit_req zone=slow burst=1000; root {self.folder}; try_files /page =404; }}")
        assert "burst" in text
        path.write_text(text)
        return words


class Wrk(Client):
    """One connection for each request, until it is told to end."""

    def __init__(self, port):
        super().__init__([find("wrk"), "-t1", f"-c{CONNECTIONS}", "-d10m", "--timeout", "60s", "-s", COUNT,
                          "-H", "Connection: close", f"http://127.0.0.1:{port}/"])

    def report(self):
        self.interrupt()
        code, out, err = self.finish()
        assert code == 0, err
        return json.loads(out.splitlines()[-1])


class Staying:
    """A client of Redis that keeps its connection, asks again and again, and connects anew when it is closed."""

    def __init__(self, port):
        self.port, self.asked, self.again, self.failures = port, 0, 0, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            peer = connect(self.port)
            while not self.stopping.wait(0.02):
                try:
                    peer.send(b"PING\r\n")
                    answer = peer.receive_line()
                except OSError:
                    answer = b""
                if answer:
                    assert answer == b"+PONG\r\n", answer
                    self.asked += 1
                else:
                    peer.close()
                    peer = connect(self.port)
                    self.again += 1
            peer.close()
        except (OSError, AssertionError) as failure:
            self.failures.append(failure)

    def stop(self):
        self.stopping.set()
        self.thread.join(scaled(10))


@pytest.fixture(name="run")
def fixture_run():
    """run(kind, name): a server, stopped at the end."""
    running = []

    def make(kind, name):
        running.append(kind(name))
        running[-1].start()
        return running[-1]
    yield make
    for one in running:
        one.stop()


@pytest.fixture(name="stay")
def fixture_stay(started):
    """stay(port): a client of Redis, stopped at the end."""
    def make(port):
        started.clients.append(Staying(port))
        return started.clients[-1]
    return make


def plan(*pairs, drain="30s", **gate):
    return steps(*pairs, drain=drain, gate={**GATE, **gate})


def errors(shunt):
    return sum(shunt.backend("new")["errors"].values())


def test_an_nginx_that_goes_away_at_a_quarter(daemon, run, client):
    old, new = run(Nginx, "old"), run(Nginx, "new")
    shunt = daemon(service([old.address], [new.address], group_settings=NO_CHECKS,
                           migration=plan(("5%", "500ms"), ("25%", "1h"), ("100%", "1h"))), log={"level": "info"})
    load = client(shunt.port(), kind=Wrk)
    moves.rises(old.requests, 500, "requests on old")
    shunt.ctl("start", "web").ok()
    wait_until(lambda: shunt.service()["share_bp"] == 2500, "the gate passes the first step", 60)
    moves.rises(new.requests, 200, "requests on new")
    assert errors(shunt) == 0
    stopping = threading.Thread(target=new.halt)
    stopping.start()
    wait_until(lambda: errors(shunt) > 0, "the first failure", 20)
    failed = time.monotonic()
    wait_until(lambda: shunt.service()["share_bp"] == 0, "a rollback", 20)
    took = time.monotonic() - failed
    stopping.join()
    moves.rises(old.requests, 500, "requests on old")
    report = load.report()
    one = shunt.service()
    print(f"\nfrom the first failure to the rollback {took:.2f} s; {errors(shunt)} attempts failed on new; wrk: {report}")
    assert "error-" in one["reason"], one["reason"]
    # What was refused went to old; what new had begun when it went away could not.
    assert report["failed"] <= CONNECTIONS, report
    assert report["new"] > 0
    shunt.wait_phase("rolled-back")


def test_an_nginx_that_is_slow(daemon, run, client):
    old, new = run(Nginx, "old"), run(SlowNginx, "new")
    shunt = daemon(service([old.address], [new.address], group_settings=NO_CHECKS,
                           migration=plan(("25%", "1h"), ("100%", "1h"), max_latency_ratio=3)), log={"level": "info"})
    load = client(shunt.port(), kind=Wrk)
    moves.rises(old.requests, 500, "requests on old")
    began = time.monotonic()
    shunt.ctl("start", "web").ok()
    wait_until(lambda: shunt.service()["share_bp"] == 0, "a rollback", 60)
    took = time.monotonic() - began
    report = load.report()
    print(f"\nfrom the start to the rollback {took:.2f} s; {shunt.service()['reason']}; wrk: {report}")
    assert "p99 " in shunt.service()["reason"], shunt.service()["reason"]
    assert report["failed"] == 0, report
    shunt.wait_phase("rolled-back")


def test_a_redis_that_is_good_with_clients_that_stay(daemon, run, stay):
    old, new = run(Redis, "old"), run(Redis, "new")
    shunt = daemon(service([old.address], [new.address], group_settings=NO_CHECKS,
                           migration={**plan(("50%", "200ms"), ("100%", "200ms"), max_error_rate="10%"),
                                      "drain": {"timeout": "1s", "close_rate": 10, "jitter": "0%"}}))
    staying = [stay(shunt.port()) for _ in range(20)]
    wait_until(lambda: all(one.asked > 0 for one in staying), "all are connected")
    shunt.ctl("start", "web").ok()

    def passing():
        with connect(shunt.port()) as peer:
            peer.send(b"PING\r\n")
            peer.receive_line()
        return shunt.phase() == "draining"
    wait_until(passing, "the gate passes both steps", 60)
    drained = []
    began = time.monotonic()
    while shunt.phase() == "draining":
        drained.append(shunt.service()["connections"]["closed"].get("drained", 0))
    took = time.monotonic() - began
    assert shunt.phase() == "completed"
    wait_until(lambda: shunt.backend("new")["open"] == 20, "all are on new")
    for one in staying:
        one.stop()
    print(f"\n20 connections closed in {took:.2f} s; commands answered: {sum(one.asked for one in staying)}, "
          f"connected again: {sum(one.again for one in staying)}")
    assert not [one.failures for one in staying if one.failures]
    assert sum(one.again for one in staying) == 20
    # 1 s of grace, then 20 at 10 a second: never all at once
    assert took >= 2.5, took
    assert len(set(drained)) > 5, drained
    assert "20" in shunt.ctl("events", "web").ok().splitlines()[-1], "how many were closed is in the last event"
