"""PostgreSQL is moved to another PostgreSQL while pgbench and psql use it: no transaction fails."""
import hashlib
import re
import subprocess

import pytest
from shunt import moves
from shunt.config import service
from shunt.programs import output
from shunt.servers import Postgresql, pair
from shunt.waiting import wait_until

CHECKED = {"balance": "least-connections",
           "health": {"type": "tcp", "interval": "500ms", "timeout": "2s", "rise": 1, "fall": 2}}
# Some 40 MB as text: more than all buffers on the way.
LARGE = "select id, repeat(md5(id::text), 4) as filling from generate_series(1, 300000) id"


@pytest.fixture(scope="module", name="servers")
def fixture_servers():
    with pair(Postgresql) as servers:
        yield servers


@pytest.fixture(name="sides")
def fixture_sides(servers):
    """old and new, running, with no transactions of earlier tests."""
    for one in servers:
        if not one.running():
            one.start()
        one.ask("truncate pgbench_history", database="bench")
    return servers


@pytest.fixture(name="database")
def fixture_database(daemon, sides):
    def make(plan=None, **settings):
        old, new = sides
        front = service([old.address], [new.address], migration=plan or moves.HELD, group_settings=CHECKED, **settings)
        return moves.proven(daemon(front, log={"level": "info"}))
    return make


def pgbench(port, *words):
    return [Postgresql.tool("pgbench"), "-n", "-c", 4, *words, *Postgresql.where("127.0.0.1", port)]


def transactions(text):
    """What a run of pgbench tells: transactions that ended well. None failed."""
    assert "number of failed transactions: 0 (" in text and "aborted" not in text and "error" not in text, text
    return int(re.search(r"number of transactions actually processed: (\d+)", text).group(1))


def names(port, n):
    """Which server each of n sessions had."""
    return [output(Postgresql.psql("-c", "show cluster_name", port=port)).strip() for _ in range(n)]


def check_old_is_free(old, new, load):
    """All is served by new, and old can be switched off without anybody noticing."""
    wait_until(lambda: old.clients() == 0, "the last session on old has ended", within=30)
    sessions = old.sessions()
    load.more(1)
    assert old.sessions() == sessions, "old gets nothing any more"
    rows = old.rows()
    old.halt()
    load.more(1)
    return rows


@pytest.mark.parametrize("words", [["-C", "-t", 25], ["-t", 150]], ids=["reconnecting", "kept"])
def test_pgbench(database, sides, repeat, words):
    old, new = sides
    shunt = database()
    load = repeat(pgbench(shunt.port(), *words), transactions)
    load.more(1)
    assert new.rows() == 0
    moves.climb(shunt, new.sessions, 2, "sessions on new")
    on_old = check_old_is_free(old, new, load)
    runs = [transactions(text) for text in load.finish()]
    on_new = new.rows()
    print(f"\n{sum(runs)} transactions in {len(runs)} runs, {on_old} on old, {on_new} on new, 0 failed")
    assert sum(runs) == on_old + on_new and on_old and on_new
    moves.check_closed(shunt)


def test_each_step_splits_exactly(database):
    shunt = database()
    shunt.ctl("start", "web").ok()
    for part in (3, 6, 12):
        assert names(shunt.port(), 12).count("new") == part
        shunt.ctl("skip", "web").ok()
    shunt.wait_phase("completed")
    moves.check_closed(shunt)


def test_abort_in_the_middle(database, sides, repeat):
    old, new = sides
    shunt = database()
    kept = repeat(pgbench(shunt.port(), "-t", 150), transactions)
    wait_until(old.clients, "sessions on old", within=30)
    shunt.ctl("start", "web").ok()
    shunt.ctl("skip", "web").ok()
    wait_until(new.clients, "kept sessions on new", within=30)
    reconnecting = repeat(pgbench(shunt.port(), "-C", "-t", 25), transactions)
    moves.rises(new.sessions, 20, "sessions on new")
    shunt.ctl("abort", "web", "reason", "just looking").ok()
    assert shunt.ctl("wait", "web", "60s", within=70).code == 3
    assert shunt.service()["active"] == "old"
    # Now it is new that is free.
    on_new = check_old_is_free(new, old, reconnecting)
    runs = [transactions(text) for load in (kept, reconnecting) for text in load.finish()]
    assert sum(runs) == on_new + old.rows() and on_new
    moves.check_closed(shunt)


def copy_out(**where):
    return Postgresql.psql("-c", "copy large to stdout", **where)


def digest(stream):
    """(length, SHA-256) of what is left to read."""
    found, length = hashlib.sha256(), 0
    while part := stream.read(1 << 18):
        found.update(part)
        length += len(part)
    return length, found.hexdigest()


def test_copy_goes_on_while_the_traffic_moves(database, sides, client, tmp_path):
    old, new = sides
    old.ask(f"drop table if exists large; create table large as {LARGE}", database="bench")
    new.ask(f"drop table if exists large; create table large as {LARGE} limit 0", database="bench")
    path = tmp_path / "large"
    with open(path, "wb") as file:
        subprocess.run([str(word) for word in copy_out(host=old.folder, port=old.port)], stdout=file, check=True)
    with open(path, "rb") as file:
        expected = digest(file)
    assert expected[0] > 40_000_000
    shunt = database()
    # Nobody reads what it prints, so it stands in the middle of the table while the traffic moves.
    copying = client(copy_out(port=shunt.port()), text=False)
    begun = copying.popen.stdout.read(1)
    shunt.ctl("start", "web").ok()
    for _ in range(3):
        shunt.ctl("skip", "web").ok()
    shunt.wait_phase("draining")
    assert set(names(shunt.port(), 3)) == {"new"}
    assert old.ask("select count(*) from pg_stat_activity where query like 'copy large%'") == "1"
    rest = copying.popen.stdout.read()
    assert (1 + len(rest), hashlib.sha256(begun + rest).hexdigest()) == expected
    assert copying.finish()[0] == 0
    shunt.wait_phase("completed")
    # The way in: the same rows to the new server.
    with open(path, "rb") as file:
        output(Postgresql.psql("-c", "copy large from stdin", port=shunt.port()), stdin=file)
    arrived = client(copy_out(host=new.folder, port=new.port), text=False)
    assert digest(arrived.popen.stdout) == expected
    moves.check_closed(shunt)


class Sleeper:
    """A query that does not end by itself, in a psql that Ctrl-C can be pressed in."""

    def __init__(self, shunt, server, client):
        self.server = server
        self.psql = client(Postgresql.psql("-c", "select pg_sleep(3600)", port=shunt.port()))
        wait_until(self.running, "the query runs", within=30)

    def running(self):
        return int(self.server.ask("select count(*) from pg_stat_activity where query like 'select pg_sleep%'"))

    def check_cancelled(self):
        code, _, err = self.psql.finish()
        assert code == 1 and "canceling statement due to user request" in err, err


def test_cancel_reaches_the_server_of_the_query(database, sides, client):
    """One address has one side, for its query and for the request to cancel it."""
    shunt = database(assign="client")
    for share in ("1%", "50%", "100%"):
        shunt.ctl("share", "web", share).ok()
        side, = set(names(shunt.port(), 2))
        query = Sleeper(shunt, next(one for one in sides if one.name == side), client)
        query.psql.interrupt()
        query.check_cancelled()
    moves.check_closed(shunt)


def test_cancel_misses_a_query_on_the_other_side(database, sides, client):
    """A limit, written down in docs/migration.md: a request to cancel is a connection of its own and goes where the
    share sends it. A query that runs on old when the share is 100 % is not reached."""
    old, new = sides
    shunt = database()
    query = Sleeper(shunt, old, client)
    shunt.ctl("share", "web", "100%").ok()
    words = "in cancel request did not match any process"
    before = new.log().count(words)
    query.psql.interrupt()
    wait_until(lambda: new.log().count(words) > before, "new is asked to cancel, and knows of no such query")
    assert query.running()
    old.ask("select pg_cancel_backend(pid) from pg_stat_activity where query like 'select pg_sleep%'")
    query.check_cancelled()
    moves.check_closed(shunt)


def test_more_clients_than_it_may_have_sessions(daemon, sides):
    """Thirty clients that come and go before six sessions: they wait for one another, none fails; also over a move."""
    old, new = sides
    limited = {**CHECKED, "max_connections": 6, "queue": {"size": 100, "timeout": "60s"}}
    shunt = moves.proven(daemon(service([old.address], [new.address], migration=moves.HELD, group_settings=limited),
                                log={"level": "info"}))
    # A thread for each: connecting, pgbench would hold up those of its clients that have a session.
    words = pgbench(shunt.port(), "-C", "-t", 12, "-j", 30)
    words[words.index("-c") + 1] = 30
    assert transactions(output(words, cwd=old.folder)) == 360
    connections = shunt.service()["connections"]
    assert connections["queued"] > 100, connections
    assert connections["closed"]["queue-full"] == connections["closed"]["queue-timeout"] == 0
    assert shunt.group("old")["queue"]["waited_us"]["n"] > 100
    shunt.ctl("start", "web", "from-share", "100%", "force").ok()
    assert transactions(output(words, cwd=old.folder)) == 360
    assert old.rows() + new.rows() == 720
    shunt.ctl("abort", "web").ok()
