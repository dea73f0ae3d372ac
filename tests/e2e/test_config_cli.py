"""shuntd -t, exit codes, and errors that tell where and what."""
import subprocess

import pytest
from shunt.config import service, write
from shunt.daemon import program
from shunt.peers import echo
from shunt.waiting import scaled

GOOD = {"services": [service(["127.0.0.1:1"])]}


def run(*words, name="shuntd"):
    return subprocess.run([program(name), *map(str, words)], capture_output=True, text=True, timeout=scaled(20),
                          check=False)


def check(tmp_path, text):
    path = tmp_path / "shunt.conf"
    path.write_text(text)
    done = run("-t", "-c", path)
    return done.returncode, done.stdout + done.stderr


def good(tmp_path, **settings):
    return write({"state_dir": str(tmp_path), "admin": {"socket": str(tmp_path / "admin.sock")}, **GOOD, **settings})


def test_a_good_configuration(tmp_path):
    code, text = check(tmp_path, good(tmp_path))
    assert code == 0, text
    assert list(tmp_path.iterdir()) == [tmp_path / "shunt.conf"], "checking leaves nothing behind"


PLAINLY = "(\"tls.enabled\" is false)"


@pytest.mark.parametrize("health, warned", [
    ({"type": "http"}, None), ({"type": "redis", "tls": {"enabled": False}}, PLAINLY),
    ({"type": "http", "tls": {"verify": False}}, None), ({"type": "http", "port": 8081}, None),
    ({"type": "http", "port": 8081, "tls": {"enabled": False}}, None), ({"type": "tcp", "tls": {"enabled": False}}, None),
    ({"type": "smtp", "smtp": {"starttls": True}}, "(\"starttls\")"), ({"type": "tcp"}, None),
    ({"type": "smtp", "port": 8081, "smtp": {"starttls": True}}, None), ({"type": "tls", "tls": {"verify": False}}, None)])
def test_checks_that_contradict_the_tls_of_their_group(tmp_path, health, warned):
    one = service(["127.0.0.1:1"], group_settings={"tls": {"verify": False}, "health": health})
    code, text = check(tmp_path, good(tmp_path, services=[one]))
    assert code == 0 and ": ok (" in text, text
    assert ("groups.old.health: warning: the checks" in text) == bool(warned) and (warned or "") in text, text


@pytest.mark.parametrize("health", [{"type": "tls"}, {"type": "smtp", "smtp": {"starttls": True}}])
def test_checks_that_cannot_do_without_tls(tmp_path, health):
    one = service(["127.0.0.1:1"], group_settings={"health": {**health, "tls": {"enabled": False}}})
    code, text = check(tmp_path, good(tmp_path, services=[one]))
    assert code != 0 and "these checks cannot do without TLS" in text, text


def test_all_errors_at_once_with_their_lines(tmp_path):
    code, text = check(tmp_path, """workers = "many";
services = ( {
    name = "web";
    listen = [ "127.0.0.1:0" ];
    groups = ( {
        name = "old";
        health = { type = "tcp";
                   intreval = "2s"; };
        backends = ( { address = "127.0.0.1:1"; weight = 70000; } );
    } );
} );
""")
    assert code == 78
    path = tmp_path / "shunt.conf"
    assert f"{path}:1:" in text and f"{path}:8:" in text and f"{path}:9:" in text, text
    assert 'unknown setting "intreval"' in text and 'did you mean "interval"?' in text


BAD = {
    "syntax": "services = ( {",
    "no services": "workers = 1;",
    "no groups": 'services = ( { name = "a"; listen = [ "127.0.0.1:0" ]; groups = (); } );',
    "bad address": write({"services": [service(["127.0.0.1:99999"])]}),
    "bad duration": write({"services": [service(["127.0.0.1:1"], timeouts={"idle": "soon"})]}),
    "bad share": write({"services": [service(["127.0.0.1:1"], ["127.0.0.1:2"],
                                             migration={"steps": [{"share": "110%", "hold": "1s"}]})]}),
    "bad balance": write({"services": [service(["127.0.0.1:1"], group_settings={"balance": "random"})]}),
    "two services of a name": write({"services": [service(["127.0.0.1:1"]), service(["127.0.0.1:2"])]}),
    "an address twice": write({"services": [service(["127.0.0.1:1", "127.0.0.1:1"])]}),
    "unknown key": write({**GOOD, "wrokers": 2}),
    "wrong type": write({**GOOD, "workers": "two"}),
}


@pytest.mark.parametrize("name", BAD)
def test_every_kind_of_error(tmp_path, name):
    code, text = check(tmp_path, BAD[name])
    assert code == 78, text
    assert str(tmp_path / "shunt.conf") in text
    assert run("-c", tmp_path / "shunt.conf").returncode == 78, "starting says the same"


def test_a_file_that_is_not_there(tmp_path):
    done = run("-t", "-c", tmp_path / "none.conf")
    assert done.returncode == 78
    assert "none.conf" in done.stderr + done.stdout


def test_usage():
    assert run("--nonsense").returncode == 64
    assert run("--help").returncode == 0
    version = run("--version")
    assert version.returncode == 0 and "0.1.0" in version.stdout


def test_shuntctl_without_a_daemon(tmp_path):
    done = run("-s", tmp_path / "none.sock", "status", name="shuntctl")
    assert done.returncode == 69
    assert "none.sock" in done.stderr


def test_shuntctl_usage():
    assert run(name="shuntctl").returncode == 64
    assert run("--help", name="shuntctl").returncode == 0


def test_an_address_in_use_is_named(server, tmp_path):
    backend = server(echo)
    path = tmp_path / "shunt.conf"
    path.write_text(write({"state_dir": str(tmp_path), "admin": {"socket": str(tmp_path / "admin.sock")},
                           "services": [service(["127.0.0.1:1"], listen=[backend.address])]}))
    done = run("-c", path)
    assert done.returncode not in (0, None) and done.returncode > 0
    assert backend.address in done.stderr + done.stdout
