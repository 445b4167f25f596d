"""What can name an actor or a request, and what can be a reason."""

from __future__ import annotations

from change_history.bson import raw
from change_history.stored.actor import LONGEST, PLAIN_SUBTYPES

_SUBTYPE_AT = 4
_FIXED = frozenset({raw.OBJECT_ID, raw.INT32, raw.INT64})


def is_name(value: raw.Value) -> bool:
    """Whether a BSON value can be the name of an actor or a request: a text, an `ObjectId`, an integer, a UUID."""
    kind, payload = value
    return (
        kind in _FIXED
        or is_text(value)
        or (kind == raw.BINARY and payload[_SUBTYPE_AT] in PLAIN_SUBTYPES and len(payload) <= LONGEST)
    )


def is_text(value: raw.Value) -> bool:
    """Whether a BSON value is a text that can be kept: not empty, not too long, UTF-8."""
    kind, payload = value
    text = payload[4:-1]
    if kind != raw.STRING or not text or len(text) > LONGEST:
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
