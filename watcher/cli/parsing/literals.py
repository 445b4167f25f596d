"""Reading values that people write: document ids, and what a field was or became. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bson import Binary, Decimal128, Int64, ObjectId

from change_history.bson import extended_json
from change_history.bson.values import to_raw

if TYPE_CHECKING:
    from collections.abc import Callable

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")  # with a leading zero it is a code, not a number
_DOUBLE = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SHELL = re.compile(r"""(ObjectId|UUID|Long|NumberLong|Decimal128|NumberDecimal)\((["']?)([^"']*)\2\)""")
_INT32, _INT64 = range(-(2**31), 2**31), range(-(2**63), 2**63)


def value(text: str) -> Any:
    """Read a value: Extended JSON, bare, or as the shell and `watcher log` print it: `ObjectId("…")`, `Long("3")`.

    Bare, 24 hexadecimal digits are an ObjectId, digits an integer (`int` where int32 holds it, else `Int64`), digits
    with a fraction or an exponent a double, and everything else a string; so are digits with a leading zero, and more
    than int64 holds.

    Raises:
        ValueError: it begins like JSON and is none, or like `Long("3")` and is no such value.
        bson.errors.BSONError: what it says has no BSON form.
        OverflowError: a number in it is too large.
    """
    if _OBJECT_ID.fullmatch(text):
        return ObjectId(text)
    if _INTEGER.fullmatch(text):
        return _integer(text)
    if _DOUBLE.fullmatch(text):
        return float(text)
    if shell := _SHELL.fullmatch(text):
        return _SHELL_TYPES[shell[1]](shell[3])
    if text[:1] in {"{", "[", '"'} or text in {"true", "false", "null"}:
        found = extended_json.loads(text)
        to_raw(found)  # or it would fail later, in the query
        return found
    return text


def _integer(digits: str) -> Any:
    number = int(digits)
    if number in _INT32:
        return number
    return Int64(number) if number in _INT64 else digits


def _long(digits: str) -> Int64:
    number = int(digits)
    if number not in _INT64:
        raise OverflowError("a Long has 64 bits")
    return Int64(number)


def _decimal(digits: str) -> Decimal128:
    try:
        return Decimal128(digits)
    except ArithmeticError as error:
        raise ValueError(f"{digits!r} is no decimal number") from error


_SHELL_TYPES: dict[str, Callable[[str], Any]] = {
    "ObjectId": ObjectId,
    "UUID": lambda digits: Binary.from_uuid(UUID(digits)),
    "Long": _long,
    "NumberLong": _long,
    "Decimal128": _decimal,
    "NumberDecimal": _decimal,
}


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
