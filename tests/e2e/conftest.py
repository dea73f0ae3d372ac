"""Fixtures of the end-to-end tests. Whatever a test starts is stopped and checked at its end."""
import os
import pathlib
import pwd
import sys

import pytest

os.environ["LC_ALL"] = "C.UTF-8"  # what is shown is compared as people see it, whoever runs the tests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from shunt import peers as peers_module  # noqa: E402
from shunt.certificates import Authority  # noqa: E402
from shunt.daemon import Daemon  # noqa: E402
from shunt.load import LoadClient, LoadServer  # noqa: E402
from shunt.programs import Client, Repeat  # noqa: E402


class Started:
    """Keeps what a test starts; ends clients first, then daemons (with their checks), then backends."""

    def __init__(self):
        self.clients, self.daemons, self.backends = [], [], []

    def stop(self):
        failures = []
        for one in (*reversed(self.clients), *reversed(self.daemons), *reversed(self.backends)):
            try:
                one.stop()
            except Exception as failure:  # the rest must be stopped all the same
                failures.append(failure)
        if failures:
            raise failures[0]


@pytest.fixture(name="started")
def fixture_started():
    started = Started()
    yield started
    started.stop()


@pytest.fixture(name="daemon")
def fixture_daemon(started, tmp_path):
    """daemon(services, **settings): a running shuntd, checked at the end of the test."""
    def make(*services, **settings):
        one = Daemon(tmp_path / f"shunt{len(started.daemons)}", list(services), **settings)
        started.daemons.append(one)
        return one.start()
    return make


@pytest.fixture(name="server")
def fixture_server(started):
    """server(script): a scripted backend; see shunt.peers."""
    def make(script, **settings):
        one = peers_module.Server(script, **settings)
        started.backends.append(one)
        return one
    return make


def backends_of(kind):
    """A fixture that makes backends of a kind, stopped at the end of the test."""
    def fixture(started):
        def make(*words, **settings):
            one = kind(*words, **settings)
            started.backends.append(one)
            return one
        return make
    return fixture


fixture_refuser = pytest.fixture(name="refuser")(backends_of(peers_module.Refuser))
fixture_swallower = pytest.fixture(name="swallower")(backends_of(peers_module.Swallower))
fixture_load_server = pytest.fixture(name="load_server")(backends_of(LoadServer))


@pytest.fixture(name="load_client")
def fixture_load_client(started):
    def make(*words, **settings):
        one = LoadClient(*words, **settings)
        started.clients.append(one)
        return one
    return make


@pytest.fixture(name="repeat")
def fixture_repeat(started):
    """repeat(command, check): a client that runs again and again."""
    def make(*words):
        one = Repeat(*words)
        started.clients.append(one)
        return one
    return make


@pytest.fixture(name="client")
def fixture_client(started):
    """client(command) or client(..., kind=CLASS): a client that runs beside the test."""
    def make(*words, kind=Client, **more):
        one = kind(*words, **more)
        started.clients.append(one)
        return one
    return make


@pytest.fixture(name="reachable")
def fixture_reachable(tmp_path):
    """The folders above are root's alone; another user must reach its sockets."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder == pathlib.Path("/tmp"):
            break
        folder.chmod(folder.stat().st_mode | 0o011)
    (tmp_path / "shunt0").mkdir()
    os.chown(tmp_path / "shunt0", pwd.getpwnam("nobody").pw_uid, -1)  # as a service manager prepares it


@pytest.fixture(name="pki", scope="module")
def fixture_pki(tmp_path_factory):
    """An authority whose certificates only tests trust."""
    return Authority(tmp_path_factory.mktemp("pki"))
