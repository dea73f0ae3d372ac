"""`top`: what each group did within the last hour, with the events of that time."""
import datetime
import json

from shunt.clients import ask
from shunt.config import service, steps
from shunt.peers import echo
from shunt.waiting import wait_until


def top(shunt, *words):
    return json.loads(shunt.ctl("top", *words, "--json").ok())


def test_figures_and_events(daemon, server, refuser):
    good, bad = server(echo), refuser()
    shunt = daemon(service([good.address], [bad.address], group_settings={"health": {"type": "none"}},
                           migration=steps(("50%", "1h"), ("100%", "1h"))))
    wait_until(lambda: top(shunt)["rows"], "the first second is over")
    shunt.ctl("start", "web", "force", "reason", "CHG-1").ok()
    for _ in range(40):
        ask(shunt.port(), b"hello\n")

    def sums():
        rows = top(shunt, "web", "--step", "1s")["rows"]
        return {group: (sum(row["connections"] for row in rows if row["group"] == group),
                        sum(row["errors"] for row in rows if row["group"] == group),
                        sum(row["samples"] for row in rows if row["group"] == group)) for group in ("old", "new")}
    wait_until(lambda: sums()["old"][0] >= 40, "all connections are in the figures")
    seen = sums()
    assert seen["old"][0] == 40 and seen["old"][2] >= 40, "every one was served by old, and its answer was measured"
    assert seen["new"] == (0, 20, 0), "half of them met the refusal of new first"
    whole = top(shunt, "web")
    assert [row["share_bp"] for row in whole["rows"] if row["group"] == "new"][-1] == 5000
    assert any("CHG-1" in str(event) for event in whole["events"])
    text = shunt.ctl("top", "web", "--last", "10s", "--step", "1s").ok()
    assert "conn/s" in text and "web/new" in text and "CHG-1" in text


def test_a_time_of_day(daemon, server):
    shunt = daemon(service([server(echo).address]))
    wait_until(lambda: top(shunt)["rows"], "the first second is over")
    now = datetime.datetime.now(datetime.timezone.utc)
    there = top(shunt, "--at", (now - datetime.timedelta(seconds=30)).strftime("%H:%M:%S"), "--last", "2m")
    assert there["rows"] and there["step_s"] == 12
    assert not top(shunt, "--at", (now - datetime.timedelta(hours=2)).strftime("%H:%M"))["rows"]


def test_what_cannot_be_shown(daemon, server):
    shunt = daemon(service([server(echo).address]))
    shunt.ctl("top", "--at", "25:00").refused("not a time of day", "02:14")
    shunt.ctl("top", "--last", "2h").refused("1h")
    shunt.ctl("top", "--step", "10ms").refused("1s")
    shunt.ctl("top", "wep").refused("web")
