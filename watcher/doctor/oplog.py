"""Checks how far back the oplog reaches, and how close its end is to the position."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bson import Timestamp
from pymongo.errors import OperationFailure

from watcher.doctor.finding import ok, problem, span, unchecked, warning
from watcher.errors import UNAUTHORIZED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

NAME = "oplog"
_SHORT_S = 24 * 3600
_MOST_USED = 0.5
_MORE_ROOM = "Give it more room, in mongosh: db.adminCommand({ replSetResizeOplog: 1, minRetentionHours: 48 })"
_BEGINNING = "initiating set"


class Window(NamedTuple):
    """The interval that the oplog covers.

    Attributes:
        first: cluster time of the oldest entry.
        last: cluster time of the newest entry.
        whole: it still contains everything since the replica set was created.
    """

    first: Timestamp
    last: Timestamp
    whole: bool


def check(subject: Subject) -> Iterator[Finding]:
    """The oplog of the member that replies."""
    if subject.hello.get("msg") == "isdbgrid":
        yield unchecked(NAME, "each shard has an oplog of its own, which cannot be asked for from here")
        return
    try:
        window = _window(subject)
    except OperationFailure as error:
        if error.code not in UNAUTHORIZED:
            raise
        yield unchecked(NAME, "find on local.oplog.rs is not granted", "See the finding about privileges.")
        return
    yield judge(window, position(subject))


def position(subject: Subject) -> Timestamp | None:
    """The stored position of the stream, if there is one that can be read."""
    found = subject.known.get("cluster_time")
    return found if isinstance(found, Timestamp) else None


def judge(window: Window, stands: Timestamp | None) -> Finding:
    """Compare the oplog with the position.

    Args:
        stands: the stored position; None: there is none.
    """
    length = max(window.last.time - window.first.time, 0)
    facts = {"window_hours": round(length / 3600, 2), "first": window.first, "last": window.last}
    reach = f"reaches back {span(length)}" + (", to the beginning" if window.whole else "")
    if stands is not None:
        lag, room = max(window.last.time - stands.time, 0), stands.time - window.first.time
        facts |= {"lag_seconds": lag, "room_seconds": room}
        reach += f"; the position is {span(lag)} old"
        if room < 0:
            return problem(
                NAME,
                f"{reach}, older than the oplog: what is in between is lost",
                "See the finding about the position. " + _MORE_ROOM,
                **facts,
            )
        if not window.whole and lag > length * _MOST_USED:
            return warning(
                NAME,
                f"{reach}: at this rate it is overtaken in {span(room)}",
                f"Start the daemon, or find out why it is behind: watcher health. {_MORE_ROOM}",
                **facts,
            )
    if length < _SHORT_S and not window.whole:
        return warning(NAME, f"{reach}; a daemon that is away for longer loses events", _MORE_ROOM, **facts)
    return ok(NAME, reach, **facts)


def _window(subject: Subject) -> Window:
    oplog = subject.watched.local["oplog.rs"]
    wanted = {"ts": 1, "o.msg": 1}
    first = oplog.find_one({}, wanted, sort=[("$natural", 1)]) or {}
    last = oplog.find_one({}, wanted, sort=[("$natural", -1)]) or {}
    none = Timestamp(0, 0)
    whole = first.get("o", {}).get("msg") == _BEGINNING
    return Window(first.get("ts", none), last.get("ts", none), whole)
