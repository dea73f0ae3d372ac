"""Real servers that stop, go wrong and come back behind Shunt while clients use them: what fails is counted, and nothing
fails any more once their checks have seen it."""
import contextlib
import os
import smtplib
import ssl
import threading
import time

import pytest
from shunt.clients import connect
from shunt.config import service
from shunt.programs import Program, find, output, run
from shunt.servers import Nginx, Postgresql, Redis
from shunt.waiting import scaled, wait_until

from test_checks import Mariadb, Slapd, certificate, checked, running, secret, wait_state

CLIENTS = 3


class Load:
    """Clients that do operation(port) again and again, each on a connection of its own."""

    def __init__(self, operation, port, pause_s=0.01):
        self.operation, self.port, self.pause_s = operation, port, pause_s
        self.done, self.failures = 0, []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def work(self):
        while not self.stopping.wait(self.pause_s):
            failure = None
            try:
                self.operation(self.port)
            except (OSError, AssertionError, smtplib.SMTPException) as wrong:
                failure = wrong
            with self.lock:
                self.done += failure is None
                self.failures += [failure] if failure else []

    def more(self, n=20):
        """Waits for n further operations that went well."""
        done = self.done
        wait_until(lambda: self.done >= done + n, f"{n} more operations: {self.failures[-1:]}", within=30)

    def settled(self):
        """Those under way end; how many have failed so far."""
        self.more(3 * CLIENTS)
        return len(self.failures)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(scaled(60))
            assert not thread.is_alive(), "a client did not end"


@pytest.fixture(name="load")
def fixture_load(started):
    def make(operation, port, **more):
        one = Load(operation, port, **more)
        started.clients.append(one)
        return one
    return make


def outage(shunt, load, server, operation, index=0):
    """The server at this place stops and starts again under load; returns how many operations failed."""
    for place in range(2):
        wait_state(shunt, "up", place)
    clients = load(operation, shunt.port())
    clients.more()
    assert clients.failures == []
    server.halt()
    wait_state(shunt, "down", index)
    failed = clients.settled()
    clients.more()
    assert len(clients.failures) == failed, f"once it is down nothing fails: {clients.failures[failed:]}"
    server.again()
    wait_state(shunt, "up", index)
    before = shunt.backend("old", index)["connections"]
    wait_until(lambda: shunt.backend("old", index)["connections"] > before + 5, "it serves again", within=20)
    assert len(clients.failures) == failed, f"coming back costs nothing: {clients.failures[failed:]}"
    clients.stop()
    print(f"\n{type(server).__name__}: {failed} of {clients.done + failed} operations failed: {clients.failures[:3]}")
    return failed


def get(port, context=None):
    with connect(port) as peer:
        if context:
            peer.sock = context.wrap_socket(peer.sock, server_hostname="check.example")
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 200 " in peer.receive_line()
        peer.receive_all()


class BusyNginx(Nginx):
    """Checks and clients may be there before the test's first question when it starts again."""

    def ready(self):
        with contextlib.suppress(OSError):
            return self.requests() >= 0
        return False


def test_nginx(daemon, load):
    with running(BusyNginx, "a") as one, running(BusyNginx, "b") as two:
        shunt = daemon(service([one.address, two.address], group_settings=checked("http")))
        assert outage(shunt, load, one, get) <= 2 * CLIENTS


class TlsNginx(BusyNginx):
    """Behind a certificate."""

    files = None

    def command(self):
        words = super().command()
        path = self.folder / "nginx.conf"
        for name in ("cert", "key"):
            (self.folder / name).write_bytes((self.files / name).read_bytes())
            (self.folder / name).chmod(0o644)
        text = path.read_text()
        assert f"127.0.0.1:{self.port}" in text
        tls = f"ssl_certificate {self.folder}/cert; ssl_certificate_key {self.folder}/key;"
        path.write_text(text.replace(f"listen 127.0.0.1:{self.port}", f"{tls} listen 127.0.0.1:{self.port} ssl", 1))
        return words


def test_nginx_with_tls(daemon, load, tmp_path):
    _, path = certificate(tmp_path / "tls")
    TlsNginx.files = tmp_path / "tls"
    context = ssl.create_default_context(cafile=path)
    tls = {"server_name": "check.example", "ca_file": path}
    with running(TlsNginx, "a") as one, running(TlsNginx, "b") as two:
        shunt = daemon(service([one.address, two.address], group_settings=checked("http", tls=tls)))
        assert outage(shunt, load, one, lambda port: get(port, context)) <= 2 * CLIENTS


def count(port):
    with connect(port) as peer:
        peer.send(b"INCR counting\r\n")
        reply = peer.receive_line()
        assert reply.startswith(b":"), reply


def test_redis(daemon, load):
    with running(Redis, "a") as one, running(Redis, "b") as two:
        shunt = daemon(service([one.address, two.address], group_settings=checked("redis")))
        assert outage(shunt, load, one, count) <= 2 * CLIENTS


def test_redis_that_goes_wrong_with_its_port_open(daemon, load):
    with running(Redis, "a") as one, running(Redis, "b") as two:
        shunt = daemon(service([one.address, two.address], group_settings=checked("redis")))
        for place in range(2):
            wait_state(shunt, "up", place)
        clients = load(count, shunt.port())
        clients.more()
        one.ask("CONFIG", "SET", "requirepass", "other")
        wait_state(shunt, "down", 0)
        failed = clients.settled()
        assert all("NOAUTH" in str(failure) for failure in clients.failures)
        clients.more()
        assert len(clients.failures) == failed, "only until its checks saw it"
        output([find("redis-cli"), "-a", "other", "--no-auth-warning", "-s", one.control, "CONFIG", "SET", "requirepass", ""])
        wait_state(shunt, "up", 0)
        clients.more()
        assert len(clients.failures) == failed
        clients.stop()


def test_mariadb(daemon, load, tmp_path):
    def ask(port):
        code, text = run([find("mariadb"), "--no-defaults", "-h", "127.0.0.1", "-P", port, "-u", "monitor", "-ps3cret",
                          "--connect-timeout=10", "-N", "-e", "select 41 + 1"])
        assert code == 0 and text.strip() == "42", text

    with running(Mariadb, "a") as one, running(Mariadb, "b") as two:
        for server in (one, two):
            server.ask("create user monitor@'127.0.0.1' identified by 's3cret'")
        shunt = daemon(service([one.address, two.address], group_settings=checked(
            "mysql", mysql={"user": "monitor", "password_file": secret(tmp_path)})))
        outage(shunt, load, one, ask)


class TlsSlapd(Slapd):
    files = None

    def command(self):
        words = super().command()
        for name in ("cert", "key"):
            (self.folder / name).write_bytes((self.files / name).read_bytes())
            (self.folder / name).chmod(0o644)
        path = self.folder / "slapd.conf"
        tls = f"TLSCertificateFile {self.folder}/cert\nTLSCertificateKeyFile {self.folder}/key\n"
        path.write_text(path.read_text().replace("modulepath", tls + "modulepath", 1))
        return words


def test_slapd_with_starttls(daemon, load, tmp_path):
    _, path = certificate(tmp_path / "tls")
    TlsSlapd.files = tmp_path / "tls"

    def ask(port):
        code, text = run([find("ldapwhoami"), "-x", "-o", "nettimeout=10", "-H", f"ldap://127.0.0.1:{port}"])
        assert code == 0 and "anonymous" in text, text

    tls = {"server_name": "check.example", "ca_file": path}
    with running(TlsSlapd, "a") as one, running(TlsSlapd, "b") as two:
        shunt = daemon(service([one.address, two.address], group_settings=checked("ldap", ldap={"starttls": True}, tls=tls)),
                       service([one.address], name="unsigned", group_settings=checked(
                           "ldap", ldap={"starttls": True}, tls={"server_name": "check.example"})))
        wait_until(lambda: shunt.backend("old", 0, "unsigned")["state"] == "down", "nobody signed it")
        text = shunt.ctl("check", f"web/old/{one.address}").ok()
        assert "ExtendedRequest StartTLS" in text and "bound; TLSv1." in text, text
        outage(shunt, load, one, ask)


class Mail(Program):
    """aiosmtpd: takes mail and throws it away."""

    def command(self):
        return [find("aiosmtpd"), "-n", "-l", f"127.0.0.1:{self.port}", "-c", "aiosmtpd.handlers.Sink"]

    def ready(self):
        with contextlib.suppress(OSError), connect(self.port) as peer:
            return peer.receive_line().startswith(b"220 ")
        return False


def test_smtp(daemon, load):
    def send(port):
        with smtplib.SMTP("127.0.0.1", port, timeout=scaled(20)) as client:
            client.sendmail("a@example.test", "b@example.test", "Subject: x\r\n\r\nhello\r\n")

    with running(Mail, "a") as one, running(Mail, "b") as two:
        shunt = daemon(service([one.address, two.address], group_settings=checked("smtp")))
        outage(shunt, load, one, send)


class Replica(Postgresql):
    """A standby that streams from a primary until it is promoted."""

    primary = None

    def prepare(self):
        self.data = self.folder / "data"
        output([self.tool("pg_basebackup"), "-D", self.data, "-h", self.primary.folder, "-p", self.primary.port, "-U", "shunt",
                "-R", "-c", "fast", "--no-sync"], cwd=self.folder)
        for path in (self.data, *self.data.rglob("*")):
            os.chown(path, self.folder.stat().st_uid, self.folder.stat().st_gid)

    def start(self):
        Program.start(self)


def test_postgresql_primary_and_standby(daemon, load):
    def write(port):
        code, text = run(Postgresql.psql("-c", "insert into kept values (1)", port=port, database="postgres"))
        assert code == 0, text

    def look(port):
        code, text = run(Postgresql.psql("-c", "select pg_is_in_recovery()", port=port, database="postgres"))
        assert code == 0 and text.strip() in ("t", "f"), text
        return text.strip()

    with running(Postgresql, "primary") as primary:
        primary.ask("create table kept (n int)")
        Replica.primary = primary
        with running(Replica, "standby") as standby:
            def group(role):
                return service([primary.address, standby.address], name=role, group_settings=checked(
                    "postgresql", postgresql={"user": "shunt", "database": "postgres", "role": role}))
            shunt = daemon(group("read-write"), group("standby"))

            def states(role):
                return [one["state"] for one in shunt.group("old", role)["backends"]]

            wait_until(lambda: states("read-write") == ["up", "down"] and states("standby") == ["down", "up"],
                       "the roles are told apart", within=20)
            assert look(shunt.port(service="standby")) == "t"
            writers = load(write, shunt.port(service="read-write"), pause_s=0.02)
            writers.more(10)
            assert writers.failures == [], "no write goes to the standby"
            wait_until(lambda: int(standby.ask("select count(*) from kept")) > 0, "the standby has what was written")
            primary.halt()
            wait_until(lambda: states("read-write") == ["down", "down"], "nobody takes writes")
            stopped = time.monotonic()
            standby.ask("select pg_promote()")
            wait_until(lambda: states("read-write") == ["down", "up"] and states("standby") == ["down", "down"],
                       "the standby is the primary now", within=20)
            took = time.monotonic() - stopped
            failed = writers.settled()
            writers.more(10)
            assert len(writers.failures) == failed, "and all writes go there"
            answered = writers.done
            assert int(standby.ask("select count(*) from kept")) >= answered, "none that was answered is lost"
            writers.stop()
            print(f"\n{failed} of {writers.done + failed} writes failed; promoted and seen after {took:.2f} s")
