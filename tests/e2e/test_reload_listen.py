"""Where a service that stays listens, changed by a reload: all or nothing, and nobody who waits is lost."""
import os
import pathlib
import re
import socket
import threading

import pytest
from shunt.clients import connect, who
from shunt.config import service, steps
from shunt.daemon import SANITIZED
from shunt.dns import NXDOMAIN, NameServer
from shunt.folders import open_folder
from shunt.knocker import Knocker
from shunt.peers import echo, named
from shunt.waiting import wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

ELSEWHERE = "127.0.0.2:0"  # where no connection to or from 127.0.0.1 takes the port while nobody listens
RELOADS = int(os.environ.get("SHUNT_RELOADS", "100"))


@pytest.fixture(name="shunt")
def fixture_shunt(daemon, server):
    one = daemon(service([server(named("a")).address], [server(named("n")).address],
                         migration=steps(("25%", "1h"), ("100%", "1h"))))
    yield one
    if len(one.settings["services"]) == 1:  # as many sockets as at the start, which its end insists on
        reload(one, ["127.0.0.1:0"])


def write(shunt, *listens, **changes):
    """The file with these addresses for the services that there are, in their order, and changes in the first."""
    services = [{**one, "listen": list(listen)} for one, listen in zip(shunt.settings["services"], listens)]
    shunt.settings["services"] = [{**services[0], **changes}, *services[1:]]
    shunt.write()


def reload(shunt, *listens, **changes):
    write(shunt, *listens, **changes)
    return shunt.ctl("reload").ok()


def addresses(shunt, name=None):
    return shunt.service(name)["listen"]


def is_refused(address):
    try:
        connect(address).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    return False


def wait_refused(address):
    wait_until(lambda: is_refused(address), f"nobody listens at {address} any more")


def inodes(shunt, port):
    """Of the sockets that listen on a port of 127.0.0.1."""
    lines = [line.split() for line in pathlib.Path(f"/proc/{shunt.pid}/net/tcp").read_text().splitlines()[1:]]
    return {line[9] for line in lines if line[3] == "0A" and int(line[1].split(":")[1], 16) == port}


def test_an_address_comes_and_goes(shunt):
    first = shunt.address()
    sockets = inodes(shunt, shunt.port())
    assert len(sockets) == shunt.settings["workers"]
    text = reload(shunt, [first, "127.0.0.1:0"])
    second = shunt.address(1)
    assert f"web: now listens on {second}\n" in text and "only after" not in text
    assert addresses(shunt) == [first, second]
    assert who(first) == who(second) == "a"
    with connect(second) as client:
        client.send(b"who\n")
        client.receive_line()
        text = reload(shunt, [first])
        assert f"web: no longer listens on {second}\n" in text
        wait_refused(second)
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n", "what is open goes on"
    assert addresses(shunt) == [first] and who(first) == "a"
    assert inodes(shunt, shunt.port()) == sockets, "what stays keeps its very sockets"
    events = shunt.ctl("events", "web").ok()
    assert f"now listens on {second}" in events and f"no longer listens on {second}" in events
    assert "in force already" in reload(shunt, [first])


def test_both_at_once_and_in_any_order(shunt):
    first = shunt.address()
    reload(shunt, [first, "127.0.0.1:0"])
    second = shunt.address(1)
    before = inodes(shunt, shunt.port(0)), inodes(shunt, shunt.port(1))
    text = reload(shunt, [second, first])
    assert "listens on" not in text and addresses(shunt) == [second, first]
    assert (inodes(shunt, shunt.port(1)), inodes(shunt, shunt.port(0))) == before
    text = reload(shunt, ["127.0.0.1:0", first])
    third = shunt.address(0)
    assert f"web: now listens on {third}, no longer on {second}\n" in text
    assert who(third) == who(first) == "a"
    wait_refused(second)


def test_port_0_stays_the_port_that_it_took(shunt):
    first = shunt.address()
    sockets = inodes(shunt, shunt.port())
    assert "listens" not in reload(shunt, ["127.0.0.1:0"], retries=1)
    assert shunt.address() == first and inodes(shunt, shunt.port()) == sockets


@pytest.mark.parametrize("why", ["in use", "not of this host", "no such folder"])
def test_what_cannot_be_bound_changes_nothing(shunt, server, why):
    first = shunt.address()
    sockets = inodes(shunt, shunt.port())
    address, words = {"in use": (server(echo).address, ("Address already in use", "ss -ltxnp")),
                      "not of this host": ("[::2]:4711", ("Cannot assign requested address", "ip address")),
                      "no such folder": ("unix:/nowhere/at/all.sock", ("No such file",))}[why]
    refused(shunt, address, *words, listen=["127.0.0.1:0", address], retries=0)
    assert addresses(shunt) == [first] and inodes(shunt, shunt.port()) == sockets
    assert "retries = 3" in shunt.admin("show settings") and who(first) == "a"


def refused(shunt, *words, listen, **changes):
    write(shunt, listen, **changes)
    shunt.ctl("reload").refused("nothing was changed", *words)


def wait_in_queue(address, count):
    """Clients that the system has connected, and that have asked already."""
    clients = [connect(address) for _ in range(count)]
    for client in clients:
        client.send(b"who\n")
    return clients


@pytest.mark.parametrize("upgraded", [False, True], ids=["", "upgraded"])
@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_who_waits_where_nobody_listens_any_more_is_served(daemon, server, where, upgraded):
    """With as many connections open as there may be, the next wait in the queues of an address that is then taken away. That
    an upgrade comes in between makes no difference."""
    shunt = daemon(service([server(named("a")).address]), files=128)
    most = int(wait_until(lambda: re.search(r"at most (\d+)", shunt.log()), "the log says how many")[1])
    first = shunt.address()
    reload(shunt, [first, "127.0.0.1:0" if where == "tcp" else f"unix:{shunt.folder}/second.sock"])
    second = shunt.address(1)
    held = [connect(first) for _ in range(most)]
    for client in held:
        client.send(b"who\n")
        client.receive_line()
    waiting = wait_in_queue(second, most // 2)
    assert f"no longer listens on {second}" in reload(shunt, [first])
    if where == "unix":
        assert is_refused(second), "the path is gone at once"
    assert shunt.service()["connections"]["accepted"] == most
    if upgraded:
        shunt.upgrade()
        assert addresses(shunt) == [first]
    for client in held:
        client.close()
    for client in waiting:
        with client:
            assert client.receive_line() == b"a who\n"
    wait_refused(second)


def test_an_address_that_stays_refuses_nobody(shunt, server):
    """Reloads of another address under new connections."""
    shunt.settings["services"][0]["groups"][0]["backends"] = [{"address": server(echo).address}]
    first = shunt.address()
    reload(shunt, [first, ELSEWHERE])
    second = shunt.address(1)
    knocker = Knocker(first)
    try:
        for turn in range(RELOADS):
            reload(shunt, [first] if turn % 2 == 0 else [second, first])
            if turn % 2 == 1:
                connect(second).close()
    finally:
        counts = knocker.stop()
    print(counts)
    assert counts["served"] > RELOADS and set(counts) == {"served"}, counts


def test_an_address_that_leaves_resets_nobody(shunt, server):
    """New connections to the very address that comes and goes: each is served or refused, none is reset."""
    shunt.settings["services"][0]["groups"][0]["backends"] = [{"address": server(echo).address}]
    first = shunt.address()
    reload(shunt, [first, ELSEWHERE])
    second = shunt.address(1)
    knocker = Knocker(second)
    try:
        for turn in range(20):
            served = shunt.service()["connections"]["accepted"]
            if turn % 2 == 1:
                reload(shunt, [first, second])
                wait_until(lambda before=served: shunt.service()["connections"]["accepted"] > before, "it is served again")
            else:
                reload(shunt, [first])
    finally:
        counts = knocker.stop()
    print(counts)
    assert counts["served"] and set(counts) <= {"served", "refused"}, counts


def test_a_unix_path_comes_and_goes(shunt):
    first = shunt.address()
    path = pathlib.Path(shunt.folder) / "web.sock"
    reload(shunt, [first, f"unix:{path}"])
    assert who(f"unix:{path}") == "a"
    reload(shunt, [first])
    assert not path.exists(), "it went with the address"
    reload(shunt, [first, f"unix:{path}"])
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        reload(shunt, [first])
        assert path.exists(), "what somebody else put there is theirs"
    path.unlink()


def test_all_addresses_of_a_port_become_one_and_back(shunt):
    port = shunt.port()
    text = reload(shunt, [f"0.0.0.0:{port}"])
    assert f"now listens on 0.0.0.0:{port}, no longer on 127.0.0.1:{port}" in text
    assert who(port) == "a" and who(f"127.0.0.2:{port}") == "a"
    reload(shunt, [f"127.0.0.1:{port}"])
    assert who(port) == "a"
    wait_refused(f"127.0.0.2:{port}")


@pytest.mark.parametrize("where", ["tcp", "unix"])
def test_services_change_addresses_with_each_other(daemon, server, where):
    def listen(folder, name):
        return "127.0.0.1:0" if where == "tcp" else f"unix:{folder}/{name}.sock"
    names = ("one", "two")
    probe = daemon(*(service([server(named(name)).address], name=name) for name in names))
    reload(probe, *([listen(probe.folder, name)] for name in names))
    one, two = (probe.address(service=name) for name in names)
    assert (who(one), who(two)) == names
    failed, over = [], threading.Event()

    def knock():
        while not over.is_set():
            try:
                assert who(one) in names
            except (OSError, AssertionError) as failure:
                failed.append(failure)

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        for turn in range(10):
            reload(probe, *([[two], [one]] if turn % 2 == 0 else [[one], [two]]))
            wait_until(lambda at=turn: (who(one), who(two)) == (names[::-1] if at % 2 == 0 else names), "they have changed places")
    finally:
        over.set()
        thread.join()
    assert not failed, failed
    write(probe, [one, two], [two])
    probe.ctl("reload").refused("nothing was changed")


def test_an_upgrade_goes_on_with_what_is_listened_on_now(shunt):
    first = shunt.address()
    path = f"unix:{shunt.folder}/web.sock"
    reload(shunt, [first, "127.0.0.1:0", path])
    second = shunt.address(1)
    third_listen = [second, path]
    reload(shunt, third_listen)
    sockets = inodes(shunt, shunt.port(0))
    shunt.upgrade()
    assert addresses(shunt) == third_listen and inodes(shunt, shunt.port(0)) == sockets
    assert who(second) == who(path) == "a"
    wait_refused(first)
    reload(shunt, [first, second])
    assert who(first) == who(second) == "a" and is_refused(path)
    assert not pathlib.Path(path[len("unix:"):]).exists()


def test_a_host_name_that_has_another_address_now(daemon, server, started):
    dns = NameServer()
    started.backends.append(dns)
    dns.names["front.test"] = ["127.0.0.1"]
    shunt = daemon(service([server(named("a")).address]), resolve={"servers": [dns.address], "timeout": "2s"})
    port = shunt.port()
    assert f"listens on 127.0.0.1:{port}" not in reload(shunt, [f"front.test:{port}"]), "it is there already"
    dns.names["front.test"] = ["127.0.0.2"]
    text = reload(shunt, [f"front.test:{port}"])
    assert f"web: now listens on 127.0.0.2:{port}, no longer on 127.0.0.1:{port}" in text
    assert who(shunt.address()) == "a"
    wait_refused(port)
    dns.names["front.test"] = NXDOMAIN
    refused(shunt, "front.test", "cannot be resolved", listen=[f"front.test:{port}"])
    assert who(f"127.0.0.2:{port}") == "a"


def test_in_the_middle_of_a_migration(shunt):
    first = shunt.address()
    shunt.ctl("start", "web").ok()
    reload(shunt, [first, "127.0.0.1:0"])
    assert shunt.phase() == "ramping" and shunt.service()["share_bp"] == 2500
    assert sorted(who(shunt.port(1)) for _ in range(4)) == ["a", "a", "a", "n"]


def low_address():
    """One that only root may listen on, and that nobody has."""
    for port in range(1023, 511, -1):
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.3", port))
            except OSError:
                continue
            return f"127.0.0.3:{port}"
    raise AssertionError("no port is free")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to let go of it")
def test_a_low_port_after_root_was_let_go(daemon, server, reachable):
    shunt = daemon(service([server(named("a")).address]), user="nobody")
    first, low = shunt.address(), low_address()
    refused(shunt, low, "upgrade", listen=[first, low])
    assert addresses(shunt) == [first]
    shunt.upgrade()
    assert who(low) == who(first) == "a", "an upgrade has the rights that the program began with"
    reload(shunt, [first])
    wait_refused(low)


@pytest.mark.skipif(SANITIZED, reason="the fences are not put up")
def test_a_path_outside_the_fences(shunt, tmp_path):
    path = tmp_path / "web.sock"
    first = shunt.address()
    write(shunt, [first, f"unix:{path}"])
    reply = shunt.ctl("reload")
    if reply.code == 0:
        assert who(f"unix:{path}") == "a"  # a kernel without Landlock
        return
    reply.refused("nothing was changed", str(path), "upgrade")
    shunt.upgrade()
    assert who(f"unix:{path}") == "a"
