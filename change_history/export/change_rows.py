"""A typed row for each change: the exact value, and next to it a native value for calculations. Pure."""

from __future__ import annotations

import math
import struct
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from change_history.bson import extended_json, raw
from change_history.bson.redacted import TYPE_NAMES
from change_history.bson.values import to_python
from change_history.export import tables
from change_history.export.inference import is_showable

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from change_history.bson.raw import Value

_EPOCH = date(1970, 1, 1)
_DAY_MS = 86_400_000
_REMEMBERED = 4096
_SHORT = 64
_read_double = struct.Struct("<d").unpack


def day_of(milliseconds: int) -> date:
    """The day of a time, UTC."""
    return _EPOCH + timedelta(days=milliseconds // _DAY_MS)


def _as_number(value: Value) -> float | None:
    kind, payload = value
    if kind in (raw.INT32, raw.INT64):
        return float(int.from_bytes(payload, "little", signed=True))
    if kind == raw.DOUBLE:
        return float(_read_double(payload)[0])
    if kind == raw.DECIMAL128:
        number = to_python(value).to_decimal()
        return math.nan if number.is_nan() else float(number)  # Python cannot convert a signalling NaN
    return None


def _as_text(value: Value) -> str | None:
    try:
        return value[1][4:-1].decode()
    except UnicodeDecodeError:
        return None


def _as_time(value: Value) -> int | None:
    milliseconds = int.from_bytes(value[1], "little", signed=True)
    return milliseconds if is_showable(milliseconds) else None


_PLACE = {column.name.encode(): place for place, column in enumerate(tables.CHANGES.columns)}
_WAYS: dict[int, tuple[bytes, Callable[[Value], Any]]] = {
    raw.STRING: (b"text", _as_text),
    raw.DATE: (b"time", _as_time),
    **dict.fromkeys((raw.INT32, raw.INT64, raw.DOUBLE, raw.DECIMAL128), (b"number", _as_number)),
}
"""By BSON type, if it has one: the column of its native value, and the conversion."""
_SIDES = [
    (side + b"_value", {kind: (_PLACE[side + b"_" + name], way) for kind, (name, way) in _WAYS.items()})
    for side in (b"new", b"old")
]
_DERIVED = {b"day", b"document_key", b"type"} | {
    side + b"_" + name for side in (b"old", b"new") for name in (b"text", b"time", b"number")
}


@lru_cache(_REMEMBERED)
def _short_text(payload: bytes) -> str:
    return payload[4:-1].decode("utf-8", "backslashreplace")


def _text(value: Value) -> str | None:
    # Names of fields and namespaces repeat.
    if value[0] == raw.STRING and len(value[1]) < _SHORT:
        return _short_text(value[1])
    return tables.NATIVES[tables.ColumnType.TEXT](value)  # type: ignore[no-any-return]


_CELLS: dict[bytes, tuple[int, Callable[[Value], Any]]] = {
    column.name.encode(): (place, _text if column.type is tables.ColumnType.TEXT else tables.NATIVES[column.type])
    for place, column in enumerate(tables.CHANGES.columns)
    if column.name.encode() not in _DERIVED and column is not tables.OTHER
}
_OF_EVENT = {b"_id", b"changes", *(name.encode() for name in tables.CHANGES.left_out)}
_OTHER, _DAY, _KEY, _TYPE, _TIME = (_PLACE[name] for name in (b"other", b"day", b"document_key", b"type", b"timestamp"))


def rows(stored: bytes) -> list[list[Any]]:
    """The rows of an event, each cell as the Python object of its column (`tables.CHANGES`); None: absent.

    Raises:
        change_history.bson.raw.MalformedBSON: it is no BSON document.
    """
    fields = raw.fields(stored)
    changes = fields.get(b"changes")
    head: list[Any] = [None] * (_OTHER + 1)
    head[0] = fields[b"_id"][1][5:]
    others = _fill(head, tables.spread(fields), _OF_EVENT)
    if head[_TIME] is not None:
        head[_DAY] = day_of(head[_TIME])
    if b"document_id" in fields:
        head[_KEY] = tables.plain(fields[b"document_id"])
    found = []
    for _, payload in raw.items(changes[1]) if changes is not None else ():
        change = raw.fields(payload)
        row = head.copy()
        more = _fill(row, change, ())
        for name, ways in _SIDES:
            value = change.get(name)
            if value is not None:
                if row[_TYPE] is None:
                    row[_TYPE] = TYPE_NAMES.get(value[0])
                way = ways.get(value[0])
                if way is not None:
                    row[way[0]] = way[1](value)
        if others or more:
            row[_OTHER] = extended_json.dumps_document(raw.from_fields([*others, *more]))
        found.append(row)
    if not found and others:
        head[_OTHER] = extended_json.dumps_document(raw.from_fields(others))
    return found or [head]


def _fill(row: list[Any], fields: dict[bytes, Value], passed: Container[bytes]) -> list[tuple[bytes, Value]]:
    """Put fields into their cells; those that have none, or are not of its type."""
    others = []
    for name, value in fields.items():
        if name in passed:
            continue
        place = _CELLS.get(name)
        cell = place[1](value) if place is not None else None
        if place is None or cell is None:
            others.append((name, value))
        else:
            row[place[0]] = cell
    return others
