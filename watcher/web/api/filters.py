"""Filters on documents as they were. Pure.

`where`, as `status = "paid"`, has its own grammar, in which every value is compared as a value.
`filter` is a MongoDB filter that may only contain operators on the document: none that runs code, reads other data, or
computes.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import bson
from bson.regex import Regex

from change_history.http import wire
from watcher.words import literals

CONDITION_ALLOWED = 'FIELD OP VALUE with =, !=, <, <=, > or >=: status = "paid"'
MOST = 20
"""Most conditions in one request."""

_CONDITION = re.compile(r"\s*([^=<>!]+?)\s*(>=|<=|!=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_OPERATORS = {"=": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_MOST_DEPTH = 100
_LONGEST_SHOWN = 40


def condition(text: str) -> dict[str, Any]:
    """Parse a condition.

    Raises:
        ValueError: it is not a valid condition.
        bson.errors.BSONError: its value cannot be encoded as BSON.
        OverflowError: a number in it is too large.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError("it has no field or no operator")
    field, operator, written = found.groups()
    parts = field.split(".")
    if "\0" in field or len(parts) > _MOST_DEPTH or not all(parts) or any(part.startswith("$") for part in parts):
        raise ValueError("it names no field")
    value = literals.value(written)
    if isinstance(value, re.Pattern | Regex) and operator != "=":
        raise ValueError("a regular expression has no order")
    return {field: {_OPERATORS[operator]: value}}


OPERATORS = (
    *("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$type", "$mod", "$regex", "$options"),
    *("$and", "$or", "$nor", "$not", "$all", "$elemMatch", "$size"),
    *("$bitsAllSet", "$bitsAllClear", "$bitsAnySet", "$bitsAnyClear"),
)
"""The permitted operators of a MongoDB filter."""

FILTER_ALLOWED = (
    'a filter of MongoDB in Extended JSON, {"total": {"$gte": 100}}, with no other operators than '
    + ", ".join(OPERATORS)
)
_OF_A_REFERENCE = ("$ref", "$id", "$db")
"""The keys of a DBRef, which the server treats as a value."""
_MOST_CONDITIONS = 1000
_REGEX_KEYS = {"$regex", "$options"}


def of_mongodb(text: str) -> dict[str, Any]:
    """Parse a MongoDB filter.

    It may also be given as `{"$bson": "…"}`, as `change_history.http.wire` writes values without an Extended JSON form.

    Raises:
        ValueError: it is not a filter, or contains something that is not permitted.
        bson.errors.BSONError: a value in it cannot be encoded as BSON.
        OverflowError: a number in it is too large.
    """
    read = json.loads(text, object_hook=_whole_regex)
    if not isinstance(read, dict):
        raise ValueError("it is no document")  # noqa: TRY004 - what every parameter raises
    if read.keys() == {"$bson"} and isinstance(read["$bson"], str):
        # What is read below keeps text that is no UTF-8; a filter of the server must not hold any.
        bson.decode(base64.b64decode(read["$bson"], validate=True))
    found = wire.value_from(read)
    if not isinstance(found, dict):
        raise ValueError("it is no document")  # noqa: TRY004 - likewise
    if _look_through(found, 0) > _MOST_CONDITIONS:
        raise ValueError(f"it has more than {_MOST_CONDITIONS} parts")
    return found


def _whole_regex(read: dict[str, Any]) -> dict[str, Any]:
    """Refuse keys beside `$regex`, which Extended JSON would silently ignore."""
    if "$regex" in read and not read.keys() <= _REGEX_KEYS:
        raise ValueError("$regex must stand alone, with $options at most; put the others beside it by $and")
    return read


def _look_through(part: Any, depth: int) -> int:
    """Check that no part of a filter, including values, has a forbidden key. Returns the number of parts."""
    if depth > _MOST_DEPTH:
        raise ValueError(f"it is nested more than {_MOST_DEPTH} deep")
    if isinstance(part, dict):
        for key in part:
            if key.startswith("$") and key not in OPERATORS and key not in _OF_A_REFERENCE:
                raise ValueError(f"{key[:_LONGEST_SHOWN]} may not be said")
        return 1 + sum(_look_through(each, depth + 1) for each in part.values())
    if isinstance(part, list):
        return 1 + sum(_look_through(each, depth + 1) for each in part)
    return 1


def query(conditions: tuple[dict[str, Any], ...], of_server: dict[str, Any] | None) -> dict[str, Any] | None:
    """One filter that combines conditions and a MongoDB filter with "and"; None: there are none."""
    every = [*conditions, *([of_server] if of_server else [])]
    return {"$and": every} if every else None
