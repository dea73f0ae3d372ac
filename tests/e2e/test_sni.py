"""Names that clients ask for in TLS: where they lead, what is refused, and that TLS itself passes as it was."""
import json
import re
import socket
import ssl
import threading
import time

import pytest
from shunt.certificates import Authority
from shunt.clients import connect
from shunt.config import group, service, steps
from shunt.daemon import SANITIZED
from shunt.peers import named
from shunt.process import memory_bytes
from shunt.programs import Program, find, output, run
from shunt.proxyheaders import TLV_ALPN, TLV_AUTHORITY, TLV_CRC32C, Header
from shunt.servers import listens_on_path
from shunt.waiting import SLOW, scaled, wait_until

V1 = b"PROXY TCP4 10.1.2.3 10.9.9.9 1111 2222\r\n"


def hello(name=None, alpn=()):
    """The first bytes of a client of Python's ssl module."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def in_records_of(size, data):
    """The same message, cut into records of this size."""
    message = data[5:]
    parts = [message[at:at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)


def tagged(tag):
    """A backend that answers with its name and the number of bytes, once what came looks like a whole hello."""
    def script(peer):
        first = peer.receive(5)
        rest = peer.receive(int.from_bytes(first[3:], "big"))
        peer.send(f"{tag} {len(first) + len(rest)}\n".encode())
        peer.receive_all()
    return script


def served_by(port, data):
    with connect(port) as client:
        client.send(data)
        return client.receive_line().split()[0].decode()


def closed(shunt, reason, name=None):
    return shunt.service(name)["connections"]["closed"][reason]


def accepted(shunt, name=None):
    return shunt.service(name)["connections"]["accepted"]


@pytest.fixture(name="routed")
def fixture_routed(daemon, server):
    """A service with the groups old and legacy and these settings of sni."""
    def make(**sni):
        one = service([server(tagged("old")).address], sni=sni)
        one["groups"].append(group("legacy", [server(tagged("legacy")).address]))
        return daemon(one)
    return make


ROUTES = [{"name": "legacy.example.com", "group": "legacy"}, {"name": "*.example.com"},
          {"name": "*.old.example.com", "group": "legacy"}]


def test_names_lead_to_groups(routed):
    shunt = routed(routes=ROUTES)
    for name, tag in [("legacy.example.com", "legacy"), ("LEGACY.example.com", "legacy"), ("a.example.com", "old"),
                      ("a.old.example.com", "legacy"), ("old.example.com", "old"), ("example.org", "old"), (None, "old")]:
        assert served_by(shunt.port(), hello(name)) == tag, name
    wait_until(lambda: closed(shunt, "client-closed") == 7, "all ended in order")


def test_what_has_no_route_can_be_refused(routed):
    shunt = routed(routes=ROUTES, default="refuse")
    assert served_by(shunt.port(), hello("legacy.example.com")) == "legacy"
    for data in (hello("example.org"), hello()):
        with connect(shunt.port()) as client:
            client.send(data)
            assert client.was_reset()
    wait_until(lambda: closed(shunt, "server-name") == 2, "counted by its reason")
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x03\x01" + bytes(40)):
        with connect(shunt.port()) as client:
            client.send(data)
            assert client.was_reset()
    wait_until(lambda: closed(shunt, "client-hello") == 2, "counted by its reason")


@pytest.mark.parametrize("text", [
    b"\x16\x03\x01\x00\x00", b"\x16\x03\x01\xff\xff" + bytes(20), b"\x16\x03\x01\x00\x04\x02\x00\x00\x50",
    b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", b"\x16\x03\x01\x00\x05\x01\x00\x00\x50\x03\x17\x03\x03"])
@pytest.mark.parametrize("default", ["serve", "refuse"])
def test_a_broken_hello_is_refused_in_either_case(routed, text, default):
    shunt = routed(default=default)
    with connect(shunt.port()) as client:
        client.send(text)
        assert client.was_reset()
    wait_until(lambda: closed(shunt, "client-hello") == 1, "counted by its reason")
    assert shunt.backend("old")["connections"] == 0


def test_whoever_is_no_client_of_tls_is_served(daemon, server):
    shunt = daemon(service([server(named("a")).address], sni={"timeout": "300ms"}))
    with connect(shunt.port()) as client, connect(shunt.port()) as silent:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        wait_until(lambda: shunt.backend("old")["connections"] == 2, "a silent one is served after the deadline")
        silent.send(b"who\n")
        assert silent.receive_line() == b"a who\n"
    with connect(shunt.port()) as half:
        half.send(hello("a.example.com")[:100])
        assert half.was_reset(), "half a hello is none"
    wait_until(lambda: closed(shunt, "client-hello") == 1, "counted by its reason")


def test_every_split(routed):
    """Two segments, cut anywhere: the first is there before the second is sent."""
    shunt = routed(routes=ROUTES, default="refuse")
    data = hello("legacy.example.com")
    for first in range(1, len(data), 64):
        pairs = []
        for cut in range(first, min(first + 64, len(data))):
            client = connect(shunt.port())
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.send(data[:cut])
            pairs.append((client, data[cut:]))
        for client, rest in pairs:
            client.send(rest)
        for client, _ in pairs:
            assert client.receive_line() == b"legacy %d\n" % len(data)
            client.close()


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_over_many_records(daemon, server, size):
    def script(peer):
        peer.receive(len(whole))
        peer.send(b"legacy whole\n")
        peer.receive_all()
    whole = in_records_of(size, hello("legacy.example.com"))
    one = service([server(tagged("old")).address], sni={"routes": ROUTES, "default": "refuse"})
    one["groups"].append(group("legacy", [server(script).address]))
    shunt = daemon(one)
    assert served_by(shunt.port(), whole) == "legacy"


def test_a_slow_hello_meets_the_deadline(routed):
    """However it drips, it ends at the absolute time, and so does silence."""
    shunt = routed(default="refuse", timeout="1s")
    with connect(shunt.port()) as client, connect(shunt.port()) as silent:
        began = time.monotonic()
        try:
            client.drip(hello("a.example.com"), 0.05)
        except (ConnectionResetError, BrokenPipeError):
            pass
        took = time.monotonic() - began
        assert 0.9 <= took <= 1 + scaled(1), took
        assert silent.was_reset()
    wait_until(lambda: closed(shunt, "client-hello") == 2, "counted by its reason")


def test_many_slow_hellos_cost_little(routed):
    """Nothing is kept for those who drip, others are served meanwhile, and all are closed in time."""
    shunt = routed(default="refuse", timeout="8s", routes=[{"name": "*.example.com"}])
    data = in_records_of(64, hello("a.example.com"))
    assert served_by(shunt.port(), hello("a.example.com")) == "old"
    before = memory_bytes(shunt.pid)
    slow = [connect(shunt.port()) for _ in range(300)]
    for at in range(0, 200, 8):
        for client in slow:
            client.send(data[at:at + 8])
    began = time.monotonic()
    assert served_by(shunt.port(), hello("a.example.com")) == "old"
    assert time.monotonic() - began < 2 * SLOW
    assert SANITIZED or memory_bytes(shunt.pid) - before < 300 * 4096  # a sanitizer keeps what was freed
    wait_until(lambda: closed(shunt, "client-hello") == 300, "all refused at the deadline", within=20)
    for client in slow:
        assert client.was_reset()
        client.close()


def test_seen_and_killed_while_it_waits(routed):
    shunt = routed(default="refuse", timeout="1m")
    with connect(shunt.port()) as client:
        client.send(hello("a.example.com")[:50])
        rows = wait_until(lambda: json.loads(shunt.ctl("connections", "--json").ok())["connections"], "it is listed")
        assert (rows[0]["state"], rows[0]["backend"]) == ("client-hello", "-")
        shunt.ctl("kill", rows[0]["id"]).ok()
        assert client.was_reset()
    assert closed(shunt, "killed") == 1


def test_too_long_a_hello(routed):
    shunt = routed()
    body = b"\x03\x03" + bytes(32) + b"\0\0\2\x13\1\1\0" + (12004).to_bytes(2, "big") + b"\0\x15" + (12000).to_bytes(2, "big") + bytes(12000)
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    fitting = b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message
    assert served_by(shunt.port(), fitting) == "old"
    with connect(shunt.port()) as client:
        try:
            client.send(in_records_of(4, fitting))
        except (ConnectionResetError, BrokenPipeError):
            pass
        assert client.was_reset()
    wait_until(lambda: closed(shunt, "client-hello") == 1, "counted by its reason")


def test_behind_a_proxy_header(daemon, server):
    one = service([server(tagged("old")).address], sni={"routes": ROUTES, "default": "refuse"},
                  proxy_protocol={"from": ["127.0.0.1"]})
    one["groups"].append(group("legacy", [server(tagged("legacy")).address]))
    shunt = daemon(one)
    data = V1 + hello("legacy.example.com")
    assert served_by(shunt.port(), data) == "legacy"
    with connect(shunt.port()) as client:
        client.drip(data, 0.001)
        assert client.receive_line() == b"legacy %d\n" % (len(data) - len(V1))
        rows = json.loads(shunt.ctl("connections", "--json").ok())["connections"]
        assert [row["client"] for row in rows] == ["10.1.2.3:1111"]


def test_the_name_goes_on_in_a_proxy_header(daemon, server):
    def script(peer):
        header = Header(peer)
        peer.send(json.dumps({str(kind): value.decode("latin-1") for kind, value in header.tlvs.items()}).encode() + b"\n")
    wanted = {"send_proxy": "v2", "send_proxy_tlvs": ["authority", "alpn", "crc32c"]}
    shunt = daemon(service([server(script).address], sni={}, group_settings=wanted))
    with connect(shunt.port()) as client:
        client.send(hello("db.example.com", alpn=("postgresql", "h2")))
        told = json.loads(client.receive_line())
    assert (told[str(TLV_AUTHORITY)], told[str(TLV_ALPN)]) == ("db.example.com", "postgresql")
    assert str(TLV_CRC32C) in told
    with connect(shunt.port()) as client:
        client.send(hello())
        told = json.loads(client.receive_line())
    assert str(TLV_AUTHORITY) not in told and str(TLV_ALPN) not in told


def test_the_name_is_in_the_log(daemon, server):
    shunt = daemon(service([server(tagged("a")).address], sni={}, connection_log="100%"))
    assert served_by(shunt.port(), hello("db.example.com")) == "a"
    wait_until(lambda: "server_name=db.example.com" in shunt.log(), "its line")


def test_names_stay_on_their_side(daemon, server):
    """assign = "sni": raising the share only ever moves names to the new group, lowering it only back."""
    shunt = daemon(service([server(tagged("old")).address], [server(tagged("new")).address], assign="sni",
                           migration=steps(("10%", "1h"), ("100%", "1h"))))
    names = [f"host-{number}.example.com" for number in range(60)]
    data = {name: hello(name) for name in names}
    moved = set()
    for share in (10, 30, 60, 90, 100):
        shunt.ctl("share", "web", f"{share}%").ok()
        now = {name for name in names if served_by(shunt.port(), data[name]) == "new"}
        assert now >= moved
        assert now == {name for name in names if served_by(shunt.port(), data[name]) == "new"}, "and again"
        moved = now
    assert moved == set(names)
    shunt.ctl("share", "web", "50%").ok()
    half = {name for name in names if served_by(shunt.port(), data[name]) == "new"}
    assert 15 <= len(half) <= 45


def test_names_count_where_tls_ends_here_too(daemon, server, tmp_path):
    """The name is read ahead of the handshake, which then finds its ClientHello where it was."""
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("all", "DNS:*.example.com")
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address], assign="sni", connection_log="100%",
                           tls={"certificates": [{"certificate": str(certificate), "key": str(key)}]},
                           migration=steps(("50%", "1h"), ("100%", "1h"))))
    shunt.ctl("share", "web", "50%").ok()
    context = ssl.create_default_context(cafile=authority.certificate)
    served = {}
    for number in range(36):
        name = f"host-{number % 12}.example.com"
        with socket.create_connection(("127.0.0.1", shunt.port()), timeout=scaled(10)) as plain:
            with context.wrap_socket(plain, server_hostname=name) as client:
                client.sendall(b"who\n")
                served.setdefault(name, set()).add(client.recv(100))
    assert all(len(tags) == 1 for tags in served.values()), served
    assert len(set.union(*served.values())) == 2, served
    wait_until(lambda: "server_name=host-11.example.com" in shunt.log(), "in the log")


def test_a_route_to_a_group_is_not_moved_by_a_share(daemon, server):
    """One name leads to the new group before anybody else does."""
    shunt = daemon(service([server(tagged("old")).address], [server(tagged("new")).address],
                           sni={"routes": [{"name": "canary.example.com", "group": "new"}]},
                           migration=steps(("10%", "1h"), ("100%", "1h"))))
    for _ in range(5):
        assert served_by(shunt.port(), hello("canary.example.com")) == "new"
        assert served_by(shunt.port(), hello("www.example.com")) == "old"
    shunt.ctl("share", "web", "100%").ok()
    assert served_by(shunt.port(), hello("www.example.com")) == "new"


# ---- several services behind one port


def front(server, **settings):
    return service([server(tagged("web")).address], name="web", **settings,
                   sni={"routes": [{"name": "db.example.com", "service": "db"}, {"name": "*.mail.example.com", "service": "mail"},
                                   {"name": "*.example.com"}], "default": "refuse"})


def behind(server, name, **settings):
    one = service([server(tagged(name)).address], name=name, **settings)
    del one["listen"]
    return one


def test_one_port_for_several_services(daemon, server):
    shunt = daemon(front(server), behind(server, "db", limits={"connections": 1}), behind(server, "mail", deny=["127.0.0.2"]))
    port = shunt.port(service="web")
    assert served_by(port, hello("www.example.com")) == "web"
    assert served_by(port, hello("imap.mail.example.com")) == "mail"
    with connect(port) as client:
        client.send(hello("db.example.com"))
        assert client.receive_line().startswith(b"db ")
        rows = json.loads(shunt.ctl("connections", "db", "--json").ok())["connections"]
        assert len(rows) == 1 and rows[0]["state"] == "relay"
        with connect(port) as second:
            second.send(hello("db.example.com"))
            assert second.was_reset(), "the limits of the service it leads to count"
    with socket.socket() as sock:
        sock.bind(("127.0.0.2", 0))
        sock.settimeout(scaled(10))
        sock.connect(("127.0.0.1", port))
        sock.sendall(hello("imap.mail.example.com"))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    wait_until(lambda: closed(shunt, "client-closed", "db") == 1, "ended there")
    assert (closed(shunt, "routed", "web"), accepted(shunt, "web")) == (4, 5)
    assert (accepted(shunt, "db"), closed(shunt, "limit", "db")) == (2, 1)
    assert (accepted(shunt, "mail"), closed(shunt, "denied", "mail")) == (2, 1)


def test_many_at_once_to_several_services(daemon, server):
    """Connections are listed, counted and ended where they are; the limit over all counts each once."""
    shunt = daemon(front(server), behind(server, "db"), behind(server, "mail"), limits={"connections": 90}, workers=2)
    port = shunt.port(service="web")
    names = ["db.example.com", "a.mail.example.com", "www.example.com"]
    clients = []
    for number in range(90):
        client = connect(port)
        client.send(hello(names[number % 3]))
        clients.append(client)
    for number, client in enumerate(clients):
        assert client.receive_line().split()[0] == [b"db", b"mail", b"web"][number % 3]
    with pytest.raises((ConnectionResetError, BrokenPipeError)):  # at whichever of these it arrives
        with connect(port) as one:
            one.send(hello("www.example.com"))
            one.receive(1)
    assert [shunt.service(name)["connections"]["open"] for name in ("db", "mail", "web")] == [30, 30, 30]
    shunt.ctl("kill", "db/old").ok()
    wait_until(lambda: shunt.service("db")["connections"]["open"] == 0, "killed there alone")
    for client in clients:
        client.close()
    wait_until(lambda: all(shunt.service(name)["connections"]["open"] == 0 for name in ("mail", "web")), "the rest ended")


def test_a_service_that_leaves_is_not_led_to(daemon, server):
    """The file cannot lead to what is not there, and a reload takes both or neither."""
    web, db = front(server), behind(server, "db")
    mail = behind(server, "mail")
    shunt = daemon(web, db, mail)
    shunt.settings["services"] = [web, db]
    shunt.write()
    shunt.ctl("reload").refused('there is no service "mail"')
    assert served_by(shunt.port(service="web"), hello("a.mail.example.com")) == "mail"


def test_a_service_behind_a_route_may_end_tls(daemon, server, tmp_path):
    """One name is passed through, the other one is for a service that has the certificate itself."""
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.issue("db.example.com", "DNS:db.example.com")
    db = service([server(named("db")).address], name="db", tls={"certificates": [{"certificate": str(certificate), "key": str(key)}]})
    del db["listen"]
    shunt = daemon(front(server), db, behind(server, "mail"))
    assert served_by(shunt.port(service="web"), hello("www.example.com")) == "web"
    context = ssl.create_default_context(cafile=authority.certificate)
    with socket.create_connection(("127.0.0.1", shunt.port(service="web")), timeout=scaled(10)) as plain:
        with context.wrap_socket(plain, server_hostname="db.example.com") as client:
            client.sendall(b"who\n")
            assert client.recv(100) == b"db who\n"
    wait_until(lambda: shunt.service("db")["connections"]["open"] == 0, "ended there")
    assert accepted(shunt, "db") == 1


def test_services_that_come_and_go_under_new_connections(daemon, server):
    """A name is led to a service that a reload makes, and back: none of its clients is ever refused."""
    web = {**service([server(tagged("web")).address]), "sni": {"routes": [{"name": "db.example.com"}]}}
    db = behind(server, "db")
    led = {"routes": [{"name": "db.example.com", "service": "db"}]}
    shunt = daemon(web)
    web["listen"] = [shunt.address()]
    data, served, wrong, ended = hello("db.example.com"), [], [], threading.Event()

    def come():
        while not ended.is_set():
            try:
                served.append(served_by(shunt.port(service="web"), data))
            except (OSError, AssertionError, IndexError) as error:
                wrong.append(error)
    threads = [threading.Thread(target=come) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(12):
            there = number % 2 == 0
            shunt.settings["services"] = [{**web, "sni": led}, db] if there else [web]
            shunt.write()
            shunt.ctl("reload").ok()
            before = len(served)
            wait_until(lambda b=before: len(served) > b + 20, "clients go on")
            assert set(served[before + 10:]) == {"db" if there else "web"}
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not wrong, wrong[:3]
    assert closed(shunt, "no-backend", "web") == 0


def test_an_upgrade_keeps_the_routes(daemon, server):
    """Services that do not listen are taken over too, with their counters; what is open there goes on."""
    shunt = daemon(front(server), behind(server, "db"), behind(server, "mail"))
    with connect(shunt.port(service="web")) as client:
        client.send(hello("db.example.com"))
        assert client.receive_line().startswith(b"db ")
        shunt.upgrade()
        for name, tag in (("db.example.com", "db"), ("a.mail.example.com", "mail"), ("www.example.com", "web")):
            assert served_by(shunt.port(service="web"), hello(name)) == tag
    shunt.wait_formers()
    wait_until(lambda: accepted(shunt, "db") == 2 and shunt.service("db")["connections"]["open"] == 0, "both are counted")


# ---- real programs


class SecureNginx(Program):
    """Answers over TLS with its name and the server's name it was asked for."""

    def __init__(self, name, certificate):
        self.certificate = [path.read_text() for path in certificate]
        super().__init__(name)

    def command(self):
        for end, text in zip(("pem", "key"), self.certificate):
            (self.folder / f"own.{end}").write_text(text)
            (self.folder / f"own.{end}").chmod(0o644)
        (self.folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b; fastcgi_temp_path {self.folder}/c;
    uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
    server {{
        listen {self.address} ssl http2; listen unix:{self.folder}/control;
        ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {self.folder}/own.pem; ssl_certificate_key {self.folder}/own.key;
        location / {{ return 200 "{self.name} $ssl_server_name\\n"; }}
    }}
}}
""")
        (self.folder / "control").unlink(missing_ok=True)
        return [find("nginx", "/usr/sbin/nginx"), "-p", self.folder, "-e", "stderr", "-c", self.folder / "nginx.conf"]

    def ready(self):
        return listens_on_path(self.folder / "control")


class OpensslServer(Program):
    """openssl s_server, which shows its certificate and nothing else."""

    def __init__(self, name, certificate):
        self.certificate = [path.read_text() for path in certificate]
        super().__init__(name)

    def command(self):
        for end, text in zip(("pem", "key"), self.certificate):
            (self.folder / f"own.{end}").write_text(text)
            (self.folder / f"own.{end}").chmod(0o644)
        return [find("openssl"), "s_server", "-accept", self.address, "-cert", self.folder / "own.pem", "-key",
                self.folder / "own.key", "-www", "-naccept", "1000"]

    def ready(self):
        return "ACCEPT" in self.log()


@pytest.fixture(name="real")
def fixture_real(daemon, started, tmp_path):
    """nginx and openssl behind one port, each with a certificate of its own: (shunt, port, authority)."""
    authority = Authority(tmp_path / "ca")
    nginx = SecureNginx("nginx", authority.issue("www.example.com", "DNS:www.example.com"))
    started.backends.append(nginx)
    plain = OpensslServer("openssl", authority.issue("db.example.com", "DNS:db.example.com"))
    started.backends.append(plain)
    one = service([nginx.address], sni={"routes": [{"name": "www.example.com"}, {"name": "db.example.com", "group": "db"}],
                                        "default": "refuse"})
    one["groups"].append(group("db", [plain.address]))
    shunt = daemon(one)
    return shunt, shunt.port(), authority


def test_curl(real):
    shunt, port, authority = real
    for more in ((), ("--http1.1",), ("--tls-max", "1.2")):
        text = output([find("curl"), "-s", "-S", "--fail", "--max-time", "20", "--cacert", authority.certificate, *more,
                       "--resolve", f"www.example.com:{port}:127.0.0.1", f"https://www.example.com:{port}/"])
        assert text == "nginx www.example.com\n"
    code, _ = run([find("curl"), "-s", "--max-time", "20", "--resolve", f"www.example.org:{port}:127.0.0.1",
                   f"https://www.example.org:{port}/"])
    assert code == 35, "no TLS to be had for a name without a route"
    wait_until(lambda: closed(shunt, "server-name") == 1, "counted by its reason")


@pytest.mark.parametrize("name", ["www.example.com", "db.example.com"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_verifies_through_it(real, name, version):
    """The backend's certificate is what the client sees: TLS was not touched."""
    _, port, authority = real
    text = output([find("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, version,
                   "-CAfile", authority.certificate, "-verify_hostname", name, "-verify_return_error", "-brief"], input="Q\n")
    assert "Verification: OK" in text
    assert f"CN = {name}" in text


@pytest.mark.parametrize("name", ["www.example.com", "db.example.com"])
def test_gnutls_verifies_through_it(real, name):
    _, port, authority = real
    text = output([find("gnutls-cli"), "--port", port, f"--x509cafile={authority.certificate}", f"--sni-hostname={name}",
                   f"--verify-hostname={name}", "127.0.0.1"], input="")
    assert "The certificate is trusted" in text
    assert re.search(rf"subject `CN={name}'", text)
