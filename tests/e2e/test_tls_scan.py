"""What a scanner from Debian finds in the defaults: nothing old, nothing weak."""
import xml.etree.ElementTree as ElementTree

import pytest
from shunt.certificates import Authority
from shunt.config import service
from shunt.peers import named
from shunt.programs import find, output


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_sslscan(daemon, server, tmp_path, kind):
    pair = Authority(tmp_path / "pki").issue("web.example", "DNS:web.example", kind=kind)
    shunt = daemon(service([server(named("a")).address],
                           tls={"certificates": [{"certificate": str(pair[0]), "key": str(pair[1])}]}))
    text = output([find("sslscan"), "--xml=-", "--no-check-certificate", "--sni-name=web.example",
                   f"127.0.0.1:{shunt.port()}"])
    found = ElementTree.fromstring(text[text.index("<?xml"):].encode()).find("ssltest")
    spoken = {one.get("version") for one in found.findall("protocol") if one.get("enabled") == "1"}
    assert spoken == {"1.2", "1.3"}, spoken
    ciphers = found.findall("cipher")
    assert len(ciphers) >= 5
    for cipher in ciphers:
        assert int(cipher.get("bits")) >= 128 and cipher.get("strength") in ("acceptable", "strong"), cipher.attrib
        assert any(word in cipher.get("cipher") for word in ("GCM", "CHACHA20")), cipher.attrib
    compression = found.find("compression")  # left out where sslscan's own library has none
    assert compression is None or compression.get("supported") == "0"
    renegotiation = found.find("renegotiation")
    assert renegotiation.get("secure") == "1" or renegotiation.get("supported") == "0", renegotiation.attrib
    assert found.findall("heartbleed")
    assert all(one.get("vulnerable") == "0" for one in found.findall("heartbleed"))
