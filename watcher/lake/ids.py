"""Which documents a table has: their `_id`s are told apart as the server does, though the table has them as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson.errors import BSONError

from change_history.bson import extended_json, raw
from change_history.bson.values import to_raw
from watcher.lake.table import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from watcher.lake.table import Table


def texts(
    table: Table, namespace: str, is_wanted: Callable[[raw.Value], bool], among: str = "document_id IS NOT NULL"
) -> list[str]:
    """The `_id`s of the wanted documents of a namespace, as the column `document_id` has them.

    Args:
        among: condition that the column has to meet.
    """
    found = table.select(["DISTINCT document_id"], f"namespace = {quoted(namespace)} AND {among}")
    return [row["document_id"] for row in found if is_wanted(_id_of(table, namespace, row["document_id"]))]


def may_equal(document_id: raw.Value) -> str:
    """A condition on the column `document_id` that every `_id` meets which the server takes for this one."""
    kind = document_id[0]
    if kind in _NUMBERS:  # 17, 17.0 and 17.00 are one
        return "document_id LIKE '{\"$number%'"
    if kind == raw.DOCUMENT:  # it may have numbers in it
        return "document_id LIKE '{%' AND document_id NOT LIKE '{\"$oid\"%'"
    same = (raw.STRING, raw.SYMBOL) if kind in {raw.STRING, raw.SYMBOL} else (kind,)
    return f"document_id IN ({', '.join(quoted(extended_json.dumps_raw((each, document_id[1]))) for each in same)})"


_NUMBERS = frozenset({raw.INT32, raw.INT64, raw.DOUBLE, raw.DECIMAL128})


def _id_of(table: Table, namespace: str, text: str) -> raw.Value:
    """The `_id` that a text means; of one that JSON would change, as one of two equal keys, an entry has it."""
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
