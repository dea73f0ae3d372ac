"""Redis is moved to another Redis while redis-benchmark, redis-cli and clients of our own use it: no command fails,
and each that was answered has run once."""
import os

import pytest
from shunt import moves
from shunt.config import service, steps
from shunt.counting import Counting
from shunt.programs import find, output
from shunt.servers import Redis, pair
from shunt.waiting import wait_until

# A kept connection ends after so many commands, as those of a pool do.
KEPT_COMMANDS = 300


@pytest.fixture(scope="module", name="servers")
def fixture_servers():
    with pair(Redis) as servers:
        yield servers


@pytest.fixture(name="sides")
def fixture_sides(servers):
    """old and new, running, with their counters at 0."""
    for one in servers:
        if not one.running():
            one.start()
        one.ask("DEL", "counting")
    return servers


@pytest.fixture(name="cache")
def fixture_cache(daemon, sides):
    # No health checks: so Redis' own count of connections is that of the clients.
    def make(plan=None, **settings):
        old, new = sides
        return daemon(service([old.address], [new.address], migration=plan or moves.HELD, **settings),
                      log={"level": "info"})
    return make


def benchmark(port, keep, n):
    return [find("redis-benchmark"), "-h", "127.0.0.1", "-p", port, "-c", 8, "-k", keep, "-n", n, "-t", "set,get", "-q"]


def check_benchmark(text):
    assert text.count("requests per second") == 2 and "rror" not in text, text


def check_old_is_free(old, new):
    """All is served by new, and old can be switched off without anybody noticing."""
    before = old.connections()
    moves.rises(lambda: new.count("counting"), 200, "commands on new")
    assert old.connections() == before + 1, "old gets nothing any more: the one is this look"
    counted = old.count("counting")
    old.halt()
    moves.rises(lambda: new.count("counting"), 200, "commands on new")
    return counted


@pytest.mark.parametrize("commands", [1, KEPT_COMMANDS], ids=["reconnecting", "kept"])
def test_each_command_runs_once(cache, sides, client, commands):
    old, new = sides
    shunt = cache()
    load = client(shunt.port(), commands, kind=Counting)
    moves.rises(lambda: old.count("counting"), 200, "commands on old")
    assert new.count("counting") == 0
    moves.climb(shunt, lambda: new.count("counting"), 200, "commands on new")
    on_old = check_old_is_free(old, new)
    answered = load.report()
    assert answered == on_old + new.count("counting")
    print(f"\n{answered} commands answered, {on_old} on old, {answered - on_old} on new, 0 failed")
    moves.check_closed(shunt)


@pytest.mark.parametrize("keep", [0, 1], ids=["reconnecting", "kept"])
def test_redis_benchmark(cache, sides, repeat, keep):
    old, new = sides
    shunt = cache(moves.TIMED)
    load = repeat(benchmark(shunt.port(), keep, 5000 if keep else 500), check_benchmark)
    load.more(1)
    shunt.ctl("start", "web").ok()
    assert shunt.ctl("wait", "web", "60s", within=70).code == 0
    assert shunt.phase() == "completed"
    before = old.connections()
    load.more(2)
    assert old.connections() == before + 1, "old gets nothing any more: the one is this look"
    old.halt()
    load.more(2)
    print(f"\n{len(load.finish())} runs, 0 failed; connections to old {shunt.backend('old')['connections']}, to new "
          f"{shunt.backend('new')['connections']}")
    assert shunt.backend("new")["connections"] > 0
    moves.check_closed(shunt)


def test_each_step_splits_exactly(cache, sides):
    shunt = cache()
    shunt.ctl("start", "web").ok()
    before = [one.connections() for one in sides]
    for share in (2500, 5000, 10000):
        assert shunt.service()["share_bp"] == share
        check_benchmark(output(benchmark(shunt.port(), 0, 500)))
        # The look itself is one connection.
        now = [one.connections() for one in sides]
        moves.check_exact(*[after - earlier - 1 for after, earlier in zip(now, before)], share)
        before = now
        shunt.ctl("skip", "web").ok()
    shunt.wait_phase("completed")
    moves.check_closed(shunt)


def test_abort_in_the_middle(cache, sides, client):
    old, new = sides
    shunt = cache()
    kept = client(shunt.port(), KEPT_COMMANDS, kind=Counting)
    moves.rises(lambda: old.count("counting"), 200, "commands on old")
    shunt.ctl("start", "web").ok()
    shunt.ctl("skip", "web").ok()
    moves.rises(lambda: new.count("counting"), 400, "commands on new over kept connections")
    reconnecting = client(shunt.port(), 1, kind=Counting)
    moves.rises(lambda: shunt.backend("new")["connections"], 100, "connections to new")
    shunt.ctl("abort", "web", "reason", "just looking").ok()
    assert shunt.ctl("wait", "web", "60s", within=70).code == 3
    assert shunt.service()["active"] == "old"
    # Now it is new that is free.
    on_new = check_old_is_free(new, old)
    assert kept.report() + reconnecting.report() == old.count("counting") + on_new
    moves.check_closed(shunt)


def test_an_idle_connection_is_closed_at_the_deadline(cache, client):
    shunt = cache(steps(("100%", "100ms"), drain="500ms"))
    cli = client([find("stdbuf"), "-oL", find("redis-cli"), "-p", shunt.port()],
                 env={**os.environ, "REDISCLI_HISTFILE": "/dev/null"})
    assert cli.ask("GET name") == "old"
    shunt.ctl("start", "web").ok()
    shunt.wait_phase("draining")
    assert cli.ask("GET name") == "old"
    shunt.wait_phase("completed")
    wait_until(lambda: shunt.service()["connections"]["closed"].get("drained") == 1, "counted as drained")
    # It finds out with its next command, which is lost, and connects again by itself with the one after that.
    cli.say("GET name")
    assert "closed the connection" in cli.popen.stderr.readline()
    assert cli.ask("GET name") == "new"
