"""Completion in bash, zsh and fish: what is offered comes from the daemon that is asked, colons in addresses included."""
import os
import shutil
import subprocess

import pytest
from shunt.config import service
from shunt.daemon import ROOT, program

FOLDER = ROOT / "admin" / "ctl" / "completion"
BASH = """. "$1"; COMP_LINE=$2; COMP_POINT=${#2}; COMP_WORDBREAKS=$' :'; COMPREPLY=(); _shuntctl; printf '%s\\n' "${COMPREPLY[@]}" """
ZSH = """
compadd() { shift; local one; for one; [[ $one == "$words[CURRENT]"* ]] && print -r -- $one }
_describe() { compadd -- ${${(P)2}%%:*} }
_files() { print files }
() {
    local -a words=("${(@s: :)2}")
    local CURRENT=$#words
    source "$1"
} "$@" """
FISH = """source $argv[1]; complete -C $argv[2]"""


def bash(line):
    return ["bash", "-c", BASH, "bash", FOLDER / "shuntctl.bash", line]


def zsh(line):
    return ["zsh", "-f", "-c", ZSH, "zsh", FOLDER / "shuntctl.zsh", line]


def fish(line):
    return ["fish", "--no-config", "-c", FISH, FOLDER / "shuntctl.fish", line]


@pytest.fixture(name="offered", params=[bash, zsh, fish], ids=["bash", "zsh", "fish"])
def fixture_offered(daemon, request, tmp_path):
    if not shutil.which(request.param.__name__):
        pytest.skip(f"no {request.param.__name__} here")
    shunt = daemon(service(["127.0.0.1:1"], ["127.0.0.1:2", "127.0.0.1:3"]), service(["127.0.0.1:4"], name="db"))

    def offered(line):
        path = f"{program('shuntctl').parent}:{os.environ['PATH']}"
        line = f"shuntctl {line}".replace("SOCKET", shunt.socket_path)
        done = subprocess.run(request.param(line), capture_output=True, text=True, timeout=20, check=False, cwd=tmp_path,
                              env={**os.environ, "PATH": path, "SHUNT_SOCKET": "/nonexistent", "HOME": str(tmp_path)})
        assert done.stderr == "", done
        return [one.split("\t")[0] for one in done.stdout.splitlines()]
    offered.shell = request.param.__name__
    return offered


def test_names_and_words(offered):
    assert offered("up")[0] == "upgrade"
    assert offered("help conn") == ["connections"]
    assert offered("status ") == ["--json"], "no daemon, no names"
    assert sorted(offered("-s SOCKET status ")) == sorted(["web", "db", "--json"])
    assert sorted(offered("-sSOCKET status ")) == sorted(["web", "db", "--json"])
    assert sorted(offered("--json -s SOCKET status ")) == sorted(["web", "db", "--json"])
    assert offered("-s SOCKET status --j") == ["--json"] == offered("--j")
    assert {"status", "upgrade"} <= set(offered("-s SOCKET "))
    assert "web" not in offered("-s SOCKET ")
    assert offered("-s SOCKET start web to n") == ["new"]
    assert "force" in offered("-s SOCKET start web ")
    assert offered("-s SOCKET kill db/") == ["db/old", "db/old/127.0.0.1:4"]
    assert offered("-s SOCKET backend web/new/127.0.0.1:2 force-") == ["force-down", "force-up"][::1 if offered.shell == "fish" else -1]


def test_addresses_have_colons(offered):
    assert offered("-s SOCKET check web/n") == ["web/new/127.0.0.1:2", "web/new/127.0.0.1:3"]
    rest = ["2", "3"] if offered.shell == "bash" else ["web/new/127.0.0.1:2", "web/new/127.0.0.1:3"]
    assert offered("-s SOCKET check web/new/127.0.0.1:") == rest, "bash parts words at colons"


def test_the_socket_is_a_file(offered, tmp_path):
    (tmp_path / "one.sock").write_text("")
    assert offered("-s one") == (["files"] if offered.shell == "zsh" else ["one.sock"])
