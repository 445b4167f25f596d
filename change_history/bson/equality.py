"""Equality of `_id`s as the server compares values, not as bytes.

3, `NumberLong(3)`, 3.0 and `NumberDecimal("3.00")` are one id, at any depth; a symbol equals the string
(https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bson import Decimal128

from change_history.bson import raw

if TYPE_CHECKING:
    from collections.abc import Hashable
    from decimal import Decimal

_INTEGERS = frozenset({raw.INT32, raw.INT64})
_NUMBER, _NAN, _STRING = "number", "nan", "string"


def key_of(value: raw.Value) -> Hashable:  # noqa: PLR0911 - one return a type
    """A key that two values share exactly if the server takes them for the same `_id`.

    Raises:
        change_history.bson.raw.MalformedBSON: a sub-document is not BSON.
    """
    kind, payload = value
    if kind in _INTEGERS:
        return _NUMBER, int.from_bytes(payload, "little", signed=True)
    if kind == raw.DOUBLE:
        return _of_double(struct.unpack("<d", payload)[0])
    if kind == raw.DECIMAL128:
        return _of_decimal(Decimal128.from_bid(payload).to_decimal())
    if kind in {raw.STRING, raw.SYMBOL}:
        return _STRING, payload
    if kind == raw.DOCUMENT:
        return kind, tuple((key, key_of((sub, part))) for key, sub, part in raw.elements(payload))
    if kind == raw.ARRAY:
        return kind, tuple(key_of(item) for item in raw.items(payload))
    return kind, payload


def _of_double(number: float) -> Hashable:
    return (_NAN,) if number != number else (_NUMBER, number)  # noqa: PLR0124 - only NaN differs from itself


def _of_decimal(number: Decimal) -> Hashable:
    return (_NAN,) if number.is_nan() else (_NUMBER, number)  # Python hashes and compares all its numbers exactly
