"""The queue before full backends: in order of arrival over all workers, bounded in number and time, nobody forgotten."""
import re
import socket
import struct

from shunt.clients import connect
from shunt.config import service, steps
from shunt.peers import named
from shunt.waiting import SLOW, stays, wait_until


def full(daemon, server, n=1, queue=None, migration=None, workers=4, balance="round-robin", **settings):
    """A daemon whose backends, n in each group, have room for one connection each."""
    made = {"group_settings": {"max_connections": 1, "balance": balance,
                               "queue": queue or {"size": 100, "timeout": "60s"}}, **settings}
    groups = [[server(named(f"{name}{i}")).address for i in range(n)]
              for name in (("old", "new") if migration else ("old",))]
    if migration:
        made["migration"] = migration
    return daemon(service(*groups, **made), workers=workers)


def asking(shunt, line=b"who\n"):
    """A client that has asked; it may wait."""
    client = connect(shunt.port())
    client.send(line)
    return client


def waiting(shunt, group="old"):
    return shunt.group(group)["queue"]["waiting"]


def queue_up(shunt, n, group="old"):
    """n clients in a known order: the next comes when the last one waits."""
    clients, before = [], waiting(shunt, group)
    for i in range(n):
        clients.append(asking(shunt, f"{i}\n".encode()))
        wait_until(lambda i=i: waiting(shunt, group) == before + i + 1, "one more waits")
    return clients


def answered(client):
    """Whether an answer lies there."""
    try:
        client.sock.setblocking(False)
        return client.sock.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return False
    finally:
        client.sock.settimeout(30 * SLOW)


def reset(client):
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def closed(shunt, reason):
    return shunt.service()["connections"]["closed"][reason]


def test_in_order_of_arrival(daemon, server):
    shunt = full(daemon, server)
    holder = asking(shunt)
    assert holder.receive_line() == b"old0 who\n"
    clients = queue_up(shunt, 12)
    status = shunt.ctl("status", "web").ok()
    assert "12 of 100 wait" in status and "queued 12" in status
    listed = shunt.ctl("connections", "web").ok()
    assert listed.count(" queued ") == 12, listed
    for i, client in enumerate(clients):
        assert not any(answered(later) for later in clients[i:])
        holder.close()
        assert client.receive_line() == f"old0 {i}\n".encode()
        holder = client
    holder.close()
    queue = shunt.group("old")["queue"]
    assert queue["waiting"] == 0 and queue["waited_us"]["n"] == 12 and queue["waited_us"]["p99"] > 0
    assert 'shunt_queue_seconds_count{service="web",group="old"} 12' in shunt.admin("show metrics")
    assert shunt.service()["connections"]["queued"] == 12


def test_what_was_sent_while_waiting_arrives(daemon, server):
    """Also when the client has ended its direction by then."""
    shunt = full(daemon, server)
    holder = asking(shunt)
    holder.receive_line()
    client = asking(shunt, b"a\nb\n")
    client.sock.shutdown(socket.SHUT_WR)
    wait_until(lambda: waiting(shunt) == 1, "it waits")
    holder.close()
    assert client.receive_all() == b"old0 a\nold0 b\n"
    client.close()


def test_one_too_many_is_refused(daemon, server):
    shunt = full(daemon, server, queue={"size": 2, "timeout": "60s"})
    holder = asking(shunt)
    holder.receive_line()
    clients = queue_up(shunt, 2)
    for _ in range(3):
        try:
            with connect(shunt.port()) as refused:
                assert refused.receive_all() == b""
        except ConnectionResetError:
            pass
    wait_until(lambda: closed(shunt, "queue-full") == 3, "they have their reason")
    holder.close()
    assert clients[0].receive_line() == b"old0 0\n"
    for one in clients:
        one.close()


def test_the_deadline(daemon, server):
    shunt = full(daemon, server, queue={"size": 10, "timeout": "300ms"})
    holder = asking(shunt)
    holder.receive_line()
    client = asking(shunt)
    try:
        assert client.receive_all() == b""
    except ConnectionResetError:
        pass
    wait_until(lambda: closed(shunt, "queue-timeout") == 1, "it has its reason")
    assert waiting(shunt) == 0
    client.close()
    holder.send(b"still\n")
    assert holder.receive_line() == b"old0 still\n"
    holder.close()


def test_who_goes_away_leaves_the_queue(daemon, server):
    shunt = full(daemon, server)
    holder = asking(shunt)
    holder.receive_line()
    silent = connect(shunt.port())
    wait_until(lambda: waiting(shunt) == 1, "one waits that has said nothing")
    aborting = asking(shunt)
    wait_until(lambda: waiting(shunt) == 2, "one that will abort")
    patient = asking(shunt, b"patient\n")
    wait_until(lambda: waiting(shunt) == 3, "one that stays")
    silent.close()
    wait_until(lambda: waiting(shunt) == 2, "an end without a word")
    reset(aborting)
    wait_until(lambda: waiting(shunt) == 1, "an abort")
    assert closed(shunt, "client-closed") == 1 and closed(shunt, "client-reset") == 1
    holder.close()
    assert patient.receive_line() == b"old0 patient\n"
    patient.close()


def test_an_operator_ends_one_that_waits(daemon, server):
    shunt = full(daemon, server)
    holder = asking(shunt)
    holder.receive_line()
    client = queue_up(shunt, 1)[0]
    listed = shunt.ctl("connections", "web").ok()
    number = re.search(r"^(\S+) .* queued ", listed, re.MULTILINE).group(1)
    shunt.ctl("kill", number).ok()
    wait_until(lambda: waiting(shunt) == 0, "it is gone")
    assert closed(shunt, "killed") == 1
    client.close()
    holder.close()


def test_a_reload_that_raises_the_limit_wakes_them(daemon, server):
    address = server(named("a")).address

    def settings(limit):
        return service([address], group_settings={"max_connections": limit, "queue": {"timeout": "60s"}})

    shunt = daemon(settings(1), workers=4)
    holder = asking(shunt)
    holder.receive_line()
    clients = queue_up(shunt, 6)
    shunt.settings["services"] = [settings(4)]
    shunt.write()
    shunt.ctl("reload").ok()
    for i in range(3):
        assert clients[i].receive_line() == f"a {i}\n".encode()
    assert waiting(shunt) == 3
    stays(lambda: waiting(shunt) == 3 and not any(answered(one) for one in clients[3:]), 0.2, "the others wait")
    shunt.settings["services"] = [settings(0)]
    shunt.write()
    shunt.ctl("reload").ok()
    for i in range(3, 6):
        assert clients[i].receive_line() == f"a {i}\n".encode()
    for one in (holder, *clients):
        one.close()


def test_an_abort_takes_those_who_wait_for_new_to_old(daemon, server):
    shunt = full(daemon, server, migration=steps(("100%", "1h")))
    shunt.ctl("start", "web", "from-share", "100%").ok()
    wait_until(lambda: shunt.service()["share_bp"] == 10000, "all goes to new")
    holder = asking(shunt)
    assert holder.receive_line() == b"new0 who\n"
    clients = queue_up(shunt, 5, "new")
    shunt.ctl("abort", "web").ok()
    wait_until(lambda: waiting(shunt, "new") == 0 and waiting(shunt) == 4, "the others wait for old now")
    # All five were told at once, on four workers: any of them may be the first there. The others are in order.
    first = wait_until(lambda: [one for one in clients if answered(one)], "one of them is served")[0]
    for one in [first, *(client for client in clients if client is not first)]:
        assert one.receive_line() == f"old0 {clients.index(one)}\n".encode()
        one.close()
    holder.close()


def test_a_share_that_rises_moves_some_of_those_who_wait(daemon, server):
    shunt = full(daemon, server, migration=steps(("1%", "1h"), ("100%", "1h")))
    holder = asking(shunt)
    assert holder.receive_line() == b"old0 who\n"
    clients = queue_up(shunt, 10)
    shunt.ctl("share", "web", "50%").ok()
    # One in two, less the one that new has room for.
    wait_until(lambda: waiting(shunt) == 5 and waiting(shunt, "new") == 4, "half of them wait for new")
    shunt.ctl("share", "web", "0%").ok()
    wait_until(lambda: waiting(shunt) == 9 and waiting(shunt, "new") == 0, "all are back")
    for one in (holder, *clients):
        one.close()


def test_a_stop_ends_those_who_wait(daemon, server):
    address = server(named("a")).address
    shunt = daemon(service([address], group_settings={"max_connections": 1, "queue": {"timeout": "1h"}}), workers=4,
                   shutdown_timeout="200ms")
    holder = asking(shunt)
    holder.receive_line()
    clients = queue_up(shunt, 4)
    shunt.stop(check=False)
    for one in (holder, *clients):
        try:
            one.receive_all()
        except ConnectionResetError:
            pass
        one.close()
    shunt.popen = None  # nothing is left to be stopped
