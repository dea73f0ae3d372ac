"""Outliers: a backend that fails live connections is taken out at once, for a while, and proves itself on the way back."""
import json
import subprocess
import time

import pytest
from shunt.certificates import Authority
from shunt.clients import ask, connect, who
from shunt.config import group, service, steps, write
from shunt.daemon import program
from shunt.peers import Server, named
from shunt.tls import over_tls, server_context
from shunt.waiting import SLOW, scaled, stays, wait_until

ON = {"outlier": {"base_time": "1h", "max_time": "1h"}}
SHORT = {"outlier": {"base_time": "300ms", "max_time": "10s"}}
TCP = {"type": "tcp", "interval": "50ms", "timeout": "50ms", "rise": 2, "fall": 1000}


def events(shunt, kind="outlier"):
    return [one for one in json.loads(shunt.ctl("events", "web", "200", "--json").ok())["events"]
            if one["kind"] == kind]


def ejected(shunt, index=0):
    return shunt.backend("old", index)["ejected"]


def hang_up(peer):
    """Listens to the client, then resets without a word."""
    peer.receive_line()
    peer.reset()


def send(shunt, times):
    """Connections one after the other; those that the backend resets end in a reset or without an answer."""
    answers = []
    for _ in range(times):
        try:
            answers.append(ask(shunt.port()).split()[0].decode())
        except (ConnectionError, IndexError):
            answers.append(None)
    return answers


def test_refused_connections_eject(daemon, server, refuser):
    shunt = daemon(service([refuser().address, server(named("good")).address], group_settings=ON))
    assert {who(shunt.port()) for _ in range(20)} == {"good"}
    wait_until(lambda: ejected(shunt), "it is ejected")
    backend = shunt.backend("old", 0)
    assert backend["state"] == "down" and backend["usable"] is False
    assert backend["ejected"]["reason"] == "5 connect failures in a row", backend
    assert backend["ejected"]["kind"] == "connect" and backend["ejected"]["times"] == 1
    assert backend["ejections"] == 1 and backend["trial"] is False
    failed = backend["errors"]["connect"]
    assert {who(shunt.port()) for _ in range(20)} == {"good"}
    assert shunt.backend("old", 0)["errors"]["connect"] == failed, "it gets nothing any more"
    (event,) = events(shunt)
    assert event["severity"] == "warn" and event["reason"] == "5 connect failures in a row"
    assert event["text"].endswith("ejected for 1h, time 1 in a row; 1 of 2 usable"), event
    assert "ejected: 5 connect failures in a row, for another " in shunt.ctl("status").ok()
    metrics = shunt.ctl("show", "metrics").ok()
    name = f'service="web",group="old",backend="{backend["name"]}"'
    for line in ("shunt_backend_ejected", "shunt_backend_ejections_total"):
        assert f"{line}{{{name}}} 1\n" in metrics
    assert f"shunt_backend_up{{{name}}} 0\n" in metrics


def test_no_answer_to_connects_ejects(daemon, server, swallower):
    settings = {"outlier": {"timeouts": 2, "base_time": "1h", "max_time": "1h"}}
    shunt = daemon(service([swallower().address, server(named("good")).address], group_settings=settings,
                           timeouts={"connect": "200ms"}))
    assert {who(shunt.port()) for _ in range(6)} == {"good"}
    wait_until(lambda: ejected(shunt), "it is ejected")
    assert ejected(shunt)["reason"] == "2 timeouts in a row"


def test_early_resets_eject(daemon, server):
    shunt = daemon(service([server(hang_up).address, server(named("good")).address], group_settings=ON))
    answers = send(shunt, 10)
    assert answers.count(None) == 5, "each failure that ejects it is one client's"
    wait_until(lambda: ejected(shunt), "it is ejected")
    assert ejected(shunt)["kind"] == "reset"
    assert set(send(shunt, 20)) == {"good"}


def answer_hello(peer, *words):
    """Reads the beginning of a TLS handshake, then says these words."""
    peer.sock.recv(1 << 16)
    for word in words:
        peer.send(word)


UNABLE = {"plain": lambda peer: answer_hello(peer, b"220 this is no TLS\r\n"),
          "ends": answer_hello,
          "resets": lambda peer: (answer_hello(peer), peer.reset()),
          "halfway": lambda peer: (answer_hello(peer, b"\x16\x03\x03\x00\x7a\x02\x00"), peer.stall()),
          "silent": lambda peer: peer.stall()}


@pytest.mark.parametrize("kind", ["not believed", *UNABLE])
def test_failed_handshakes_eject(daemon, server, tmp_path, kind):
    """However the handshake with the backend fails, and although its port accepts all the while."""
    pki = Authority(tmp_path / "pki")
    good = over_tls(named("good"), server_context(pki.issue("db.example", "DNS:db.example")))
    bad = server(UNABLE.get(kind) or over_tls(named("bad"), server_context(pki.issue("other", "DNS:other.example"))))
    tls = {"tls": {"ca": str(pki.certificate), "server_name": "db.example"}}
    shunt = daemon(service([bad.address, server(good).address], group_settings={**ON, **tls},
                           timeouts={"connect": "300ms"}))
    assert {who(shunt.port()) for _ in range(10)} == {"good"}, "no client notices"
    wait_until(lambda: ejected(shunt), "it is ejected")
    assert ejected(shunt)["kind"] == "handshake" and ejected(shunt)["reason"] == "5 failed handshakes in a row"
    failed = shunt.backend("old", 0)["errors"]
    assert failed["handshake"] == 5 and failed["connect"] == failed["timeout"] == failed["reset"] == 0, failed
    assert {who(shunt.port()) for _ in range(6)} == {"good"}
    assert shunt.backend("old", 0)["errors"] == failed, "it gets nothing any more"


def test_success_ends_the_row(daemon, server):
    """Every fifth connection is answered: never five failures in a row."""
    count = {"n": 0}

    def mostly_reset(peer):
        count["n"] += 1
        if count["n"] % 5 == 0:
            named("bad")(peer)
        else:
            hang_up(peer)

    shunt = daemon(service([server(mostly_reset).address, server(named("good")).address], group_settings=ON),
                   workers=2)
    send(shunt, 60)
    assert count["n"] >= 25
    stays(lambda: ejected(shunt) is None, 0.2, "it stays in service")
    assert shunt.backend("old", 0)["errors"]["reset"] >= 20


def test_off_without_the_section(daemon, server):
    shunt = daemon(service([server(hang_up).address, server(named("good")).address]))
    send(shunt, 40)
    backend = shunt.backend("old", 0)
    assert backend["errors"]["reset"] == 20 and backend["ejected"] is None and backend["state"] == "unknown"


def test_last_one_and_the_cap(daemon, server, refuser):
    shunt = daemon(service([refuser().address, refuser().address, refuser().address, server(named("good")).address],
                           group_settings={"outlier": {"connect_failures": 2, "base_time": "1h", "max_time": "1h"}}))
    assert {who(shunt.port()) for _ in range(30)} == {"good"}
    wait_until(lambda: sum(ejected(shunt, i) is not None for i in range(4)) == 2, "half of them are out")
    assert shunt.group("old")["usable"] == 2
    wait_until(lambda: any("stays in service" in one["text"] for one in events(shunt)), "it is said why")
    (kept,) = [one for one in events(shunt) if "stays in service" in one["text"]]
    assert kept["reason"] == "2 of 4 are ejected already (max_ejected 50%)"


def test_one_backend_of_two_stays(daemon, refuser):
    """Everything is broken: the last one stays, and clients see its failure rather than none."""
    shunt = daemon(service([refuser().address, refuser().address],
                           group_settings={"outlier": {"max_ejected": "100%", "base_time": "1h", "max_time": "1h"}}))
    assert set(send(shunt, 12)) == {None}
    wait_until(lambda: any("stays in service" in one["text"] for one in events(shunt)), "one stays")
    assert shunt.group("old")["usable"] == 1
    assert [one["reason"] for one in events(shunt) if "stays" in one["text"]] == ["no other backend of the group is usable"]


def test_way_back_on_trial(daemon, started, server):
    """Without checks: after the time it is on trial, one failure ejects it for longer, one success absolves it."""
    gone = Server(named("back"))
    address, port = gone.address, int(gone.address.split(":")[1])
    gone.stop()
    shunt = daemon(service([address, server(named("good")).address], group_settings=SHORT))
    wait_until(lambda: who(shunt.port()) == "good" and ejected(shunt), "it is ejected")
    wait_until(lambda: who(shunt.port()) == "good" and shunt.backend("old", 0)["ejections"] >= 3, "again and again")
    waits = [one["text"].split("ejected for ")[1].split(",")[0] for one in events(shunt) if "ejected for" in one["text"]]
    assert waits[:3] == ["300ms", "600ms", "900ms"], waits
    reasons = [one["reason"] for one in events(shunt) if "ejected for" in one["text"]]
    assert reasons[0] == "5 connect failures in a row" and reasons[1] == "1 connect failures in a row", reasons

    started.backends.append(Server(named("back"), port=port))
    wait_until(lambda: who(shunt.port()) == "back", "it serves again")
    wait_until(lambda: shunt.backend("old", 0)["trial"] is False, "the trial is over")
    assert "serves again, its trial has ended well" in events(shunt)[-1]["text"]
    assert {who(shunt.port()) for _ in range(10)} == {"back", "good"}


def test_way_back_through_checks(daemon, server):
    """It accepts, so its checks pass all the while; it is the live connections that fail, until it is mended."""
    bad = {"is": True}
    script = named("mended")
    checked = server(lambda peer: hang_up(peer) if bad["is"] else script(peer))
    shunt = daemon(service([checked.address, server(named("good")).address],
                           group_settings={**SHORT, "health": TCP}))
    wait_until(lambda: shunt.group("old")["usable"] == 2, "both are up")
    send(shunt, 10)
    wait_until(lambda: ejected(shunt), "it is ejected")
    assert shunt.backend("old", 0)["health"] == "up"
    bad["is"] = False
    wait_until(lambda: shunt.backend("old", 0)["usable"], "it is let in again")
    texts = [one["text"] for one in events(shunt)]
    assert any("has served its time: 2 checks in a row must pass" in text for text in texts), texts
    assert any("and its checks, on trial" in text for text in texts), texts
    wait_until(lambda: who(shunt.port()) == "mended", "it serves")


def test_ejected_while_down_comes_back_by_its_checks(daemon, started, server):
    gone = Server(named("back"))
    address, port = gone.address, int(gone.address.split(":")[1])
    settings = {**SHORT, "health": {**TCP, "fall": 3}}
    shunt = daemon(service([address, server(named("good")).address], group_settings=settings))
    wait_until(lambda: shunt.group("old")["usable"] == 2, "both are up")
    gone.stop()
    wait_until(lambda: who(shunt.port()) == "good" and ejected(shunt), "live connections find it first or too")
    wait_until(lambda: (ejected(shunt) or {}).get("proving"), "its time is over and checks must pass")
    stays(lambda: ejected(shunt) is not None, 0.3, "they do not")
    started.backends.append(Server(named("back"), port=port))
    wait_until(lambda: ejected(shunt) is None and shunt.backend("old", 0)["usable"], "now they do")
    wait_until(lambda: who(shunt.port()) == "back", "it serves again")


def test_retried_failures_count_and_clients_see_none(daemon, server, refuser):
    shunt = daemon(service([refuser().address, server(named("good")).address], group_settings=ON))
    assert set(send(shunt, 30)) == {"good"}
    assert shunt.backend("old", 0)["errors"]["connect"] == 5
    assert shunt.service()["connections"]["retries"] == 5


def test_counts_stay_for_the_gate(daemon, server, refuser):
    """What ejects a backend of the target has been counted: the gate judges by it."""
    plan = steps(("50%", "1h"), ("100%", "1h"),
                 gate={"window": "1m", "min_samples": 5, "max_error_rate": "1%", "failures": 1000})
    new = group("new", [refuser().address, server(named("new")).address], **ON)
    shunt = daemon({**service([server(named("old")).address], migration=plan),
                    "groups": [group("old", [server(named("old")).address]), new]})
    shunt.ctl("start", "web").ok()
    send(shunt, 40)
    assert shunt.backend("new", 0)["ejected"]

    def judged():
        gate = shunt.service()["gate"]
        return gate and gate["errors"]["connect"] == 5 and gate["checks"][0]["observed"] > 0.01

    wait_until(judged, "the gate has seen the failures")
    wait_until(lambda: shunt.service()["connections"]["closed"]["client-closed"] == 40, "clients have not")


def test_ejection_outlives_a_reload(daemon, server, refuser):
    one = service([refuser().address, server(named("good")).address], group_settings=ON)
    shunt = daemon(one)
    assert {who(shunt.port()) for _ in range(20)} == {"good"}
    wait_until(lambda: ejected(shunt), "it is ejected")
    before = ejected(shunt)
    one["groups"][0]["outlier"]["connect_failures"] = 7
    shunt.write()
    shunt.ctl("reload").ok()
    assert ejected(shunt)["times"] == 1 and ejected(shunt)["since_s"] >= before["since_s"]
    del one["groups"][0]["outlier"]
    shunt.write()
    shunt.ctl("reload").ok()
    assert ejected(shunt) is None and shunt.backend("old", 0)["usable"]


def test_detection_is_fast(daemon, server):
    """From the failure that completes the row to the view in force: within 100 ms."""
    bad = {"is": False}
    script = named("bad")
    wavering = server(lambda peer: hang_up(peer) if bad["is"] else script(peer))
    shunt = daemon(service([wavering.address, server(named("good")).address], group_settings=ON), workers=2)
    assert set(send(shunt, 10)) == {"bad", "good"}
    bad["is"] = True
    begun = time.monotonic()
    failures = send(shunt, 100).count(None)
    assert time.monotonic() - begun < 20 * SLOW
    assert 5 <= failures <= 7, failures
    assert ejected(shunt)


def test_open_connections_of_an_ejected_backend_go_on(daemon, server):
    bad = {"is": False}
    script = named("bad")
    wavering = server(lambda peer: hang_up(peer) if bad["is"] else script(peer))
    shunt = daemon(service([wavering.address, server(named("good")).address], group_settings=ON))
    kept = {}
    for _ in range(2):
        client = connect(shunt.port())
        client.send(b"x\n")
        kept[client.receive_line()] = client
    bad["is"] = True
    send(shunt, 12)
    wait_until(lambda: ejected(shunt), "it is ejected")
    kept[b"bad x\n"].send(b"y\n")
    assert kept[b"bad x\n"].receive_line() == b"bad y\n"
    for client in kept.values():
        client.close()


@pytest.mark.parametrize("settings, words", [
    ({"outlier": {"base_time": "10m", "max_time": "1m"}}, '"max_time" is below "base_time"'),
    ({"outlier": {"max_ejected": "0%"}}, "max_ejected"),
    ({"outlier": {"conect_failures": 3}}, 'did you mean "connect_failures"?'),
    ({"outlier": {"connect_failures": 0, "timeouts": 0, "early_resets": 0, "handshake_failures": 0}},
     "looks at nothing"),
    ({"panic": {"threshold": "50%"}}, 'the group needs "health" or "outlier"'),
    ({"panic": {"threshold": "0%"}, "outlier": {}}, "threshold"),
    ({"panic": {"action": "use_all"}, "outlier": {}}, "use-all"),
])
def test_bad_settings_are_refused(tmp_path, settings, words):
    path = tmp_path / "shunt.conf"
    path.write_text(write({"state_dir": str(tmp_path), "services": [
        service(["127.0.0.1:1", "127.0.0.1:2"], group_settings=settings)]}))
    done = subprocess.run([program("shuntd"), "-t", "-c", path], capture_output=True, text=True,
                          timeout=scaled(20), check=False)
    assert done.returncode == 78 and words in done.stderr + done.stdout, done
