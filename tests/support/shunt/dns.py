"""A name server on loopback whose answers are the test's: sets that change, failures, silence, too much."""
import ipaddress
import socket
import struct
import threading

A, AAAA = 1, 28
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
UDP_ROOM = 512  # RFC 1035: beyond that, over TCP
SILENT = object()


def read_name(query, at):
    words = []
    while query[at]:
        words.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    return ".".join(words).lower(), at + 1


class NameServer:
    """names: {name: list of addresses, a code such as SERVFAIL, or SILENT}; what is not in it does not exist."""

    def __init__(self):
        self.names, self.ttl = {}, 0
        self.asked = []  # (name, type, "udp" or "tcp")
        self.stopping = False
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.socket()
        while True:  # the same port for both
            self.udp.bind(("127.0.0.1", 0))
            try:
                self.tcp.bind(self.udp.getsockname())
                break
            except OSError:
                self.udp.close()
                self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp.listen(16)
        self.address = "127.0.0.1:%d" % self.udp.getsockname()[1]
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.serve_udp, self.serve_tcp)]
        for thread in self.threads:
            thread.start()

    def count(self, name):
        """How often its IPv4 addresses were asked for."""
        return sum(1 for one in self.asked if one[:2] == (name, A))

    def answer(self, query, way):
        """The bytes of the answer; None: none."""
        name, end = read_name(query, 12)
        kind, = struct.unpack_from("!H", query, end)
        self.asked.append((name, kind, way))
        known = self.names.get(name, NXDOMAIN)
        if isinstance(known, dict):  # by type
            known = known.get(kind, [])
        if known is SILENT:
            return None
        code = known if isinstance(known, int) else NOERROR
        wanted = {A: 4, AAAA: 6}.get(kind)
        records = b""
        addresses = [] if code else [one for one in map(ipaddress.ip_address, known) if one.version == wanted]
        for one in addresses:
            records += struct.pack("!HHHIH", 0xc00c, kind, 1, self.ttl, len(one.packed)) + one.packed
        question = query[12:end + 4]
        whole = struct.pack("!2sHHHHH", query[:2], 0x8180 | code, 1, len(addresses), 0, 0) + question + records
        if way == "udp" and len(whole) > UDP_ROOM:
            return struct.pack("!2sHHHHH", query[:2], 0x8380, 1, 0, 0, 0) + question  # truncated
        return whole

    def serve_udp(self):
        while not self.stopping:
            try:
                query, who = self.udp.recvfrom(4096)
                answer = self.answer(query, "udp")
                if answer:
                    self.udp.sendto(answer, who)
            except OSError:
                pass  # a client that is gone, or the end

    def serve_tcp(self):
        while not self.stopping:
            try:
                client, _ = self.tcp.accept()
                with client:
                    client.settimeout(5)
                    self.serve_client(client)
            except OSError:
                pass

    def serve_client(self, client):
        stream = client.makefile("rwb")
        while head := stream.read(2):
            answer = self.answer(stream.read(struct.unpack("!H", head)[0]), "tcp")
            if answer:
                stream.write(struct.pack("!H", len(answer)) + answer)
                stream.flush()

    def stop(self):
        self.stopping = True
        for one in (self.udp, self.tcp):
            one.shutdown(socket.SHUT_RDWR) if one is self.tcp else None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:  # wakes the thread
            host, port = self.address.split(":")
            last.sendto(b"\0" * 20, (host, int(port)))
        for thread in self.threads:
            thread.join(5)
        self.udp.close()
        self.tcp.close()
