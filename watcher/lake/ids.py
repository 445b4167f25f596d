"""Finds documents of a table by `_id`, in the server's sense of equality, though the table stores `_id`s as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from bson import Decimal128, Int64
from bson.errors import BSONError

from change_history.bson import extended_json, raw
from change_history.bson.equality import key_of
from change_history.bson.values import to_python, to_raw
from watcher.lake.table import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from watcher.lake.table import LakeTable


def texts(
    table: LakeTable, namespace: str, is_wanted: Callable[[raw.Value], bool], among: str = "document_id IS NOT NULL"
) -> list[str]:
    """The `_id`s of the wanted documents of a namespace, as in the column `document_id`.

    Args:
        is_wanted: returns whether an `_id` is wanted.
        among: SQL condition on the column.
    """
    found = table.rows(["DISTINCT document_id"], f"namespace = {quoted(namespace)} AND {among}")
    return [row["document_id"] for row in found if is_wanted(_id_of(table, namespace, row["document_id"]))]


def may_equal(document_id: raw.Value) -> str:
    """A condition on the column `document_id` that is true for every `_id` that the server regards as equal."""
    kind = document_id[0]
    if kind in _NUMBERS:  # 17, 17.0 and 17.00 are equal; only decimals have too many forms
        return f"({_is_one_of(_same_numbers(document_id))} OR starts_with(document_id, '{{\"$numberDecimal\"'))"
    if kind in _TEXTS:
        return _is_one_of([(each, document_id[1]) for each in _TEXTS])
    text = extended_json.dumps_raw(document_id)
    before, number, _ = text.partition(_A_NUMBER)
    return f"starts_with(document_id, {quoted(before + number)})" if number else _is_one_of([document_id])


_NUMBERS = frozenset({raw.INT32, raw.INT64, raw.DOUBLE, raw.DECIMAL128})
_TEXTS = (raw.STRING, raw.SYMBOL)
_A_NUMBER = '{"$number'
"""The beginning of a number; in a string, the quote would be escaped."""
_INT32, _BEYOND_INT64 = range(-(2**31), 2**31), 2**63


def _is_one_of(values: list[raw.Value]) -> str:
    return f"document_id IN ({', '.join(quoted(extended_json.dumps_raw(each)) for each in values)})"


def _same_numbers(document_id: raw.Value) -> list[raw.Value]:
    """The integers and doubles that are equal to a number."""
    number: Any = to_python(document_id)
    if isinstance(number, Decimal128):
        number = number.to_decimal()
    key = key_of(document_id)
    if key == key_of(to_raw(math.nan)):
        return [to_raw(math.nan)]
    found = [document_id, to_raw(float(number)), to_raw(0.0), to_raw(-0.0)]
    if abs(number) < _BEYOND_INT64:
        whole = int(number)
        found += [to_raw(Int64(whole)), *([to_raw(whole)] if whole in _INT32 else [])]
    return [each for each in found if key_of(each) == key]


def _id_of(table: LakeTable, namespace: str, text: str) -> raw.Value:
    """The `_id` of a text. If JSON cannot represent it exactly (duplicate keys), it is read from an entry."""
    try:
        read = to_raw(extended_json.loads(text))
        if extended_json.dumps_raw(read) == text:
            return read
    except (ValueError, BSONError, OverflowError):
        pass
    condition = (
        f"ordinal = 0 AND entry IS NOT NULL AND namespace = {quoted(namespace)} AND document_id = {quoted(text)}"
    )
    (row,) = table.select(["entry"], f"{condition} LIMIT 1")
    return raw.fields(row["entry"])[b"document_id"]
