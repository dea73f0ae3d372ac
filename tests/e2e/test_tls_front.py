"""TLS that ends here: what clients of several kinds see, ends and aborts, and handshakes that come to nothing."""
import hashlib
import socket
import ssl
import subprocess
import time

import pytest
from shunt.clients import connect
from shunt.config import service
from shunt.payload import MIB, digest, pattern
from shunt.peers import echo, named
from shunt.programs import find, run
from shunt.tls import Abort, TlsPeer, client_context, connect_tls
from shunt.waiting import scaled, wait_until


@pytest.fixture(name="pair", scope="module")
def fixture_pair(pki):
    return pki.issue("web.example", "DNS:web.example,DNS:*.web.example")


def tls(*pairs, **settings):
    return {"certificates": [{"certificate": str(one[0]), "key": str(one[1])} for one in pairs], **settings}


def closed(shunt, reason):
    return shunt.service()["connections"]["closed"].get(reason, 0)


def metric(shunt, name):
    lines = [line for line in shunt.ctl("show", "metrics").ok().splitlines() if line.startswith(name + "{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.fixture(name="front")
def fixture_front(daemon, server, pair):
    """front(script, **tls settings): a daemon that ends TLS in front of one plain backend."""
    def make(script=named("a"), more=None, **settings):
        return daemon(service([server(script).address], tls=tls(pair, **settings), **(more or {})))
    return make


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_one_line_there_and_back(front, pki, version):
    shunt = front()
    with connect_tls(shunt.port(), client_context(pki, version=version), "web.example") as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        assert client.tls.version() == "TLSv" + version
        client.shut()
        assert client.ended()
    wait_until(lambda: closed(shunt, "client-closed") == 1, "an orderly end on both sides")
    assert metric(shunt, "shunt_service_tls_handshakes_total") == 1


def test_openssl_gnutls_and_curl(front, pki):
    def web(peer):
        while peer.receive_line().strip():
            pass
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes")
        peer.shut()

    shunt = front(web)
    port = shunt.port()
    code, text = run([find("curl"), "-sS", "--cacert", pki.certificate, "--resolve", f"web.example:{port}:127.0.0.1",
                      f"https://web.example:{port}/"])
    assert (code, text) == (0, "yes")
    request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    for command in ([find("openssl"), "s_client", "-quiet", "-connect", f"127.0.0.1:{port}", "-servername", "web.example",
                     "-CAfile", pki.certificate, "-verify_return_error", "-no_ign_eof", "-ign_eof"],
                    [find("gnutls-cli"), "--x509cafile", pki.certificate, "-p", port, "--sni-hostname", "web.example",
                     "--verify-hostname", "web.example", "127.0.0.1"]):
        code, text = run(command, input=request)
        assert text.rstrip().endswith("yes") or "\r\nyes" in text or "\n\nyes" in text, text
    wait_until(lambda: metric(shunt, "shunt_service_tls_handshakes_total") == 3, "three handshakes")
    assert metric(shunt, "shunt_service_tls_truncated_total") == 0


@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 65535, 65536, 65537, 3 * MIB])
def test_bytes_and_ends_both_ways(front, size):
    """Both sides send all they have and end; then they read: nothing is lost, nothing overtaken."""
    data, results = pattern(size), []

    def script(peer):
        results.append(peer.digest_all())
        peer.send(data)
        peer.shut()

    shunt = front(script)
    with connect_tls(shunt.port(), client_context()) as client:
        client.send(data)
        client.shut()
        assert client.digest_all() == digest(data)
    assert results == [digest(data)]
    wait_until(lambda: closed(shunt, "client-closed") == 1, "in order")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_data_flows_on_after_the_backend_has_ended(front, version):
    data, results = pattern(2 * MIB), []

    def script(peer):
        peer.shut()
        results.append(peer.digest_all())

    shunt = front(script)
    with connect_tls(shunt.port(), client_context(version=version)) as client:
        assert client.ended()
        client.send(data)
        client.shut()
        wait_until(lambda: results == [digest(data)], "the backend has all")
    wait_until(lambda: closed(shunt, "backend-closed") == 1, "in order")


@pytest.mark.parametrize("size", [1, 16384, 16385, 32768, 65535, 65536, 65537, 131072, 262144])
def test_ping_pong_at_multiples_of_the_read_size(front, size):
    """Bytes that libssl holds when no event comes are delivered all the same."""
    shunt = front(echo)
    data = pattern(size)
    with connect_tls(shunt.port(), client_context()) as client:
        for _ in range(5):
            client.send(data)
            assert client.receive(size) == data
        client.shut()
        assert client.ended()


def test_a_slow_reader_gets_all_and_the_end(front):
    data = pattern(8 * MIB)

    def script(peer):
        for begin in range(0, len(data), 70001):
            peer.send(data[begin:begin + 70001])

    shunt = front(script)
    with connect_tls(shunt.port(), client_context(), receive_buffer=16384) as client:
        got = bytearray()
        while part := client.recv(9973):
            got += part
            if len(got) % 7 == 0:
                time.sleep(0.001)
        assert digest(bytes(got)) == digest(data)
        client.shut()
    wait_until(lambda: closed(shunt, "backend-closed") == 1, "in order")


def test_a_blocked_writer_with_changing_sizes(front):
    """The client reads nothing while much is written, then all; both directions at once."""
    shunt = front(echo)
    chunks = [pattern(1 + (i * 7919) % 50000) for i in range(200)]
    with connect_tls(shunt.port(), client_context(), receive_buffer=8192) as client:
        client.sock.setblocking(False)
        sent, got, index, pending = hashlib.sha256(), hashlib.sha256(), 0, b""
        received, total, end = 0, sum(map(len, chunks)), time.monotonic() + scaled(60)
        while received < total:
            assert time.monotonic() < end, f"{received} of {total}"
            if not pending and index < len(chunks):
                sent.update(chunks[index])
                client.tls.write(chunks[index])
                index += 1
                pending = client.outgoing.read()
            try:
                if pending:
                    pending = pending[client.sock.send(pending):]
                    continue
            except BlockingIOError:
                pass
            try:
                client.incoming.write(client.sock.recv(30011))
            except BlockingIOError:
                continue
            try:
                while part := client.tls.read(65536):
                    got.update(part)
                    received += len(part)
            except ssl.SSLWantReadError:
                pass
        assert got.digest() == sent.digest()
        client.sock.setblocking(True)
        client.shut()
        assert client.ended()


def test_a_cut_is_passed_on_as_an_abort_behind_the_tail(front):
    seen = []

    def script(peer):
        data = bytearray()
        try:
            while part := peer.sock.recv(65536):
                data += part
            seen.append(("end", len(data)))
        except ConnectionResetError:
            seen.append(("reset", len(data)))

    shunt = front(script)
    client = connect_tls(shunt.port(), client_context())
    client.send(pattern(MIB))
    client.cut()
    wait_until(lambda: seen, "the backend saw it")
    assert seen == [("reset", MIB)]
    client.sock.close()
    wait_until(lambda: closed(shunt, "client-reset") == 1, "counted")
    assert metric(shunt, "shunt_service_tls_truncated_total") == 1


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_client_that_closes_at_once_is_heard(front, version):
    """Says all it has to say and is gone, as senders of logs do: nobody is left to take the session's tickets."""
    seen = []

    def script(peer):
        seen.append(peer.receive_all())

    shunt = front(script)
    for _ in range(50):
        client = TlsPeer(connect(shunt.port()).sock, client_context(version=version))
        done = False
        while not done:
            try:
                client.tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                client.flush()
                client.pull()
        client.tls.write(b"one line\n")
        client.close()  # its last words of the handshake, the line and close_notify in one
    wait_until(lambda: len(seen) == 50, "all are heard", within=10)
    assert set(seen) == {b"one line\n"}
    assert closed(shunt, "handshake-failed") == 0


def test_a_reset_of_the_backend_reaches_the_client_behind_the_tail(front):
    def script(peer):
        peer.send(pattern(MIB))
        peer.receive(1)
        peer.reset()

    shunt = front(script)
    with connect_tls(shunt.port(), client_context()) as client:
        assert client.receive(MIB) == pattern(MIB)
        client.send(b"x")
        assert client.was_reset(), "no close_notify, no FIN"
    wait_until(lambda: closed(shunt, "backend-reset") == 1, "counted")


def test_a_slow_hello_meets_the_deadline(front):
    shunt = front(handshake_timeout="1s")
    client = TlsPeer(connect(shunt.port()).sock, client_context())
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    hello = client.outgoing.read()
    with connect(shunt.port()) as silent:
        began = time.monotonic()
        with pytest.raises((ConnectionError, AssertionError)):
            for byte in hello:
                client.sock.sendall(bytes([byte]))
                client.sock.settimeout(0.1)
                try:
                    assert client.sock.recv(100)
                except TimeoutError:
                    pass
        assert 0.9 <= time.monotonic() - began <= 1 + scaled(1)
        assert silent.ended()
    client.sock.close()
    wait_until(lambda: closed(shunt, "handshake-failed") == 2, "counted")


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, b"\x16\x03\x01\xff\xff" + b"x" * 300,
                                  b"SSH-2.0-OpenSSH\r\n", b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10" + b"x" * 64])
def test_text_in_place_of_a_handshake(front, text):
    shunt = front()
    with connect(shunt.port()) as client:
        client.send(text)
        client.sock.settimeout(scaled(5))
        try:
            assert b"who" not in client.receive_all()
        except ConnectionResetError:
            pass
    wait_until(lambda: closed(shunt, "handshake-failed") == 1, "counted")
    assert shunt.backend("old")["connections"] == 0


def test_text_ahead_of_the_handshake_is_never_taken_in(front):
    """Bytes that somebody put in front of a ClientHello end the connection; nothing of them reaches a backend."""
    shunt = front()
    with connect(shunt.port()) as plain:
        plain.send(b"who\n")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            TlsPeer(plain.sock, client_context()).handshake()
    wait_until(lambda: closed(shunt, "handshake-failed") == 1, "counted")
    assert shunt.backend("old")["connections"] == 0


def test_handshakes_at_once_are_limited(front):
    shunt = front(max_handshakes=3)
    waiting = [connect(shunt.port()) for _ in range(3)]
    wait_until(lambda: shunt.service()["connections"]["open"] == 3, "three are in their handshake")
    try:
        with connect(shunt.port()) as one_too_many:
            assert one_too_many.was_reset()
    except ConnectionResetError:
        pass  # so early that connecting says it
    for one in waiting:
        one.close()
    wait_until(lambda: shunt.service()["connections"]["open"] == 0, "gone")
    with connect_tls(shunt.port(), client_context()) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
    assert closed(shunt, "limit") == 1 and closed(shunt, "handshake-failed") == 3


def test_renegotiation_is_refused(front):
    shunt = front(echo)
    with subprocess.Popen([find("openssl"), "s_client", "-connect", f"127.0.0.1:{shunt.port()}", "-tls1_2"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        client.stdin.write("R\n")
        client.stdin.flush()
        text, _ = client.communicate(timeout=scaled(20))
    assert "no renegotiation" in text or "Secure Renegotiation IS NOT" in text, text


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_aborted_at_every_byte(front, version):
    """Every prefix of a client's side of the handshake, ended by FIN or RST."""
    shunt = front()
    whole = record_client_side(shunt.port(), version)
    n = 0
    for length in range(0, len(whole), 1 if len(whole) < 600 else 2):
        for reset in (False, True):
            client = connect(shunt.port())
            if length:
                client.send(whole[:length])
            if reset:
                client.reset()
            else:
                client.close()
            n += 1
    wait_until(lambda: closed(shunt, "handshake-failed") + closed(shunt, "client-reset") >= n, "all are counted", within=20)
    wait_until(shunt.settled, "all are gone")
    with connect_tls(shunt.port(), client_context()) as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"


def record_client_side(port, version):
    """What a client sends in a handshake; its second flight fits no other connection, and is cut and sent all the same."""
    client = TlsPeer(connect(port).sock, client_context(version=version))
    sent, flush = bytearray(), client.flush

    def record():
        data = client.outgoing.read()
        sent.extend(data)
        client.sock.sendall(data)

    client.flush = record
    client.handshake()
    client.flush = flush
    client.close()
    return bytes(sent)


def test_behind_a_proxy_header(daemon, server, pair):
    shunt = daemon(service([server(named("a")).address], tls=tls(pair), proxy_protocol={"from": ["127.0.0.1"]}))
    plain = connect(shunt.port())
    plain.send(b"PROXY TCP4 10.1.2.3 10.9.9.9 1111 2222\r\n")
    with TlsPeer(plain.sock, client_context()).handshake() as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
        assert "10.1.2.3:1111" in shunt.ctl("connections").ok()


def test_a_file_that_is_wrong_is_said_at_the_start(tmp_path, pki, pair):
    from shunt.config import write
    from shunt.daemon import program
    other = pki.issue("other.example")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for certificate, key, words in ((pair[0], other[1], "is not that of the certificate"),
                                    (empty, pair[1], str(empty)), (tmp_path / "none", pair[1], "o such file"),
                                    (pair[0], empty, str(empty))):
        path = tmp_path / "shunt.conf"
        path.write_text(write({"state_dir": str(tmp_path), "admin": {"socket": str(tmp_path / "admin.sock")},
                               "services": [service(["127.0.0.1:1"], tls=tls((certificate, key)))]}))
        for words_of_program in (["-t", "-c", path], ["-c", path]):
            done = subprocess.run([program("shuntd"), *map(str, words_of_program)], capture_output=True, text=True,
                                  timeout=scaled(20), check=False)
            assert done.returncode == 78 and words in done.stderr and "web" in done.stderr, done


def test_many_clients_at_once(front):
    shunt = front(echo)
    clients = [connect_tls(shunt.port(), client_context()) for _ in range(50)]
    for i, client in enumerate(clients):
        client.send(pattern(1000 + i))
    for i, client in enumerate(clients):
        assert client.receive(1000 + i) == pattern(1000 + i)
    for client in clients:
        client.close()


def test_closing_by_an_operator(front):
    """What was delivered is whole, and the end is an orderly one."""
    shunt = front(echo)
    client = connect_tls(shunt.port(), client_context())
    client.send(b"x")
    assert client.receive(1) == b"x"
    shunt.ctl("kill", "web/old").ok()
    try:
        assert client.recv(1) == b""
    except Abort:
        pytest.fail("without close_notify")
    client.close()
    wait_until(lambda: closed(shunt, "killed") == 1, "counted")


def test_over_a_unix_path(daemon, server, pair, tmp_path):
    shunt = daemon(service([server(named("a")).address], tls=tls(pair), listen=[f"unix:{tmp_path}/in.sock"]))
    plain = socket.socket(socket.AF_UNIX)
    plain.connect(f"{tmp_path}/in.sock")
    with TlsPeer(plain, client_context()).handshake() as client:
        client.send(b"who\n")
        assert client.receive_line() == b"a who\n"
    assert shunt.service()["connections"]["accepted"] == 1
