"""Real servers that speak TLS, and programs that put TLS before one that does not, or take it off behind a client."""
import os
import pwd
import shutil

from .programs import USER, Program, find
from .servers import Postgresql, Redis, listens_on_path


def place(server, pair):
    """The certificate and the key in the server's own folder, where its user may read them, and nobody else the key."""
    placed = []
    for source, name in zip(pair, ("certificate.pem", "key.pem")):
        target = server.folder / name
        shutil.copyfile(source, target)
        target.chmod(0o600)
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(target, user.pw_uid, user.pw_gid)
        placed.append(target)
    return placed


class TlsRedis(Redis):
    """Speaks TLS and nothing else on its port."""

    def __init__(self, name, pair):
        self.pair = pair
        super().__init__(name)

    def command(self):
        certificate, key = place(self, self.pair)
        words = super().command()
        words[words.index("--port")] = "--tls-port"
        return [*words, "--port", 0, "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"]


class TlsPostgresql(Postgresql):
    """Lets nobody in over TCP who has not asked for TLS."""

    def __init__(self, name, pair):
        self.pair = pair
        super().__init__(name)

    def prepare(self):
        super().prepare()
        (self.data / "pg_hba.conf").write_text("local all all trust\nhostssl all all 127.0.0.1/32 trust\n")

    def command(self):
        certificate, key = place(self, self.pair)
        settings = {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}
        return [*super().command(), *[word for name, value in settings.items() for word in ("-c", f"{name}={value}")]]


class NginxStream(Program):
    """nginx beside a program that speaks no TLS of its own."""

    def settings(self):
        raise NotImplementedError

    def command(self):
        (self.folder / "nginx.conf").write_text(f"""
load_module {find("/usr/lib/nginx/modules/ngx_stream_module.so")};
daemon off; worker_processes 1; pid {self.folder}/nginx.pid; error_log stderr warn;
events {{ worker_connections 1024; }}
stream {{
    server {{ listen unix:{self.folder}/control; return "ready"; }}
    server {{ {self.settings()} }}
}}
""")
        (self.folder / "control").unlink(missing_ok=True)
        return [find("nginx", "/usr/sbin/nginx"), "-p", self.folder, "-e", "stderr", "-c", self.folder / "nginx.conf"]

    def ready(self):
        return listens_on_path(self.folder / "control")


class TlsBefore(NginxStream):
    """Takes TLS and hands what is in it to target: stands on the machine of a server."""

    def __init__(self, name, target, pair):
        self.target, self.pair = target, pair
        super().__init__(name)

    def settings(self):
        certificate, key = place(self, self.pair)
        return (f"listen {self.address} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; "
                f"ssl_protocols TLSv1.2 TLSv1.3; proxy_pass {self.target};")


class TlsBehind(NginxStream):
    """Takes plain connections and leads them to target by TLS, whose certificate must be for name: stands on the machine
    of a client."""

    def __init__(self, target, authority, name):
        self.target, self.authority, self.server_name = target, authority, name
        super().__init__("client")

    def settings(self):
        trusted = self.folder / "ca.pem"
        shutil.copyfile(self.authority.certificate, trusted)
        trusted.chmod(0o644)
        return (f"listen {self.address}; proxy_pass {self.target}; proxy_ssl on; proxy_ssl_verify on; "
                f"proxy_ssl_trusted_certificate {trusted}; proxy_ssl_server_name on; proxy_ssl_name {self.server_name};")
