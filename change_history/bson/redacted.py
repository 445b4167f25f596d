"""A withheld value: what history keeps in place of a value that was redacted when it was recorded, or erased later.

It is one BSON value, a Binary of a user-defined subtype that begins with a magic number, so that every reader goes on
unchanged: it is folded, kept in snapshots and compared like any value, and told apart from null, absent and unknown. Of
the value it stands for it says how that was withheld and, by the way, the type and the last characters, or a digest.

    subtype 0xB5: magic (10 bytes) · 0 (1: see `changed`) · how: d, m, h or e · BSON type, 0 where not said · the rest
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING

from change_history.bson import raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from change_history.bson.raw import Value

SUBTYPE = 0xB5
MAGIC = b"\xb5withheld\xb5"
"""What every withheld value begins with. Bytes in which it does not occur hold none."""

CHANGED = MAGIC + b"\x01"
_PLAIN = MAGIC + b"\x00"
_HEAD = len(MAGIC) + 3
_PREFIX = 5  # length and subtype of a Binary

MOST_SHOWN = 4
"""Characters kept at the end of a masked value."""
FEWEST_MASKED = 8
"""Of a value with fewer characters than this, none is kept."""
MOST_SHOWN_BYTES = 4 * MOST_SHOWN
DIGEST_BYTES = 16
KEY_NAME_BYTES = 2
"""Bytes before a digest that identify its key: digests made with two keys cannot be compared."""
_KEY_BYTES = 32
_TEXTS = frozenset({raw.STRING, raw.SYMBOL})
_WHOLE_NUMBERS = frozenset({raw.INT32, raw.INT64})
_CONTAINERS = frozenset({raw.DOCUMENT, raw.ARRAY})
_CONTINUATION, _CONTINUATION_MASK = 0x80, 0xC0
_SHOWN_DIGITS = 4

TYPE_NAMES = {
    raw.DOUBLE: "double",
    raw.STRING: "string",
    raw.DOCUMENT: "object",
    raw.ARRAY: "array",
    raw.BINARY: "binData",
    raw.UNDEFINED: "undefined",
    raw.OBJECT_ID: "objectId",
    raw.BOOLEAN: "bool",
    raw.DATE: "date",
    raw.NULL: "null",
    raw.REGEX: "regex",
    raw.DB_POINTER: "dbPointer",
    raw.CODE: "javascript",
    raw.SYMBOL: "symbol",
    raw.CODE_WITH_SCOPE: "javascriptWithScope",
    raw.INT32: "int",
    raw.TIMESTAMP: "timestamp",
    raw.INT64: "long",
    raw.DECIMAL128: "decimal",
    raw.MIN_KEY: "minKey",
    raw.MAX_KEY: "maxKey",
}
"""Types as the server's `$type` names them."""


class How(StrEnum):
    """How a value was withheld."""

    DROP = "drop"
    """That there was one is kept, and nothing of it."""
    MASK = "mask"
    """Its type is kept, and of a text or a whole number of eight characters or more the last four."""
    HASH = "hash"
    """A keyed digest is kept: equal values have the same."""
    ERASED = "erased"
    """It was recorded, and removed on request."""


_BYTE_OF = {How.DROP: b"d", How.MASK: b"m", How.HASH: b"h", How.ERASED: b"e"}
_HOW_OF = {byte[0]: how for how, byte in _BYTE_OF.items()}


@dataclass(frozen=True, slots=True, repr=False)
class Redacted:
    """A value that history does not have, because it was withheld: it is neither null, nor absent, nor unknown.

    Two of them are equal where they say the same. Only of hashed ones that means that the values were equal.

    Attributes:
        how: how it was withheld.
        kind: the type byte of BSON; 0: not said.
        rest: the last characters of a masked value, in UTF-8; of a hashed one two bytes that name the key, and the
            digest. Empty where there are none.
    """

    how: How
    kind: int = 0
    rest: bytes = b""

    @property
    def type(self) -> str | None:
        """The type, as `$type` names it; None: not said."""
        return TYPE_NAMES.get(self.kind)

    @property
    def last(self) -> str:
        """The last characters of a masked value; empty where none are kept."""
        return self.rest.decode("utf-8", "replace") if self.how is How.MASK else ""

    @property
    def digest(self) -> bytes:
        """The digest of a hashed value; empty where none could be made."""
        return self.rest[KEY_NAME_BYTES:] if self.how is How.HASH else b""

    @property
    def raw(self) -> Value:
        """The BSON value that is stored in history."""
        return written(self.how, self.kind, self.rest)

    def __str__(self) -> str:
        match self.how:
            case How.ERASED:
                said = "erased"
            case How.MASK:
                said = f"masked …{self.last}" if self.rest else f"masked {self.type or 'value'}"
            case How.HASH:
                said = f"hash {self.digest.hex()[:_SHOWN_DIGITS]}…" if self.rest else "hash unknown"
            case _:
                said = "redacted"
        return f"\u2039{said}\u203a"

    __repr__ = __str__


def written(how: How, kind: int = 0, rest: bytes = b"") -> Value:
    """Write a withheld value."""
    data = _PLAIN + _BYTE_OF[how] + raw.TYPE_BYTE[kind] + rest
    return raw.BINARY, raw.int32(len(data)) + raw.TYPE_BYTE[SUBTYPE] + data


DROPPED: Value = written(How.DROP)
ERASED: Value = written(How.ERASED)


def key_from(text: str) -> bytes:
    """The key of the digests, from the secret text that an operator gives."""
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=_KEY_BYTES, person=b"redact key").digest()


def masked(value: Value) -> Value:
    """What is kept of a value by `How.MASK`."""
    kind, payload = value
    text = b""
    if kind in _TEXTS:
        text = payload[4:-1]
    elif kind in _WHOLE_NUMBERS:
        text = b"%d" % abs(int.from_bytes(payload, "little", signed=True))
    return written(How.MASK, kind, _last(text))


def _last(text: bytes) -> bytes:
    """The last characters of a text in UTF-8, if it has enough of them. Text of a server need not be UTF-8."""
    starts = [place for place, byte in enumerate(text) if byte & _CONTINUATION_MASK != _CONTINUATION]
    if len(starts) < FEWEST_MASKED:
        return b""
    last = text[starts[-MOST_SHOWN] :]
    return last if len(last) <= MOST_SHOWN_BYTES else b""


def hashed(value: Value, key: bytes) -> Value:
    """What is kept of a value by `How.HASH`: a digest of its type and its bytes.

    Args:
        value: 3, `NumberLong(3)` and 3.0 are three values.
    """
    kind, payload = value
    return raw.BINARY, hashing(key)(kind, payload)


@lru_cache(maxsize=16)
def hashing(key: bytes) -> Callable[[int, bytes], bytes]:
    """What makes the payload of a hashed value out of the type and the payload of a value."""
    keyed = blake2b(key=key, digest_size=DIGEST_BYTES)
    _, shape = written(How.HASH, 0, name_of(key) + bytes(DIGEST_BYTES))
    head = shape[:-DIGEST_BYTES]

    def payload_of(kind: int, payload: bytes) -> bytes:
        digest = keyed.copy()
        digest.update(raw.TYPE_BYTE[kind])
        digest.update(payload)
        return head + digest.digest()

    return payload_of


def name_of(key: bytes) -> bytes:
    """Two bytes that identify a key, up to a chance of one in 65,536."""
    return blake2b(key, digest_size=KEY_NAME_BYTES, person=b"redact key name").digest()


def is_withheld(value: Value) -> bool:
    """Whether a value stands in place of another one."""
    kind, payload = value
    return kind == raw.BINARY and payload.startswith(MAGIC, _PREFIX) and _read(payload) is not None


def hides_change(value: Value) -> bool:
    """Whether a value is withheld so that another one would be withheld in the same words."""
    found = redacted(value)
    return found is not None and not found.digest


def redacted(value: Value) -> Redacted | None:
    """Read a withheld value; None: it is any other value."""
    kind, payload = value
    return _read(payload) if kind == raw.BINARY and payload.startswith(MAGIC, _PREFIX) else None


def from_binary(subtype: int, data: bytes) -> Redacted | None:
    """Read a withheld value that the driver has decoded; None: it is any other Binary."""
    if subtype != SUBTYPE or not data.startswith(MAGIC):
        return None
    return _read(raw.int32(len(data)) + raw.TYPE_BYTE[subtype] + data)


def _read(payload: bytes) -> Redacted | None:
    data = payload[_PREFIX:]
    if payload[4] != SUBTYPE or len(data) < _HEAD or data[len(MAGIC)] > 1:
        return None
    how, kind, rest = _HOW_OF.get(data[len(MAGIC) + 1]), data[len(MAGIC) + 2], data[_HEAD:]
    if how is None or len(rest) > _MOST_REST[how] or (kind and (how is not How.MASK or kind not in TYPE_NAMES)):
        return None
    return Redacted(how, kind, rest)


_MOST_REST = {How.DROP: 0, How.MASK: MOST_SHOWN_BYTES, How.HASH: KEY_NAME_BYTES + DIGEST_BYTES, How.ERASED: 0}


def adopt(known: Value, found: Value) -> Value:
    """A value that was found, with what is withheld of the known one where the two cannot be compared.

    If the result is the known value, nothing says that it changed.
    """
    withheld = redacted(known)
    if withheld is not None:
        other = redacted(found)
        return found if other is not None and _comparable(withheld, other) else known
    if known[0] != found[0] or known[0] not in _CONTAINERS or MAGIC not in known[1]:
        return found
    before = raw.fields(known[1])
    contents = [
        (key, adopt(before[key], (kind, payload)) if key in before else (kind, payload))
        for key, kind, payload in raw.elements(found[1])
    ]
    return found[0], raw.from_fields(contents)


def _comparable(one: Redacted, other: Redacted) -> bool:
    """Whether two withheld values that differ are sure to replace different values."""
    if one.how is not other.how:
        return False
    return one.how is not How.HASH or (
        bool(one.rest) and bool(other.rest) and one.rest[:KEY_NAME_BYTES] == other.rest[:KEY_NAME_BYTES]
    )


def changed(value: Value) -> Value:
    """A withheld value, marked as standing for another value than the same one before it. Never kept in history."""
    kind, payload = value
    return kind, payload[:_PREFIX] + CHANGED + payload[_PREFIX + len(CHANGED) :]


def says_changed(data: bytes) -> bool:
    """Whether some bytes hold a value that is marked by `changed`."""
    return CHANGED in data


def without_mark(data: bytes) -> bytes:
    """Take the marks of `changed` away."""
    return data.replace(CHANGED, _PLAIN)
