"""The actor of a change, as stored: the field `actor` of a history document, always its last.

It is the last field because it may be added later: a document completed afterwards has the same bytes as one whose
actor was known at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from change_history.bson import raw

CONTEXT, STAMP, SESSION = "context", "stamp", "session"
"""Provenance, how an actor is known: a context document in the same transaction; a field that this very event wrote;
the database user that the server recorded with the session."""

ACTOR = "actor"

LONGEST = 4096
"""Bytes of the longest name, reason or request that is stored: they are indexed."""

PLAIN_SUBTYPES = (0, 3, 4, 5)
"""Subtypes of binary data that can be a name: generic, UUIDs (old and new), MD5 digests."""

_SUBTYPE_AT = 4
_FIXED = frozenset({raw.OBJECT_ID, raw.INT32, raw.INT64})
_NAME = b"actor"
_KEY = b"\x03actor\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The actor of a change, and how it is known. The actor of an event without one is unknown.

    Attributes:
        id: as the application or the deployment names them: a string, an `ObjectId`, an integer, a UUID (as `Binary`).
        provenance: `context`, `stamp` or `session`.
        reason: the reason, as given by the application.
        request: the request that caused the change, as given by the application.
        database_user: the authenticated user of the writer, as `user@database`.
    """

    id: Any
    provenance: str
    reason: str | None = None
    request: Any = None
    database_user: str | None = None

    def told(self) -> dict[str, Any]:
        """The actor as it is stored: `id`, `provenance` and what else is known."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) is not None}

    def __str__(self) -> str:
        return self.id if isinstance(self.id, str) else repr(self.id)


def to_actor(stored: dict[str, Any]) -> Actor:
    """Convert a stored actor, given decoded."""
    get = stored.get
    return Actor(
        id=get("id"),
        provenance=get("provenance", ""),
        reason=get("reason"),
        request=get("request"),
        database_user=get("database_user"),
    )


def encode(
    identity: raw.Value,
    provenance: str,
    *,
    reason: raw.Value | None = None,
    request: raw.Value | None = None,
    database_user: str | None = None,
) -> bytes:
    """Encode an actor as it is stored, BSON."""
    contents = [(b"id", identity), (b"provenance", (raw.STRING, raw.string(provenance.encode())))]
    if reason is not None:
        contents.append((b"reason", reason))
    if request is not None:
        contents.append((b"request", request))
    if database_user is not None:
        contents.append((b"database_user", (raw.STRING, raw.string(database_user.encode()))))
    return raw.from_fields(contents)


def added(document: bytes, actor: bytes) -> bytes:
    """Add an actor to a history document that has none."""
    return raw.document([document[4:-1], _KEY, actor])


def split(document: bytes) -> tuple[bytes, bytes | None]:
    """Split a history document into the document without its actor, and the actor; None: it has none."""
    if _KEY not in document:
        return document, None
    found = raw.fields(document)
    actor = found.pop(_NAME, None)
    return (raw.from_fields(found.items()), actor[1]) if actor is not None else (document, None)


def is_name(value: raw.Value) -> bool:
    """Whether a BSON value can be the name of an actor or a request: a text, an `ObjectId`, an integer, a UUID."""
    kind, payload = value
    return (
        kind in _FIXED
        or is_text(value)
        or (kind == raw.BINARY and payload[_SUBTYPE_AT] in PLAIN_SUBTYPES and len(payload) <= LONGEST)
    )


def is_text(value: raw.Value) -> bool:
    """Whether a BSON value is a text that can be stored: not empty, at most `LONGEST` bytes, UTF-8."""
    kind, payload = value
    text = payload[4:-1]
    if kind != raw.STRING or not text or len(text) > LONGEST:
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
