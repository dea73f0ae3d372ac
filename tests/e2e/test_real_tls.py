"""Redis and PostgreSQL over TLS, in front and to the servers, moved to others while their clients use them."""
import contextlib
import functools
import re

import pytest
from shunt import moves
from shunt.config import service
from shunt.counting import Counting
from shunt.programs import find, output, run
from shunt.servers import Postgresql
from shunt.tls import client_context, connect_tls
from shunt.tlsservers import TlsBefore, TlsBehind, TlsPostgresql, TlsRedis
from shunt.waiting import wait_until

FRONT, BACK = "front.example", "data.example"


@pytest.fixture(scope="module", name="back_pair")
def fixture_back_pair(pki):
    return pki.issue(BACK, f"DNS:{BACK}")


@pytest.fixture(name="both_ways")
def fixture_both_ways(pki):
    """Settings of a service that ends TLS and of groups that begin it anew, and verify."""
    certificate, key = pki.issue(FRONT, f"DNS:{FRONT}")
    return {"tls": {"certificates": [{"certificate": str(certificate), "key": str(key)}]},
            "group_settings": {"tls": {"ca": str(pki.certificate), "server_name": BACK}}}


@contextlib.contextmanager
def sides(make):
    """old and new, running."""
    with contextlib.ExitStack() as stack:
        servers = []
        for name in ("old", "new"):
            servers.append(make(name))
            stack.callback(servers[-1].stop)
        yield servers


def metric(shunt, name):
    lines = [line for line in shunt.ctl("show", "metrics").ok().splitlines() if line.startswith(name + "{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def check_encrypted(shunt, at_least):
    """Every connection was a handshake on both sides, and none failed."""
    assert metric(shunt, "shunt_service_tls_handshakes_total") >= at_least
    assert metric(shunt, "shunt_service_tls_backend_handshakes_total") >= at_least
    assert moves.check_closed(shunt)["handshake-failed"] == 0


@pytest.fixture(scope="module", name="caches")
def fixture_caches(back_pair):
    with sides(lambda name: TlsRedis(name, back_pair)) as servers:
        yield servers


@pytest.fixture(name="cache")
def fixture_cache(daemon, caches, both_ways):
    for one in caches:
        if not one.running():
            one.start()
        one.ask("DEL", "counting")
    old, new = caches
    return lambda plan: daemon(service([old.address], [new.address], migration=plan, **both_ways), log={"level": "info"})


@pytest.mark.parametrize("commands", [1, 300], ids=["reconnecting", "kept"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_redis_each_command_runs_once(cache, caches, client, pki, commands, version):
    old, new = caches
    shunt = cache(moves.HELD)
    opens = functools.partial(connect_tls, context=client_context(pki, version=version), name=FRONT)
    load = client(shunt.port(), commands, opens, kind=Counting)
    moves.rises(lambda: old.count("counting"), 200, "commands on old")
    assert new.count("counting") == 0
    moves.climb(shunt, lambda: new.count("counting"), 200, "commands on new")
    before = old.connections()
    moves.rises(lambda: new.count("counting"), 200, "commands on new")
    assert old.connections() == before + 1, "old gets nothing any more: the one is this look"
    on_old = old.count("counting")
    old.halt()
    moves.rises(lambda: new.count("counting"), 200, "commands on new")
    answered = load.report()
    assert answered == on_old + new.count("counting")
    wait_until(lambda: shunt.service()["connections"]["open"] == 0, "all are gone")
    # Redis answers close_notify by closing without one: whoever still reads sees an abort, but nobody is at fault.
    assert all(shunt.backend(side)["errors"]["abort"] == 0 for side in ("old", "new"))
    check_encrypted(shunt, 4)


def tls_words(pki, port):
    return ["-h", "127.0.0.1", "-p", port, "--tls", "--cacert", pki.certificate, "--sni", FRONT]


def test_redis_cli_and_benchmark(cache, caches, repeat, pki):
    old, new = caches
    shunt = cache(moves.TIMED)
    words = tls_words(pki, shunt.port())
    assert output([find("redis-cli"), *words, "GET", "name"]).strip() == "old"
    code, text = run([find("redis-cli"), "-p", shunt.port(), "GET", "name"])
    assert code != 0 or "old" not in text, "not without TLS"

    def check(text):
        assert text.count("requests per second") == 2 and "rror" not in text, text

    load = repeat([find("redis-benchmark"), *words, "-c", 8, "-k", 1, "-n", 2000, "-t", "set,get", "-q"], check)
    load.more(1)
    shunt.ctl("start", "web").ok()
    assert shunt.ctl("wait", "web", "60s", within=70).code == 0
    load.more(2)
    old.halt()
    load.more(2)
    load.finish()
    assert output([find("redis-cli"), *words, "GET", "name"]).strip() == "new"
    assert new.connections() > 0
    closed = shunt.service()["connections"]["closed"]
    assert closed["handshake-failed"] == 1, f"the one without TLS: {closed}"
    moves.check_closed(shunt)


def pgbench(*where):
    return [Postgresql.tool("pgbench"), "-n", "-c", 4, "-t", 40, "-C", *where]


def transactions(text):
    assert "number of failed transactions: 0 (" in text and "aborted" not in text and "error" not in text, text
    return int(re.search(r"number of transactions actually processed: (\d+)", text).group(1))


def check_moved(shunt, old, new, load):
    """Over to new, step by step, under load; every transaction is on one of them."""
    load.more(1)
    assert new.rows() == 0
    moves.climb(shunt, new.sessions, 4, "sessions on new")
    wait_until(lambda: old.clients() == 0, "the last session on old has ended", within=30)
    on_old = old.rows()
    old.halt()
    load.more(1)
    done = sum(transactions(text) for text in load.finish())
    assert done == on_old + new.rows() and on_old and new.rows()


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_postgresql_speaks_its_own_tls_through_us(daemon, repeat, pki, back_pair, mode):
    """A service without tls: the client and the server agree on TLS between them, by a request in the clear."""
    checks = {"type": "postgresql", "interval": "500ms", "timeout": "2s", "rise": 1, "fall": 2,
              "tls": {"server_name": BACK, "ca_file": str(pki.certificate)}}
    with sides(lambda name: TlsPostgresql(name, back_pair)) as (old, new):
        shunt = moves.proven(daemon(service([old.address], [new.address], migration=moves.HELD,
                                            group_settings={"health": checks}), log={"level": "info"}))
        where = f"host={BACK} hostaddr=127.0.0.1 port={shunt.port()} user=shunt dbname=bench sslmode={mode}"
        if mode == "verify-full":
            where += f" sslrootcert={pki.certificate}"
        psql = [Postgresql.tool("psql"), "-X", "-q", "-A", "-t"]
        query = "select version from pg_stat_ssl where pid = pg_backend_pid() and ssl"
        assert output([*psql, "-c", query, where]).strip() == "TLSv1.3"
        code, text = run([*psql, "-c", "select 1", where.replace(mode, "disable")])
        assert code != 0 and "no encryption" in text, text
        code, text = run([*psql, "-c", "select 1", where.replace(BACK, "other.example")])
        assert (code == 0) == (mode == "require"), text
        check_moved(shunt, old, new, repeat(pgbench(where), transactions))
        # The server closes without having read the end that libpq says by TLS: a reset, as without us.
        closed = shunt.service()["connections"]["closed"]
        ours = {reason: n for reason, n in closed.items() if n and reason in moves.OURS and reason != "backend-reset"}
        assert not ours, closed


def test_postgresql_behind_tls_on_both_sides(daemon, client, repeat, pki, back_pair, both_ways):
    """TLS from the first byte, which neither psql nor the server speaks here: it is put on beside the client and taken
    off beside the server; between them Shunt ends it and begins it anew."""
    with sides(Postgresql) as (old, new), sides(lambda name: TlsBefore(
            name, {"old": old, "new": new}[name].address, back_pair)) as (old_tls, new_tls):
        shunt = daemon(service([old_tls.address], [new_tls.address], migration=moves.HELD, **both_ways),
                       log={"level": "info"})
        beside = client(f"127.0.0.1:{shunt.port()}", pki, FRONT, kind=TlsBehind)
        check_moved(shunt, old, new, repeat(pgbench(*Postgresql.where("127.0.0.1", beside.port)), transactions))
        # psql asks in the clear whether there is TLS: that is no ClientHello.
        where = f"hostaddr=127.0.0.1 port={shunt.port()} user=shunt dbname=bench sslmode=require"
        code, text = run([Postgresql.tool("psql"), "-X", "-c", "select 1", where])
        assert code != 0, text
        wait_until(lambda: shunt.service()["connections"]["closed"]["handshake-failed"] == 1, "counted")
        assert metric(shunt, "shunt_service_tls_handshakes_total") >= 100
        assert metric(shunt, "shunt_service_tls_backend_handshakes_total") >= 100
        moves.check_closed(shunt)
