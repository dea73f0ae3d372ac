"""Reading the configuration again: all or nothing, and nothing that is open is touched."""
import json
import os
import pathlib
import signal
import threading

import pytest
from shunt.clients import connect, who
from shunt.config import group, service, steps
from shunt.peers import echo, named
from shunt.waiting import SLOW, stays, wait_until

RELOADS = int(os.environ.get("SHUNT_RELOADS", "60"))


def rewrite(shunt, *services, **settings):
    """Writes the file anew, with the listening ports that the first start was given."""
    shunt.settings = {**shunt.settings, **settings, "services": list(services)}
    shunt.write()


def reload(shunt):
    return shunt.ctl("reload")


def names(shunt, at):
    return [one["name"] for one in shunt.service()["groups"][at]["backends"]]


@pytest.fixture(name="shunt")
def fixture_shunt(daemon, server):
    one = daemon(service([server(named("a")).address, server(named("b")).address], [server(named("n")).address],
                         group_settings={"health": {"type": "tcp", "interval": "200ms"}},
                         migration=steps(("25%", "1h"), ("100%", "1h"))), metrics={"listen": "127.0.0.1:0"})
    wait_until(lambda: all(one.service()["groups"][g]["usable"] for g in (0, 1)), "all are checked")
    one.first = dict(one.settings["services"][0])
    return one


def same(shunt, **changes):
    """The service as it was written, with its port and these changes."""
    return {**shunt.first, "listen": [shunt.address()], **changes}


def test_same_file(shunt):
    rewrite(shunt, same(shunt))
    assert reload(shunt).ok() == "web: changed\n"  # port 0 became the one it took
    rewrite(shunt, same(shunt))
    assert "in force already" in reload(shunt).ok()


def test_backends_come_and_go(shunt, server):
    rewrite(shunt, same(shunt))
    reload(shunt).ok()
    a, b = names(shunt, 0)
    new = server(named("c"))
    with connect(shunt.port()) as client:
        client.send(b"who\n")
        stayed = client.receive_line()
        groups = [group("old", [b, new.address], health={"type": "tcp", "interval": "200ms"}),
                  same(shunt)["groups"][1]]
        rewrite(shunt, same(shunt, groups=groups))
        assert "web: changed" in reload(shunt).ok()
        assert names(shunt, 0)[:2] == [b, new.address]
        wait_until(lambda: {who(shunt.port()) for _ in range(6)} == {"b", "c"}, "a takes no more connections")
        client.send(b"who\n")
        assert client.receive_line() == stayed, "what was open goes on"
    wait_until(lambda: a not in shunt.admin("status"), "it leaves with its last connection")
    assert new.address in shunt.admin("show metrics")


def test_a_removed_backend_is_in_sight_while_it_has_connections(shunt):
    """And a drain waits for it, and closes there what its time is over for."""
    rewrite(shunt, same(shunt, migration=steps(("100%", "1h"), drain="1h")))
    reload(shunt).ok()
    clients = {b"a": [], b"b": []}
    while min(map(len, clients.values())) < 2:
        client = connect(shunt.port())
        client.send(b"who\n")
        clients[client.receive_line()[:1]].append(client)
    a, b = names(shunt, 0)
    of_a = len(clients[b"a"])
    shunt.ctl("start", "web").ok()
    shunt.ctl("skip", "web").ok()
    assert shunt.phase() == "draining"
    groups = list(same(shunt)["groups"])
    groups[0] = group("old", [b], health={"type": "tcp", "interval": "200ms"})
    rewrite(shunt, same(shunt, groups=groups, migration=steps(("100%", "1h"), drain="1h")))
    assert f"web/old/{a}: removed, {of_a} open connections go on" in reload(shunt).ok()
    old = {one["name"]: one for one in shunt.group("old")["backends"]}
    assert old[a]["leaving"] and old[a]["open"] == of_a and shunt.group("old")["open"] == of_a + len(clients[b"b"])
    assert "removed, draining" in shunt.admin("status")
    for client in clients[b"b"]:
        client.close()
    wait_until(lambda: shunt.group("old")["open"] == of_a, "only those of the removed one are left")
    stays(lambda: shunt.phase() == "draining", 0.5, "the drain waits for them")
    shunt.ctl("kill", f"web/old/{a}").ok()
    shunt.wait_phase("completed")
    wait_until(lambda: names(shunt, 0) == [b], "nothing of it is left")
    for client in clients[b"a"]:
        client.close()


def test_a_renamed_group_is_the_only_other_one(shunt, server):
    """The old name is gone from all that is shown, and nobody has to say which group is meant."""
    rewrite(shunt, same(shunt))
    reload(shunt).ok()
    green = group("green", [server(named("g")).address], health={"type": "tcp", "interval": "100ms"})
    rewrite(shunt, same(shunt, groups=[same(shunt)["groups"][0], green]))
    reload(shunt).ok()
    assert [one["name"] for one in shunt.service()["groups"]] == ["old", "green"]
    for shown in ("status", "show metrics", "status web"):
        assert "new" not in shunt.admin(shown).replace("new privileges", "").replace("new connections", "")
    shunt.ctl("start", "web", "to", "new").refused("no group \"new\"", "old, green")
    wait_until(lambda: shunt.group("green")["usable"], "it is checked")
    assert "to green" in shunt.ctl("plan", "web").out or "green" in shunt.ctl("plan", "web").out
    shunt.ctl("start", "web").ok()
    assert shunt.service()["target"] == "green"
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    rewrite(shunt, same(shunt))
    reload(shunt).ok()
    assert [one["name"] for one in shunt.service()["groups"]] == ["old", "new"]
    wait_until(lambda: shunt.group("new")["usable"], "and it is back")


def test_what_operators_set_comes_back_with_a_backend(shunt):
    """Removed and added again: the journal knows it, so the reload does what a restart would do, and says so."""
    rewrite(shunt, same(shunt))
    reload(shunt).ok()
    a, b = names(shunt, 0)
    shunt.ctl("weight", f"web/old/{a}", "7").ok()
    shunt.ctl("backend", f"web/old/{a}", "maint").ok()
    groups = list(same(shunt)["groups"])
    groups[0] = group("old", [b], health={"type": "tcp", "interval": "200ms"})
    rewrite(shunt, same(shunt, groups=groups))
    reload(shunt).ok()
    rewrite(shunt, same(shunt))
    text = reload(shunt).ok()
    assert f"web/old/{a}: weight 7 stays, as it was set by hand (the file says 1)" in text
    assert f"web/old/{a}: stays in maint" in text
    again = {one["name"]: one for one in shunt.service()["groups"][0]["backends"]}[a]
    assert again["weight"] == 7 and again["admin"] == "maint"
    shunt.upgrade()
    shunt.wait_formers()
    after = {one["name"]: one for one in shunt.service()["groups"][0]["backends"]}[a]
    assert after["weight"] == 7 and after["admin"] == "maint", "an upgrade finds the same"


def test_a_bad_file_changes_nothing(shunt):
    rewrite(shunt, same(shunt))
    reload(shunt).ok()
    before = shunt.admin("show settings")
    shunt.path.write_text(shunt.path.read_text().replace("interval", "intreval"))
    text = reload(shunt).refused("nothing was changed", "shunt.conf:1", "intreval", "interval")
    assert "more errors" in text
    shunt.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: "intreval" in shunt.log(), "the log says why")
    rewrite(shunt, same(shunt, groups=[group("old", ["no-such-host.invalid:1"]), group("new", ["127.0.0.1:1"])]))
    reload(shunt).refused("nothing was changed", "no-such-host.invalid")
    shunt.path.unlink()
    reload(shunt).refused("nothing was changed")
    assert shunt.admin("show settings") == before
    assert {who(shunt.port()) for _ in range(4)} == {"a", "b"}
    rewrite(shunt, same(shunt))
    assert "in force already" in reload(shunt).ok()


def test_what_operators_set_stays(shunt):
    rewrite(shunt, same(shunt))
    reload(shunt).ok()
    a, b = names(shunt, 0)
    shunt.ctl("weight", f"web/old/{a}", "7").ok()
    shunt.ctl("backend", f"web/old/{b}", "drain").ok()
    shunt.ctl("log-level", "warn").ok()
    rewrite(shunt, same(shunt, retries=1))
    text = reload(shunt).ok()
    assert f"web/old/{a}: weight 7 stays, as it was set by hand (the file says 1)" in text
    assert f"web/old/{b}: stays in drain" in text
    backends = {one["name"]: one for one in shunt.service()["groups"][0]["backends"]}
    assert backends[a]["weight"] == 7 and backends[b]["admin"] == "drain"
    groups = same(shunt)["groups"]
    groups[0] = {**groups[0], "backends": [{"address": a, "weight": 3}, {"address": b}]}
    rewrite(shunt, same(shunt, groups=groups))
    assert f"web/old/{a}: weight 7 → 3" in reload(shunt).ok()
    assert {one["name"]: one["weight"] for one in shunt.service()["groups"][0]["backends"]}[a] == 3
    assert "before: warn" in shunt.ctl("log-level", "info").ok()


def test_log_level_and_what_needs_a_restart(shunt):
    rewrite(shunt, same(shunt), workers=1, log={"level": "error"})
    text = reload(shunt).ok()
    assert "log.level: error" in text and "workers: changed in the file, in force only after a restart" in text
    assert shunt.status()["workers"] == 2
    assert "before: error" in shunt.ctl("log-level", "info").ok()


def test_the_format_of_the_log_changes(shunt):
    rewrite(shunt, same(shunt), log={"level": "debug", "format": "json"})
    assert "log.format: json" in reload(shunt).ok()
    wait_until(lambda: shunt.log().splitlines()[-1].startswith("{"), "lines are of JSON")
    assert json.loads(shunt.log().splitlines()[-1])["msg"]
    rewrite(shunt, same(shunt), log={"level": "debug"})
    assert "log.format: logfmt" in reload(shunt).ok()
    wait_until(lambda: shunt.log().splitlines()[-1].startswith("time="), "and of words again")


def test_services_come_and_go(shunt, server):
    other = service([server(echo).address], name="other")
    rewrite(shunt, same(shunt), other)
    assert "other: new" in reload(shunt).ok()
    assert [one["name"] for one in shunt.status()["services"]] == ["web", "other"]
    port = int(shunt.service("other")["listen"][0].rsplit(":", 1)[1])
    with connect(port) as client:
        client.send(b"one\n")
        assert client.receive(4) == b"one\n"
        rewrite(shunt, same(shunt))
        assert "other: takes no new connections, 1 open ones go on" in reload(shunt).ok()
        assert [one["name"] for one in shunt.status()["services"]] == ["web"]
        client.send(b"two\n")
        assert client.receive(4) == b"two\n", "what was open goes on"

        def is_closed():
            try:
                connect(port).close()
            except ConnectionRefusedError:
                return True
            return False
        wait_until(is_closed, "nobody listens there any more")
    wait_until(lambda: "the last connection of a service that was taken away has ended" in shunt.log(), "it is gone")
    rewrite(shunt, same(shunt), other)
    assert "other: new" in reload(shunt).ok(), "its place is free again"
    rewrite(shunt, same(shunt))
    reload(shunt).ok()


@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_a_service_with_another_name_keeps_its_sockets(shunt, server, where):
    """There and back again under new connections: nobody is refused or reset."""
    path = f"unix:{shunt.folder}/web.sock"  # a folder that the fences leave open
    address = shunt.address() if where == "tcp" else path
    rewrite(shunt, same(shunt), service([server(echo).address], name="one", listen=[path]))
    if where == "tcp":
        rewrite(shunt, {**same(shunt), "name": "one"})
    reload(shunt).ok()
    failed, served, over = [], [], threading.Event()

    def knock():
        while not over.is_set():
            try:
                with connect(address) as client:
                    client.send(b"who\n")
                    served.append(client.receive_line())
            except OSError as error:
                failed.append(error)

    threads = [threading.Thread(target=knock) for _ in range(2)]
    for thread in threads:
        thread.start()
    for name in ("two", "one") * 5:
        before = len(served)
        renamed = {**shunt.settings["services"][-1], "name": name}
        rewrite(shunt, *shunt.settings["services"][:-1], renamed)
        text = reload(shunt).ok()
        assert f"{name}: new" in text, text
        wait_until(lambda: len(served) >= before + 20 or failed, "new connections are served")
    over.set()
    for thread in threads:
        thread.join()
    assert not failed and all(served), failed
    assert where == "tcp" or pathlib.Path(path[len("unix:"):]).exists()
    rewrite(shunt, same(shunt))
    reload(shunt).ok()
    wait_until(lambda: not pathlib.Path(path[len("unix:"):]).exists(), "a path that nobody listens on any more is gone")


def test_a_reload_that_fails_leaves_the_sockets_where_they_were(shunt, server):
    taken = server(echo).address
    rewrite(shunt, {**same(shunt), "name": "other"}, service([taken], name="bad", listen=[taken]))
    reload(shunt).refused("nothing was changed", taken)
    assert who(shunt.port()) in "ab" and shunt.service()["name"] == "web"
    rewrite(shunt, {**same(shunt), "name": "other"})
    reload(shunt).ok()
    assert who(shunt.port()) in "ab" and shunt.service()["name"] == "other"


def test_an_address_in_use_changes_nothing(shunt, server):
    taken = server(echo)
    rewrite(shunt, same(shunt, retries=0), service([server(echo).address], name="other", listen=[taken.address]))
    reload(shunt).refused("nothing was changed", taken.address)
    assert [one["name"] for one in shunt.status()["services"]] == ["web"]
    assert "retries = 3" in shunt.admin("show settings")


def test_a_migration_goes_on(shunt, server):
    rewrite(shunt, same(shunt))
    reload(shunt).ok()
    shunt.ctl("start", "web").ok()
    rewrite(shunt, same(shunt, migration=steps(("50%", "1h"), ("100%", "1h"))))
    assert "its migration goes on by the plan that it began with" in reload(shunt).ok()
    assert shunt.service()["share_bp"] == 2500 and shunt.phase() == "ramping"
    rewrite(shunt, same(shunt, groups=[same(shunt)["groups"][0], group("other", [server(echo).address])]))
    reload(shunt).refused("nothing was changed", "new")
    rewrite(shunt, service([server(echo).address], name="quite-another"))
    reload(shunt).refused("nothing was changed", "a migration of it runs", "abort web")
    shunt.ctl("abort", "web").ok()
    shunt.wait_phase("rolled-back")
    rewrite(shunt, same(shunt, migration=steps(("50%", "1h"), ("100%", "1h"))))
    reload(shunt).ok()
    shunt.ctl("start", "web").ok()
    assert shunt.service()["share_bp"] == 5000, "the next start goes by the new plan"


def test_a_new_group_can_be_migrated_to(shunt, server):
    third = server(named("third"))
    groups = same(shunt)["groups"] + [group("third", [third.address], health={"type": "tcp", "interval": "100ms"})]
    rewrite(shunt, same(shunt, groups=groups))
    reload(shunt).ok()
    wait_until(lambda: shunt.service()["groups"][2]["usable"] == 1, "it is checked")
    shunt.ctl("start", "web", "to", "third").ok()
    shunt.ctl("skip", "web").ok()
    wait_until(lambda: {who(shunt.port()) for _ in range(4)} == {"third"}, "all go there")
    stays(lambda: shunt.phase() in ("ramping", "draining"), 0.3, "the migration")


def test_reloads_under_new_connections(shunt, server):
    """New connections all the while, from threads of this process: none refused, none reset, none wrong."""
    rewrite(shunt, same(shunt))
    reload(shunt).ok()
    extra = server(named("x"))
    old, new = same(shunt)["groups"]
    more = {**old, "backends": old["backends"] + [{"address": extra.address}]}
    port, enough = shunt.port(), threading.Event()
    served, wrong = [0] * 4, []

    def clients(at):
        while not enough.is_set():
            try:
                if who(port) not in ("a", "b", "x"):
                    wrong.append("another backend")
                served[at] += 1
            except OSError as failure:
                wrong.append(repr(failure))

    threads = [threading.Thread(target=clients, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    descriptors = []
    try:
        for turn in range(RELOADS):
            rewrite(shunt, same(shunt, groups=[more if turn % 2 else old, new], retries=turn % 3))
            if turn % 5 == 4:  # a bad one in between
                shunt.path.write_text("services = (")
                reload(shunt).refused("nothing was changed")
            else:
                reload(shunt).ok()
            descriptors.append(len(os.listdir(f"/proc/{shunt.pid}/fd")))
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    print(f"\n{RELOADS} reloads: {sum(served)} connections served, {len(wrong)} refused, reset or wrong")
    assert not wrong, wrong[:5]
    assert sum(served) > RELOADS / SLOW
    assert json.loads(shunt.admin("status --json"))["services"][0]["connections"]["closed"].get("no-backend", 0) == 0
