"""Checks against the programs they are for: up, down by stopping, down by going wrong with the port open, back."""
import contextlib
import json
import os
import re
import ssl
import stat
import subprocess
import threading
import time

import pytest
from shunt.config import service
from shunt.daemon import Daemon, program
from shunt.peers import Server
from shunt.programs import Program, find, output, run
from shunt.servers import Nginx, Postgresql, Redis
from shunt.waiting import wait_until

QUICK = {"interval": "100ms", "timeout": "2s", "rise": 2, "fall": 2}


def checked(kind, **settings):
    return {"health": {"type": kind, **QUICK, **settings}}


def wait_state(shunt, state, index=0):
    wait_until(lambda: shunt.backend("old", index)["state"] == state, f"backend {index} is {state}", within=20)


def says(shunt, *words):
    """Waits for an event that holds these words."""
    wait_until(lambda: any(all(word in line for word in words) for line in shunt.admin("events 100").splitlines()),
               f"an event with {words}", within=20)


@contextlib.contextmanager
def running(kind, name="old"):
    one = kind(name)
    try:
        yield one
    finally:
        one.stop()


def secret(tmp_path, text="s3cret"):
    path = tmp_path / "password"
    path.write_text(text + "\n")
    path.chmod(stat.S_IRUSR)
    return str(path)


class CheckedNginx(Nginx):
    """With a page of its own for checks, which is there as long as a file is."""

    def command(self):
        words = super().command()
        path = self.folder / "nginx.conf"
        path.write_text(path.read_text().replace(
            "location / {", f"location = /ready {{ root {self.folder}; try_files /ready =503; }}\nlocation / {{"))
        self.well()
        return words

    def well(self):
        (self.folder / "ready").write_text("all is well\n")
        (self.folder / "ready").chmod(0o644)

    def ill(self):
        (self.folder / "ready").unlink()


def test_nginx(daemon):
    with running(CheckedNginx) as nginx:
        shunt = daemon(service([nginx.address], group_settings=checked(
            "http", http={"path": "/ready", "status": "200-299", "body": "is well", "host": "check.example"})))
        wait_state(shunt, "up")
        says(shunt, "status 200, body as expected")
        nginx.ill()
        wait_state(shunt, "down")
        says(shunt, "wrong status: 503")
        nginx.well()
        wait_state(shunt, "up")
        nginx.halt()
        wait_state(shunt, "down")


def test_redis_with_a_replica(daemon, tmp_path):
    with running(Redis, "master") as master, running(Redis, "replica") as replica:
        replica.ask("REPLICAOF", "127.0.0.1", master.port)
        password = secret(tmp_path)
        settings = checked("redis", redis={"role": "master", "password_file": password})
        # Redis refuses AUTH while it has no password.
        master.ask("CONFIG", "SET", "requirepass", "s3cret")
        run([find("redis-cli"), "-s", replica.control, "CONFIG", "SET", "requirepass", "s3cret"])
        shunt = daemon(service([master.address, replica.address], group_settings=settings))
        wait_state(shunt, "up", 0)
        wait_state(shunt, "down", 1)
        says(shunt, "not a master but: slave")
        assert "s3cret" not in shunt.log() + shunt.admin("show settings")
        # The roles change places, the ports stay open.
        ask = [find("redis-cli"), "-a", "s3cret", "--no-auth-warning", "-s"]
        output([*ask, replica.control, "REPLICAOF", "NO", "ONE"])
        output([*ask, master.control, "REPLICAOF", "127.0.0.1", str(replica.port)])
        wait_state(shunt, "down", 0)
        wait_state(shunt, "up", 1)
        # Another password: it answers, and refuses.
        output([*ask, replica.control, "CONFIG", "SET", "requirepass", "other"])
        wait_state(shunt, "down", 1)
        says(shunt, "WRONGPASS")
        replica.halt()


def test_postgresql_reachable_and_down(daemon):
    with running(Postgresql) as postgres:
        shunt = daemon(service([postgres.address], group_settings=checked("postgresql")))
        wait_state(shunt, "up")
        port = postgres.port
        postgres.halt()
        wait_state(shunt, "down")
        assert port == postgres.port


@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
def test_postgresql_login(daemon, tmp_path, method):
    with running(Postgresql) as postgres:
        postgres.ask(f"set password_encryption = '{method}'; create role monitor login password 's3cret'")
        access = postgres.data / "pg_hba.conf"
        kept = access.read_text()
        access.write_text(f"local all all trust\nhost all monitor 127.0.0.1/32 {method}\n")
        postgres.ask("select pg_reload_conf()")
        settings = {"user": "monitor", "database": "postgres", "password_file": secret(tmp_path),
                    "role": "read-write"}
        shunt = daemon(service([postgres.address], group_settings=checked("postgresql", postgresql=settings)))
        wait_state(shunt, "up")
        says(shunt, "read-write")
        postgres.ask("alter role monitor password 'another'")
        wait_state(shunt, "down")
        says(shunt, "password authentication failed")
        postgres.ask(f"set password_encryption = '{method}'; alter role monitor password 's3cret'")
        wait_state(shunt, "up")
        assert "s3cret" not in shunt.log() + shunt.admin("show settings")
        access.write_text(kept)


class Standby(Postgresql):
    """In recovery, which is what a standby is, until it is promoted."""

    def start(self):
        (self.data / "standby.signal").touch()
        os.chown(self.data / "standby.signal", self.data.stat().st_uid, self.data.stat().st_gid)
        Program.start(self)

    def command(self):
        # Not lower than where the cluster was made, or recovery stops.
        return ["max_connections=100" if word == "max_connections=60" else word for word in super().command()]


def test_postgresql_in_recovery(daemon):
    with running(Standby) as standby:
        def group(role):
            return service([standby.address], name=role, group_settings=checked(
                "postgresql", postgresql={"user": "shunt", "database": "postgres", "role": role}))
        shunt = daemon(group("standby"), group("read-write"))
        wait_until(lambda: shunt.backend("old", 0, "standby")["state"] == "up", "it is a standby")
        wait_until(lambda: shunt.backend("old", 0, "read-write")["state"] == "down", "it takes no writes")
        says(shunt, "in recovery: not read-write")
        standby.ask("select pg_promote()")
        wait_until(lambda: shunt.backend("old", 0, "standby")["state"] == "down", "it is no standby any more", within=20)
        wait_until(lambda: shunt.backend("old", 0, "read-write")["state"] == "up", "it takes writes", within=20)


class Mariadb(Program):
    def prepare(self):
        self.data = self.folder / "data"
        output([find("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}", "--skip-test-db",
                "--auth-root-authentication-method=normal"], cwd=self.folder)
        owner = self.folder.stat()
        for path in (self.data, *self.data.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)

    def command(self):
        return [find("mariadbd", "/usr/sbin/mariadbd"), "--no-defaults", f"--datadir={self.data}",
                f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={self.folder}/control",
                f"--pid-file={self.folder}/pid", "--innodb-flush-log-at-trx-commit=0", "--max-connections=10"]

    def ask(self, query):
        return output([find("mariadb"), "--no-defaults", "-S", self.folder / "control", "-u", "root", "-N", "-e", query])

    def ready(self):
        return run([find("mariadb"), "--no-defaults", "-S", self.folder / "control", "-u", "root", "-e", "select 1"])[0] == 0


def test_mariadb(daemon, tmp_path):
    with running(Mariadb) as mariadb:
        mariadb.ask("create user monitor@'127.0.0.1' identified by 's3cret'")
        login = checked("mysql", mysql={"user": "monitor", "password_file": secret(tmp_path)})
        shunt = daemon(service([mariadb.address], group_settings=login))
        wait_state(shunt, "up")
        says(shunt, "logged in")
        mariadb.ask("alter user monitor@'127.0.0.1' identified by 'other'")
        wait_state(shunt, "down")
        says(shunt, "Access denied")
        mariadb.ask("alter user monitor@'127.0.0.1' identified by 's3cret'")
        wait_state(shunt, "up")
        mariadb.halt()
        wait_state(shunt, "down")
        assert "s3cret" not in shunt.log()


class Slapd(Program):
    def command(self):
        (self.folder / "db").mkdir(exist_ok=True)
        os.chown(self.folder / "db", self.folder.stat().st_uid, self.folder.stat().st_gid)
        (self.folder / "slapd.conf").write_text(f"""
include /etc/ldap/schema/core.schema
pidfile {self.folder}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example"
rootdn "cn=admin,dc=example"
rootpw s3cret
directory {self.folder}/db
""")
        socket_url = str(self.folder / "control").replace("/", "%2F")
        return [find("slapd", "/usr/sbin/slapd"), "-d", "0", "-f", self.folder / "slapd.conf",
                "-h", f"ldap://127.0.0.1:{self.port} ldapi://{socket_url}"]

    def ready(self):
        path = str(self.folder / "control").replace("/", "%2F")
        return run([find("ldapwhoami"), "-x", "-H", f"ldapi://{path}"])[0] == 0


def test_slapd(daemon, tmp_path):
    with running(Slapd) as slapd:
        password = tmp_path / "password"
        password.write_text("wrong\n")
        known = {"bind_dn": "cn=admin,dc=example", "password_file": secret(tmp_path / "..")}
        unknown = {**known, "password_file": str(password)}
        shunt = daemon(service([slapd.address], name="anonymous", group_settings=checked("ldap")),
                       service([slapd.address], name="known", group_settings=checked("ldap", ldap=known)),
                       service([slapd.address], name="unknown", group_settings=checked("ldap", ldap=unknown)))
        for name, state in (("anonymous", "up"), ("known", "up"), ("unknown", "down")):
            wait_until(lambda: shunt.backend("old", 0, name)["state"] == state, f"{name} is {state}")
        says(shunt, "invalid credentials (49)")
        slapd.halt()
        wait_until(lambda: shunt.backend("old", 0, "known")["state"] == "down", "it is down")


def certificate(folder, name="check.example", days=90):
    folder.mkdir(exist_ok=True)
    output([find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key", "-out",
            folder / "cert", "-days", days, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context, str(folder / "cert")


def test_tls(daemon, server, tmp_path):
    good, path = certificate(tmp_path / "good")
    soon, soon_path = certificate(tmp_path / "soon", days=3)
    names = []
    good.set_servername_callback(lambda _, name, __: names.append(name))

    def handshake(context):
        def script(peer):
            with contextlib.suppress(OSError):
                context.wrap_socket(peer.sock, server_side=True).close()
        return script

    backends = [server(handshake(good)).address, server(handshake(soon)).address,
                server(lambda peer: peer.send(b"not TLS\r\n")).address]

    def one(name, address, **tls):
        return service([address], name=name, group_settings=checked("tls", tls=tls))

    shunt = daemon(one("good", backends[0], server_name="check.example", ca_file=path),
                   one("other", backends[0], server_name="other.example", ca_file=path),
                   one("unsigned", backends[0], server_name="check.example"),
                   one("any", backends[0], verify=False),
                   one("soon", backends[1], server_name="check.example", ca_file=soon_path),
                   one("plain", backends[2], verify=False))
    states = {"good": "up", "other": "down", "unsigned": "down", "any": "up", "soon": "up", "plain": "down"}
    for name, state in states.items():
        wait_until(lambda: shunt.backend("old", 0, name)["state"] == state, f"{name} is {state}", within=20)
    says(shunt, "certificate valid ")
    says(shunt, "certificate: hostname mismatch")
    says(shunt, "warning: certificate expires in ")
    left = [float(value) for value in re.findall(r"shunt_backend_certificate_expires_seconds{.*} (-?\d+)", shunt.admin("show metrics"))]
    assert any(0 < value <= 3 * 86400 for value in left) and any(value > 30 * 86400 for value in left), left
    assert "check.example" in names


def mail(starttls=None):
    """A mail server that says what is needed here; with STARTTLS where there is a context."""
    def script(peer):
        sock = peer.sock
        sock.sendall(b"220 mail.example\r\n")
        while True:
            with contextlib.suppress(OSError):
                line = sock.recv(1000)
                if line.startswith(b"EHLO"):
                    sock.sendall(b"250-mail.example\r\n250 STARTTLS\r\n")
                    continue
                if line.startswith(b"STARTTLS"):
                    sock.sendall(b"220 go\r\n")
                    sock = starttls.wrap_socket(sock, server_side=True)
                    continue
                if line.startswith(b"QUIT"):
                    sock.sendall(b"221 bye\r\n")
            sock.close()
            return
    return script


def test_smtp(daemon, server, tmp_path):
    context, path = certificate(tmp_path / "tls")
    plain, secure = server(mail()).address, server(mail(context)).address
    busy = server(lambda peer: peer.send(b"421 too busy\r\n")).address
    starttls = checked("smtp", smtp={"starttls": True}, tls={"server_name": "check.example", "ca_file": path})
    shunt = daemon(service([plain], name="plain", group_settings=checked("smtp")),
                   service([secure], name="secure", group_settings=starttls),
                   service([busy], name="busy", group_settings=checked("smtp")))
    for name, state in (("plain", "up"), ("secure", "up"), ("busy", "down")):
        wait_until(lambda: shunt.backend("old", 0, name)["state"] == state, f"{name} is {state}")
    says(shunt, "greets and answers; TLSv1.3")
    says(shunt, "refused: 421 too busy")


def test_exec(daemon, server, tmp_path):
    flag = tmp_path / "well"
    flag.touch()
    script = tmp_path / "check"
    script.write_text(f'#!/bin/sh\necho "$SHUNT_SERVICE/$SHUNT_GROUP/$SHUNT_BACKEND at $SHUNT_PORT"\ntest -e {flag}\n')
    script.chmod(0o755)
    address = server(lambda peer: peer.stall()).address
    shunt = daemon(service([address], group_settings=checked("exec", exec={"command": [str(script)]})))
    wait_state(shunt, "up")
    says(shunt, f"exit status 0: web/old/{address} at {address.split(':')[1]}")
    flag.unlink()
    wait_state(shunt, "down")
    says(shunt, "exit status 1")
    flag.touch()
    wait_state(shunt, "up")


def test_agent(daemon):
    line, lock = [b"up\n"], threading.Lock()

    def script(peer):
        with lock:
            peer.send(line[0])

    agent = Server(script)
    try:
        shunt = daemon(service([agent.address], group_settings=checked("agent")))

        def tell(text):
            with lock:
                line[0] = text
        wait_state(shunt, "up")
        tell(b"50% drain\n")
        wait_until(lambda: shunt.group("old")["usable"] == 0, "it takes no new connections")
        assert shunt.backend("old")["admin"] == "ready"  # the operator's own
        tell(b"ready\n")
        wait_until(lambda: shunt.group("old")["usable"] == 1, "it is back")
        tell(b"down#disk full\n")
        wait_state(shunt, "down")
        shunt.says("disk full")
        tell(b"what?\n")
        says(shunt, "agent gives no answer")
        assert shunt.backend("old")["state"] == "down"
    finally:
        agent.stop()


def test_check_by_hand(daemon, server, refuser):
    def script(peer):
        while peer.receive_line():
            peer.send(b"+PONG\r\n")

    good, bad = server(script).address, refuser().address
    shunt = daemon(service([good, bad], group_settings=checked("redis", interval="1h")),
                   service([good], name="unchecked"))
    text = shunt.ctl("check", f"web/old/{good}").ok()
    assert "> *1\\r\\n$4\\r\\nPING\\r\\n\n" in text and "< +PONG\\r\\n" in text, text
    assert f"✔ web/old/{good} passed in " in text and text.rstrip().endswith(": PONG"), text
    report = json.loads(shunt.ctl("check", f"web/old/{bad}", "--json").ok())
    assert report["passed"] is False and report["reason"] == "connection refused", report
    shunt.ctl("check", f"unchecked/old/{good}").refused("has no checks")
    # A client that leaves before the end takes its check with it.
    with shunt.admin_connect() as connection:
        connection.sendall(f"check web/old/{good}\n".encode())


def test_check_by_hand_ends_with_its_client(daemon, server):
    """Nobody waits for it any more: its descriptor is not held up to the timeout."""
    silent = server(lambda peer: peer.stall())
    shunt = daemon(service([silent.address], group_settings=checked("redis", interval="1h", timeout="500ms")))
    wait_state(shunt, "down")
    held = shunt.descriptors_held()
    shunt.settings["services"][0]["groups"][0]["health"]["timeout"] = "10m"
    shunt.settings["services"][0]["groups"][0]["health"]["interval"] = "2h"
    shunt.settings["services"][0]["listen"] = [shunt.address()]
    shunt.write()
    shunt.ctl("reload").ok()
    asking = [shunt.ctl_begin("check", f"web/old/{silent.address}") for _ in range(5)]
    wait_until(lambda: silent.accepted >= 7, "five ask, beside the first checks")
    for one in asking:
        one.kill()
        one.communicate()
    wait_until(lambda: shunt.descriptors_held() <= held + 1, "only the scheduled one is left")
    silent.stop()


def test_check_by_hand_is_under_way_on_several_sockets_at_a_stop(daemon, server, tmp_path):
    silent = server(lambda peer: peer.stall())
    sockets = [str(tmp_path / f"{n}.sock") for n in range(3)]
    shunt = daemon(service([silent.address], group_settings=checked("redis", interval="1h", timeout="10m")),
                   admin={"socket": str(tmp_path / "shunt0" / "admin.sock"),
                          "sockets": [{"socket": path, "most": "admin"} for path in sockets]})
    path = f"web/old/{silent.address}"
    asking = [subprocess.Popen([program("shuntctl"), "-s", one, "check", path], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True) for one in sockets]
    try:
        wait_until(lambda: silent.accepted >= 4, "all ask, beside the first check")
        shunt.stop(check=False)
    finally:
        for one in asking:
            one.kill()
            one.communicate()


def test_check_by_hand_ends_when_a_reload_makes_the_checks_anew(daemon, server):
    silent = server(lambda peer: peer.stall())
    shunt = daemon(service([silent.address], group_settings=checked("redis", interval="1h", timeout="1m")))
    asking = shunt.ctl_begin("check", f"web/old/{silent.address}")
    wait_until(lambda: silent.accepted >= 2, "it asks, beside the first check")
    shunt.settings["services"][0]["groups"][0]["health"]["interval"] = "2h"
    shunt.settings["services"][0]["listen"] = [shunt.address()]
    shunt.write()
    shunt.ctl("reload").ok()
    out, _ = asking.communicate(timeout=20)
    assert "given up: the checks were made anew by a reload" in out


def test_detection_takes_the_time_that_was_set(daemon, started):
    """Interval times fall, and the time of one check: with 100 ms and 3 that is 0.3 s."""
    gone = Server(lambda peer: peer.stall())
    settings = {"health": {"type": "tcp", "interval": "100ms", "timeout": "100ms", "rise": 2, "fall": 3}}
    shunt = daemon(service([gone.address], group_settings=settings))
    wait_state(shunt, "up")
    gone.stop()
    begun = time.monotonic()
    wait_state(shunt, "down")
    took = time.monotonic() - begun
    print(f"\ndetected after {took * 1000:.0f} ms")
    assert 0.15 < took < 1.5


def test_silent_and_dripping_servers_time_out(daemon, server):
    def drip(peer):
        for _ in range(1000):
            peer.send(b"2")
            if peer.stopping.wait(0.05):
                return

    drip_address, silent = server(drip).address, server(lambda peer: peer.stall()).address
    health = {"health": {"type": "smtp", "interval": "100ms", "timeout": "300ms", "rise": 1, "fall": 1}}
    shunt = daemon(service([drip_address], name="drip", group_settings=health),
                   service([silent], name="silent", group_settings=health))
    for name in ("drip", "silent"):
        wait_until(lambda: shunt.backend("old", 0, name)["state"] == "down", f"{name} is down")
    says(shunt, "timed out after 300ms with 0 bytes received")


def test_secrets_that_cannot_be_read_stop_the_start(daemon, tmp_path):
    one = Daemon(tmp_path / "d", [service(["127.0.0.1:1"], group_settings=checked(
        "redis", redis={"password_file": str(tmp_path / "nothing")}))])
    one.write()
    done = subprocess.run([program("shuntd"), "-c", one.path], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode != 0 and "cannot read the password" in done.stderr, done.stderr
