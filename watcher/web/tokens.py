"""The tokens file: tokens by their hashes, users by their names, what each may read and until when.

    [[token]]
    name = "support"
    hash = "sha256:9f86d081884c7d65…"
    read = ["shop.*"]
    except = ["shop.cards"]
    expires = 2027-01-01T00:00:00Z

    [[user]]
    name = "*@example.org"
    read = ["shop.orders"]

A token has 256 random bits, so one round of SHA-256 is enough to protect it. The file is reloaded when it changes;
while it cannot be read, every request is refused.
"""

from __future__ import annotations

import hashlib
import secrets
import stat
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from threading import Lock
from typing import TYPE_CHECKING, Any

import structlog

from config import checks
from watcher.web.visitors import Visitor

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

_PREFIX = "mcw_"
_ALGORITHM = "sha256:"
_DIGITS = 64
_KEYS = {"token": {"name", "hash", "read", "except", "expires"}, "user": {"name", "read", "except", "expires"}}


class TokensError(ValueError):
    """The file cannot be used; the message names everything that is wrong with it."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights of a token or of users, and their expiry.

    Attributes:
        key: hash of a token, or glob of users' names.
        visitor: the visitor with these rights.
        expires: time from which on it is not valid; None: it does not expire.
    """

    key: str
    visitor: Visitor
    expires: datetime | None

    def holds(self, now: datetime) -> bool:
        """Whether it is valid at a time."""
        return self.expires is None or now < self.expires


@dataclass(frozen=True, slots=True)
class TokenGrants:
    """The contents of a tokens file."""

    tokens: dict[str, Grant]
    users: tuple[Grant, ...]


def new_token() -> str:
    """A new random token."""
    return _PREFIX + secrets.token_urlsafe(32)


def hash_of(token: str) -> str:
    """The hash of a token, as in the file."""
    return _ALGORITHM + hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class TokensFile:
    """The tokens file, reloaded when it changes.

    Raises:
        TokensError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._stamp = self._stamped()
        self._grants: TokenGrants | None = load(path)

    def of_token(self, token: str) -> Visitor | None:
        """The visitor of a token; None: the token is not valid."""
        grants = self._current()
        # Looked up by its hash, so the duration reveals nothing about other tokens that an attacker could use.
        grant = grants.tokens.get(hash_of(token)) if grants is not None else None
        return grant.visitor if grant is not None and grant.holds(datetime.now(UTC)) else None

    def of_user(self, name: str) -> Visitor | None:
        """The visitor of a signed-on user, by the first entry that matches the name; None: it may read nothing."""
        grants, now = self._current(), datetime.now(UTC)
        for grant in grants.users if grants is not None else ():
            if fnmatchcase(name, grant.key):
                return Visitor(name, grant.visitor.read, grant.visitor.besides) if grant.holds(now) else None
        return None

    def _current(self) -> TokenGrants | None:
        stamp = self._stamped()
        with self._lock:
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._grants = load(self._path)
                    log.info("read the tokens file anew", file=str(self._path))
                except TokensError as error:
                    self._grants = None
                    log.error("nobody is let in: the tokens file cannot be used", reason=str(error))  # noqa: TRY400
            return self._grants

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def load(path: Path) -> TokenGrants:
    """Read the file.

    Raises:
        TokensError: it cannot be used.
    """
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise TokensError(f"{path} can be written to by everybody: chmod o-w {path}")
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TokensError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TokensError(f"{path} is no TOML file: {error}") from error
    faults = [f"`{name}` is not known; there are [[token]] and [[user]]" for name in said.keys() - _KEYS.keys()]
    found: dict[str, list[Grant]] = {kind: [] for kind in _KEYS}
    for kind in found:
        entries = said.get(kind, [])
        for number, entry in enumerate(entries if isinstance(entries, list) else [entries], 1):
            found[kind] += _grant(kind, entry, f"[[{kind}]] number {number}", faults)
    tokens = {grant.key: grant for grant in found["token"]}
    if len(tokens) < len(found["token"]):
        faults.append("two tokens have the same hash")
    if faults:
        raise TokensError("\n".join(f"{path}: {fault}" for fault in faults))
    return TokenGrants(tokens, tuple(found["user"]))


def _grant(kind: str, entry: Any, where: str, faults: list[str]) -> list[Grant]:
    if not isinstance(entry, dict):
        faults.append(f"{where} is no table")
        return []
    before = len(faults)
    faults += [f"{where}: `{name}` is not known" for name in sorted(entry.keys() - _KEYS[kind])]
    name, digest, expires = entry.get("name"), entry.get("hash"), entry.get("expires")
    if not isinstance(name, str) or not name:
        faults.append(f"{where}: `name` is missing")
    elif kind == "token" and (not isinstance(digest, str) or not _is_hash(digest)):
        faults.append(f"{where}: `hash` must be sha256: and 64 hexadecimal digits, as `watcher serve token` prints it")
    if expires is not None and (not isinstance(expires, datetime) or expires.utcoffset() is None):
        faults.append(f"{where}: `expires` must be a time with its zone, 2027-01-01T00:00:00Z")
    read, besides = (_globs(entry.get(key, []), f"{where}: `{key}`", faults) for key in ("read", "except"))
    if not read:
        faults.append(f'{where}: `read` must name what may be read, such as ["shop.*"]')
    if len(faults) > before:
        return []
    return [Grant(str(digest).lower() if kind == "token" else str(name), Visitor(str(name), read, besides), expires)]


def _globs(said: Any, where: str, faults: list[str]) -> tuple[str, ...]:
    try:
        return checks.globs(said if isinstance(said, list) else [said])
    except ValueError as error:
        faults.append(f"{where}: {error}")
        return ("*.*",)


def _is_hash(text: str) -> bool:
    digits = text.lower().removeprefix(_ALGORITHM)
    return len(digits) == _DIGITS and text.lower() != digits and not digits.strip("0123456789abcdef")
