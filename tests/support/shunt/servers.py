"""The servers that are moved, each with its own view of who uses it: nginx, Redis, PostgreSQL."""
import contextlib
import re
import signal

from .clients import connect
from .programs import Program, as_user, find, output, run


@contextlib.contextmanager
def pair(kind):
    """An old and a new server of a kind, for all tests of a file."""
    with contextlib.ExitStack() as stack:
        servers = []
        for name in ("old", "new"):
            servers.append(kind(name))
            stack.callback(servers[-1].stop)
        yield servers


class Nginx(Program):
    """Answers every request with its name, and ends a kept connection by itself after KEPT_REQUESTS."""

    KEPT_REQUESTS = 500

    def prepare(self):
        self.questions = 0

    def command(self):
        self.questions = 0
        (self.folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests {self.KEPT_REQUESTS}; keepalive_timeout 1h;
    client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b; fastcgi_temp_path {self.folder}/c;
    uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
    server {{
        listen {self.address} backlog=1024; listen {self.control};
        location / {{ return 200 "{self.name}\\n"; }}
        location = /counters {{ stub_status; }}
    }}
}}
""")
        # A socket file that a killed server left would be in the way.
        (self.folder / "control").unlink(missing_ok=True)
        return [find("nginx", "/usr/sbin/nginx"), "-p", self.folder, "-e", "stderr", "-c", self.folder / "nginx.conf"]

    @property
    def control(self):
        return f"unix:{self.folder}/control"

    def ready(self):
        try:
            return self.requests() == 0
        except OSError:
            return False

    def requests(self):
        """How many requests it has had, by its own count and without ours."""
        with connect(self.control) as peer:
            self.questions += 1
            peer.send(b"GET /counters HTTP/1.0\r\n\r\n")
            text = peer.receive_all().decode()
        found = re.search(r"\n \d+ \d+ (\d+)", text)
        assert found, text
        return int(found.group(1)) - self.questions


class Redis(Program):
    def command(self):
        return [find("redis-server"), "--port", self.port, "--bind", "127.0.0.1", "--unixsocket", self.control,
                "--dir", self.folder, "--save", "", "--appendonly", "no", "--tcp-backlog", 1024]

    @property
    def control(self):
        return self.folder / "control"

    def ready(self):
        code, text = run([find("redis-cli"), "-s", self.control, "SET", "name", self.name])
        return code == 0 and text.strip() == "OK"

    def ask(self, *words):
        """One command over its Unix socket: one connection by its own count."""
        return output([find("redis-cli"), "-s", self.control, *words]).strip()

    def connections(self):
        """How many connections it has had, this question's among them."""
        return int(re.search(r"total_connections_received:(\d+)", self.ask("INFO", "stats")).group(1))

    def count(self, key):
        """The value of a counter, 0 before the first INCR."""
        return int(self.ask("GET", key) or 0)


class Postgresql(Program):
    """Its tables are in the database bench; the test's own questions go to the database postgres, so that the
    server's counters for bench tell of the clients alone."""

    stop_signal = signal.SIGINT  # its fast shutdown

    def prepare(self):
        self.data = self.folder / "data"
        output(as_user([find("/usr/lib/postgresql/*/bin/initdb"), "-D", self.data, "-U", "shunt", "-A", "trust",
                        "--no-sync", "-E", "UTF8", "--locale=C"]), cwd=self.folder)

    def start(self):
        super().start()
        if not self.ask("select 1 from pg_database where datname = 'bench'"):
            self.ask("create database bench")
            output([self.tool("pgbench"), "-i", "-s", "1", "-q", *self.where(self.folder, self.port)])

    def command(self):
        # No autovacuum: it would count as a user of bench. No segments outside of the folder that a kill would leave.
        settings = {"listen_addresses": "127.0.0.1", "cluster_name": self.name, "fsync": "off", "max_connections": 60,
                    "autovacuum": "off", "dynamic_shared_memory_type": "mmap"}
        return [self.tool("postgres"), "-D", self.data, "-p", self.port, "-k", self.folder,
                *[word for name, value in settings.items() for word in ("-c", f"{name}={value}")]]

    @staticmethod
    def tool(name):
        """Debian's own path: what is in PATH is a wrapper that takes its time."""
        return find(f"/usr/lib/postgresql/*/bin/{name}")

    @staticmethod
    def where(host, port, database="bench"):
        return ["-h", host, "-p", port, "-U", "shunt", database]

    @classmethod
    def psql(cls, *words, port, host="127.0.0.1", database="bench"):
        """The command line of a psql; words such as "-c", "select 1"."""
        return [cls.tool("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *words,
                *cls.where(host, port, database)]

    def ready(self):
        code, _ = run(self.psql("-c", "select 1", host=self.folder, port=self.port, database="postgres"))
        return code == 0

    def ask(self, query, database="postgres"):
        """A question over its Unix socket."""
        return output(self.psql("-c", query, host=self.folder, port=self.port, database=database)).strip()

    def rows(self):
        """How many transactions of pgbench it has kept. Counts as a session of bench."""
        return int(self.ask("select count(*) from pgbench_history", database="bench"))

    def clients(self):
        """How many sessions are open on bench."""
        return int(self.ask("select count(*) from pg_stat_activity where datname = 'bench'"))

    def sessions(self):
        """How many sessions bench has had. One counts at its end at the latest."""
        return int(self.ask("select sessions from pg_stat_database where datname = 'bench'"))


class NginxReader(Program):
    """Answers every request with the client that the PROXY header names."""

    def command(self):
        (self.folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {self.folder}/a; proxy_temp_path {self.folder}/b; fastcgi_temp_path {self.folder}/c;
    uwsgi_temp_path {self.folder}/d; scgi_temp_path {self.folder}/e;
    server {{
        listen {self.address} proxy_protocol; listen unix:{self.folder}/control;
        location / {{ return 200 "$proxy_protocol_addr:$proxy_protocol_port\\n"; }}
    }}
}}
""")
        (self.folder / "control").unlink(missing_ok=True)
        return [find("nginx", "/usr/sbin/nginx"), "-p", self.folder, "-e", "stderr", "-c", self.folder / "nginx.conf"]

    def ready(self):
        return listens_on_path(self.folder / "control")


class NginxSender(Program):
    """A stream proxy that writes a PROXY header (version 1) ahead of each connection to target."""

    def __init__(self, name, target, version="v1"):
        assert version == "v1"
        self.target = target
        super().__init__(name)

    def command(self):
        module = find("/usr/lib/nginx/modules/ngx_stream_module.so")
        (self.folder / "nginx.conf").write_text(f"""
load_module {module};
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 256; }}
stream {{
    server {{ listen {self.address}; proxy_pass {self.target}; proxy_protocol on; }}
    server {{ listen unix:{self.folder}/control; return "ready"; }}
}}
""")
        (self.folder / "control").unlink(missing_ok=True)
        return [find("nginx", "/usr/sbin/nginx"), "-p", self.folder, "-e", "stderr", "-c", self.folder / "nginx.conf"]

    def ready(self):
        return listens_on_path(self.folder / "control")


class Haproxy(Program):
    def command(self):
        (self.folder / "haproxy.cfg").write_text(f"""
global
    stats socket {self.folder}/control level admin
defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
{self.sections()}
""")
        (self.folder / "control").unlink(missing_ok=True)
        return [find("haproxy", "/usr/sbin/haproxy"), "-db", "-f", self.folder / "haproxy.cfg"]

    def sections(self):
        raise NotImplementedError

    def ready(self):
        return listens_on_path(self.folder / "control")


class HaproxyReader(Haproxy):
    """Answers every request with the client that the PROXY header names."""

    def sections(self):
        return f"""
frontend reader
    mode http
    bind {self.address} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port]"
"""


class HaproxySender(Haproxy):
    """Writes a PROXY header ahead of each connection to target; of version 2 with a unique id and a checksum."""

    def __init__(self, name, target, version, more=""):
        self.target, self.version, self.more = target, version, more
        super().__init__(name)

    def sections(self):
        send = "send-proxy" if self.version == "v1" else "send-proxy-v2 proxy-v2-options crc32c,unique-id"
        return f"""
frontend sender
    mode tcp
    bind {self.address}
    unique-id-format from-haproxy
    default_backend target
backend target
    mode tcp
    server target {self.target} {send} {self.more}
"""


def listens_on_path(path):
    try:
        connect(f"unix:{path}").close()
        return True
    except OSError:
        return False
