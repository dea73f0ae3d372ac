"""GET /metrics: what it says, what it refuses, and that scraping under load costs the traffic nothing."""
import os
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

import pytest
from shunt.clients import connect
from shunt.config import service
from shunt.waiting import SLOW, scaled, wait_until

CONNECTIONS = int(os.environ.get("SHUNT_SCALE_CONNECTIONS", "8000"))
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


@pytest.fixture(name="shunt")
def fixture_shunt(daemon, load_server):
    return daemon(service([load_server(tag="o").address]), metrics={"listen": "127.0.0.1:0"}, log={"level": "info"})


def url(shunt, path="/metrics"):
    return f"http://{shunt.status()['metrics']}{path}"


def scrape(shunt):
    """The samples by their whole left side."""
    with urllib.request.urlopen(url(shunt), timeout=scaled(10)) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = reply.read().decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}, text


def raw(shunt, data, end=False):
    host, port = shunt.status()["metrics"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=scaled(10)) as sock:
        sock.sendall(data)
        if end:
            sock.shutdown(socket.SHUT_WR)
        reply = b""
        while part := sock.recv(65536):
            reply += part
    return reply


def test_figures(shunt):
    with connect(shunt.port()) as client:
        client.send(bytes(128))
        client.receive(128)
        where = f'service="web",group="old",backend="{shunt.backend("old")["name"]}"'
        wait_until(lambda: scrape(shunt)[0][f'shunt_bytes_total{{{where},direction="out"}}'] == 128, "bytes are counted")
        samples, text = scrape(shunt)
        assert samples[f"shunt_connections_open{{{where}}}"] == 1
        assert samples[f"shunt_connections_total{{{where}}}"] == 1
        assert samples['shunt_service_connections_open{service="web"}'] == 1
        assert samples[f"shunt_response_seconds_count{{{where}}}"] == 1
    assert "127.0.0.1:%d\"" % shunt.port() not in text  # no client, and no listener either
    assert shunt.ctl("show", "metrics").ok().startswith("# HELP")
    if PROMTOOL:
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_requests(shunt):
    with urllib.request.urlopen(url(shunt, "/"), timeout=scaled(10)) as reply:
        assert b"/metrics" in reply.read()
    head = raw(shunt, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and head.endswith(b"\r\n\r\n")
    assert raw(shunt, b"GET /metrics?x=1 HTTP/1.0\n\n", end=True).startswith(b"HTTP/1.1 200 ")
    for request, status in ((b"GET /other HTTP/1.1\r\n\r\n", b"404"), (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
                            (b"GET /metrics\r\n\r\n", b"400"), (b"GET metrics HTTP/1.1\r\n\r\n", b"400"),
                            (b"GET /metrics HTTP/2.0\r\n\r\n", b"400"), (b"\r\n\r\n", b"400"),
                            (b"\0\0\0 \xff HTTP/1.1\r\n\r\n", b"400"),
                            (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 9000, b"431")):
        assert raw(shunt, request).startswith(b"HTTP/1.1 " + status), request[:40]
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(url(shunt, "/nothing"), timeout=scaled(10))


def test_too_many(shunt):
    host, port = shunt.status()["metrics"].rsplit(":", 1)
    silent = [socket.create_connection((host, int(port)), timeout=scaled(20)) for _ in range(16)]
    try:
        wait_until(lambda: raw(shunt, b"").startswith(b"HTTP/1.1 503 "), "the places are taken")
        for one in silent:
            assert one.recv(1) == b""  # the time for a request is over
        assert scrape(shunt)[0]
    finally:
        for one in silent:
            one.close()


def test_scraping_while_connections_churn(shunt, load_client):
    quiet = load_client("rt", shunt.port(), "--connections", 8, "--seconds", 2).go().report()
    idle = load_client("idle", shunt.port(), "--connections", CONNECTIONS // 2, deadline=120)
    assert idle.report()["errors"] == 0
    busy = load_client("rt", shunt.port(), "--connections", 8, "--seconds", 2).go()
    churn = load_client("connect", shunt.port(), "--connections", 4, "--seconds", 2).go()
    scrapes = 0
    while busy.popen.poll() is None:
        samples, _ = scrape(shunt)
        assert samples['shunt_service_accepted_total{service="web"}'] >= CONNECTIONS // 2
        scrapes += 1
    report = busy.report()
    assert report["errors"] == 0 and churn.report()["errors"] == 0
    print(f"\n{scrapes} scrapes in 2 s; p99 of traffic {quiet['p99_us']:.0f} us quiet, {report['p99_us']:.0f} us meanwhile")
    assert scrapes > 3 and report["p99_us"] < quiet["p99_us"] * 4 + 5000 * SLOW
