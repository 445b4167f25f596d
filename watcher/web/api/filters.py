"""Filters on documents as they were. Pure.

`where`, `status = "paid"`, has a grammar of our own, in which every value is compared as a value.
`filter` is a filter of MongoDB, of which only those operators may be said that look at the document: none that runs a
program, reads elsewhere, or computes.
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
"""So many conditions may be given."""

_CONDITION = re.compile(r"\s*([^=<>!]+?)\s*(>=|<=|!=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_OPERATORS = {"=": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_MOST_DEPTH = 100
_LONGEST_SHOWN = 40


def condition(text: str) -> dict[str, Any]:
    """Read a condition.

    Raises:
        ValueError: it is none.
        bson.errors.BSONError: its value has no BSON form.
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
"""What a filter of MongoDB may say."""

FILTER_ALLOWED = (
    'a filter of MongoDB in Extended JSON, {"total": {"$gte": 100}}, with no other operators than '
    + ", ".join(OPERATORS)
)
_OF_A_REFERENCE = ("$ref", "$id", "$db")
"""What a DBRef is written with: the server takes it for a value."""
_MOST_CONDITIONS = 1000
_REGEX_KEYS = {"$regex", "$options"}


def of_mongodb(text: str) -> dict[str, Any]:
    """Read a filter of MongoDB.

    `{"$bson": "…"}`, as `change_history.http.wire` writes values that Extended JSON cannot say, stands for one, too.

    Raises:
        ValueError: it is none, or says what may not be said.
        bson.errors.BSONError: a value in it has no BSON form.
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
    """Refuse what Extended JSON would read as a regular expression alone, without what stands beside it."""
    if "$regex" in read and not read.keys() <= _REGEX_KEYS:
        raise ValueError("$regex must stand alone, with $options at most; put the others beside it by $and")
    return read


def _look_through(part: Any, depth: int) -> int:
    """How many parts a part has, none of which, values not excepted, has a key that may not be said."""
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
    """One filter of several conditions and a filter of MongoDB, all of which must hold; None: of none."""
    every = [*conditions, *([of_server] if of_server else [])]
    return {"$and": every} if every else None
