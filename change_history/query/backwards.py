"""Search history backwards for what no index answers, within a time limit, and report how far the search got."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from bson import Binary
from pymongo.errors import ExecutionTimeout

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.bson.values import to_raw
from change_history.query import briefs
from change_history.stored.names import NAMESPACE_TIMELINE
from change_history.stored.reading import as_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection

    from change_history.bson.raw import Value
    from change_history.query.briefs import Brief

_Read: TypeAlias = "Callable[[dict[str, Any], int, int], list[Brief]]"
"""Reads a range of `_id`: the range, the most events, and the most milliseconds."""

_FIRST_WINDOW_S = 600
_GROWTH = 4
_AT_ONCE = 500
_MOST_TOGETHER = 1000
_LEAST_MS = 100


@dataclass(slots=True)
class Found:
    """The result of a search.

    Attributes:
        briefs: the events, newest first.
        reached: all events after this cluster time were searched; None: all events.
    """

    briefs: list[Brief] = field(default_factory=list)
    reached: ClusterTime | None = None


def events(
    collection: Collection[RawBSONDocument],
    namespaces: Sequence[str],
    condition: dict[str, Any],
    *,
    limit: int,
    seconds: float,
    before: ClusterTime | None = None,
) -> Found:
    """Find the newest events of some collections for which a condition holds.

    Args:
        condition: a query condition, not from user input.
        seconds: the approximate time limit.
        before: only events before this.
    """

    def read(window: dict[str, Any], wanted: int, most_ms: int) -> list[Brief]:
        query = {"namespace": {"$in": list(namespaces)}, "_id": window, **condition}
        return briefs.read(collection, query, NAMESPACE_TIMELINE, wanted, most_ms=most_ms)

    return _windows(collection, namespaces, read, limit=limit, seconds=seconds, before=before)


def mentions(
    collection: Collection[RawBSONDocument],
    namespaces: Sequence[str],
    values: Iterable[Any],
    *,
    limit: int,
    seconds: float,
    before: ClusterTime | None = None,
) -> Found:
    """Find the newest events in which one of some values was set or replaced, however deep in a document.

    Arguments are those of `events`. Values that are stored in chunks are not searched.

    Args:
        values: any BSON type; equality is the server's, so 3, `Int64(3)` and 3.0 are one value.
    """
    wanted_keys = {key_of(to_raw(value)) for value in values}

    def read(window: dict[str, Any], wanted: int, most_ms: int) -> list[Brief]:
        query = as_query({"namespace": {"$in": list(namespaces)}, "_id": window})
        found: list[Binary] = []
        until = time.monotonic() + most_ms / 1000
        cursor = collection.find(query, {"changes": 1}, sort=[("_id", -1)], hint=NAMESPACE_TIMELINE)
        with cursor.max_time_ms(most_ms).batch_size(_AT_ONCE) as stored:
            for one in stored:
                if _holds(bytes(one.raw), wanted_keys):
                    found.append(one["_id"])
                    if len(found) >= wanted:
                        break
                if time.monotonic() > until:
                    raise ExecutionTimeout("it took too long")
        if not found:
            return []
        return briefs.read(collection, {"_id": {"$in": found}}, [("_id", 1)], wanted)

    return _windows(collection, namespaces, read, limit=limit, seconds=seconds, before=before)


def _windows(
    collection: Collection[RawBSONDocument],
    namespaces: Sequence[str],
    read: _Read,
    *,
    limit: int,
    seconds: float,
    before: ClusterTime | None,
) -> Found:
    """Search one time window after the other, each larger than the one before, from the newest backwards."""
    found = Found()
    deadline = time.monotonic() + seconds
    bounds = _bounds(collection, namespaces)
    if bounds is None:
        return found
    first, last = bounds
    upper = min(before - 1, last) if before is not None else last
    span = _FIRST_WINDOW_S
    while upper >= first:
        found.reached = ClusterTime(upper + 1)
        left_ms = int((deadline - time.monotonic()) * 1000)
        if left_ms <= 0 or len(found.briefs) >= limit:
            return found
        lower = max(first, ClusterTime.start_of(max(ClusterTime(upper).seconds - span, 0)))
        window = {"$gte": Binary(ClusterTime(lower).first_id), "$lte": Binary(ClusterTime(upper).last_id)}
        try:
            more = read(window, limit - len(found.briefs), left_ms)
        except ExecutionTimeout:
            if span <= 1:
                return found
            span = max(span // (_GROWTH * _GROWTH), 1)
            continue
        found.briefs += more
        if len(found.briefs) >= limit:  # the window may hold more
            _complete(found, read, deadline)
            return found
        upper = ClusterTime(lower - 1)
        span *= _GROWTH
    found.reached = None
    return found


def _complete(found: Found, read: _Read, deadline: float) -> None:
    """Add the other events of the last cluster time, for the next search begins before it."""
    oldest = ClusterTime.from_id(bytes(found.briefs[-1].event.id))
    window = {"$gte": Binary(oldest.first_id), "$lte": Binary(oldest.last_id)}
    left_ms = max(int((deadline - time.monotonic()) * 1000), _LEAST_MS)
    try:
        together = read(window, _MOST_TOGETHER, left_ms)
    except ExecutionTimeout:
        found.reached = ClusterTime(oldest + 1)  # duplicates are better than a loss
        return
    kept = [brief for brief in found.briefs if ClusterTime.from_id(bytes(brief.event.id)) != oldest]
    found.briefs, found.reached = [*kept, *together], oldest


def _bounds(
    collection: Collection[RawBSONDocument], namespaces: Sequence[str]
) -> tuple[ClusterTime, ClusterTime] | None:
    """The first and the last cluster time of the collections' events."""
    ends = []
    for direction in (1, -1):
        times = [
            ClusterTime.from_id(bytes(one["_id"]))
            for namespace in namespaces
            for one in collection.find(
                as_query({"namespace": namespace}), {"_id": 1}, sort=[("_id", direction)], hint=NAMESPACE_TIMELINE
            ).limit(1)
        ]
        if not times:
            return None
        ends.append(min(times) if direction > 0 else max(times))
    return ends[0], ends[1]


_MOST_DEEP = 200
_LONGEST = 1024


def _holds(stored: bytes, wanted: set[Any]) -> bool:
    """Whether the changes of a history document contain one of the values."""
    for key, kind, payload in raw.elements(stored):
        if key != b"changes" or kind != raw.ARRAY:
            continue
        for _, change in raw.items(payload):
            for name, value_kind, value in raw.elements(change):
                if name in {b"old_value", b"new_value"} and _has((value_kind, value), wanted, 0):
                    return True
    return False


def _has(value: Value, wanted: set[Any], depth: int) -> bool:
    if value[0] in {raw.DOCUMENT, raw.ARRAY}:
        if depth > _MOST_DEEP:
            return False
        if len(value[1]) <= _LONGEST and key_of(value) in wanted:
            return True
        return any(_has((kind, inner), wanted, depth + 1) for _, kind, inner in raw.elements(value[1]))
    return key_of(value) in wanted
