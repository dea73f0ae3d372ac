"""What stands between a service and its clients, changed by a reload while connections are open."""
import time

import pytest
from shunt.clients import connect, who
from shunt.config import group, service
from shunt.peers import echo, named
from shunt.proxyheaders import Header
from shunt.waiting import stays, wait_until

V1 = b"PROXY TCP4 10.1.2.3 10.9.9.9 1111 2222\r\n"


def rewrite(shunt, first, **settings):
    """Writes the file anew, with the port that the first start was given; what first and settings lack is left out."""
    shunt.settings = {**{name: value for name, value in shunt.settings.items() if name != "limits"}, **settings,
                      "services": [{**first, "listen": [shunt.address()]}]}
    shunt.write()


def reload(shunt, first, **settings):
    rewrite(shunt, first, **settings)
    text = shunt.ctl("reload").ok()
    assert "only after a restart" not in text
    return text


def closed(shunt, reason):
    return shunt.service()["connections"]["closed"][reason]


def refused(shunt):
    """A client is turned away, at whichever of these steps it learns of that."""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        with connect(shunt.port()) as client:
            client.send(b"who\n")
            client.receive(1)


@pytest.fixture(name="first")
def fixture_first(server):
    return service([server(named("a")).address])


def talks(client):
    client.send(b"who\n")
    assert client.receive_line() == b"a who\n"


def test_limits(daemon, first):
    shunt = daemon(first)
    with connect(shunt.port()) as one, connect(shunt.port()) as two:
        talks(one), talks(two)
        reload(shunt, {**first, "limits": {"connections": 2}})
        refused(shunt)
        reload(shunt, {**first, "limits": {"connections": 1}})
        talks(one), talks(two)  # those that are open stay
        reload(shunt, {**first, "limits": {"connections": 3}})
        assert who(shunt.port()) == "a"
        reload(shunt, first, limits={"connections": 2})
        refused(shunt)
        reload(shunt, first)
        assert who(shunt.port()) == "a"
        talks(one), talks(two)
    assert closed(shunt, "limit") == 2


def test_limits_of_each_client(daemon, first):
    shunt = daemon({**first, "limits": {"connections_per_client": 2}})
    with connect(shunt.port()) as one, connect(shunt.port()) as two:
        talks(one), talks(two)
        refused(shunt)
        for size in (100000, 1000, 2000):  # another size is another table, which does not know those that are open
            reload(shunt, {**first, "limits": {"connections_per_client": 3, "table_size": size}})
            with connect(shunt.port()) as three:
                talks(three)
                talks(one), talks(two)
        reload(shunt, {**first, "limits": {"rate_per_client": "1/h"}})
        assert who(shunt.port()) == "a"
        refused(shunt)
        reload(shunt, {**first, "limits": {"rate_per_client": "1000/s"}})
        assert who(shunt.port()) == "a"
        talks(one), talks(two)


def test_lists(daemon, first, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("10.0.0.0/8\n")
    shunt = daemon(first)
    with connect(shunt.port()) as one:
        talks(one)
        reload(shunt, {**first, "deny": ["127.0.0.0/8"]})
        refused(shunt)
        talks(one)
        reload(shunt, {**first, "deny": [f"@{blocked}"]})
        assert who(shunt.port()) == "a"
        blocked.write_text("10.0.0.0/8\n127.0.0.1 # not any more\n")
        assert "web: its files of addresses, certificates and passwords were read again" in shunt.ctl("reload").ok()
        refused(shunt)
        blocked.write_text("10.0.0.0/33\n")
        shunt.ctl("reload").refused("nothing was changed", "blocked:1")
        refused(shunt)  # the list before it holds
        blocked.write_text("")
        shunt.ctl("reload").ok()
        assert who(shunt.port()) == "a"
        reload(shunt, {**first, "allow": ["10.0.0.0/8"]})
        refused(shunt)
        reload(shunt, first)
        assert who(shunt.port()) == "a"
        talks(one)
    assert closed(shunt, "denied") == 4


def test_all_or_nothing(daemon, first, tmp_path):
    """One list that cannot be read, and limits, timeouts and the other list stay as they were."""
    shunt = daemon({**first, "limits": {"connections": 1}})
    rewrite(shunt, {**first, "limits": {"connections": 5}, "timeouts": {"idle": "100ms"}, "deny": ["127.0.0.1"],
                    "allow": [f"@{tmp_path}/missing"]})
    shunt.ctl("reload").refused("nothing was changed", "missing")
    with connect(shunt.port()) as one:
        talks(one)
        refused(shunt)
        wait_until(lambda: shunt.service()["connections"]["open"] == 1, "the one that was turned away is counted as closed")
        stays(lambda: shunt.service()["connections"]["open"] == 1, 0.4, "it is not closed")


def test_bandwidth(daemon, server):
    first = service([server(echo).address])
    shunt = daemon(first)

    def echo_takes(client, size):
        began = time.monotonic()
        client.send(bytes(size))
        assert len(client.receive(size)) == size
        return time.monotonic() - began

    with connect(shunt.port()) as client:
        echo_takes(client, 65536)
        reload(shunt, {**first, "bandwidth": {"per_connection_out": "128KiB/s"}})
        # A quarter of a second's worth comes at once.
        assert echo_takes(client, 160 * 1024) >= 0.7, "a connection that was open is limited too"
        reload(shunt, {**first, "bandwidth": {"service_in": "128KiB/s"}})
        assert echo_takes(client, 160 * 1024) >= 0.7
        reload(shunt, {**first, "bandwidth": {"service_in": "64MiB/s"}})
        fast = echo_takes(client, 160 * 1024)
        reload(shunt, first)
        assert min(fast, echo_takes(client, 160 * 1024)) < 0.7
    with connect(shunt.port()) as client:
        echo_takes(client, 65536)


def test_timeouts(daemon, first):
    """A timeout that changed begins anew for what is open."""
    shunt = daemon(first)
    with connect(shunt.port()) as one, connect(shunt.port()) as two:
        talks(one)
        reload(shunt, {**first, "timeouts": {"idle": "400ms"}})
        wait_until(lambda: closed(shunt, "idle") == 2, "both were idle for longer than that")
        assert one.ended() and two.ended()
    with connect(shunt.port()) as one:
        talks(one)
        reload(shunt, {**first, "timeouts": {"idle": "1h"}})
        stays(lambda: shunt.service()["connections"]["open"] == 1, 0.8, "it is not closed")
        talks(one)
        reload(shunt, {**first, "limits": {"first_byte_timeout": "300ms"}})
        with connect(shunt.port()) as silent:
            wait_until(lambda: closed(shunt, "first-byte") == 1, "silent ones are closed from now on")
            assert silent.ended()
        talks(one)
        reload(shunt, first)
        with connect(shunt.port()) as silent:
            stays(lambda: closed(shunt, "first-byte") == 1, 0.5, "nobody is closed any more")
            talks(silent)
        talks(one)


def test_half_closed(daemon, server):
    def script(peer):
        peer.receive_all()
        peer.stall()
    first = service([server(script).address])
    shunt = daemon(first)
    with connect(shunt.port()) as client:
        client.send(b"x")
        client.shut()
        wait_until(lambda: shunt.admin("connections").count("half-closed") == 1, "half closed")
        reload(shunt, {**first, "timeouts": {"half_close": "300ms"}})
        wait_until(lambda: closed(shunt, "idle") == 1, "by the new length")


def test_proxy_headers(daemon, first):
    shunt = daemon(first)
    with connect(shunt.port()) as one:
        talks(one)
        reload(shunt, {**first, "proxy_protocol": {"from": ["127.0.0.1"], "timeout": "300ms"}})
        with connect(shunt.port()) as client:
            client.send(V1 + b"who\n")
            assert client.receive_line() == b"a who\n"
        with connect(shunt.port()) as silent:
            assert silent.was_reset()
        with connect(shunt.port()) as waiting:
            wait_until(lambda: "proxy-header" in shunt.admin("connections"), "it waits for a header")
            reload(shunt, first)  # what waits goes on by what is in force
            waiting.send(V1 + b"who\n")
            assert waiting.receive_line() == b"a who\n"
        assert who(shunt.port()) == "a"
        talks(one)


def test_how_groups_are_told(daemon, server):
    """A group that comes with a reload gets its headers, whichever place it has in the file."""
    def script(peer):
        header = Header(peer)
        peer.send(f"v{header.version} {peer.receive_line().decode()}".encode())
    shunt = daemon(service([server(named("a")).address]))
    told = group("told", [server(script).address], send_proxy="v1")
    old = group("old", [server(named("b")).address])
    first = {"name": "web", "groups": [told, old], "sni": {"default": "serve", "routes": [{"name": "told", "group": "told"}]},
             "migration": {"steps": [{"share": "100%", "hold": "1h"}]}}
    reload(shunt, first)
    assert who(shunt.port()) == "b"
    shunt.ctl("share", "web", "100%").ok()
    assert who(shunt.port()) == "v1"
    reload(shunt, {**first, "groups": [{**told, "send_proxy": "v2"}, old]})
    assert who(shunt.port()) == "v2"


def test_many_reloads_under_limits(daemon, first, tmp_path):
    """Lists, tables and timeouts change all the time: nothing is lost, and nothing of it is left."""
    blocked = tmp_path / "blocked"
    blocked.write_text("10.0.0.0/8\n")
    shunt = daemon({**first, "limits": {"connections_per_client": 1000}})
    with connect(shunt.port()) as one:
        for number in range(60):
            changes = {"limits": {"connections_per_client": 1000 + number % 2, "table_size": 1000 + number % 3},
                       "timeouts": {"idle": f"{60 + number % 5}s", "half_close": f"{30 + number % 2}s"},
                       "deny": [f"@{blocked}"]}
            if number % 2:
                changes["bandwidth"] = {"service_out": f"{100 + number}MiB/s"}
            if number % 3:
                changes["sni"] = {"timeout": f"{1 + number}ms"}
            reload(shunt, {**first, **changes})
            assert who(shunt.port()) == "a"
        talks(one)
