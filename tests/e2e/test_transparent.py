"""source = "client": the backend sees the client's own address, over routes as an operator would set them up."""
import os
import socket

import pytest
from shunt.clients import connect
from shunt.config import service
from shunt.folders import open_folder
from shunt.namespaces import Namespace
from shunt.peers import Server
from shunt.waiting import wait_until

fixture_tmp_path = pytest.fixture(name="tmp_path")(open_folder)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

FAMILIES = {
    "ipv4": {"family": socket.AF_INET, "client": "10.77.0.2/24", "front": "10.77.0.1/24", "back": "10.78.0.1/24",
             "backend": "10.78.0.2/24", "any": "0.0.0.0/0", "listen": "10.77.0.1:0", "option": "-4"},
    "ipv6": {"family": socket.AF_INET6, "client": "fd00:77::2/64", "front": "fd00:77::1/64", "back": "fd00:78::1/64",
             "backend": "fd00:78::2/64", "any": "::/0", "listen": "[fd00:77::1]:0", "option": "-6"},
}


@pytest.fixture(name="network", params=sorted(FAMILIES))
def fixture_network(request, started):
    """Client, balancer and backend in networks of their own; what the backend answers goes back through the balancer."""
    plan = FAMILIES[request.param]
    places = {}
    for name in ("client", "middle", "server"):
        places[name] = Namespace(name)
        started.backends.insert(0, places[name])  # the last to go
    middle = places["middle"]
    middle.join(places["client"], plan["front"], plan["client"])
    back = middle.join(places["server"], plan["back"], plan["backend"])
    places["server"].ip("route", "add", "default", "via", plan["back"].split("/")[0])
    # Whatever comes from the backends' side is for a local socket, whoever it is addressed to.
    middle.ip(plan["option"], "rule", "add", "iif", back, "lookup", "100")
    middle.ip(plan["option"], "route", "add", "local", plan["any"], "dev", "lo", "table", "100")
    return plan, places


class Beside(Server):
    """A server at an address of another network."""

    def __init__(self, place, host, family, script):
        with place.inside():
            self.bound = socket.socket(family)
            self.bound.bind((host, 0))
        super().__init__(script, family=family)

    def run(self):
        self.listener.close()
        self.listener = self.bound
        self.listener.listen(16)
        super().run()


def make(daemon, started, network, source, **settings):
    """The daemon in the middle, and the addresses that the backend has seen."""
    plan, places = network
    seen = []

    def script(peer):
        seen.append(peer.sock.getpeername()[0])
        while line := peer.receive_line():
            peer.send(b"a " + line)

    backend = Beside(places["server"], plan["backend"].split("/")[0], plan["family"], script)
    started.backends.append(backend)
    wait_until(lambda: backend.listener is backend.bound, "the backend listens")
    shunt = daemon(service([backend.address], listen=[plan["listen"]], group_settings={"source": source}),
                   namespace=places["middle"], **settings)
    return shunt, seen


def ask_from(place, address):
    with place.inside():
        client = connect(address)
    with client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"


def test_the_backend_sees_the_client(daemon, started, network):
    plan, places = network
    shunt, seen = make(daemon, started, network, "client")
    for _ in range(20):
        ask_from(places["client"], shunt.address())
    assert seen == [plan["client"].split("/")[0]] * 20


def test_an_address_of_ours(daemon, started, network):
    plan, places = network
    shunt, seen = make(daemon, started, network, plan["back"].split("/")[0])
    ask_from(places["client"], shunt.address())
    assert seen == [plan["back"].split("/")[0]]


@pytest.mark.usefixtures("reachable")
def test_without_root_the_capability_is_kept(daemon, started, network):
    """An own user, and CAP_NET_RAW as the only thing that is left."""
    plan, places = network
    shunt, seen = make(daemon, started, network, "client", user="nobody")
    ask_from(places["client"], shunt.address())
    assert seen == [plan["client"].split("/")[0]]
    for line in open(f"/proc/{shunt.pid}/status", encoding="ascii"):
        if line.startswith(("CapEff:", "CapPrm:")):
            assert int(line.split()[1], 16) == 1 << 13
