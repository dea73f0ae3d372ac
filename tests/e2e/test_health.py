"""Active checks: a backend that is down takes no new connections and comes back when it answers again."""
import pytest
from shunt.clients import connect, who
from shunt.config import service
from shunt.peers import Server, named
from shunt.process import cpu_s
from shunt.waiting import SLOW, stays, wait_until

CHECK = {"health": {"type": "tcp", "interval": "100ms", "timeout": "100ms", "rise": 2, "fall": 2}}


def test_backend_goes_down_and_kept_connections_stay(daemon, server):
    first, second = server(named("first")), server(named("second"))
    shunt = daemon(service([first.address, second.address], group_settings=CHECK))
    wait_until(lambda: shunt.group("old")["usable"] == 2, "both are up")
    kept = {}
    for _ in range(2):
        client = connect(shunt.port())
        client.send(b"x\n")
        kept[client.receive_line()] = client
    first.listener.shutdown(2)  # nobody listens any more; connections that are open live on
    first.listener.close()
    wait_until(lambda: shunt.backend("old", 0)["state"] == "down", "the check fails")
    assert {who(shunt.port()) for _ in range(10)} == {"second"}
    still = kept[b"first x\n"]
    still.send(b"y\n")
    assert still.receive_line() == b"first y\n"
    for client in kept.values():
        client.close()


def test_backend_comes_back(daemon, server, started):
    gone = Server(named("gone"))
    address, port = gone.address, gone.address.split(":")[1]
    gone.stop()
    shunt = daemon(service([server(named("steady")).address, address], group_settings=CHECK))
    wait_until(lambda: shunt.backend("old", 1)["state"] == "down", "nothing answers there")

    back = Server(named("back"), port=int(port))
    started.backends.append(back)
    wait_until(lambda: shunt.backend("old", 1)["state"] in ("up", "starting"), "the check passes")
    wait_until(lambda: who(shunt.port()) == "back", "it serves again")


def test_idle_daemon_with_checks_costs_next_to_nothing(daemon, server):
    backends = [server(named(name)) for name in "abcd"]
    shunt = daemon(service([one.address for one in backends],
                           group_settings={"health": {"type": "tcp", "interval": "500ms", "timeout": "400ms",
                                                      "rise": 1, "fall": 3}}), log={"level": "info"})
    before, window = cpu_s(shunt.pid), 4
    stays(lambda: cpu_s(shunt.pid) - before < 0.01 * window * SLOW * 2, window, "below 1 % of a core")


@pytest.mark.parametrize("by_reload", [True, False])
def test_a_password_that_changes(daemon, server, tmp_path, by_reload):
    """The server has another one from now on; the checks learn it from the same file, the configuration stays as it is."""
    passwords, tries = ["one"], []

    def script(peer):
        peer.receive(len(b"*2\r\n$4\r\nAUTH\r\n$3\r\n"))
        tries.append(peer.receive(5)[:3].decode())
        if tries[-1] != passwords[-1]:
            peer.send(b"-WRONGPASS\r\n")
            return
        peer.send(b"+OK\r\n")
        peer.receive(len(b"*1\r\n$4\r\nPING\r\n"))
        peer.send(b"+PONG\r\n")

    path = tmp_path / "password"

    def change(text):
        (tmp_path / "next").write_text(text)
        (tmp_path / "next").rename(path)

    change("one\n")
    checked = {"health": {"type": "redis", "redis": {"password_file": str(path)}, "interval": "200ms", "rise": 1, "fall": 1}}
    shunt = daemon(service([server(script).address], group_settings=checked))
    wait_until(lambda: shunt.backend("old")["state"] == "up", "up")
    before = shunt.backend("old")["check"]
    change("")
    if by_reload:
        assert "must be a password" in shunt.ctl("reload").refused("nothing was changed")
    else:
        wait_until(lambda: "files of checks were changed and cannot be used" in shunt.ctl("events").ok(), "told", within=15)
    assert shunt.backend("old")["state"] == "up" and set(tries) == {"one"}, before
    passwords.append("two")
    wait_until(lambda: shunt.backend("old")["state"] == "down", "the old password is wrong now")
    change("two\n")
    if by_reload:
        assert "passwords were read again" in shunt.ctl("reload").ok()
    wait_until(lambda: shunt.backend("old")["state"] == "up", "by the new password", within=15)
    assert set(tries) == {"one", "two"} and tries == sorted(tries), "nothing but the password in force"
