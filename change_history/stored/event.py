"""Recorded events and their changes as Python objects, as every read returns them."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import bson

from change_history.bson.paths import TextPath, dotted_text, encoded, is_ambiguous, read_text
from change_history.bson.values import ABSENT, UNKNOWN, document_to_python
from change_history.stored.actor import Actor, to_actor
from change_history.stored.names import FROM_UNKNOWN

if TYPE_CHECKING:
    from bson import Timestamp
    from bson.raw_bson import RawBSONDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The change of one field.

    Attributes:
        field: the dotted path in MongoDB's notation, read by this rule: the parts between dots are keys, and a part
            after the first that is a plain decimal number is an array index.
        old_value: before; `ABSENT`: the path did not exist; `UNKNOWN`: it was not recorded and cannot be derived.
        new_value: after; `ABSENT`: the path was removed; `UNKNOWN`: it was not recorded, or only a length was.
        timestamp: wall time of the event (UTC); None for a difference between two states.
        path: the exact path as a list of keys (`str`) and indexes (`int`) where reading `field` by the rule would be
            wrong; the empty list is the whole document. Otherwise `ABSENT`.
        old_value_from: the source of the old value: None: the server's pre-image; else `history` or `unknown`.
        new_value_from: `unknown` for an event that was too large to be delivered with its values; None otherwise.
        truncated_to: new length of the array at the path, in elements.
        at_end: the server put the field after all others of its document, though it may have existed before.
    """

    field: str
    old_value: Any = ABSENT
    new_value: Any = ABSENT
    timestamp: datetime | None = None
    path: Any = ABSENT
    old_value_from: str | None = None
    new_value_from: str | None = None
    truncated_to: int | None = None
    at_end: bool | None = None

    def __hash__(self) -> int:
        return hash(self.field)  # a value may be a dict or a list

    def __str__(self) -> str:
        return f"{self.field}: {self.old_value!r} → {self.new_value!r}"


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as its events carry it.

    Attributes:
        session: the logical session, as the server gives it (`lsid`).
        number: the transaction's number within it (`txnNumber`).
    """

    session: Any
    number: int

    def __hash__(self) -> int:
        return hash(self.number)  # the session is a dict


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One recorded event, whole. Names and meaning of the attributes are those of the stored fields.

    `id` is the cluster time (8 bytes, big-endian) followed by 8 bytes of BLAKE2b of the resume token: the same event
    has the same `id` wherever and however often it is read, and ids are in time order. Within one cluster time, events
    are ordered by `resume_token`, byte by byte.

    `actor` is None where it is unknown.
    """

    id: bytes
    operation: str
    timestamp: datetime
    cluster_time: Timestamp
    namespace: str = ""
    document_id: Any = ABSENT
    changes: tuple[Change, ...] = ()
    key_order: list[str] | None = None
    description: Any = ABSENT
    transaction: Transaction | None = None
    resume_token: bytes | None = None
    version: int | None = None
    change_count: int | None = None
    parts: list[bytes] | None = None
    actor: Actor | None = None

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return on_one_line(self)

    def __repr__(self) -> str:
        return f"<Event: {self}>"


def on_one_line(event: Any) -> str:
    """An event without its values: they may be large, and secret.

    Args:
        event: an `Event`, or a `models.HistoryModel`.
    """
    when = event.timestamp.isoformat(" ", "milliseconds") if isinstance(event.timestamp, datetime) else event.timestamp
    about = event.namespace or "everything"
    if event.document_id is not ABSENT:
        about += f" {event.document_id!r}"
    count = event.change_count if event.change_count is not None else len(event.changes)
    return f"{about}: {event.operation} at {when}, {count} {'change' if count == 1 else 'changes'}"


class _EventDraft:
    """A mutable `Event` with the same slots: filling it is three times as fast as creating a frozen dataclass."""

    __slots__ = tuple(field.name for field in dataclass_fields(Event))


class _ChangeDraft:
    """A mutable `Change`, likewise."""

    __slots__ = tuple(field.name for field in dataclass_fields(Change))


def to_event(stored: RawBSONDocument | bytes) -> Event:
    """The event of a stored history document, its values exact to the BSON type.

    For the head of an event stored in chunks, the values are `UNKNOWN`.
    """
    fields = document_to_python(stored, _doubtful)
    get = fields.get
    timestamp, transaction, parts, actor = get("timestamp"), get("transaction"), get("parts"), get("actor")
    if timestamp is None:  # not written by this product
        timestamp = fields["cluster_time"].as_datetime()
    untold = parts is not None
    draft: Any = _EventDraft()
    draft.id = fields["_id"]
    draft.operation = fields["operation"]
    draft.namespace = get("namespace", "")
    draft.document_id = get("document_id", ABSENT)
    draft.timestamp = timestamp
    draft.cluster_time = fields["cluster_time"]
    draft.changes = tuple([to_change(change, timestamp, untold=untold) for change in get("changes", ())])
    draft.key_order = get("key_order")
    draft.description = get("description", ABSENT)
    draft.transaction = (
        Transaction(transaction.get("session"), transaction.get("number")) if transaction is not None else None
    )
    draft.resume_token = get("resume_token")
    draft.version = get("version")
    draft.change_count = get("change_count")
    draft.parts = parts
    draft.actor = to_actor(actor) if isinstance(actor, dict) else None
    draft.__class__ = Event
    event: Event = draft
    return event


_CHANGES = b"\x04changes\x00"
_TOKEN = b"\x05resume_token\x00"
_ACTOR = b"\x03actor\x00"
_AROUND_TOKEN = len(_TOKEN) + 4 + len(b"\x00") + len(b"\x00")
_KEPT_BY_DRIVER = frozenset(
    {int, float, bool, bytes, bson.ObjectId, bson.Int64, bson.Binary, bson.Decimal128, datetime}
)


def _doubtful(decoded: dict[str, Any], data: bytes) -> tuple[int, int]:
    """The part of a stored history document that holds a document's values, without the ids, times and the token."""
    begin, end = 4, len(data)
    if type(decoded.get("document_id")) in _KEPT_BY_DRIVER:
        begin = max(begin, data.find(_CHANGES))
    token = decoded.get("resume_token")
    if "actor" in decoded:
        end = data.rfind(_ACTOR)  # what stands before it here; a little more if the actor itself holds this
    if type(token) is bytes:
        around = _AROUND_TOKEN + len(token) - ("actor" in decoded)
        if data.startswith(_TOKEN, end - around):
            end -= around
    return begin, end


def to_change(fields: dict[str, Any], timestamp: datetime | None = None, *, untold: bool = False) -> Change:
    """Convert a stored change, given decoded.

    Args:
        fields: its stored fields.
        timestamp: the wall time of its event.
        untold: whether its values are in chunks.
    """
    get = fields.get
    old_value, new_value = get("old_value", ABSENT), get("new_value", ABSENT)
    draft: Any = _ChangeDraft()
    draft.field = fields["field"]
    draft.timestamp = timestamp
    if len(fields) == _PLAIN and old_value is not ABSENT and new_value is not ABSENT and not untold:
        draft.path = ABSENT
        draft.old_value_from = draft.new_value_from = draft.truncated_to = draft.at_end = None
    else:
        old_value_from, new_value_from = get("old_value_from"), get("new_value_from")
        truncated_to = get("truncated_to")
        if untold or (old_value is ABSENT and old_value_from == FROM_UNKNOWN):
            old_value = UNKNOWN
        if untold or (new_value is ABSENT and (truncated_to is not None or new_value_from == FROM_UNKNOWN)):
            new_value = UNKNOWN
        draft.path = get("path", ABSENT)
        draft.old_value_from = old_value_from
        draft.new_value_from = new_value_from
        draft.truncated_to = truncated_to
        draft.at_end = get("at_end")
    draft.old_value = old_value
    draft.new_value = new_value
    draft.__class__ = Change
    change: Change = draft
    return change


_PLAIN = 3
"""Number of fields in a stored change with a field, both values and nothing else."""


def path_of(change: Change) -> TextPath:
    """The exact path of a change; the empty path is the whole document."""
    return tuple(change.path) if change.path is not ABSENT else read_text(change.field)


def change_at(path: TextPath, like: Change, **values: Any) -> Change:
    """Make a change of one path from a recorded one.

    Args:
        like: the recorded change, for the timestamp and the source of the old value.
        values: fields of `Change`, such as `old_value`.
    """
    if is_ambiguous(encoded(path)):
        values["path"] = list(path)
    return Change(field=dotted_text(path), old_value_from=like.old_value_from, timestamp=like.timestamp, **values)
