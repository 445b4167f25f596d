"""Moments, and version numbers, as places in history at which to cut it: what is before counts.

- A `bson.Timestamp` is a cluster time, and includes all that happened at it.
- An aware `datetime` is a wall time, in milliseconds: the cut is right after the last entry whose `timestamp` is not
  later. The order of history is that of cluster time, which may run ahead of the clocks of servers and may not; so
  entries up to the end of the moment's second are looked at first, and those up to `history.window.SLACK_SECONDS` later
  if the next one shows that cluster time runs ahead.
- A number is a version of one document (`history.versions`), and the cut right after it.
- None: everything that is recorded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson import Binary, Timestamp

from history import window
from history.selection import NAMESPACE_TIMELINE
from history.versions import Versions
from history.window import Moment
from models import raw
from models.connection import HISTORY
from models.reading import RAW
from recall import lives
from recall.ids import is_id
from recall.places import BEGINNING, END, TIME_BYTES, Place, after, before, place_of, sortable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pymongo.database import Database

At: TypeAlias = Moment | int
"""A moment (an aware `datetime` or a `bson.Timestamp`), or the number of a document's version."""

_LAST_SECOND = _LAST_INCREMENT = 2**32 - 1


class Cut(NamedTuple):
    """Where to cut.

    Attributes:
        place: what is before counts.
        turn: what `recall.lives.last_turn` says of it, where that has been asked.
        wall: where it is a wall time, the end of its second as a cluster time, 8 bytes: the place may lie before it.
    """

    place: Place
    turn: tuple[lives.Turn | None] | None = None
    wall: bytes = b""

    @property
    def moment(self) -> bytes:
        """The cluster time, 8 bytes, up to which it matters if an event is missing."""
        return max(self.place.cluster_time, self.wall)


def of_document(database: Database[Any], namespace: str, document_id: raw.Value, at: At | None) -> Cut:
    """Where to cut the history of one document.

    Args:
        database: the history database.
        namespace: `db.coll`.
        document_id: its `_id`.
        at: when.

    Raises:
        history.versions.NoSuchVersionError: the document has no version of this number.
        TypeError: no moment and no number.
        ValueError: a time without a zone.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    if isinstance(at, int) and not isinstance(at, bool):
        return Cut(Versions(database, namespace, document_id).place(at).following)
    timeline = _Timeline(database, {"namespace": namespace, "document_id": is_id(document_id)}, lives.TIMELINE)
    return _of_moment(timeline, namespace, at)


def of_collection(database: Database[Any], namespace: str, at: Moment | None) -> Cut:
    """Where to cut the history of a collection. Arguments and errors are those of `of_document`."""
    if isinstance(at, int):
        raise TypeError("a collection has no version numbers; give a moment")
    return _of_moment(_Timeline(database, {"namespace": namespace}, NAMESPACE_TIMELINE), namespace, at)


class _Timeline:
    """Entries that one index has in order."""

    def __init__(self, database: Database[Any], query: dict[str, Any], index: list[tuple[str, int]]) -> None:
        self.database = database
        self._history = database.get_collection(HISTORY, codec_options=RAW)
        self._query = query
        self._index = index

    def end(self, at: datetime) -> Place:
        """The place right after the last entry up to a wall time."""
        second = math.floor(at.timestamp())
        wall = window.wall_bounds(None, at)["$lte"]
        found = self._last(_end_of(second), wall)
        later = {"_id": {"$gt": Binary(_end_of(second))}}
        (ahead,) = [*self._find(later, {"timestamp": 1}, 1, limit=1), None][:1]
        if ahead is not None and _milliseconds(ahead) <= int(wall):
            found = self._last(_end_of(second + window.SLACK_SECONDS), wall) or found
        return found.following if found is not None else BEGINNING

    def _last(self, until: bytes, wall: Any) -> Place | None:
        query = {"_id": {"$lte": Binary(until)}, "timestamp": {"$lte": wall}}
        places = {"_id": 1, "resume_token": 1}
        found = [place_of(fields) for fields in self._find(query, places, -1, limit=2)]
        if len({place.cluster_time for place in found}) < len(found):  # their order is in their tokens
            time = found[0].cluster_time
            query["_id"] = {"$gte": Binary(time + bytes(TIME_BYTES)), "$lte": Binary(time + b"\xff" * TIME_BYTES)}
            return max(map(place_of, self._find(query, places, -1)))
        return found[0] if found else None

    def _find(
        self, more: dict[str, Any], fields: dict[str, int], direction: int, **options: Any
    ) -> Iterator[dict[bytes, raw.Value]]:
        query = {**self._query, **more}
        found = self._history.find(query, fields, sort=[("_id", direction)], hint=self._index, **options)
        return (raw.fields(bytes(stored.raw)) for stored in found)


def _of_moment(timeline: _Timeline, namespace: str, at: Any) -> Cut:
    if at is None:
        return Cut(END)
    if isinstance(at, Timestamp):
        return Cut(after(at))
    window.require_aware(at)
    place = timeline.end(at)
    wall = _end_of(math.floor(at.timestamp()))[:TIME_BYTES]
    # A drop or a rename is no entry of a document, nor is one to this name or of the whole database of a namespace.
    latest = _end_of(math.floor(at.timestamp()) + window.SLACK_SECONDS)[:TIME_BYTES]
    turn = lives.last_turn(timeline.database, namespace, after(latest))
    while turn is not None and (after_turn := after(turn.id[:TIME_BYTES])) > place:
        if turn.wall <= int(window.wall_bounds(None, at)["$lte"]):
            return Cut(after_turn, (turn,), wall)
        turn = lives.last_turn(timeline.database, namespace, before(turn.id[:TIME_BYTES]))
    return Cut(place, (turn,), wall)


def _end_of(second: int) -> bytes:
    """The greatest `_id` of a second."""
    return sortable(Timestamp(min(max(second, 0), _LAST_SECOND), _LAST_INCREMENT)) + b"\xff" * TIME_BYTES


def _milliseconds(fields: dict[bytes, raw.Value]) -> int:
    return int.from_bytes(fields[b"timestamp"][1], "little", signed=True)
