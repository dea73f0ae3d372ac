"""Who is measured: the floor (client and server alone), the peers from Debian, and shuntd."""
import json
import pathlib
import shutil
import socket
import string
import subprocess

from .process import Failure, Process, connects, free_port, version_of, wait_until

PEERS = pathlib.Path(__file__).parent.parent / "peers"


def fill(template, path, **words):
    path.write_text(string.Template((PEERS / template).read_text()).substitute(words))
    return path


def certificate(folder):
    """(certificate, key, both in one file): ECDSA on P-256, what most would choose today."""
    paths = folder / "cert.pem", folder / "key.pem", folder / "both.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", paths[1], "-out", paths[0], "-days", "2", "-subj", "/CN=bench"], check=True,
                   capture_output=True)
    paths[2].write_text(paths[0].read_text() + paths[1].read_text())
    return paths


class Contender:
    """name: in tables. bulk: settings for large transfers. defaults: as a user gets it, where that differs. tls: clients
    speak TLS to it, with the certificate that certificate() makes."""

    name = ""
    bulk_only = tls_only = False
    can_tls = True

    def __init__(self, bulk=False, defaults=False, health=False, tls=False):
        self.bulk, self.defaults, self.health, self.tls = bulk, defaults, health, tls
        self.process = None

    def start(self, backend, folder):
        """Starts it in front of the port backend; returns the port that clients use."""
        raise NotImplementedError

    def launch(self, command, folder, port):
        self.process = Process(command, folder)
        wait_until(lambda: connects(port), f"{self.name} listens", self.process)
        return port

    def stop(self):
        if self.process:
            self.process.stop()


class Floor(Contender):
    name = "floor"
    can_tls = False

    def start(self, backend, folder):
        return backend


class Haproxy(Contender):
    name = "haproxy"
    pipe_size = ""

    def start(self, backend, folder):
        port = free_port()
        config = fill("haproxy.cfg.in", folder / "haproxy.cfg", port=port, backend=backend, pipe_size=self.pipe_size,
                      splice="option splice-request\n    option splice-response" if self.bulk else "",
                      ssl=f"ssl crt {certificate(folder)[2]}" if self.tls else "")
        return self.launch(["haproxy", "-f", config, "-db"], folder, port)

    @staticmethod
    def version():
        return version_of("haproxy", "-v")


class HaproxyPipes(Haproxy):
    """HAProxy with pipes of 256 KiB instead of its default of 64 KiB: it matters for bulk only."""

    name = "haproxy-256k"
    pipe_size = "tune.pipesize 262144"
    bulk_only = True


class Nginx(Contender):
    name = "nginx"

    def start(self, backend, folder):
        port = free_port()
        config = fill("nginx.conf.in", folder / "nginx.conf", port=port, backend=backend, folder=folder,
                      buffer="64k" if self.bulk else "16k", ssl="ssl" if self.tls else "",
                      certificate="ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3; "
                                  "ssl_session_cache shared:s:10m;".format(*certificate(folder)) if self.tls else "")
        return self.launch(["nginx", "-p", folder, "-e", "stderr", "-c", config], folder, port)

    @staticmethod
    def version():
        return version_of("nginx", "-v")


class Hitch(Contender):
    """Nothing but TLS, with one worker; ours may be compared with it there."""

    name = "hitch"
    tls_only = True

    def start(self, backend, folder):
        port = free_port()
        folder.chmod(0o755)  # it gives up being root
        return self.launch(["hitch", f"--backend=[127.0.0.1]:{backend}", f"--frontend=[127.0.0.1]:{port}",
                            "--workers=1", "--quiet", "--user=_hitch", "--group=_hitch",
                            certificate(folder)[2]], folder, port)

    @staticmethod
    def version():
        return version_of("hitch", "--version")


class Pen(Contender):
    name = "pen"
    can_tls = False

    def start(self, backend, folder):
        port = free_port()
        return self.launch(["pen", "-f", "-r", "-O", "epoll", "-x", "9000", "-c", "9000", f"127.0.0.1:{port}",
                            f"127.0.0.1:{backend}"], folder, port)

    @staticmethod
    def version():
        return version_of("dpkg-query", "-W", "-f", "${Package} ${Version}\n", "pen") if shutil.which("pen") else None


class Shunt(Contender):
    name = "shunt"
    build = None  # the folder that holds daemon/shuntd

    def start(self, backend, folder):
        health = 'health = { type = "tcp"; interval = "2s"; timeout = "1s"; };' if self.health else ""
        config = fill("shunt.conf.in", folder / "shunt.conf", folder=folder, backend=backend, health=health,
                      workers="" if self.defaults else "workers = 1;",
                      tls='tls = {{ certificates = ( {{ certificate = "{}"; key = "{}"; }} ); }};'.format(
                          *certificate(folder)) if self.tls else "")
        self.process = Process([self.program(), "-c", config], folder)
        path = str(folder / "admin.sock")
        wait_until(lambda: self.answers(path), "shuntd's admin socket", self.process)
        return self.port(path)

    @staticmethod
    def answers(path):
        with socket.socket(socket.AF_UNIX) as admin:
            return admin.connect_ex(path) == 0

    @classmethod
    def program(cls):
        return pathlib.Path(cls.build) / "daemon" / "shuntd"

    @staticmethod
    def port(path):
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5)
            admin.connect(path)
            admin.sendall(b"status --json\n")
            reply = admin.makefile().readline()
        try:
            return int(json.loads(reply)["services"][0]["listen"][0].rsplit(":", 1)[1])
        except (ValueError, KeyError, IndexError) as error:
            raise Failure(f"shuntd's status cannot be read: {reply!r}") from error

    @classmethod
    def version(cls):
        return version_of(str(cls.program()), "--version") if cls.program().exists() else None


ALL = (Floor, Haproxy, HaproxyPipes, Nginx, Hitch, Pen, Shunt)
