"""What a reload or an upgrade took out of the configuration while its connections go on in the program before."""
import json

import pytest
from shunt.clients import connect
from shunt.config import group, service, steps
from shunt.folders import open_folder
from shunt.peers import named
from shunt.waiting import stays, wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

CHECKED = {"health": {"type": "tcp", "interval": "200ms"}}
PLAN = steps(("100%", "1h"), drain="1h")


@pytest.fixture(name="shunt")
def fixture_shunt(daemon, server):
    one = daemon(service([server(named("a")).address, server(named("b")).address], [server(named("n")).address],
                         group_settings=CHECKED, migration=PLAN), metrics={"listen": "127.0.0.1:0"})
    wait_until(lambda: all(one.service()["groups"][g]["usable"] for g in (0, 1)), "all are checked")
    return one


def hold(shunt, *letters):
    """A connection to each of the servers of these names."""
    held = {}
    while set(letters) - set(held):
        client = connect(shunt.port())
        client.send(b"who\n")
        letter = client.receive_line()[:1].decode()
        if letter in letters and letter not in held:
            held[letter] = client
        else:
            client.close()
    wait_until(lambda: shunt.service()["connections"]["open"] == len(letters), "the others have ended")
    return held


def without_the_first(shunt):
    """The configuration without the first backend of "old"; returns that one's name and the other's."""
    first, second = [one["name"] for one in shunt.group("old")["backends"]]
    groups = list(shunt.settings["services"][0]["groups"])
    groups[0] = group("old", [second], **CHECKED)
    shunt.settings = {**shunt.settings, "services": [{**shunt.settings["services"][0], "groups": groups}]}
    shunt.write()
    return first, second


def backend_named(shunt, name, of="old"):
    return next((one for one in shunt.group(of)["backends"] if one["name"] == name), None)


def answers(client):
    client.send(b"who\n")
    return client.receive_line()


def test_a_removed_backend_stays_in_sight_over_upgrades(shunt):
    """Removed by a reload, and two upgrades later its connection is still told, waited for and closed by name."""
    held = hold(shunt, "a")
    first, second = without_the_first(shunt)
    shunt.ctl("reload").ok()
    pid = shunt.pid
    shunt.upgrade()
    shunt.upgrade()
    shown = wait_until(lambda: backend_named(shunt, first), "it is in sight")
    assert shown["leaving"] and shown["open"] == shown["open_elsewhere"] == 1 and not shown["usable"]
    assert "removed, draining in the program before it" in shunt.admin("status")
    assert f'shunt_connections_open{{service="web",group="old",backend="{first}"}} 1' in shunt.admin("show metrics")
    where = {"pid": pid, "service": "web", "group": "old", "backend": first, "open": 1}
    assert json.loads(shunt.ctl("connections", "--json").out)["elsewhere"] == [where]
    assert json.loads(shunt.ctl("connections", "--count-by", "backend", "--json").out)["elsewhere"] == [where]
    assert f"not listed: 1 of web/old/{first} in the program before it, pid {pid}" in shunt.ctl("connections").ok()
    shunt.ctl("start", "web").ok()
    shunt.ctl("skip", "web").ok()
    stays(lambda: shunt.phase() == "draining" and backend_named(shunt, first), 0.7, "the drain waits for it")
    assert answers(held["a"])[:1] == b"a"
    text = shunt.ctl("kill", f"web/old/{first}").ok()
    assert f"the program before it, pid {pid}, with 1 open there, is told to do the same" in text
    assert held["a"].receive_all() == b"", "closed in order"
    shunt.wait_phase("completed")
    wait_until(lambda: backend_named(shunt, first) is None, "nothing of it is left")
    assert [one["name"] for one in shunt.group("old")["backends"]] == [second]
    wait_until(lambda: shunt.service()["connections"]["closed"]["killed"] == 1, "counted by its reason")
    shunt.wait_formers()


def test_what_the_file_lost_before_the_upgrade_is_told_too(shunt):
    """No reload in between: the new program never had the backend. A reload that brings it back takes it up again."""
    held = hold(shunt, "a", "b")
    whole = shunt.settings
    first, second = without_the_first(shunt)
    shunt.upgrade()
    wait_until(lambda: (backend_named(shunt, first) or {}).get("open") == 1, "it is in sight")
    assert backend_named(shunt, second)["open"] == 1 and not backend_named(shunt, second)["leaving"]
    shunt.settings = whole
    shunt.write()
    shunt.ctl("reload").ok()
    assert not backend_named(shunt, first)["leaving"] and backend_named(shunt, first)["open"] == 1
    for client in held.values():
        assert answers(client)
        client.close()
    shunt.wait_formers()
    wait_until(lambda: shunt.group("old")["open"] == 0, "nothing is open there")


def test_a_removed_group_stays_in_sight(shunt, server):
    """Renamed in the file, as far as the next program can tell; its connections are closed by the name they had."""
    held = hold(shunt, "a")
    first = shunt.backend("old")["name"]
    groups = [group("older", [server(named("c")).address], **CHECKED), shunt.settings["services"][0]["groups"][1]]
    shunt.settings = {**shunt.settings, "services": [{**shunt.settings["services"][0], "groups": groups}]}
    shunt.write()
    pid = shunt.pid
    shunt.upgrade()
    wait_until(lambda: [one["name"] for one in shunt.service()["groups"]] == ["older", "new", "old"], "it is in sight")
    assert shunt.group("old")["open"] == 1 and shunt.group("old")["usable"] == 0
    assert answers(held["a"])[:1] == b"a"
    assert f"pid {pid}, with 1 open there" in shunt.ctl("kill", f"web/old/{first}").ok()
    assert held["a"].receive_all() == b""
    wait_until(lambda: "old" not in [one["name"] for one in shunt.service()["groups"]], "and gone")
    shunt.wait_formers()


def test_kill_says_what_it_does_not_reach(shunt):
    held = hold(shunt, "a", "b")
    first = shunt.backend("old")["name"]
    shunt.upgrade()
    wait_until(lambda: backend_named(shunt, first)["open_elsewhere"] == 1, "told")
    assert "not reached with --rate" in shunt.ctl("kill", f"web/old/{first}", "--rate", "5").ok()
    shunt.ctl("kill", "1-99999").refused("have no id here: kill SERVICE/GROUP")
    assert "is told to do the same" in shunt.ctl("kill", "web", "--client", "192.0.2.0/24").ok()
    assert "is told to do the same" in shunt.ctl("kill", "web", "--idle", "1h").ok()
    assert answers(held["a"])[:1] == b"a" and answers(held["b"])[:1] == b"b", "nobody was meant"
    shunt.ctl("kill", "web", "--client", "127.0.0.0/8").ok()
    assert held["a"].receive_all() == held["b"].receive_all() == b""
    shunt.wait_formers()
