"""One seal: its statement, the digest of that, and the signature of the digest."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.errors import HistoryError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

INSTALL = f"{sys.executable} -m pip install cryptography (the extra mongo-change-watcher[seal] brings it)"
FIRST = 1
"""The number of the first seal."""


class SealKeyError(HistoryError, ValueError):
    """A key cannot be used; the message says why, and what to do."""


@dataclass(frozen=True)
class Seal:
    """A seal's statement.

    Attributes:
        number: 1 for the first, and one more for each that follows.
        previous: digest of the seal before, hexadecimal; empty for the first.
        root: root of the hash tree over the records, hexadecimal.
        count: how many records there are.
        kinds: how many of each kind (`records.NAMES`).
        streams: by the name of a stream (`stream` or `stream:2/4`), the cluster time up to which all that it has
            recorded is covered by this seal or an earlier one: `seconds:increment`.
        time: when it was made, by the sealing process's clock; ISO 8601, UTC.
        software: the software that made it.
        key: the public key that it is signed with, hexadecimal; empty: it is not signed.
    """

    number: int
    previous: str
    root: str
    count: int
    kinds: dict[str, int] = field(default_factory=dict)
    streams: dict[str, str] = field(default_factory=dict)
    time: str = ""
    software: str = ""
    key: str = ""

    def text(self) -> str:
        """The seal's canonical form, from which its digest is computed: JSON, keys sorted, no white space, ASCII."""
        return canonical(asdict(self))


class Sealed(NamedTuple):
    """A stored or exported seal.

    Attributes:
        text: the exact text that was digested.
        digest: SHA-256 of the text, hexadecimal.
        signature: Ed25519 signature of the digest's 32 bytes, hexadecimal; empty: none.
        leaves: name of its records in `seal_leaves`, 16 bytes; empty: not known, as for an exported seal.
    """

    seal: Seal
    text: str
    digest: str
    signature: str = ""
    leaves: bytes = b""

    @property
    def line(self) -> str:
        """The seal as one line of JSON, as it is exported."""
        return canonical({"seal": json.loads(self.text), "digest": self.digest, "signature": self.signature})


def canonical(value: Any) -> str:
    """Canonical JSON, from which digests are computed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest_of(text: str) -> str:
    """The digest of a seal's text."""
    return sha256(text.encode()).hexdigest()


def read(text: str) -> Seal:
    """Read a seal's text.

    Raises:
        ValueError: the text is no seal.
    """
    try:
        found = json.loads(text)
        known = {name: found[name] for name in Seal.__dataclass_fields__ if name in found}
        seal = Seal(**known)
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"no seal: {error}") from error
    if not isinstance(seal.number, int) or not isinstance(seal.count, int):
        raise ValueError("no seal: its number and its count are no integers")  # noqa: TRY004 - a ValueError for all
    if not isinstance(seal.streams, dict) or not isinstance(seal.kinds, dict):
        raise ValueError("no seal: its streams and its kinds are no objects")  # noqa: TRY004
    texts = (seal.previous, seal.root, seal.time, seal.software, seal.key, *seal.streams.values())
    if not all(isinstance(each, str) for each in texts):
        raise ValueError("no seal: what should be text is not")
    return seal


def read_line(line: str) -> Sealed:
    """Read a seal that was exported.

    Raises:
        ValueError: the line is no seal.
    """
    try:
        found = json.loads(line)
        text = canonical(found["seal"])
        return Sealed(read(text), text, str(found["digest"]), str(found.get("signature", "")))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no seal: {error!r}") from error


class SigningKey:
    """A private key to sign with. It is never stored; only its public half is."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw().hex()

    def sign(self, digest: str) -> str:
        """The signature of a digest, both hexadecimal."""
        return self._private.sign(bytes.fromhex(digest)).hex()


def load_key(file: Path) -> SigningKey:
    """Read a private key: Ed25519, PEM, not encrypted.

    Raises:
        SealKeyError: there is none, or nothing to read it with.
    """
    serialization, ed25519 = _cryptography()
    try:
        private = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise SealKeyError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise SealKeyError(f"{file} is no private key in PEM without a password; {_MAKE}") from error
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise SealKeyError(f"{file} is no Ed25519 key; {_MAKE}")
    return SigningKey(private)


def load_public(file: Path) -> str:
    """Read the public half of a key from PEM, hexadecimal; a private key's file will do.

    Raises:
        SealKeyError: there is none, or nothing to read it with.
    """
    serialization, ed25519 = _cryptography()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SealKeyError(f"{file} cannot be read: {error.strerror}") from error
    if b"PRIVATE KEY" in data:
        return load_key(file).public
    try:
        public = serialization.load_pem_public_key(data)
    except ValueError as error:
        raise SealKeyError(f"{file} is no public key in PEM") from error
    if not isinstance(public, ed25519.Ed25519PublicKey):
        raise SealKeyError(f"{file} is no Ed25519 key")
    return str(public.public_bytes_raw().hex())


def is_signed_by(key: str, digest: str, signature: str) -> bool:
    """Whether a digest's signature was made with the private half of a public key; all hexadecimal.

    Raises:
        SealKeyError: the package cryptography is not installed.
    """
    _, ed25519 = _cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
        public.verify(bytes.fromhex(signature), bytes.fromhex(digest))
    except (InvalidSignature, ValueError):
        return False
    return True


_MAKE = "make one with: openssl genpkey -algorithm ed25519 -out seal-key.pem"


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise SealKeyError(
            f"signatures need the package cryptography, which is not installed; install it: {INSTALL}"
        ) from error
    return serialization, ed25519
