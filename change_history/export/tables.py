"""The rows of a file, the columns of each kind of row, and what is lost in them. Pure.

A row is a BSON document; its first field says of which event, or of which document, it is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, NamedTuple

from bson import DatetimeMS, Timestamp

from change_history.bson import extended_json, raw
from change_history.bson.values import to_python
from change_history.query.transactions import name_of
from change_history.stored.event import Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from change_history.bson.raw import Value


class Format(StrEnum):
    """A file format."""

    NDJSON = "ndjson"
    CSV = "csv"
    PARQUET = "parquet"


class Form(Enum):
    """What a column holds."""

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


class Column(NamedTuple):
    """A column: the name of a field of the row, and its form."""

    name: str
    form: Form


class Table(NamedTuple):
    """A kind of row.

    Attributes:
        columns: in order. The first names the event, or the document, that the row is of.
        left_out: fields of history that its rows do not have.
    """

    columns: tuple[Column, ...]
    left_out: tuple[str, ...] = ()


OTHER = Column("other", Form.VALUE)
"""Last column of a table of history: the fields that have no column, or are not of its type, as one document."""

_FITTING = {
    Form.TEXT: {raw.STRING},
    Form.TIME: {raw.DATE},
    Form.CLUSTER_TIME: {raw.TIMESTAMP},
    Form.BYTES: {raw.BINARY},
    Form.NUMBER: {raw.INT32, raw.INT64},
    Form.FLAG: {raw.BOOLEAN},
}

_WHAT = (
    Column("namespace", Form.TEXT),
    Column("document_id", Form.VALUE),
    Column("operation", Form.TEXT),
    Column("timestamp", Form.TIME),
    Column("cluster_time", Form.CLUSTER_TIME),
)
_AROUND = (Column("key_order", Form.VALUE), Column("description", Form.VALUE))
_TRANSACTION = (Column("transaction", Form.TEXT), Column("session", Form.VALUE))
_WHO = b"actor"
_ACTOR = (
    Column("actor", Form.VALUE),
    Column("provenance", Form.TEXT),
    Column("reason", Form.TEXT),
    Column("request", Form.VALUE),
    Column("database_user", Form.TEXT),
)

EVENTS = Table(
    (
        Column("_id", Form.BYTES),
        *_WHAT,
        Column("changes", Form.VALUE),
        *_AROUND,
        *_TRANSACTION,
        Column("resume_token", Form.BYTES),
        Column("version", Form.NUMBER),
        *_ACTOR,
        OTHER,
    )
)
CHANGES = Table(
    (
        Column("event", Form.BYTES),
        *_WHAT,
        Column("field", Form.TEXT),
        Column("path", Form.VALUE),
        Column("old_value", Form.VALUE),
        Column("new_value", Form.VALUE),
        Column("old_value_from", Form.TEXT),
        Column("new_value_from", Form.TEXT),
        Column("truncated_to", Form.NUMBER),
        Column("at_end", Form.FLAG),
        *_AROUND,
        *_TRANSACTION,
        *_ACTOR,
        OTHER,
    ),
    left_out=("resume_token", "version"),
)
DOCUMENTS = Table((Column("_id", Form.VALUE), Column("document", Form.VALUE), Column("unknown", Form.TEXT)))


def cells(table: Table, row: bytes) -> list[Value | None]:
    """The values of a row, column by column; None: absent.

    Raises:
        change_history.bson.raw.MalformedBSON: the row is no BSON document.
    """
    fields = raw.fields(row)
    others: dict[bytes, Value] = {}
    if table.columns[-1] is OTHER:
        _name_transaction(fields)
        others = _name_actor(fields)
    found: list[Value | None] = []
    for name, form in table.columns:
        key = name.encode()
        fits = key in fields and (form is Form.VALUE or fields[key][0] in _FITTING[form])
        found.append(fields.pop(key) if fits else None)
    if (others := fields | others) and table.columns[-1] is OTHER:
        found[-1] = (raw.DOCUMENT, raw.from_fields(others.items()))
    return found


def _name_transaction(fields: dict[bytes, Value]) -> None:
    """Put the name that commands take in the place of the transaction, and its whole session beside it."""
    transaction = fields.get(b"transaction")
    inner = raw.fields(transaction[1]) if transaction is not None and transaction[0] == raw.DOCUMENT else {}
    if inner.keys() == {b"session", b"number"}:
        name = name_of(Transaction(to_python(inner[b"session"]), to_python(inner[b"number"])))
        fields[b"transaction"] = (raw.STRING, raw.string(name.encode()))
        fields[b"session"] = inner[b"session"]


def _name_actor(fields: dict[bytes, Value]) -> dict[bytes, Value]:
    """Put who it was in the place of all that is said of the actor, and the rest beside it; else give it back."""
    actor = fields.pop(_WHO, None)
    if actor is None:
        return {}
    inner = raw.fields(actor[1]) if actor[0] == raw.DOCUMENT else {}
    if b"id" not in inner or inner.keys() & fields.keys():
        return {_WHO: actor}
    fields[_WHO] = inner.pop(b"id")
    fields.update(inner)
    return {}


def loss(chosen: Format, table: Table) -> str | None:
    """What a file does not say as history does, in one line; None: nothing."""
    said = []
    if chosen is not Format.NDJSON:
        types = "all cells are text, and an empty one is absent" if chosen is Format.CSV else "null is absent"
        said.append(f"{types}; BSON values are canonical Extended JSON text, which keeps their types")
    if table.left_out:
        said.append(f"left out: {', '.join(table.left_out)}")
    return "; ".join(said) or None


def text(value: Value, form: Form) -> str:
    """A cell as text; the value is of the column's type (see `cells`)."""
    writer = _TEXTS.get(form)
    return writer(value) if writer is not None else extended_json.dumps_raw(value)


def number(value: Value) -> int:
    """The integer, or the milliseconds of the date."""
    return int.from_bytes(value[1], "little", signed=True)


def _plain(value: Value) -> str:
    # Every program can read it: bytes that are not UTF-8 become escapes, `\\xff`.
    return raw.text_of(value).decode("utf-8", "backslashreplace")


def _iso(value: Value) -> str:
    moment: datetime | DatetimeMS = to_python(value)
    if isinstance(moment, DatetimeMS):  # outside the years 1 to 9999
        return extended_json.dumps_raw(value)
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _cluster_time(value: Value) -> str:
    moment: Timestamp = to_python(value)
    return f"{moment.time}:{moment.inc}"


_TEXTS: dict[Form, Callable[[Value], str]] = {
    Form.TEXT: _plain,
    Form.TIME: _iso,
    Form.CLUSTER_TIME: _cluster_time,
    Form.BYTES: lambda value: value[1][5:].hex(),
    Form.NUMBER: lambda value: str(number(value)),
    Form.FLAG: lambda value: "true" if value[1] == b"\x01" else "false",
}


_FIRST = (b"namespace", b"document_id", b"operation", b"timestamp", b"cluster_time")
_DROPPED = {b"_id", b"changes", *_FIRST, *(name.encode() for name in CHANGES.left_out)}


def of_event(stored: bytes) -> Iterator[bytes]:
    """One row: the history document as it is stored."""
    yield stored


def of_changes(stored: bytes) -> Iterator[bytes]:
    """A row for each change of an event, with what is said of the event; an event without changes gives one too."""
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
        document: what it was; None: history cannot tell.
        unknown: why not.
    """
    row = [(b"_id", document_id)]
    if document is not None:
        row.append((b"document", (raw.DOCUMENT, document)))
    if unknown is not None:
        row.append((b"unknown", (raw.STRING, raw.string(unknown.encode()))))
    return raw.from_fields(row)
