"""The horizon of a namespace: up to where its history has expired, and the base entries that replace it.

Every document that was alive at the horizon has a base: a `baseline` with its state there, whose description names the
horizon. From the horizon on, queries answer as before it moved. Before it, they answer `Unknown`.

A base relies on history as far back as the entries it replaces did, so it also names the entry, expired itself, that
last held the document whole: an event lost or rejected after that one still counts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import DatetimeMS, Timestamp

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.reads import Read
from change_history.reconstruct.trust import Unknown
from change_history.stored.changes import Change, encode, untold
from change_history.stored.names import HORIZONS
from change_history.stored.order import entry_id
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    Fields = dict[bytes, raw.Value]

BASELINE = b"baseline"
_MILLISECONDS = 1000
_HORIZON, _BASE = b"horizon", b"base"


class Horizon(NamedTuple):
    """Up to where the history of a namespace has expired.

    Attributes:
        time: the cluster time; the last of its second.
    """

    time: ClusterTime

    @property
    def wall_ms(self) -> int:
        """The wall time from which history is complete, in milliseconds since 1970."""
        return wall_ms(self.time)

    @property
    def when(self) -> datetime:
        """The wall time from which history is complete, in whole seconds."""
        return datetime.fromtimestamp(self.time.seconds + 1, UTC)

    def hides(self, at: Any) -> bool:
        """Whether a point in time is before the horizon. A version number never is: only recorded versions count."""
        if isinstance(at, Timestamp):
            return ClusterTime.of(at) < self.time
        if isinstance(at, datetime):
            return DatetimeMS(at) < DatetimeMS(self.wall_ms)
        return False

    @property
    def unknown(self) -> Unknown:
        """Why nothing before the horizon is known."""
        return Unknown(f"its history before {self.when:%Y-%m-%d %H:%M:%S}+00:00 has expired (`watcher retention`)")


def wall_ms(time: ClusterTime) -> int:
    """The last millisecond of a cluster time's second, in milliseconds since 1970."""
    return time.seconds * _MILLISECONDS + _MILLISECONDS - 1


def horizon_read(namespace: str) -> Read:
    """The read whose result `horizon_of` takes."""
    return Read(HORIZONS, {"_id": namespace, "horizon": {"$exists": True}}, {"_id": 1}, 1, {"horizon": 1})


def horizon_of(found: Iterable[RawBSONDocument]) -> Horizon | None:
    """The horizon in the result of `horizon_read`; None: nothing has expired."""
    for stored in found:
        return Horizon(ClusterTime.from_payload(raw.fields(bytes(stored.raw))[_HORIZON][1]))
    return None


def horizon(database: Database[Any], namespace: str) -> Horizon | None:
    """Up to where the history of a namespace has expired; None: nothing has."""
    wanted = horizon_read(namespace)
    return horizon_of(database.get_collection(HORIZONS, codec_options=RAW).find(wanted.query, wanted.fields, limit=1))


def base(
    namespace: bytes,
    document_id: raw.Value,
    document: bytes | Unknown,
    at: ClusterTime,
    *,
    relies_on: bytes,
    wall: int,
) -> bytes:
    """Make the history document that replaces the history of a document up to a horizon.

    Args:
        document_id: its `_id`; used only where `document` is `Unknown`.
        document: its state at the horizon, or why that is not known.
        relies_on: `_id` of the entry that last held the document whole, 16 bytes; empty: none did.
        wall: its wall time, in milliseconds since 1970: no earlier than that of any entry it replaces.
    """
    if isinstance(document, Unknown):
        changes = [untold(BASELINE)]
    else:
        document_id = raw.fields(document)[b"_id"]
        changes = [encode(Change((key,), None, (kind, payload))) for key, kind, payload in raw.elements(document)]
    said: list[tuple[bytes, raw.Value]] = [(_HORIZON, (raw.TIMESTAMP, at.payload))]
    if relies_on:
        said.append((_BASE, raw.binary(relies_on)))
    return raw.from_fields(
        [
            (b"_id", raw.binary(entry_id(at, BASELINE, namespace, document_id))),
            (b"namespace", (raw.STRING, raw.string(namespace))),
            (b"document_id", document_id),
            (b"operation", (raw.STRING, raw.string(BASELINE))),
            (b"timestamp", (raw.DATE, wall.to_bytes(8, "little", signed=True))),
            (b"cluster_time", (raw.TIMESTAMP, at.payload)),
            (b"changes", (raw.ARRAY, raw.from_items((raw.DOCUMENT, change) for change in changes))),
            (b"description", (raw.DOCUMENT, raw.from_fields(said))),
        ]
    )


def is_base(fields: Fields) -> bool:
    """Whether an entry replaces history that has expired."""
    return raw.text_of(fields[b"operation"]) == BASELINE and _HORIZON in _described(fields)


def relied_on(fields: Fields, identity: bytes) -> bytes:
    """The `_id` of the entry that a whole document relies on: the entry's own, or the one that a base names."""
    if b"description" not in fields:
        return identity
    found = _described(fields).get(_BASE)
    return found[1][5:] if found is not None else identity


def _described(fields: Fields) -> Fields:
    said = fields.get(b"description")
    return raw.fields(said[1]) if said is not None and said[0] == raw.DOCUMENT else {}
