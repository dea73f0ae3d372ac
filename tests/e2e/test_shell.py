"""Completion in bash: what it offers comes from the daemon that is asked, colons in addresses included."""
import os
import subprocess

import pytest
from shunt.config import service
from shunt.daemon import ROOT, program

SCRIPT = ROOT / "admin" / "ctl" / "completion" / "shuntctl.bash"
ASK = """. "$1"; COMP_LINE=$2; COMP_POINT=${#2}; COMP_WORDBREAKS=$' :'; COMPREPLY=(); _shuntctl; printf '%s\\n' "${COMPREPLY[@]}" """


@pytest.fixture(name="offered")
def fixture_offered(daemon):
    shunt = daemon(service(["127.0.0.1:1"], ["127.0.0.1:2", "127.0.0.1:3"]), service(["127.0.0.1:4"], name="db"))

    def offered(line):
        path = f"{program('shuntctl').parent}:{os.environ['PATH']}"
        line = f"shuntctl {line}".replace("SOCKET", shunt.socket_path)
        done = subprocess.run(["bash", "-c", ASK, "bash", SCRIPT, line], capture_output=True, text=True, timeout=20, check=True,
                              env={**os.environ, "PATH": path, "SHUNT_SOCKET": "/nonexistent"})
        assert done.stderr == "", done
        return done.stdout.split()
    return offered


def test_names_and_words(offered):
    assert offered("up") == ["upgrade"]
    assert offered("help conn") == ["connections"]
    assert offered("status ") == ["--json"], "no daemon, no names"
    assert offered("-s SOCKET status ") == ["web", "db", "--json"]
    assert offered("-s SOCKET start web to n") == ["new"]
    assert "force" in offered("-s SOCKET start web ")
    assert offered("-s SOCKET kill d") == ["db/old", "db/old/127.0.0.1:4"]
    assert offered("-s SOCKET backend web/n") == ["web/new/127.0.0.1:2", "web/new/127.0.0.1:3"]
    assert offered("-s SOCKET backend web/new/127.0.0.1:") == ["2", "3"], "bash parts words at colons"
    assert offered("-s SOCKET backend web/new/127.0.0.1:2 force-") == ["force-up", "force-down"]
