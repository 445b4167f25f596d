"""Certificates for a `mongod` with TLS, and for those who call it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote_plus

import trustme
from cryptography import x509

if TYPE_CHECKING:
    from pathlib import Path


class Certificate(NamedTuple):
    """A certificate with its key in one file, and its subject as MongoDB names a user by it (RFC 4514)."""

    file: Path
    subject: str


class Authority:
    """Signs certificates, and keeps them in a folder.

    Args:
        folder: made if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, organization: str) -> Certificate:
        """Sign a certificate for 127.0.0.1; a server and its callers must not be of one organization."""
        issued = self._authority.issue_cert("127.0.0.1", common_name=name, organization_name=organization)
        file = self._folder / f"{name}.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(file))
        subject = x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).subject
        return Certificate(file, subject.rfc4514_string())

    def options(self, caller: Certificate | None = None) -> str:
        """What a connection string ends with."""
        shown = f"&tlsCertificateKeyFile={quote_plus(str(caller.file))}" if caller is not None else ""
        return f"&tls=true&tlsCAFile={quote_plus(str(self.file))}{shown}"
