"""Points in time: resolve the value of `--at`, a time, a cluster time or a version, to a position in history.

Entries before the position count.

- A `bson.Timestamp` is a cluster time: exact, and the same on every machine. It includes all events of that time.
- An aware `datetime` is a wall time: the event's `timestamp`, which users are shown, in milliseconds. The position is
  right after the last entry whose `timestamp` is not later. History is ordered by cluster time, which may run ahead of
  the servers' clocks; so entries up to the end of the second are read first, and those up to `SLACK_SECONDS` later if
  the next one shows that cluster time runs ahead.
- A number is a version of one document (`Versions`); the position is right after it.
- None: everything that is recorded.

A time window is given by two values of the first two kinds, and includes both ends.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from bson import Binary, DatetimeMS, Timestamp

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.errors import HistoryError
from change_history.reconstruct.lineage import Boundary, boundary_of, boundary_reads, last_boundary
from change_history.reconstruct.reads import Read, is_id, read_together
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY, NAMESPACE_TIMELINE
from change_history.stored.order import BEGINNING, END, HistoryPosition, after, before, identity, position_of
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    Fields = dict[bytes, raw.Value]

Instant: TypeAlias = datetime | Timestamp
"""An aware `datetime` (wall time) or a `bson.Timestamp` (cluster time)."""

SLACK_SECONDS = 60
"""Seconds by which the wall time and the cluster time of an event may differ for a wall-time window to find it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)


def require_aware(moment: Instant | None) -> None:
    """Check that a value is an instant.

    Raises:
        TypeError: neither a datetime nor a `bson.Timestamp`.
        ValueError: a datetime without a time zone.
    """
    if moment is None or isinstance(moment, Timestamp):
        return
    if not isinstance(moment, datetime):
        raise TypeError(f"a time must be a datetime or a bson.Timestamp, not {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise ValueError(f"{moment!r} has no time zone; write {moment!r}.astimezone() for local time")
    if isinstance(moment, datetime):
        try:
            moment.astimezone(UTC)
        except OverflowError as error:
            raise ValueError(f"{moment!r} is beyond the calendar in UTC") from error


def id_bounds(since: Instant | None, until: Instant | None) -> dict[str, bytes]:
    """The range of `_id` that holds every event of the window; for wall times, a few more events.

    All bounds are 16 bytes long as every `_id` is: the server compares lengths first.
    """
    limits = {}
    if since is not None:
        limits["$gte"] = _cluster_time(since, -SLACK_SECONDS).first_id
    if until is not None:
        limits["$lte"] = _cluster_time(until, SLACK_SECONDS).last_id
    return limits


def wall_bounds(since: Instant | None, until: Instant | None) -> dict[str, DatetimeMS]:
    """The exact range of `timestamp`, for the ends that are wall times."""
    limits = {}
    if isinstance(since, datetime):
        limits["$gte"] = DatetimeMS(-((_EPOCH - since) // _MILLISECOND))  # up to the next whole millisecond
    if isinstance(until, datetime):
        limits["$lte"] = DatetimeMS((until - _EPOCH) // _MILLISECOND)
    return limits


def bounds(since: Instant | None, until: Instant | None) -> dict[str, Any]:
    """The conditions of a window, keyed by the stored field that they are on; empty without a window."""
    found = {"_id": id_bounds(since, until), "timestamp": wall_bounds(since, until)}
    return {field: condition for field, condition in found.items() if condition}


def _cluster_time(moment: Instant, slack: int) -> ClusterTime:
    if isinstance(moment, Timestamp):
        return ClusterTime.of(moment)
    second = (moment - _EPOCH) // _SECOND + slack
    return ClusterTime.start_of(second) if slack < 0 else ClusterTime.end_of(second)


PointInTime: TypeAlias = Instant | int
"""A moment (an aware `datetime` or a `bson.Timestamp`), or the number of a document's version."""


class Resolved(NamedTuple):
    """A point in time as a position in history.

    Attributes:
        position: entries before it count.
        boundary: the result of `change_history.reconstruct.last_boundary` for it, in a tuple; None: not looked up.
        wall: for a wall time, the end of its second as a cluster time, which may be after the position.
    """

    position: HistoryPosition
    boundary: tuple[Boundary | None] | None = None
    wall: ClusterTime = BEGINNING_OF_TIME

    @property
    def moment(self) -> ClusterTime:
        """The cluster time up to which a missing event matters."""
        return max(self.position.cluster_time, self.wall)


def of_document(database: Database[Any], namespace: str, document_id: raw.Value, at: PointInTime | None) -> Resolved:
    """The position of a point in time in the history of one document.

    Raises:
        change_history.reconstruct.point_in_time.NoSuchVersionError: the document has no version of this number.
        TypeError: `at` is neither an instant nor a number.
        ValueError: `at` is a datetime without a time zone.
    """
    if isinstance(at, int) and not isinstance(at, bool):
        return Resolved(Versions(database, namespace, document_id).position(at).following)
    timeline = _Timeline(database, {"namespace": namespace, "document_id": is_id(document_id)}, DOCUMENT_TIMELINE)
    return _of_moment(timeline, namespace, at)


def of_collection(database: Database[Any], namespace: str, at: Instant | None) -> Resolved:
    """The position of a point in time in the history of a collection. Arguments and errors as of `of_document`."""
    if isinstance(at, int):
        raise TypeError("a collection has no version numbers; give a moment")
    return _of_moment(_Timeline(database, {"namespace": namespace}, NAMESPACE_TIMELINE), namespace, at)


class _Timeline:
    """The entries of one document or namespace, in the order of an index."""

    def __init__(self, database: Database[Any], query: dict[str, Any], index: list[tuple[str, int]]) -> None:
        self.database = database
        self._query = query
        self._order = {key: -1 for key, _ in index}
        self.index = dict(index)

    def reads(self, at: datetime) -> tuple[Read, Read]:
        """The reads for `end`: the last entry up to a wall time, and the first entry after its second."""
        second = math.floor(at.timestamp())
        end = ClusterTime.end_of(second)
        first = {"_id": {"$gt": Binary(end.last_id)}}
        ahead = {key: -order for key, order in self._order.items()}
        return self._last(end, at), Read(HISTORY, {**self._query, **first}, ahead, 1, {"timestamp": 1})

    def end(self, at: datetime, found: list[RawBSONDocument], later: list[RawBSONDocument]) -> HistoryPosition:
        """The position right after the last entry up to a wall time, given the results of `reads`."""
        last = self._position(found, at)
        if later and _milliseconds(_fields(later[0])) <= _wall(at):
            read = self._last(ClusterTime.end_of(math.floor(at.timestamp()) + SLACK_SECONDS), at)
            last = self._position(self._read(read), at) or last
        return last.following if last is not None else BEGINNING

    def _last(self, until: ClusterTime, at: datetime) -> Read:
        query = {**self._query, "_id": {"$lte": Binary(until.last_id)}, "timestamp": {"$lte": DatetimeMS(_wall(at))}}
        return Read(HISTORY, query, self._order, 2, {"resume_token": 1})

    def _position(self, found: list[RawBSONDocument], at: datetime) -> HistoryPosition | None:
        positions = [position_of(_fields(stored)) for stored in found]
        if len({position.cluster_time for position in positions}) == len(positions):
            return positions[0] if positions else None
        time = positions[0].cluster_time  # their order is in their tokens
        query = self._last(time, at).query
        query["_id"]["$gte"] = Binary(time.first_id)
        return max(
            position_of(_fields(s)) for s in self._read(Read(HISTORY, query, self._order, 0, {"resume_token": 1}))
        )

    def _read(self, read: Read) -> list[RawBSONDocument]:
        history = self.database.get_collection(HISTORY, codec_options=RAW)
        found = history.find(read.query, read.fields, sort=[*read.order.items()], hint=[*self.index.items()])
        return list(found.limit(read.limit))


def _of_moment(timeline: _Timeline, namespace: str, at: Any) -> Resolved:
    if at is None:
        return Resolved(END)
    if isinstance(at, Timestamp):
        return Resolved(after(ClusterTime.of(at)))
    require_aware(at)
    second = math.floor(at.timestamp())
    # The timelines hold no drop or rename: not of a document, nor a rename to this name or a drop of its database.
    latest = ClusterTime.end_of(second + SLACK_SECONDS)
    reads = [*timeline.reads(at), *boundary_reads(namespace, after(latest))]
    found, later, *boundaries = read_together(timeline.database, reads, timeline.index)
    position = timeline.end(at, found, later)
    boundary = boundary_of((event for each in boundaries for event in each), namespace)
    wall = ClusterTime.end_of(second)
    while boundary is not None and (after_boundary := after(boundary.cluster_time)) > position:
        if boundary.wall <= _wall(at):
            return Resolved(after_boundary, (boundary,), wall)
        boundary = last_boundary(timeline.database, namespace, before(boundary.cluster_time))
    return Resolved(position, (boundary,), wall)


def _wall(at: datetime) -> int:
    """Whole milliseconds since 1970."""
    return int(wall_bounds(None, at)["$lte"])


def _fields(stored: RawBSONDocument) -> dict[bytes, raw.Value]:
    return raw.fields(bytes(stored.raw))


def _milliseconds(fields: dict[bytes, raw.Value]) -> int:
    return int.from_bytes(fields[b"timestamp"][1], "little", signed=True)


_MOST = 2**63 - 1
"""The largest number of documents that the server can skip."""
_PLACE = {"_id": 1, "resume_token": 1}


class NoSuchVersionError(HistoryError, LookupError):
    """The document has no version of this number; the message says how many it has."""

    def __init__(self, number: int, count: int) -> None:
        super().__init__(_none_of(number, count))
        self.count = count


class Versions:
    """The versions of one document, read from the document timeline index."""

    def __init__(self, database: Database[Any], namespace: str, document_id: raw.Value) -> None:
        self._history = database.get_collection(HISTORY, codec_options=RAW)
        self._query: dict[str, Any] = {"namespace": namespace, "document_id": is_id(document_id)}

    def position(self, number: int) -> HistoryPosition:
        """The position of a version.

        Args:
            number: 1 is the oldest, -1 the newest.

        Raises:
            NoSuchVersionError: the document has no version of this number.
        """
        direction = 1 if number > 0 else -1
        rank = abs(number) - 1
        possible = number and rank <= _MOST
        found = list(self._find({}, {"_id": 1}, direction, skip=rank, limit=1)) if possible else []
        if not found:
            raise NoSuchVersionError(number, self.count())
        cluster_time = ClusterTime.from_id(identity(found[0]))
        same_time = list(self._find(_at(cluster_time), _PLACE, direction))
        before = rank - [identity(fields) for fields in same_time].index(identity(found[0]))
        return sorted(map(position_of, same_time), reverse=direction < 0)[rank - before]

    def number(self, position: HistoryPosition) -> int:
        """The version number of the entry at a position."""
        older = self._count({"$lt": Binary(position.cluster_time.first_id)})
        return older + sum(
            position_of(fields) <= position for fields in self._find(_at(position.cluster_time), _PLACE, 1)
        )

    def count(self) -> int:
        """The number of versions."""
        return self._count(None)

    def first_from(self, position: HistoryPosition) -> RawBSONDocument | None:
        """The first entry at a position or after it; for a large entry, only its head. None: there is none."""
        query = {**self._query, "_id": {"$gte": Binary(position.cluster_time.first_id)}}
        first: tuple[HistoryPosition, RawBSONDocument] | None = None
        found: RawBSONDocument
        for found in self._history.find(query, sort=[("_id", 1)], hint=DOCUMENT_TIMELINE):
            at = position_of(raw.fields(bytes(found.raw)))
            if first is not None and at.cluster_time > first[0].cluster_time:
                break
            if at >= position and (first is None or at < first[0]):  # within a cluster time, `_id` has another order
                first = at, found
        return first[1] if first is not None else None

    def _count(self, ids: dict[str, Any] | None) -> int:
        query = {**self._query, "_id": ids} if ids is not None else self._query
        return self._history.count_documents(query, hint=DOCUMENT_TIMELINE)

    def _find(self, more: dict[str, Any], fields: dict[str, int], direction: int, **options: Any) -> Iterator[Fields]:
        found = self._history.find(
            {**self._query, **more}, fields, sort=[("_id", direction)], hint=DOCUMENT_TIMELINE, **options
        )
        return (raw.fields(bytes(stored.raw)) for stored in found)


def _at(time: ClusterTime) -> dict[str, Any]:
    return {"_id": {"$gte": Binary(time.first_id), "$lte": Binary(time.last_id)}}


def _none_of(number: int, count: int) -> str:
    if not count:
        return "no version of it is recorded"
    if not number:
        return f"versions are counted from 1 to {count}, or from -1 to -{count} from the newest"
    there_are = "there is 1 version" if count == 1 else f"there are {count} versions"
    return f"there is no version {number}: {there_are} of it"
