"""PostgreSQL is moved to another PostgreSQL while pgbench uses it: no transaction fails."""
import pytest
from shunt.config import service, shift
from shunt.programs import Postgresql, find
from shunt.waiting import wait_until


def check(text):
    assert "number of failed transactions: 0 (" in text and "aborted" not in text, text


@pytest.mark.parametrize("mode", [["-C"], []], ids=["reconnecting", "kept"])
def test_pgbench(daemon, program, repeat, mode):
    old, new = program(Postgresql, "old"), program(Postgresql, "new")
    for one in (old, new):
        one.fill()
    shunt = daemon(service([old.address], [new.address], migration=shift()), log={"level": "info"})
    client = repeat([find("/usr/lib/postgresql/*/bin/pgbench"), "-c", 4, "-T", 2, "-n", *mode,
                     *Postgresql.where(shunt.port())], check)
    wait_until(lambda: client.runs() >= 1, "a run before the shift", within=30)
    shunt.ctl("start", "web").ok()
    assert shunt.ctl("wait", "web", "60s", within=70).code == 0
    assert shunt.phase() == "completed"
    done = client.runs()
    wait_until(lambda: client.runs() >= done + 2, "runs after the shift", within=60)
    client.finish()
    rows = old.rows(), new.rows()
    assert all(rows), rows
    closed = shunt.service()["connections"]["closed"]
    assert not closed.get("drained") and not closed.get("backend-reset"), closed
    print(f"\n{rows[0]} transactions on old, {rows[1]} on new, 0 failed")
