"""Who may what: by the user and the groups of the process at the other end, and by the socket."""
import os
import subprocess

import pytest
from shunt.config import service
from shunt.daemon import program

BACKEND = "127.0.0.1:1"
ME = os.getuid()


def run(shunt, *words, socket=None, **identity):
    return subprocess.run([program("shuntctl"), "-s", socket or shunt.socket_path, *words], capture_output=True, text=True,
                          check=False, timeout=20, **identity)


def test_sockets_for_less(daemon, tmp_path):
    view, operate = str(tmp_path / "view.sock"), str(tmp_path / "operate.sock")
    shunt = daemon(service([BACKEND]), admin={"socket": str(tmp_path / "shunt0" / "admin.sock"), "sockets": [
        {"socket": view, "mode": "0666"}, {"socket": operate, "mode": "0600", "most": "operator"}]})
    drain = ("backend", f"web/old/{BACKEND}", "drain")
    assert run(shunt, "status", socket=view).returncode == 0
    assert os.stat(view).st_mode & 0o777 == 0o666
    refused = run(shunt, *drain, socket=view)
    assert refused.returncode == 77 and "needs the role operator, you have viewer" in refused.stderr
    assert run(shunt, *drain, socket=operate).returncode == 0
    assert run(shunt, "kill", "web/old", socket=operate).returncode == 77
    assert run(shunt, "kill", "web/old").returncode == 0
    shunt.says("outcome=denied")


def test_default_deny(daemon):
    shunt = daemon(service([BACKEND]), admin={"socket": "admin.sock", "roles": [{"user": str(ME), "role": "viewer"}]})
    assert run(shunt, "status").returncode == 0
    assert run(shunt, "weight", f"web/old/{BACKEND}", "2").returncode == 77


@pytest.mark.skipif(ME != 0, reason="only root can be others")
def test_users_and_groups(daemon, tmp_path):
    os.chmod(tmp_path, 0o755)
    for folder in list(tmp_path.parents)[:3]:
        if folder != folder.parent and folder.owner() == "root" and "pytest" in str(folder):
            os.chmod(folder, 0o755)
    path = "/tmp/shunt-roles-%d.sock" % os.getpid()
    shunt = daemon(service([BACKEND]), admin={"socket": str(tmp_path / "shunt0" / "admin.sock"),
                                              "sockets": [{"socket": path, "mode": "0666", "most": "admin"}],
                                              "roles": [{"user": "root", "role": "admin"},
                                                        {"user": "65534", "role": "viewer"},
                                                        {"group": "64123", "role": "operator"}]})
    weight = ("weight", f"web/old/{BACKEND}", "2")
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    assert run(shunt, "status", socket=path, **nobody).returncode == 0
    assert run(shunt, *weight, socket=path, **nobody).returncode == 77
    assert run(shunt, *weight, socket=path, **{**nobody, "extra_groups": [64123]}).returncode == 0
    stranger = {"user": 64001, "group": 64001, "extra_groups": []}
    denied = run(shunt, "status", socket=path, **stranger)
    assert denied.returncode == 77 and "you have none" in denied.stderr
    assert run(shunt, "status", socket=path, **{**stranger, "group": 64123}).returncode == 0
    shunt.says('actor=operator:64001')


def test_an_unknown_user_is_refused(tmp_path):
    path = tmp_path / "shunt.conf"
    path.write_text('admin = { socket = "a.sock"; roles = ( { user = "no-such-user"; role = "admin"; } ); };'
                    f'state_dir = "state"; services = ( {{ name = "web"; listen = [ "127.0.0.1:0" ]; groups = ( {{ name = "a"; '
                    f'backends = ( {{ address = "{BACKEND}"; }} ); }} ); }} );')
    done = subprocess.run([program("shuntd"), "-c", path], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 78 and 'no user "no-such-user"' in done.stderr
