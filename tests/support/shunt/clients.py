"""Clients of the service under test."""
import socket

from .peers import Peer
from .waiting import scaled


def connect(address, receive_buffer=None):
    """A Peer connected to a port number, "host:port", "[v6]:port" or "unix:path"."""
    if isinstance(address, int):
        address = f"127.0.0.1:{address}"
    if address.startswith("unix:"):
        sock, target = socket.socket(socket.AF_UNIX), address[5:]
    else:
        host, port = address.rsplit(":", 1)
        host = host.strip("[]")
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        target = (host, int(port))
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(scaled(30))
    sock.connect(target)
    return Peer(sock)


def ask(address, line=b"who\n"):
    """One line there, one line back, on a connection of its own."""
    with connect(address) as client:
        client.send(line)
        return client.receive_line()


def who(address):
    """The name of the backend that serves a new connection."""
    return ask(address).split(b" ")[0].decode()
