"""Windows of time as conditions on history.

A window is given by cluster times or by wall times, and includes both its ends.

- A `bson.Timestamp` is a cluster time: exact, and the same on every machine. `_id` begins with it.
- A `datetime` is wall time: the event's `timestamp`, which is what people are shown, in milliseconds. An index
  cannot answer by it, so `_id` narrows the search first. The two clocks of an event are read one after the
  other, and cluster time runs ahead where machines disagree about the time; `SLACK_SECONDS` allows for both.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from bson import DatetimeMS, Timestamp

from change_history.bson.cluster_time import ClusterTime

Moment: TypeAlias = datetime | Timestamp
"""An aware `datetime` (wall time) or a `bson.Timestamp` (cluster time)."""

SLACK_SECONDS = 60
"""How far the wall time and the cluster time of an event may lie apart and a wall-time window still find it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)


def require_aware(moment: Moment | None) -> None:
    """Refuse a time that names no instant.

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


def id_bounds(since: Moment | None, until: Moment | None) -> dict[str, bytes]:
    """The range of `_id` that holds every event of the window, and for wall times some more.

    All bounds are 16 bytes long as every `_id` is: the server compares lengths first.
    """
    bounds = {}
    if since is not None:
        bounds["$gte"] = _cluster_time(since, -SLACK_SECONDS).first_id
    if until is not None:
        bounds["$lte"] = _cluster_time(until, SLACK_SECONDS).last_id
    return bounds


def wall_bounds(since: Moment | None, until: Moment | None) -> dict[str, DatetimeMS]:
    """The exact range of `timestamp`, for the ends that are wall times."""
    bounds = {}
    if isinstance(since, datetime):
        bounds["$gte"] = DatetimeMS(-((_EPOCH - since) // _MILLISECOND))  # up to the next whole millisecond
    if isinstance(until, datetime):
        bounds["$lte"] = DatetimeMS((until - _EPOCH) // _MILLISECOND)
    return bounds


def bounds(since: Moment | None, until: Moment | None) -> dict[str, Any]:
    """The conditions of a window, by the name of the stored field they are on; none without a window."""
    found = {"_id": id_bounds(since, until), "timestamp": wall_bounds(since, until)}
    return {field: condition for field, condition in found.items() if condition}


def _cluster_time(moment: Moment, slack: int) -> ClusterTime:
    if isinstance(moment, Timestamp):
        return ClusterTime.of(moment)
    second = (moment - _EPOCH) // _SECOND + slack
    return ClusterTime.start_of(second) if slack < 0 else ClusterTime.end_of(second)
