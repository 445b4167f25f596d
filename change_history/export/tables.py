"""The rows of a file, the columns of each kind of row, and what they lose. Pure.

A row is a BSON document; its first field identifies its event or its document.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from change_history.bson import extended_json, raw
from change_history.bson.values import to_python
from change_history.export.inference import is_showable
from change_history.query.transactions import name_of
from change_history.stored.event import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from change_history.bson.raw import Value


class Format(StrEnum):
    """A file format. `csv-json` and `parquet-json` have each document in one column as Extended JSON."""

    NDJSON = "ndjson"
    CSV = "csv"
    CSV_JSON = "csv-json"
    PARQUET = "parquet"
    PARQUET_JSON = "parquet-json"

    @property
    def is_csv(self) -> bool:
        """Whether it is CSV."""
        return self in {Format.CSV, Format.CSV_JSON}

    @property
    def is_parquet(self) -> bool:
        """Whether it is Parquet."""
        return self in {Format.PARQUET, Format.PARQUET_JSON}


class ColumnType(Enum):
    """The type of a column."""

    TEXT = auto()
    VALUE = auto()
    """Any BSON value, in canonical Extended JSON."""
    TIME = auto()
    """Milliseconds, UTC; as text ISO 8601."""
    CLUSTER_TIME = auto()
    """`seconds:increment`, as the command line reads it."""
    BYTES = auto()
    """As text in hexadecimal digits."""
    NUMBER = auto()
    FLAG = auto()
    DOUBLE = auto()
    """The double that is nearest to a number."""
    DAY = auto()


class Column(NamedTuple):
    """A column: the name of a field of the row, and its type."""

    name: str
    type: ColumnType


class ExportTable(NamedTuple):
    """A kind of row.

    Attributes:
        columns: in order. The first identifies the event or the document of the row.
        left_out: fields of history that its rows do not have.
    """

    columns: tuple[Column, ...]
    left_out: tuple[str, ...] = ()


OTHER = Column("other", ColumnType.VALUE)
"""Last column of a table of history: the fields that have no column, or are not of its type, as one document."""

_WHAT = (
    Column("namespace", ColumnType.TEXT),
    Column("document_id", ColumnType.VALUE),
    Column("operation", ColumnType.TEXT),
    Column("timestamp", ColumnType.TIME),
    Column("cluster_time", ColumnType.CLUSTER_TIME),
)
_AROUND = (Column("key_order", ColumnType.VALUE), Column("description", ColumnType.VALUE))
_TRANSACTION = (Column("transaction", ColumnType.TEXT), Column("session", ColumnType.VALUE))
_ACTOR = (
    Column("actor", ColumnType.TEXT),
    Column("provenance", ColumnType.TEXT),
    Column("reason", ColumnType.TEXT),
    Column("request", ColumnType.TEXT),
    Column("database_user", ColumnType.TEXT),
)

EVENTS = ExportTable(
    (
        Column("_id", ColumnType.BYTES),
        *_WHAT,
        Column("changes", ColumnType.VALUE),
        *_AROUND,
        *_TRANSACTION,
        Column("resume_token", ColumnType.BYTES),
        Column("version", ColumnType.NUMBER),
        *_ACTOR,
        OTHER,
    )
)
CHANGES = ExportTable(
    (
        Column("event", ColumnType.BYTES),
        *_WHAT,
        Column("field", ColumnType.TEXT),
        Column("path", ColumnType.VALUE),
        Column("old_value", ColumnType.VALUE),
        Column("new_value", ColumnType.VALUE),
        Column("old_value_from", ColumnType.TEXT),
        Column("new_value_from", ColumnType.TEXT),
        Column("truncated_to", ColumnType.NUMBER),
        Column("at_end", ColumnType.FLAG),
        Column("day", ColumnType.DAY),
        Column("document_key", ColumnType.TEXT),
        Column("type", ColumnType.TEXT),
        Column("old_number", ColumnType.DOUBLE),
        Column("new_number", ColumnType.DOUBLE),
        Column("old_text", ColumnType.TEXT),
        Column("new_text", ColumnType.TEXT),
        Column("old_time", ColumnType.TIME),
        Column("new_time", ColumnType.TIME),
        *_AROUND,
        *_TRANSACTION,
        *_ACTOR,
        OTHER,
    ),
    left_out=("resume_token", "version"),
)
DOCUMENTS = ExportTable(
    (Column("_id", ColumnType.VALUE), Column("document", ColumnType.VALUE), Column("unknown", ColumnType.TEXT))
)


def row_of(table: ExportTable, document: bytes) -> list[Any]:
    """The cells of a document, each as `native` gives it; None: absent.

    Raises:
        change_history.bson.raw.MalformedBSON: it is no BSON document.
    """
    fields = raw.fields(document)
    if table.columns[-1] is OTHER:
        fields = spread(fields)
    found: list[Any] = []
    for name, column_type in table.columns:
        key = name.encode()
        found.append(native(fields[key], column_type) if key in fields else None)
        if found[-1] is not None:
            del fields[key]
    if fields and table.columns[-1] is OTHER:
        found[-1] = extended_json.dumps_document(raw.from_fields(fields.items()))
    return found


def spread(fields: dict[bytes, Value]) -> dict[bytes, Value]:
    """The fields of an event, with its transaction as the name that commands accept, and the actor's fields spread."""
    if b"transaction" not in fields and b"actor" not in fields:
        return fields
    found = dict(fields)
    transaction, actor = _inner(fields.get(b"transaction")), _inner(fields.get(b"actor"))
    if transaction.keys() == {b"session", b"number"}:
        name = name_of(Transaction(to_python(transaction[b"session"]), to_python(transaction[b"number"])))
        found |= {b"transaction": (raw.STRING, raw.string(name.encode())), b"session": transaction[b"session"]}
    if actor and actor.keys() <= _OF_ACTOR.keys() and not found.keys() & (_OF_ACTOR.keys() - {b"id"}):
        del found[b"actor"]
        found |= {_OF_ACTOR[key]: (raw.STRING, raw.string(plain(value).encode())) for key, value in actor.items()}
    return found


def plain(value: Value) -> str:
    """An `_id` or an actor as bare text: text, an ObjectId, a UUID, an integer. Anything else is Extended JSON."""
    kind, payload = value
    if kind == raw.STRING:
        return payload[4:-1].decode("utf-8", "backslashreplace")
    if kind == raw.OBJECT_ID:
        return payload.hex()
    if kind in (raw.INT32, raw.INT64):
        return str(int.from_bytes(payload, "little", signed=True))
    if kind == raw.BINARY and payload[4] == 4 and len(payload) == 21:  # noqa: PLR2004 - a UUID, subtype 4, 16 bytes
        return str(UUID(bytes=payload[5:]))
    return extended_json.dumps_raw(value)


_OF_ACTOR = {
    b"id": b"actor",
    b"provenance": b"provenance",
    b"reason": b"reason",
    b"request": b"request",
    b"database_user": b"database_user",
}


def _inner(value: Value | None) -> dict[bytes, Value]:
    return raw.fields(value[1]) if value is not None and value[0] == raw.DOCUMENT else {}


def native(value: Value, column_type: ColumnType) -> Any:
    """A value as the Python object of a column of this type; None: it does not fit."""
    return NATIVES[column_type](value)


def _whole(value: Value) -> int | None:
    return number(value) if value[0] in (raw.INT32, raw.INT64) else None


def _time(value: Value) -> int | None:
    return number(value) if value[0] == raw.DATE and is_showable(number(value)) else None


def _bytes(value: Value) -> bytes | None:
    return value[1][5:] if value[0] == raw.BINARY else None


def _flag(value: Value) -> bool | None:
    return value[1] == b"\x01" if value[0] == raw.BOOLEAN else None


def _text(value: Value) -> str | None:
    # For readability in every program, bytes that are not UTF-8 become escapes, `\\xff`.
    return value[1][4:-1].decode("utf-8", "backslashreplace") if value[0] == raw.STRING else None


def _cluster_time(value: Value) -> str | None:
    if value[0] != raw.TIMESTAMP:
        return None
    return f"{int.from_bytes(value[1][4:], 'little')}:{int.from_bytes(value[1][:4], 'little')}"


# Not of the forms that are only worked out (`change_rows`).
NATIVES: dict[ColumnType, Callable[[Value], Any]] = {
    ColumnType.TEXT: _text,
    ColumnType.VALUE: extended_json.dumps_raw,
    ColumnType.TIME: _time,
    ColumnType.CLUSTER_TIME: _cluster_time,
    ColumnType.BYTES: _bytes,
    ColumnType.NUMBER: _whole,
    ColumnType.FLAG: _flag,
}


def loss(chosen: Format, table: ExportTable) -> str | None:
    """What a file loses of history, in one line; None: nothing."""
    said = []
    if chosen is not Format.NDJSON:
        types = "all cells are text, and an empty one is absent" if chosen.is_csv else "null is absent"
        said.append(f"{types}; BSON values are canonical Extended JSON text, which keeps their types")
    if table.left_out:
        said.append(f"left out: {', '.join(table.left_out)}")
    return "; ".join(said) or None


def native_text(cell: Any, column_type: ColumnType) -> str:
    """A cell as `native` gives it, as text."""
    if column_type is ColumnType.TIME:
        return iso(cell)
    if column_type is ColumnType.BYTES:
        return str(cell.hex())
    if column_type is ColumnType.FLAG:
        return "true" if cell else "false"
    return str(cell)


def number(value: Value) -> int:
    """The integer, or the milliseconds of the date."""
    return int.from_bytes(value[1], "little", signed=True)


def iso(milliseconds: int) -> str:
    """A date of the years 1 to 9999 as ISO 8601, UTC."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{moment.isoformat(timespec='milliseconds')}Z"


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC, whose letter is written by hand


_FIRST = (b"namespace", b"document_id", b"operation", b"timestamp", b"cluster_time")
_DROPPED = {b"_id", b"changes", *_FIRST, *(name.encode() for name in CHANGES.left_out)}


def of_changes(stored: bytes) -> Iterator[bytes]:
    """A row for each change of an event, with the event's own fields; an event without changes gives one row."""
    fields = raw.fields(stored)
    head = [(b"event", fields[b"_id"]), *((name, fields[name]) for name in _FIRST if name in fields)]
    tail = [(name, value) for name, value in fields.items() if name not in _DROPPED]
    changes = fields.get(b"changes")
    found = raw.items(changes[1]) if changes is not None else []
    for _, change in found:
        yield raw.from_fields([*head, *raw.fields(change).items(), *tail])
    if not found:
        yield raw.from_fields([*head, *tail])


def of_document(document_id: Value, document: bytes | None, unknown: str | None) -> bytes:
    """A row of the table of documents.

    Args:
        document: its state; None: unknown.
        unknown: why it is unknown.
    """
    row = [(b"_id", document_id)]
    if document is not None:
        row.append((b"document", (raw.DOCUMENT, document)))
    if unknown is not None:
        row.append((b"unknown", (raw.STRING, raw.string(unknown.encode()))))
    return raw.from_fields(row)
