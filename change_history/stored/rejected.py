"""What an entry of `rejected` is about: which document, or which collection, and when.

An entry has `namespace`, `document_id`, `cluster_time` and `operation` beside the rejected original: the event
(`event`), or a history document that no event has made (`entry`); `parts` or `entry_parts` if it is too large. Entries
of older builds lack some of these fields, which are then read from the original, as far as it can be read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, END_OF_TIME, ClusterTime
from change_history.bson.equality import key_of
from change_history.bson.resume_token import token_time
from change_history.stored import chunks
from change_history.stored.names import REJECTED
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from pymongo.database import Database

FIELDS = {"namespace": 1, "document_id": 1, "cluster_time": 1, "operation": 1, "rejected_at": 1}
"""The projection of an entry for `concern`."""

_DOCUMENT_OPERATIONS = frozenset({b"insert", b"update", b"replace", b"delete", b"baseline", b"reconcile"})
_SKEW_S = 60
_MILLISECONDS = 1000
_REMEMBERED = 4096


class Told(NamedTuple):
    """What an event or a history document says of itself; None: it does not say, or that cannot be read.

    Attributes:
        namespace: `db.coll`, or `db`.
        resume_token: its position, of an event.
    """

    namespace: bytes | None = None
    document_id: raw.Value | None = None
    cluster_time: ClusterTime | None = None
    operation: bytes | None = None
    resume_token: bytes | None = None


class Concern(NamedTuple):
    """What a rejected event may have changed, and when.

    Attributes:
        id: `_id` of the entry, 16 bytes.
        namespace: `db.coll`, or `db`; None: not known, so it may be any.
        document_id: the only document that it concerns; None: all of its collection.
        since: the earliest cluster time at which it may have happened.
        until: the latest; equal to `since` if its time is known.
    """

    id: bytes
    namespace: bytes | None
    document_id: raw.Value | None
    since: ClusterTime
    until: ClusterTime

    @property
    def key(self) -> Hashable:
        """`key_of` the document's `_id`; None: all of the collection."""
        return key_of(self.document_id) if self.document_id is not None else None

    @property
    def is_vague(self) -> bool:
        """Whether it cannot be read, so that it is not known when it happened, or where."""
        return self.namespace is None or self.since != self.until


def told_by_event(data: bytes) -> Told:
    """Namespace, document and time of an event, as far as they can be read. Never raises."""
    found = raw.readable(data)
    token = _inside(found, b"_id")
    time = found.get(b"clusterTime")
    known = ClusterTime.from_payload(time[1]) if time is not None and time[0] == raw.TIMESTAMP else None
    if known is None and token is not None:
        known = token_time(token)
    names = _inside(found, b"ns")
    parts = [part for _, part in raw.readable(names).items() if part[0] == raw.STRING] if names is not None else []
    key = _inside(found, b"documentKey")
    return Told(
        b".".join(map(raw.text_of, parts)) or None,
        _sound(raw.readable(key).get(b"_id")) if key is not None else None,
        known,
        _text(found.get(b"operationType")),
        token,
    )


def told_by_entry(document: bytes) -> Told:
    """Namespace, document and time of a history document, as far as they can be read. Never raises."""
    found = raw.readable(document)
    time = found.get(b"cluster_time")
    return Told(
        _text(found.get(b"namespace")),
        _sound(found.get(b"document_id")),
        ClusterTime.from_payload(time[1]) if time is not None and time[0] == raw.TIMESTAMP else None,
        _text(found.get(b"operation")),
    )


def stored_event(database: Database[Any], entry: Mapping[str, Any]) -> bytes:
    """The original that an entry holds: an event, or a history document (`is_entry`).

    Raises:
        change_history.stored.chunks.MissingChunkError: a chunk is missing.
    """
    parts = chunks_of(entry)
    if parts:
        return chunks.read(database, parts)
    return bytes(entry.get("entry") or entry.get("event") or b"")


def chunks_of(entry: Mapping[str, Any]) -> Sequence[Any]:
    """The ids of the chunks that hold an entry's original, in order; empty: it is in the entry itself."""
    found: Sequence[Any] = entry.get("parts") or entry.get("entry_parts") or ()
    return found


def is_entry(entry: Mapping[str, Any]) -> bool:
    """Whether an entry holds a history document instead of an event."""
    return "entry" in entry or "entry_parts" in entry


def concern(database: Database[Any], stored: bytes) -> Concern:
    """The concern of a stored entry, given with at least its `_id` and `FIELDS`."""
    found = raw.fields(stored)
    told = told_by_entry(stored)
    identity = found[b"_id"][1][5:] if found[b"_id"][0] == raw.BINARY else found[b"_id"][1]
    if told.document_id is None and told.operation is None:
        told = _completed(told, _told_by_kept(_Where(database), found[b"_id"]))
    whole_collection = told.operation is not None and told.operation not in _DOCUMENT_OPERATIONS
    known = told.cluster_time
    return Concern(
        identity,
        told.namespace,
        None if whole_collection else told.document_id,
        known if known is not None else BEGINNING_OF_TIME,
        known if known is not None else _rejected_by(found.get(b"rejected_at")),
    )


class _Where:
    """The history database; all are one to the memory of what is kept, as an `_id` says what."""

    def __init__(self, database: Database[Any]) -> None:
        self.database = database

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Where)


@lru_cache(_REMEMBERED)
def _told_by_kept(where: _Where, identity: raw.Value) -> Told:
    collection = where.database.get_collection(REJECTED, codec_options=RAW)
    entry = collection.find_one({"_id": Binary(identity[1][5:], identity[1][4])}) if identity[0] == raw.BINARY else None
    if entry is None:
        return Told()
    try:
        data = stored_event(where.database, entry)
    except chunks.MissingChunkError:
        return Told()
    return told_by_entry(data) if is_entry(entry) else told_by_event(data)


def _completed(told: Told, more: Told) -> Told:
    return more._replace(**{name: value for name, value in told._asdict().items() if value is not None})


def _rejected_by(at: raw.Value | None) -> ClusterTime:
    """Up to when an event can have happened that was rejected at a time by the history deployment's clock."""
    if at is None or at[0] != raw.DATE:
        return END_OF_TIME
    return ClusterTime.end_of(int.from_bytes(at[1], "little", signed=True) // _MILLISECONDS + _SKEW_S)


def _inside(found: dict[bytes, raw.Value], name: bytes) -> bytes | None:
    value = found.get(name)
    return value[1] if value is not None and value[0] == raw.DOCUMENT else None


def _text(value: raw.Value | None) -> bytes | None:
    return raw.text_of(value) if value is not None and value[0] == raw.STRING else None


def _sound(document_id: raw.Value | None) -> raw.Value | None:
    """An `_id`, or None if it is malformed and cannot be compared."""
    try:
        if document_id is not None:
            key_of(document_id)
    except ValueError:
        return None
    return document_id
