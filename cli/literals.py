"""Reading values that people write: document ids, and what a field was or became. Pure; `cli.parse` uses it."""

from __future__ import annotations

import re
from typing import Any

from bson import Int64, ObjectId

from core import extended_json
from models.values import to_raw

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")  # with a leading zero it is a code, not a number
_DOUBLE = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_INT32, _INT64 = range(-(2**31), 2**31), range(-(2**63), 2**63)


def value(text: str) -> Any:
    """Read a value: Extended JSON, or bare.

    Bare, 24 hexadecimal digits are an ObjectId, digits an integer (`int` where int32 holds it, else `Int64`), digits
    with a fraction or an exponent a double, and everything else a string; so are digits with a leading zero, and more
    than int64 holds.

    Raises:
        ValueError: it begins like JSON and is none.
        bson.errors.BSONError: what it says has no BSON form.
        OverflowError: a number in it is too large.
    """
    if _OBJECT_ID.fullmatch(text):
        return ObjectId(text)
    if _INTEGER.fullmatch(text):
        number = int(text)
        if number in _INT32:
            return number
        return Int64(number) if number in _INT64 else text
    if _DOUBLE.fullmatch(text):
        return float(text)
    if text[:1] in {"{", "[", '"'} or text in {"true", "false", "null"}:
        found = extended_json.loads(text)
        to_raw(found)  # or it would fail later, in the query
        return found
    return text


def document_id(text: str) -> Any:
    """Read a document id: as `value` does, except that MongoDB has no arrays as ids.

    Raises:
        ValueError: it begins like JSON and is none, or is an array.
        bson.errors.BSONError: what it says has no BSON form.
        OverflowError: a number in it is too large.
    """
    found = value(text)
    if isinstance(found, list):
        raise ValueError("MongoDB has no arrays as ids")  # noqa: TRY004 - what was typed is wrong, not a type
    return found
