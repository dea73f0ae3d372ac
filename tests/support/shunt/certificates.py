"""An authority of a test's own, and certificates that it signs (openssl from Debian)."""
import subprocess

from .programs import find


def openssl(*words, **more):
    return subprocess.run([find("openssl"), *map(str, words)], check=True, capture_output=True, timeout=60, **more)


class Authority:
    """Keys and certificates below folder. Elliptic curves by default: RSA keys take long to make."""

    def __init__(self, folder, name="test authority"):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key, self.certificate = folder / "ca.key", folder / "ca.pem"
        openssl("req", "-x509", *self.new_key(), "-nodes", "-keyout", self.key, "-out", self.certificate, "-days", 30,
                "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    @staticmethod
    def new_key(kind="ec"):
        return ("-newkey", "rsa:2048") if kind == "rsa" else ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")

    def issue(self, name, alternative=None, days=30, kind="ec", file=None, extensions=()):
        """(certificate, key) for a subject with this common name; alternative: "DNS:…,IP:…"; extensions: "name=value"."""
        stem = self.folder / (file or name.replace("*", "star"))
        request, certificate, key = (stem.with_name(f"{stem.name}.{end}") for end in ("csr", "pem", "key"))
        wanted = ([f"subjectAltName={alternative}"] if alternative else []) + list(extensions)
        openssl("req", "-new", *self.new_key(kind), "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}",
                *(word for one in wanted for word in ("-addext", one)))
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-out",
                certificate, "-days", days, "-copy_extensions", "copy")
        return certificate, key

    def below(self, name, folder):
        """An authority that this one has signed."""
        inner = object.__new__(Authority)
        inner.folder, inner.key, inner.certificate = folder, folder / "ca.key", folder / "ca.pem"
        folder.mkdir(parents=True, exist_ok=True)
        request = folder / "ca.csr"
        openssl("req", "-new", *self.new_key(), "-nodes", "-keyout", inner.key, "-out", request, "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-out",
                inner.certificate, "-days", 30, "-copy_extensions", "copy")
        return inner

    def chained(self, pair):
        """A pair that this authority has signed, with its own certificate behind."""
        whole = pair[0].with_suffix(".chain.pem")
        whole.write_text(pair[0].read_text() + self.certificate.read_text())
        return whole, pair[1]

    def revoke(self, *certificates):
        """The list of revoked certificates as a PEM file; the empty list without any."""
        index = self.folder / "index.txt"
        index.touch()
        settings = self.folder / "ca.conf"
        settings.write_text(f"[ca]\ndefault_ca = d\n[d]\ndatabase = {index}\ndefault_md = sha256\ndefault_crl_days = 30\n")
        words = ("ca", "-config", settings, "-keyfile", self.key, "-cert", self.certificate)
        for one in certificates:
            openssl(*words, "-revoke", one)
        crl = self.folder / "crl.pem"
        openssl(*words, "-gencrl", "-out", crl)
        return crl
