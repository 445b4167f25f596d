"""Filters on documents as they were, `status = "paid"`: a grammar of our own. Pure.

So a request can never say an operator of the server: every value is compared as a value (`$eq`, `$lt`, …), whatever it
looks like.
"""

from __future__ import annotations

import re
from typing import Any

from bson.regex import Regex

from watcher.words import literals

FORM = 'FIELD OP VALUE with =, !=, <, <=, > or >=: status = "paid"'
MOST = 20
"""So many conditions may be given."""

_CONDITION = re.compile(r"\s*([^=<>!]+?)\s*(>=|<=|!=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_OPERATORS = {"=": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}
_MOST_DEPTH = 100


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


def query(conditions: tuple[dict[str, Any], ...]) -> dict[str, Any] | None:
    """The filter of several conditions, all of which must hold; None: of none."""
    return {"$and": list(conditions)} if conditions else None
