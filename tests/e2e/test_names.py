"""Host names of backends: asked for again and again, whatever name servers do meanwhile."""
import signal
import socket
import subprocess
import time

import pytest
from shunt.clients import connect, who
from shunt.config import service, steps
from shunt.daemon import program
from shunt.dns import AAAA, NXDOMAIN, SERVFAIL, SILENT, A, NameServer
from shunt.peers import named
from shunt.waiting import SLOW, scaled, stays, wait_until

FAST = {"min_ttl": "100ms", "max_ttl": "1s", "hold": "0s", "timeout": "1s"}
ONE, TWO, THREE = "127.0.1.1", "127.0.1.2", "127.0.1.3"


@pytest.fixture(name="dns")
def fixture_dns(started):
    one = NameServer()
    started.backends.append(one)
    return one


@pytest.fixture(name="port")
def fixture_port(server):
    """The one port on which ONE, TWO and THREE say who they are."""
    with socket.socket() as free:
        free.bind(("127.0.1.1", 0))
        port = free.getsockname()[1]
    for name, host in (("one", ONE), ("two", TWO), ("three", THREE)):
        server(named(name), host=host, port=port)
    return port


@pytest.fixture(name="shunt")
def fixture_shunt(daemon, dns, port):
    dns.names["db.test"] = [ONE, TWO]
    return daemon(service([f"db.test:{port}"]), resolve={"servers": [dns.address], **FAST},
                  metrics={"listen": "127.0.0.1:0"})


def served(shunt):
    return {who(shunt.port()) for _ in range(6)}


def names(shunt):
    return shunt.service()["names"]


def addresses(shunt, group="old"):
    return sorted(one["address"].rsplit(":", 1)[0] for one in shunt.group(group)["backends"])


def outcome(shunt, at=0):
    return names(shunt)[at]["outcome"]


def test_all_addresses_are_backends(shunt, port):
    assert served(shunt) == {"one", "two"}
    assert [one["name"] for one in shunt.group("old")["backends"]] == [
        f"db.test:{port}@{ONE}:{port}", f"db.test:{port}@{TWO}:{port}"]
    assert {one["host"] for one in shunt.group("old")["backends"]} == {"db.test"}
    only = names(shunt)[0]
    assert (only["outcome"], only["addresses"], only["backend"], only["host"]) == (
        "ok", 2, f"db.test:{port}", "db.test")
    assert f"name ✔ old/db.test:{port}   2 addresses" in shunt.admin("status")


def test_a_new_address_of_the_target_proves_itself_first(daemon, dns, port, server):
    """The check of `two` gets the wrong answer and waits for more of it: nothing is known for a second."""
    asks = {"type": "send-expect", "interval": "200ms", "timeout": "1s",
            "send_expect": {"steps": [{"send": "check\\n", "expect": "one check"}]}}
    dns.names["db.test"] = [ONE]
    shunt = daemon(service([server(named("zone")).address], [f"db.test:{port}"], group_settings={"health": asks},
                           migration=steps(("50%", "1h"), ("100%", "1h"))), resolve={"servers": [dns.address], **FAST})
    wait_until(lambda: all(shunt.group(name)["usable"] == 1 for name in ("old", "new")), "both are checked")
    shunt.ctl("start", "web").ok()
    dns.names["db.test"] = [ONE, TWO]
    wait_until(lambda: addresses(shunt, "new") == [ONE, TWO], "the new address is there")
    new = next(at for at, one in enumerate(shunt.group("new")["backends"]) if one["address"].startswith(TWO))
    seen = set()

    def checked():
        seen.update(who(shunt.port()) for _ in range(6))
        return shunt.backend("new", new)["check"] is not None
    wait_until(checked, "it was checked")
    assert seen == {"zone", "one"}, seen
    assert shunt.backend("new", new)["state"] == "down" and shunt.backend("new", new)["connections"] == 0


def test_time_to_live_is_kept(daemon, dns, port):
    dns.names["db.test"] = [ONE]
    dns.ttl = 2
    shunt = daemon(service([f"db.test:{port}"]), resolve={"servers": [dns.address], **FAST, "max_ttl": "10s"})
    first, begin = dns.count("db.test"), time.monotonic()
    wait_until(lambda: dns.count("db.test") > first, "it is asked again")
    assert time.monotonic() - begin > 1, "not before the answer has lived its time"
    assert outcome(shunt) == "ok"


def test_a_set_changes_under_open_connections(shunt, dns):
    clients = [connect(shunt.port()) for _ in range(4)]
    for client in clients:
        client.send(b"who\n")
    before = [client.receive_line() for client in clients]
    dns.names["db.test"] = [TWO, THREE]
    wait_until(lambda: served(shunt) == {"two", "three"}, "the new set serves")
    gone = next(one for one in shunt.group("old")["backends"] if one["address"].startswith(ONE))
    assert gone["leaving"] and gone["open"] == 2
    assert names(shunt)[0]["leaving"] == 1
    assert "gone from its name, draining" in shunt.admin("status")
    for client, said in zip(clients, before):
        client.send(b"who\n")
        assert client.receive_line() == said, "what is open goes on"
    for client in clients:
        client.close()
    wait_until(lambda: addresses(shunt) == [TWO, THREE], "the last connection took it along")
    assert names(shunt)[0]["leaving"] == 0


def test_an_address_comes_back_as_it_was(shunt, dns, port):
    shunt.ctl("weight", f"web/old/db.test:{port}", 7).refused("is a host name: say which of its addresses", "@ADDRESS")
    shunt.ctl("weight", f"web/old/db.test:{port}@{ONE}:{port}", 7).ok()
    with connect(shunt.port()) as client, connect(shunt.port()) as other:
        for one in (client, other):
            one.send(b"who\n")
            one.receive_line()
        dns.names["db.test"] = [TWO]
        wait_until(lambda: served(shunt) == {"two"}, "one drains")
        dns.names["db.test"] = [ONE, TWO]
        wait_until(lambda: served(shunt) == {"one", "two"}, "one is back")
        assert shunt.backend("old")["weight"] == 7
    dns.names["db.test"] = [TWO]
    wait_until(lambda: addresses(shunt) == [TWO], "one is gone")
    dns.names["db.test"] = [ONE, TWO]
    wait_until(lambda: addresses(shunt) == [ONE, TWO], "and new again")
    back = next(one for one in shunt.group("old")["backends"] if one["address"].startswith(ONE))
    assert back["weight"] == 7, "what operators set is kept by name"


# As filters of DNS answer for names that they block; 0.0.0.0 would be this machine.
SINKHOLE = ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1"]


@pytest.mark.parametrize("wrong", [SERVFAIL, NXDOMAIN, SILENT, [], SINKHOLE],
                         ids=["servfail", "nxdomain", "silent", "zero", "sinkhole"])
def test_what_was_good_stays(shunt, dns, wrong):
    dns.names["db.test"] = wrong
    bad = "empty" if wrong in (NXDOMAIN, []) else "failed"
    wait_until(lambda: outcome(shunt) == bad and names(shunt)[0]["failures_in_a_row"] >= 2, "it is bad", within=10)
    assert served(shunt) == {"one", "two"}
    assert addresses(shunt) == [ONE, TWO]
    status = shunt.admin("status")
    assert "2 addresses kept: " in status, status
    metrics = shunt.admin("show metrics")
    assert 'shunt_name_resolved{service="web"' in metrics
    value = next(line for line in metrics.splitlines() if line.startswith("shunt_name_resolved"))
    assert value.endswith(" 0")
    told = [line for line in shunt.admin("events").splitlines() if " names " in line]
    assert len([line for line in told if "known so far stay" in line]) == 1, told
    dns.names["db.test"] = [TWO]
    wait_until(lambda: addresses(shunt) == [TWO], "good answers count again")
    assert "resolved again" in shunt.admin("events")


def test_an_address_of_nobody_is_left_out(shunt, dns):
    dns.names["db.test"] = [THREE, "0.0.0.0"]
    wait_until(lambda: addresses(shunt) == [ONE, TWO, THREE], "what is new comes in, nothing drains")
    assert outcome(shunt) == "partly" and "no server can have" in names(shunt)[0]["reason"]
    dns.names["db.test"] = [THREE]
    wait_until(lambda: addresses(shunt) == [THREE], "good answers count again")


def test_a_family_that_fails_keeps_its_part(daemon, dns, port, server):
    server(named("six"), family=socket.AF_INET6, port=port)
    dns.names["db.test"] = {A: [ONE], AAAA: ["::1"]}
    shunt = daemon(service([f"db.test:{port}"]), resolve={"servers": [dns.address], **FAST})
    assert served(shunt) == {"one", "six"}
    dns.names["db.test"] = {A: [TWO], AAAA: SERVFAIL}
    wait_until(lambda: outcome(shunt) == "partly", "half of it fails")
    wait_until(lambda: served(shunt) == {"two", "six"}, "the other half changed")
    dns.names["db.test"] = {A: [TWO], AAAA: []}
    wait_until(lambda: served(shunt) == {"two"}, "no IPv6 any more is an answer")


def test_families_as_set(daemon, dns, port):
    dns.names["db.test"] = [ONE, "::1"]
    shunt = daemon(service([f"db.test:{port}"]), resolve={"servers": [dns.address], **FAST, "family": "ipv4"})
    assert addresses(shunt) == [ONE]
    assert all(kind == A for _, kind, _ in dns.asked)


def test_an_address_that_answers_lack_is_held(daemon, dns, port):
    dns.names["db.test"] = [ONE, TWO]
    shunt = daemon(service([f"db.test:{port}"]), resolve={"servers": [dns.address], **FAST, "hold": "2s"})
    dns.names["db.test"] = [ONE]
    wait_until(lambda: names(shunt)[0]["held"] == 1, "one is held")
    held = time.monotonic()
    assert served(shunt) == {"one", "two"}
    wait_until(lambda: addresses(shunt) == [ONE], "it is gone")
    assert time.monotonic() - held > 1


def test_a_thousand_records(daemon, dns, port):
    dns.names["db.test"] = [f"127.0.{2 + i // 250}.{1 + i % 250}" for i in range(1000)]
    shunt = daemon(service([f"db.test:{port}"], group_settings={"health": {"type": "none"}}),
                   resolve={"servers": [dns.address], **FAST, "max_addresses": 40})
    assert ("db.test", A, "tcp") in dns.asked, "so many do not fit a datagram"
    assert len(shunt.group("old")["backends"]) == 40
    assert names(shunt)[0]["left_out"] == 960
    kept = addresses(shunt)
    dns.names["db.test"].reverse()
    asked = dns.count("db.test")
    wait_until(lambda: dns.count("db.test") > asked + 4, "several more answers")
    assert addresses(shunt) == kept, "in another order they are the same"
    assert len([line for line in shunt.admin("events").splitlines() if "left out" in line]) <= 1
    dns.names["db.test"] = [ONE]
    wait_until(lambda: addresses(shunt) == [ONE], "and then one")
    assert who(shunt.port()) == "one"


def test_sets_change_all_the_time_under_load(shunt, dns):
    sets = [[ONE, TWO], [TWO, THREE], [THREE, ONE], SERVFAIL, [ONE]]
    errors = clients = 0
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < 4:
        dns.names["db.test"] = sets[int(passed * 4) % len(sets)]
        clients += 1
        try:
            errors += who(shunt.port()) not in ("one", "two", "three")
        except OSError:
            errors += 1
    assert clients > 50 and errors == 0, f"{errors} of {clients}"
    assert sum(1 for line in shunt.admin("events").splitlines() if "gone and draining" in line) >= 3


def test_checks_come_and_go(daemon, dns, port, server):
    dns.names["db.test"] = [ONE, TWO]
    shunt = daemon(service([f"db.test:{port}"], group_settings={"health": {"type": "tcp", "interval": "100ms"}}),
                   resolve={"servers": [dns.address], **FAST})
    wait_until(lambda: all(one["state"] == "up" for one in shunt.group("old")["backends"]), "both are up")
    dns.names["db.test"] = [TWO, "127.0.9.9"]
    wait_until(lambda: [one["state"] for one in shunt.group("old")["backends"]] == ["up", "down"],
               "the new one is checked, and nobody is there")
    assert served(shunt) == {"two"}
    assert shunt.backend("old", 0)["check"] is not None
    assert "refused" in shunt.ctl("check", f"web/old/db.test:{port}@127.0.9.9:{port}").ok()


# ---- the start


def test_start_while_no_server_answers(daemon, dns, port, server):
    dns.names["db.test"] = SILENT
    begin = time.monotonic()
    shunt = daemon(service([f"db.test:{port}", f"{TWO}:{port}"]), resolve={"servers": [dns.address], **FAST})
    assert time.monotonic() - begin < 4 * SLOW + 4, "a start waits for a while only"
    assert served(shunt) == {"two"}, "it begins with what it knows"
    assert "no address is known" in shunt.admin("events")
    assert "✖" in next(line for line in shunt.admin("status").splitlines() if line.startswith("  name"))
    dns.names["db.test"] = [ONE]
    wait_until(lambda: served(shunt) == {"one", "two"}, "the name is asked for again")


def test_start_with_a_name_that_does_not_exist(daemon, dns, port):
    shunt = daemon(service([f"typo.test:{port}"]), resolve={"servers": [dns.address], **FAST})
    shunt.says("does not exist (NXDOMAIN)")
    assert addresses(shunt) == []
    dns.names["typo.test"] = [ONE]
    wait_until(lambda: addresses(shunt) == [ONE], "somebody makes it")
    assert served(shunt) == {"one"}


def check_file(path):
    return subprocess.run([program("shuntd"), "-t", "-c", path], capture_output=True, text=True,
                          timeout=scaled(20), check=False)


def test_check_tells_a_typo_from_a_silent_server(shunt, dns, port):
    shunt.settings["services"] = [service([f"typo.test:{port}"])]
    shunt.write()
    done = check_file(shunt.path)
    assert done.returncode == 78 and "does not exist" in done.stderr and "typo.test" in done.stderr, done
    assert "shunt.conf:1: services.web.groups.old.backends" in done.stderr, done
    dns.names["typo.test"] = SERVFAIL
    done = check_file(shunt.path)
    assert done.returncode == 0 and "would start without it" in done.stderr, done
    dns.names["typo.test"] = [ONE]
    done = check_file(shunt.path)
    assert done.returncode == 0 and done.stderr == "" and "1 backend" in done.stdout, done


# ---- a reload


def rewrite(shunt, *services, **settings):
    shunt.settings = {**shunt.settings, **settings, "services": list(services)}
    shunt.write()


def same(shunt, addresses, **changes):
    return {**service(addresses), "listen": [shunt.address()], **changes}


def test_reload_takes_what_is_known(shunt, dns, port):
    asked = dns.count("new.test")
    dns.names["new.test"] = [THREE]
    rewrite(shunt, same(shunt, [f"db.test:{port}", f"new.test:{port}"]))
    assert "web: changed" in shunt.ctl("reload").ok()
    assert dns.count("new.test") > asked
    assert served(shunt) == {"one", "two", "three"}
    assert {one["host"] for one in names(shunt)} == {"db.test", "new.test"}
    dns.names["db.test"] = [TWO]
    wait_until(lambda: served(shunt) == {"two", "three"}, "both are followed")
    rewrite(shunt, same(shunt, [f"{ONE}:{port}"]))
    shunt.ctl("reload").ok()
    assert served(shunt) == {"one"}
    assert names(shunt) == []


def test_reload_with_a_name_that_nobody_tells(shunt, dns, port):
    rewrite(shunt, same(shunt, [f"typo.test:{port}"]))
    shunt.ctl("reload").refused("typo.test", "NXDOMAIN", "nothing was changed")
    dns.names["typo.test"] = SILENT
    waiting = shunt.ctl_begin("reload")
    wait_until(lambda: dns.count("typo.test") > 1, "it asks")
    begin = time.monotonic()
    shunt.admin("status")
    assert time.monotonic() - begin < 0.5 * SLOW, "the control thread does not wait"
    assert served(shunt) == {"one", "two"}
    shunt.ctl("reload").refused("another reload waits for names")
    out, err = waiting.communicate(timeout=scaled(10))
    assert waiting.returncode == 1 and "no answer within 1s" in out + err
    assert served(shunt) == {"one", "two"}, "what ran goes on"
    dns.names["typo.test"] = [THREE]
    shunt.ctl("reload").ok()
    assert served(shunt) == {"three"}


def test_reload_beside_a_name_that_was_never_told(daemon, dns, port):
    dns.names["db.test"] = [ONE]
    both = [f"db.test:{port}", f"gone.test:{port}"]
    shunt = daemon(service(both), resolve={"servers": [dns.address], **FAST})
    assert outcome(shunt, 1) == "empty"
    rewrite(shunt, same(shunt, [*both, f"{TWO}:{port}"]))
    assert "web: changed" in shunt.ctl("reload").ok()
    assert served(shunt) == {"one", "two"}


def test_reload_by_signal_waits_for_names_too(shunt, dns, port):
    dns.names["new.test"] = [THREE]
    rewrite(shunt, same(shunt, [f"new.test:{port}"]))
    shunt.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: served(shunt) == {"three"}, "the new name serves")


def test_settings_of_names_change_at_reload(shunt, dns, port):
    rewrite(shunt, same(shunt, [f"db.test:{port}"]), resolve={"servers": [dns.address], **FAST, "hold": "1h"})
    shunt.ctl("reload").ok()
    dns.names["db.test"] = [ONE]
    wait_until(lambda: names(shunt)[0]["held"] == 1, "the new time to hold counts")
    stays(lambda: served(shunt) == {"one", "two"}, 0.5, "both serve")


def test_stop_while_a_reload_waits(shunt, dns, port):
    dns.names["new.test"] = SILENT
    rewrite(shunt, same(shunt, [f"new.test:{port}"]), resolve={"servers": [dns.address], **FAST, "timeout": "60s"})
    waiting = shunt.ctl_begin("reload")
    wait_until(lambda: dns.count("new.test") > 0, "it asks")
    shunt.popen.send_signal(signal.SIGTERM)
    assert shunt.popen.wait(scaled(5)) == 0
    waiting.communicate(timeout=scaled(10))
    shunt.check_log()
    shunt.popen = None  # it has ended


def test_upgrade_waits_for_names(shunt, dns, port):
    dns.names["db.test"] = SERVFAIL
    wait_until(lambda: outcome(shunt) == "failed", "nobody tells it any more")
    refused = shunt.ctl("upgrade", within=30).refused("this program goes on")
    assert served(shunt) == {"one", "two"}, refused
