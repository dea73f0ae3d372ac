"""aim = "live": the share of a step is reached by the connections that are open, not only by new ones."""
import subprocess

from shunt.clients import connect
from shunt.config import service, steps, write
from shunt.daemon import program
from shunt.peers import named
from shunt.waiting import scaled, wait_until


def test_the_open_connections_reach_the_step(daemon, server):
    shunt = daemon(service([server(named("old")).address], [server(named("new")).address],
                           migration={**steps(("10%", "1h"), ("100%", "1h")), "aim": "live", "aim_limit": "80%"}))
    kept = [connect(shunt.port()) for _ in range(150)]
    for one in kept:
        one.send(b"a\n")
        assert one.receive_line() == b"old a\n"
    assert "up to 80% of the new ones" in shunt.ctl("plan", "web").ok()
    shunt.ctl("start", "web").ok()
    opened = 0

    def state():
        return shunt.service()

    while state()["live_share_bp"] < 950:
        wait_until(lambda: state()["routed_bp"] >= 3000 or state()["live_share_bp"] >= 950, "it steers", 30)
        assert state()["routed_bp"] <= 8000
        kept.append(connect(shunt.port()))
        kept[-1].send(b"b\n")
        kept[-1].receive_line()
        opened += 1
        assert opened < 100, "the plain share would need 1500 for that"
    status = state()
    assert status["share_bp"] == 1000 and status["aim"] == "live"
    assert status["live_share_bp"] < 1100
    shown = shunt.ctl("status", "web").ok()
    assert "share 10% of those open (" in shown
    wait_until(lambda: state()["routed_bp"] < 3000, "it has arrived", 30)
    shunt.ctl("abort", "web").ok()
    assert state()["routed_bp"] == 0
    for one in kept:
        one.close()
    wait_until(lambda: shunt.phase() == "rolled-back", "the rollback ends")


def test_it_does_not_go_with_clients(tmp_path):
    text = write({"state_dir": str(tmp_path),
                  "services": [service(["127.0.0.1:1"], ["127.0.0.1:2"], assign="client",
                                       migration={**steps(("10%", "1h"), ("100%", "1h")), "aim": "live"})]})
    path = tmp_path / "shunt.conf"
    path.write_text(text)
    done = subprocess.run([program("shuntd"), "-t", "-c", path], capture_output=True, text=True,
                          timeout=scaled(20), check=False)
    assert done.returncode == 78
    assert 'aim = "live" does not go with assign = "client"' in done.stderr
