"""Other values that a text or a value may mean, and the text that is parsed as a value. Pure."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bson import Binary, Decimal128, Int64, ObjectId

from change_history.bson import extended_json
from change_history.bson.values import to_raw
from watcher.words import literals, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator

_UUID_BYTES = 16
UUID_SUBTYPES = (4, 3)
"""Subtypes of binary data that is a UUID, the current one first."""


def argument(value: Any) -> str:
    """An id or a value quoted for a shell, so that `literals` parses it as the same value."""
    bare = str(value)
    if value_text.is_plain_word(bare) and to_raw(literals.value(bare)) == to_raw(value):
        return bare
    quoted = extended_json.dumps(value).replace("'", "'\\''")
    return f"'{quoted}'"


def look_alikes(value: Any) -> Iterator[Any]:
    """Values of other types that look the same in print."""
    if isinstance(value, ObjectId | int | float) and not isinstance(value, bool):
        yield str(value)
    if isinstance(value, float):
        yield Decimal128(str(value))  # prices: 19.99 is another number than the double nearest to it
    if type(value) is str:
        if ObjectId.is_valid(value):
            yield ObjectId(value)
        if value.lstrip("-").isdecimal():
            yield int(value)
            yield Int64(value)
        yield from _spelled(value)
    if isinstance(value, datetime | Decimal128):
        yield value_text.text_of(value) if isinstance(value, datetime) else str(value)
    if isinstance(value, Binary) and len(value) == _UUID_BYTES:
        yield str(UUID(bytes=bytes(value)))
        yield from (Binary(bytes(value), subtype) for subtype in UUID_SUBTYPES if subtype != value.subtype)


def _spelled(text: str) -> Iterator[Any]:
    """Values that a string may spell: a bare UUID, a date, also without milliseconds, a number."""
    with suppress(ValueError):
        digits = UUID(text).bytes
        yield from (Binary(digits, subtype) for subtype in UUID_SUBTYPES)
    with suppress(ValueError, OverflowError):
        when = datetime.fromisoformat(text)
        yield (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    with suppress(ValueError, ArithmeticError):
        yield float(text)
        yield Decimal128(text)
