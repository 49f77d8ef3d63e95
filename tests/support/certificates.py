"""Certificates for tests, made by the `openssl` command: an authority, a server, a client."""

import shutil
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

CLIENT_SUBJECT = "CN=alice,OU=Tests,O=Ottla"


@dataclass(frozen=True)
class Certificates:
    """PEM files; `*_store` hold a key and its certificate."""

    authority: Path
    server_store: Path
    client_store: Path

    def client_context(self, *, shows: bool = True) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority)
        if shows:
            context.load_cert_chain(self.client_store)
        return context


def make_certificates(place: Path, hosts: Sequence[str] = ("localhost",)) -> Certificates:
    """The server's certificate is made out to `hosts`."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    authority = _signed(place, "authority", "/CN=Authority", None)
    names = ",".join(f"DNS:{host}" for host in hosts)
    server = _signed(place, "server", "/CN=localhost", authority, names=names)
    client = _signed(place, "client", "/O=Ottla/OU=Tests/CN=alice", authority)
    return Certificates(place / "authority.crt", server, client)


def _signed(place: Path, name: str, subject: str, by: Path | None, names: str = "") -> Path:
    key, certificate, store = (place / f"{name}.{ending}" for ending in ("key", "crt", "pem"))
    signer = []
    if by is not None:
        signer = ["-CA", str(by.with_suffix(".crt")), "-CAkey", str(by.with_suffix(".key"))]
    more = ["-addext", f"subjectAltName={names}"] if names else []
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", subject, "-keyout", str(key)]
    command += ["-out", str(certificate), *signer, *more]
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    store.write_bytes(key.read_bytes() + certificate.read_bytes())
    return store
