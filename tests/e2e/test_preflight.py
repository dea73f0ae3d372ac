"""What a start looks at first: `plan` shows it, a finding stops the start, force overrides and is written down."""
import contextlib
import ssl

import pytest
from shunt.certificates import Authority
from shunt.clients import connect
from shunt.config import group, service, steps
from shunt.peers import named
from shunt.waiting import wait_until

PLAN = steps(("25%", "1h"), ("100%", "1h"))
QUICK = {"interval": "200ms", "timeout": "2s", "rise": 1, "fall": 1}


@pytest.fixture(name="secured")
def fixture_secured(server, tmp_path):
    """secured(days): a backend whose certificate ends in so many days, and the settings of checks that trust it."""
    authority = Authority(tmp_path / "authority")

    def make(days):
        certificate, key = authority.issue("check.example", "DNS:check.example", days=days, file=f"of{days}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

        def script(peer):
            with contextlib.suppress(OSError):
                context.wrap_socket(peer.sock, server_side=True).close()
        return server(script).address
    trust = {"server_name": "check.example", "ca_file": str(authority.certificate)}
    return make, {"health": {"type": "tls", **QUICK, "tls": trust}}


def test_all_is_well(daemon, secured):
    make, checks = secured
    shunt = daemon(service([make(61), make(61)], [make(62), make(62)], group_settings=checks, migration=PLAN))
    wait_until(lambda: "new 2/2 proven" in shunt.ctl("plan", "web").ok(), "all are checked")
    line = next(line for line in shunt.ctl("plan", "web").ok().splitlines() if "preflight" in line)
    assert line == ("  preflight  ✔ old 2/2 up  ✔ new 2/2 proven  ✔ addresses differ  ✔ certificate valid 61d  "
                    "✔ fds >99x  ✔ journal writable")
    left = shunt.backend("new")["check"]["certificate_left_s"]
    assert 61 * 86400 < left <= 62 * 86400
    shunt.ctl("start", "web").ok()


def test_what_clients_are_shown_ends_soon(daemon, server, tmp_path):
    certificate, key = Authority(tmp_path / "front").issue("web.example", "DNS:web.example", days=3)
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], group_settings={
        "health": {"type": "tcp", **QUICK}}, migration=PLAN,
        tls={"certificates": [{"certificate": str(certificate), "key": str(key)}]}))
    wait_until(lambda: "new 1/1 proven" in shunt.ctl("plan", "web").ok(), "all are checked")
    assert "certificate that clients are shown expires in" in shunt.ctl("plan", "web").ok()
    shunt.ctl("start", "web").refused("that clients are shown")
    shunt.ctl("start", "web", "force").ok()


def test_a_certificate_that_ends_soon(daemon, secured):
    make, checks = secured
    shunt = daemon(service([make(60)], [make(60), make(5)], group_settings=checks, migration=PLAN))
    wait_until(lambda: "certificate of new" in shunt.ctl("plan", "web").ok(), "all are checked")
    said = shunt.ctl("start", "web").refused("expires in 4d", "renew it", "`start web … force`")
    assert "certificate of new/" in said and shunt.phase() == "idle"
    shunt.ctl("start", "web", "force", "reason", "CHG-9").ok()
    assert "in spite of: certificate of new/" in shunt.ctl("events", "web").ok()
    assert "in spite of: certificate of new/" in shunt.ctl("report", "web").ok()


def test_the_same_server_on_both_sides(daemon, server):
    same = server(named("same")).address
    shunt = daemon({"name": "web", "listen": ["127.0.0.1:0"], "migration": PLAN, "groups": [
        group("old", [{"address": same, "name": "a"}]), group("new", [{"address": same, "name": "b"}])]})
    shunt.ctl("start", "web").refused(f"old/a and new/b are both {same}", "correct its address")


def test_few_descriptors_left(daemon, server):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=PLAN), files=128)
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            if "✖ fds" in shunt.ctl("plan", "web").ok():
                break
            client = stack.enter_context(connect(shunt.port()))
            client.send(b"x\n")
            client.receive_line()
        shunt.ctl("start", "web").refused("connections free", "LimitNOFILE")


@pytest.mark.parametrize("failpoint,words", [("journal-room:1+:enospc", "make room on the disk"),
                                             ("journal-append:2+:eio", "nothing was changed")])
def test_a_journal_that_cannot_be_written(daemon, server, failpoint, words):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=PLAN),
                   environment={"SHUNT_FAILPOINT": failpoint})
    shunt.ctl("start", "web").refused("journal", words)
    assert (shunt.phase(), shunt.service()["share_bp"]) == ("idle", 0)


def test_a_route_that_holds_clients_on_the_old_group(daemon, server):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], migration=PLAN,
                           sni={"routes": [{"name": "canary.example.com", "group": "new"},
                                           {"name": "late.example.com", "group": "old"}]}))
    shunt.ctl("start", "web").refused("route late.example.com leads to old whatever the share is", "take it out of `sni`")
    assert shunt.phase() == "idle"
    one = dict(shunt.settings["services"][0])
    shunt.settings["services"] = [{**one, "listen": [shunt.address()], "sni": {"routes": one["sni"]["routes"][:1]}}]
    shunt.write()
    shunt.ctl("reload").ok()
    shunt.ctl("start", "web").ok()


def test_of_several_groups_the_one_that_is_meant(daemon, server, refuser):
    old, good = server(named("old")).address, server(named("good")).address
    shunt = daemon({"name": "web", "listen": ["127.0.0.1:0"], "migration": steps(("100%", "0")), "groups": [
        group("old", [old]), group("bad", [refuser().address], health=QUICK | {"type": "tcp"}), group("good", [good])]})
    said = shunt.ctl("plan", "web").ok()
    assert "`plan web to GROUP`" in said and "bad" not in said and "good" not in said
    assert "✔ good 1/1 usable" in shunt.ctl("plan", "web", "to", "good").ok()
    wait_until(lambda: "✖ bad 0/1 proven" in shunt.ctl("plan", "web", "to", "bad").ok(), "a finding about the bad one")
    shunt.ctl("plan", "web", "to", "old").refused("old takes all traffic of web already", "`plan web to GROUP`")
    shunt.ctl("start", "web", "to", "good").ok()
    shunt.wait_phase("completed")
    shunt.ctl("abort", "web").refused("good takes all traffic", "`start web to GROUP`")
