"""Documents as people read them: relaxed Extended JSON, indented, nothing in it that could command a terminal.

Numbers are written without their type, which the canonical form (`change_history.bson.extended_json`) keeps.
"""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING

from change_history.bson import extended_json, raw
from change_history.bson.values import to_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.bson.raw import Value

WIDTH = 100
"""What of a document fits in so many characters stands on one line."""

_INDENT = "  "
_ISO_DATES = range(253_402_300_800_000)  # 1970 to 9999, in milliseconds: the others have no ISO form in relaxed JSON


def pretty(document: bytes) -> str:
    """Write a BSON document on as many lines as it needs."""
    return "\n".join(_lines((raw.DOCUMENT, document), 0))


def line(document: bytes) -> str:
    """Write a BSON document on one line."""
    return _text((raw.DOCUMENT, document))


def _lines(value: Value, depth: int) -> Iterator[str]:
    """A value on lines; the first has no indent of its own."""
    kind, payload = value
    found = raw.elements(payload) if kind in {raw.DOCUMENT, raw.ARRAY} else []
    whole = _text(value) if depth or not found else None
    if whole is not None and (not found or len(whole) + depth * len(_INDENT) <= WIDTH):
        yield whole
        return
    opening, closing = "{}" if kind == raw.DOCUMENT else "[]"
    inner = _INDENT * (depth + 1)
    yield opening
    for number, (key, inner_kind, inner_payload) in enumerate(found, 1):
        name = f"{_key(key)}: " if kind == raw.DOCUMENT else ""
        lines = list(_lines((inner_kind, inner_payload), depth + 1))
        lines[0] = f"{inner}{name}{lines[0]}"
        lines[-1] += "," if number < len(found) else ""
        yield from lines
    yield _INDENT * depth + closing


def _text(value: Value) -> str:
    kind, payload = value
    if kind == raw.DOCUMENT:
        members = (f"{_key(key)}: {_text((k, part))}" for key, k, part in raw.elements(payload))
        return "{" + ", ".join(members) + "}"
    if kind == raw.ARRAY:
        return "[" + ", ".join(map(_text, raw.items(payload))) + "]"
    if kind in {raw.INT32, raw.INT64}:
        return str(int.from_bytes(payload, "little", signed=True))
    if kind == raw.DOUBLE and math.isfinite(number := struct.unpack("<d", payload)[0]):
        return json.dumps(number)
    if kind == raw.DATE and int.from_bytes(payload, "little", signed=True) in _ISO_DATES:
        moment = to_python(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return f'{{"$date": "{moment}"}}'
    return extended_json.dumps_raw(value)


def _key(key: bytes) -> str:
    return extended_json.dumps_raw((raw.STRING, raw.string(key)))
