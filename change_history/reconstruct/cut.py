"""Moments, and version numbers, as places in history at which to cut it: what is before counts.

- A `bson.Timestamp` is a cluster time, and includes all that happened at it.
- An aware `datetime` is a wall time, in milliseconds: the cut is right after the last entry whose `timestamp` is not
  later. The order of history is that of cluster time, which may run ahead of the clocks of servers and may not; so
  entries up to the end of the moment's second are looked at first, and those up to
  `change_history.reconstruct.window.SLACK_SECONDS` later if the next one shows that cluster time runs ahead.
- A number is a version of one document (`change_history.reconstruct.versions`), and the cut right after it.
- None: everything that is recorded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson import Binary, DatetimeMS, Timestamp

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.reconstruct import lives, window
from change_history.reconstruct.ids import is_id
from change_history.reconstruct.places import BEGINNING, END, Place, after, before, place_of
from change_history.reconstruct.together import Read, together
from change_history.reconstruct.versions import Versions
from change_history.reconstruct.window import Moment
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY, NAMESPACE_TIMELINE
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from datetime import datetime

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

At: TypeAlias = Moment | int
"""A moment (an aware `datetime` or a `bson.Timestamp`), or the number of a document's version."""


class Cut(NamedTuple):
    """Where to cut.

    Attributes:
        place: what is before counts.
        turn: what `change_history.reconstruct.lives.last_turn` says of it, where that has been asked.
        wall: where it is a wall time, the end of its second as a cluster time: the place may lie before it.
    """

    place: Place
    turn: tuple[lives.Turn | None] | None = None
    wall: ClusterTime = BEGINNING_OF_TIME

    @property
    def moment(self) -> ClusterTime:
        """The cluster time up to which it matters if an event is missing."""
        return max(self.place.cluster_time, self.wall)


def of_document(database: Database[Any], namespace: str, document_id: raw.Value, at: At | None) -> Cut:
    """Where to cut the history of one document.

    Args:
        database: the history database.
        namespace: `db.coll`.
        document_id: its `_id`.
        at: when.

    Raises:
        change_history.reconstruct.versions.NoSuchVersionError: the document has no version of this number.
        TypeError: no moment and no number.
        ValueError: a time without a zone.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    if isinstance(at, int) and not isinstance(at, bool):
        return Cut(Versions(database, namespace, document_id).place(at).following)
    timeline = _Timeline(database, {"namespace": namespace, "document_id": is_id(document_id)}, DOCUMENT_TIMELINE)
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
        self._query = query
        self._order = {key: -1 for key, _ in index}
        self.index = dict(index)

    def reads(self, at: datetime) -> tuple[Read, Read]:
        """What is to be read for `end`: the last entry up to a wall time, and the first after its second."""
        second = math.floor(at.timestamp())
        end = ClusterTime.end_of(second)
        first = {"_id": {"$gt": Binary(end.last_id)}}
        ahead = {key: -order for key, order in self._order.items()}
        return self._last(end, at), Read(HISTORY, {**self._query, **first}, ahead, 1, {"timestamp": 1})

    def end(self, at: datetime, found: list[RawBSONDocument], later: list[RawBSONDocument]) -> Place:
        """The place right after the last entry up to a wall time, given what was read."""
        last = self._place(found, at)
        if later and _milliseconds(_fields(later[0])) <= _wall(at):
            read = self._last(ClusterTime.end_of(math.floor(at.timestamp()) + window.SLACK_SECONDS), at)
            last = self._place(self._read(read), at) or last
        return last.following if last is not None else BEGINNING

    def _last(self, until: ClusterTime, at: datetime) -> Read:
        query = {**self._query, "_id": {"$lte": Binary(until.last_id)}, "timestamp": {"$lte": DatetimeMS(_wall(at))}}
        return Read(HISTORY, query, self._order, 2, {"resume_token": 1})

    def _place(self, found: list[RawBSONDocument], at: datetime) -> Place | None:
        places = [place_of(_fields(stored)) for stored in found]
        if len({place.cluster_time for place in places}) == len(places):
            return places[0] if places else None
        time = places[0].cluster_time  # their order is in their tokens
        query = self._last(time, at).query
        query["_id"]["$gte"] = Binary(time.first_id)
        return max(place_of(_fields(s)) for s in self._read(Read(HISTORY, query, self._order, 0, {"resume_token": 1})))

    def _read(self, read: Read) -> list[RawBSONDocument]:
        history = self.database.get_collection(HISTORY, codec_options=RAW)
        found = history.find(read.query, read.fields, sort=[*read.order.items()], hint=[*self.index.items()])
        return list(found.limit(read.limit))


def _of_moment(timeline: _Timeline, namespace: str, at: Any) -> Cut:
    if at is None:
        return Cut(END)
    if isinstance(at, Timestamp):
        return Cut(after(ClusterTime.of(at)))
    window.require_aware(at)
    second = math.floor(at.timestamp())
    # A drop or a rename is no entry of a document, nor is one to this name or of the whole database of a namespace.
    latest = ClusterTime.end_of(second + window.SLACK_SECONDS)
    reads = [*timeline.reads(at), *lives.turn_reads(namespace, after(latest))]
    found, later, *turns = together(timeline.database, reads, timeline.index)
    place = timeline.end(at, found, later)
    turn = lives.turn_of((event for each in turns for event in each), namespace)
    wall = ClusterTime.end_of(second)
    while turn is not None and (after_turn := after(turn.cluster_time)) > place:
        if turn.wall <= _wall(at):
            return Cut(after_turn, (turn,), wall)
        turn = lives.last_turn(timeline.database, namespace, before(turn.cluster_time))
    return Cut(place, (turn,), wall)


def _wall(at: datetime) -> int:
    """Whole milliseconds since 1970."""
    return int(window.wall_bounds(None, at)["$lte"])


def _fields(stored: RawBSONDocument) -> dict[bytes, raw.Value]:
    return raw.fields(bytes(stored.raw))


def _milliseconds(fields: dict[bytes, raw.Value]) -> int:
    return int.from_bytes(fields[b"timestamp"][1], "little", signed=True)
