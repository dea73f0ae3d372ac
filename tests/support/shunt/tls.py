"""Peers that speak TLS, with ends and aborts under the test's control: ours alone decides when close_notify is sent."""
import ssl

from .clients import connect
from .peers import Peer


def client_context(authority=None, alpn=(), certificate=None, version=None, ciphers=None):
    """Verifies by the authority, or, without one, nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = authority is not None
    context.verify_mode = ssl.CERT_REQUIRED if authority else ssl.CERT_NONE
    if authority:
        context.load_verify_locations(authority.certificate)
    return refine(context, alpn, certificate, version, ciphers)


def server_context(pair, alpn=(), authority=None, version=None, ciphers=None):
    """Shows the pair (certificate, key); with an authority it wants a certificate of the client's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if authority:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.certificate)
    return refine(context, alpn, pair, version, ciphers)


def refine(context, alpn, pair, version, ciphers):
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if pair:
        context.load_cert_chain(*pair)
    if ciphers:
        context.set_ciphers(ciphers)
    if version:
        context.minimum_version = context.maximum_version = {
            "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    return context


class Abort(Exception):
    """The stream ended without close_notify: a FIN alone."""


class TlsPeer(Peer):
    """The verbs of Peer over TLS. The socket is asked and told by this class, libssl only sees memory."""

    def __init__(self, sock, context, server_side=False, name=None, stopping=None, session=None):
        super().__init__(sock, stopping)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side, name, session)
        self.finished = False

    def flush(self):
        if data := self.outgoing.read():
            self.sock.sendall(data)

    def pull(self):
        part = self.sock.recv(1 << 16)
        if part:
            self.incoming.write(part)
        else:
            self.incoming.write_eof()
        return part

    def handshake(self):
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                return self
            except ssl.SSLWantReadError:
                self.flush()
                self.pull()
            except ssl.SSLError:
                self.flush()
                raise

    def recv(self, size):
        """Some bytes; b"" behind close_notify; Abort behind a FIN alone."""
        while True:
            try:
                data = self.tls.read(size)
                self.flush()
                return data
            except ssl.SSLWantReadError:
                self.flush()
                self.pull()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError as failure:
                raise Abort from failure

    def receive(self, n):
        data = bytearray()
        while len(data) < n:
            part = self.recv(min(n - len(data), 1 << 16))
            assert part, f"the stream ended after {len(data)} of {n} bytes"
            data += part
        return bytes(data)

    def receive_line(self):
        line = b""
        while not line.endswith(b"\n"):
            part = self.recv(1)
            if not part:
                return line
            line += part
        return line

    def receive_all(self):
        parts = []
        while part := self.recv(1 << 16):
            parts.append(part)
        return b"".join(parts)

    def digest_all(self):
        import hashlib
        digest, length = hashlib.sha256(), 0
        while part := self.recv(1 << 18):
            digest.update(part)
            length += len(part)
        return length, digest.hexdigest()

    def send(self, data):
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view[:1 << 16]):]
            self.flush()

    def drip(self, data, pause_s):
        raise NotImplementedError

    def say_end(self):
        """close_notify alone, without a FIN."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            pass  # what comes in behind it is looked at by reading
        self.flush()

    def shut(self):
        """Our direction ends in order, the other goes on."""
        self.say_end()
        super().shut()

    def cut(self):
        """A FIN without close_notify, as somebody in between could send it."""
        super().shut()

    def ended(self):
        return self.recv(1) == b""

    def was_reset(self):
        try:
            while self.recv(1 << 16):
                pass
        except ConnectionResetError:
            return True
        except Abort:
            pass
        return False

    def close(self):
        """In order, as far as the other end still listens."""
        try:
            self.say_end()
        except OSError:
            pass
        super().close()


def connect_tls(address, context, name=None, receive_buffer=None, session=None):
    """A TlsPeer connected to a port number or an address, its handshake done."""
    plain = connect(address, receive_buffer)
    try:
        return TlsPeer(plain.sock, context, name=name, session=session).handshake()
    except BaseException:
        plain.close()
        raise


def over_tls(script, context):
    """The script of a backend that speaks TLS."""
    def run(peer):
        with TlsPeer(peer.sock, context, server_side=True, stopping=peer.stopping).handshake() as tls:
            script(tls)
    return run
