"""PROXY headers as another program would write and read them: an implementation of its own, from the specification."""
import ipaddress

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY, LOCAL = 0x21, 0x20
TLV_ALPN, TLV_AUTHORITY, TLV_CRC32C, TLV_UNIQUE_ID, TLV_SSL = 1, 2, 3, 5, 0x20


def v1(source="10.1.2.3", destination="10.9.9.9", ports=(1111, 2222)):
    kind = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {kind} {source} {destination} {ports[0]} {ports[1]}\r\n".encode()


def tlv(kind, value):
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def v2(source="10.1.2.3", destination="10.9.9.9", ports=(1111, 2222), command=PROXY, family=None, tlvs=b"", body=None):
    ends = [ipaddress.ip_address(one) for one in (source, destination)]
    if family is None:
        family = 0x11 if ends[0].version == 4 else 0x21
    if body is None:
        body = b"".join(one.packed for one in ends) + b"".join(port.to_bytes(2, "big") for port in ports) + tlvs
    return V2_SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


class Header:
    """One header read from a peer: version, local, source and destination as "host:port" or None, tlvs."""

    def __init__(self, peer):
        first = peer.receive(1)
        self.tlvs, self.local, self.source, self.destination = {}, False, None, None
        if first == b"P":
            self.read_line(first + peer.receive_line())
        else:
            self.read_binary(peer, first + peer.receive(15))

    def read_line(self, line):
        self.version = 1
        words = line.removesuffix(b"\r\n").decode().split(" ")
        assert words[0] == "PROXY" and line.endswith(b"\r\n"), line
        if words[1] != "UNKNOWN":
            assert words[1] == ("TCP6" if ":" in words[2] else "TCP4"), line
            self.source, self.destination = f"{words[2]}:{words[4]}", f"{words[3]}:{words[5]}"

    def read_binary(self, peer, fixed):
        self.version = 2
        assert fixed[:12] == V2_SIGNATURE and fixed[12] in (PROXY, LOCAL), fixed
        body = peer.receive(int.from_bytes(fixed[14:], "big"))
        self.local = fixed[12] == LOCAL
        size = {0: 0, 0x11: 4, 0x21: 16}[fixed[13]]
        at = 0
        if size:
            ends = [ipaddress.ip_address(body[i * size:(i + 1) * size]) for i in range(2)]
            ports = [int.from_bytes(body[2 * size + i * 2:2 * size + i * 2 + 2], "big") for i in range(2)]
            self.source, self.destination = (f"{end}:{port}" for end, port in zip(ends, ports))
            at = 2 * size + 4
        while at < len(body):
            length = int.from_bytes(body[at + 1:at + 3], "big")
            self.tlvs[body[at]] = body[at + 3:at + 3 + length]
            if body[at] == TLV_CRC32C:
                whole = fixed + body[:at + 3] + bytes(4) + body[at + 3 + length:]
                assert int.from_bytes(self.tlvs[TLV_CRC32C], "big") == crc32c(whole), "a wrong checksum"
            at += 3 + length
        assert at == len(body), "a TLV past the end"
