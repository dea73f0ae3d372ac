"""What testssl.sh from Debian finds in the defaults: nothing above LOW, in protocols, ciphers, certificates and flaws."""
import json
import subprocess

from shunt.certificates import Authority
from shunt.config import service
from shunt.programs import find, run

# Its own levels, and WARN for a check that it could not make.
ACCEPTED = {"OK", "INFO", "LOW", "DEBUG"}
# It ends its first connection at once and so misses the ticket that comes behind the handshake of TLS 1.3.
# Tickets have tests of their own (test_tls_clients, test_tls_reload).
OWN_RACE = "sessionresumption_ticket"
# Protocols, ciphers by strength, forward secrecy, preferences, what a server shows, known flaws. Without a try of each
# cipher there is and the imitation of fifty clients, which take minutes.
WHAT = ["--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--vulnerable"]


def web(peer):
    while peer.receive_line().strip():
        pass
    peer.send(b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=31536000\r\nContent-Length: 3\r\n"
              b"Connection: close\r\n\r\nyes")
    peer.shut()


def scan(port, authority, file):
    """Its findings. It asks nobody else: no names are looked up, no lists of revoked certificates fetched."""
    command = [find("testssl", "testssl.sh"), "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip",
               "127.0.0.1", "--add-ca", authority.certificate, *WHAT, "--jsonfile", file, f"web.example:{port}"]
    _, text = run(command, within=400, stdin=subprocess.DEVNULL)
    assert file.exists(), text
    return json.loads(file.read_text())


def test_nothing_above_low(daemon, server, tmp_path):
    pki = Authority(tmp_path / "pki")
    # Where one could ask whether it was revoked: a certificate without this is a finding of its own.
    extensions = ["crlDistributionPoints=URI:http://127.0.0.1/ca.crl"]
    pairs = [pki.issue("web.example", "DNS:web.example", days=90, kind=kind, file=kind, extensions=extensions)
             for kind in ("ec", "rsa")]
    shunt = daemon(service([server(web).address], tls={
        "certificates": [{"certificate": str(certificate), "key": str(key)} for certificate, key in pairs]}))
    found = scan(shunt.port(), pki, tmp_path / "findings.json")
    bad = [one for one in found if one["severity"] not in ACCEPTED and one["id"] != OWN_RACE]
    assert not bad, bad
    findings = {one["id"]: one for one in found}
    # It did look, and at what we mean.
    offered = {name: findings[name]["finding"] for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3")}
    assert all(offered[name] == "not offered" for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1")), offered
    assert offered["TLS1_2"].startswith("offered") and offered["TLS1_3"].startswith("offered"), offered
    assert {"heartbleed", "CCS", "ROBOT", "secure_renego", "CRIME_TLS", "SWEET32", "LOGJAM", "BEAST", "RC4"} <= set(findings)
    assert {findings[f"cert_keySize <cert#{i}>"]["finding"][:3] for i in (1, 2)} == {"EC ", "RSA"}
    assert len(findings) > 80
