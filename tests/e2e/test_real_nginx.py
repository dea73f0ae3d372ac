"""nginx is moved to another nginx while curl and wrk use it: no request fails."""
import pytest
from shunt.config import service, shift
from shunt.programs import Nginx, find, run
from shunt.waiting import wait_until


@pytest.fixture(name="web")
def fixture_web(daemon, program):
    old, new = program(Nginx, "old"), program(Nginx, "new")
    return daemon(service([old.address], [new.address], migration=shift()), log={"level": "info"})


def check_wrk(text):
    assert "Requests/sec" in text and "Socket errors" not in text and "Non-2xx" not in text, text


def test_curl_reconnects_for_each_request(web, repeat):
    url = f"http://127.0.0.1:{web.port()}/"
    client = repeat([find("curl"), "-sS", "--fail", "--max-time", "10", url], lambda text: None)
    wait_until(lambda: client.runs() >= 5, "requests before the shift")
    web.ctl("start", "web").ok()
    assert web.ctl("wait", "web", "30s", within=40).code == 0
    done = client.runs()
    wait_until(lambda: client.runs() >= done + 5, "requests after the shift")
    names = [text.strip() for text in client.finish()]
    assert set(names) == {"old", "new"}
    assert names[0] == "old" and set(names[-4:]) == {"new"}
    print(f"\ncurl: {len(names)} requests, {names.count('new')} by new, 0 failed")


def test_wrk_reconnects_for_each_request(web):
    url = f"http://127.0.0.1:{web.port()}/"
    web.ctl("start", "web").ok()
    code, text = run([find("wrk"), "-t1", "-c8", "-d3s", "-H", "Connection: close", url])
    assert code == 0
    check_wrk(text)
    assert web.ctl("wait", "web", "30s", within=40).code == 0
    assert web.backend("new")["connections"] > 0 and web.backend("old")["connections"] > 0
    print("\n" + text)


def test_wrk_keeps_its_connections(web, repeat):
    url = f"http://127.0.0.1:{web.port()}/"
    client = repeat([find("wrk"), "-t1", "-c16", "-d3s", url], check_wrk)
    wait_until(lambda: web.service()["connections"]["open"] == 16, "wrk is connected")
    web.ctl("start", "web").ok()
    web.wait_phase("draining", within=15)
    # Those that are open finish on old, those of the next run are served by new.
    web.wait_phase("completed", within=30)
    done = client.runs()
    wait_until(lambda: client.runs() > done, "a run after the shift", within=30)
    client.finish()
    assert not web.service()["connections"]["closed"].get("drained")
    assert web.backend("new")["connections"] >= 16
