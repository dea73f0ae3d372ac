"""Redis is moved to another Redis while redis-benchmark uses it: no command fails."""
import pytest
from shunt.config import service, shift
from shunt.programs import Redis, find
from shunt.waiting import wait_until


def check(text):
    assert "requests per second" in text and "rror" not in text, text


@pytest.mark.parametrize("keep", [0, 1], ids=["reconnecting", "kept"])
def test_redis_benchmark(daemon, program, repeat, keep):
    old, new = program(Redis, "old"), program(Redis, "new")
    shunt = daemon(service([old.address], [new.address], migration=shift()), log={"level": "info"})
    count = 50000 if keep else 2000
    client = repeat([find("redis-benchmark"), "-h", "127.0.0.1", "-p", shunt.port(), "-c", 8, "-k", keep, "-n", count,
                     "-t", "set,get", "-q"], check)
    wait_until(lambda: client.runs() >= 1, "a run before the shift", within=30)
    assert new.connections() <= 2
    shunt.ctl("start", "web").ok()
    assert shunt.ctl("wait", "web", "60s", within=70).code == 0
    assert shunt.phase() == "completed"
    done, before = client.runs(), old.connections()
    wait_until(lambda: client.runs() >= done + 2, "runs after the shift", within=60)
    runs = len(client.finish())
    assert old.connections() - before <= 2, "old gets nothing any more"
    closed = shunt.service()["connections"]["closed"]
    assert not closed.get("drained") and not closed.get("backend-reset"), closed
    print(f"\n{runs} runs of {count} SET and GET each, 0 failed; connections to old {shunt.backend('old')['connections']}, "
          f"to new {shunt.backend('new')['connections']}")
