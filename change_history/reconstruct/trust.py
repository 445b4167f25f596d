"""From where on history is trusted, and how far it reaches: what an old value may be derived from.

History is whole from where its stream began, but for its gaps. A gap is reconciled from the cluster time at which every
document was compared with history: what is recorded later may rely on what is recorded before. What is recorded within
the gap, or before that time, may rely only on what was recorded after the gap as a whole document. An event that is
only in `rejected` breaks history likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import bson
from bson import Timestamp

from change_history import globs, partition
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.resume_token import token_time
from change_history.bson.values import CODEC
from change_history.reconstruct.reads import Read
from change_history.stored.names import CHECKPOINTS, HISTORY, REJECTED
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.cursor import Cursor
    from pymongo.database import Database


class Gap(NamedTuple):
    """An interval of which events were lost.

    Attributes:
        since: up to here history is whole.
        until: from here on it is whole again.
        reconciled_at: when the documents were compared with history; None: they were not, or not all.
        checkpoint: name of the stream, or the partition, that has lost it.
    """

    since: ClusterTime
    until: ClusterTime
    reconciled_at: ClusterTime | None
    checkpoint: str = ""


def trusted_since(moment: ClusterTime, begun: ClusterTime, gaps: Iterable[Gap]) -> ClusterTime:
    """The cluster time from which on the history before a moment is whole.

    Args:
        moment: of what is to be derived.
        begun: since when the stream has been followed without a change of what it covers.
        gaps: intervals lost since.
    """
    broken = (
        gap.until for gap in gaps if gap.since < moment and (gap.reconciled_at is None or moment <= gap.reconciled_at)
    )
    return max((begun, *broken)).just_before


_MANY = 1000
"""More rejected events than this are not looked at one by one: then history is not relied upon at all."""


class Rejected:
    """The events of some namespaces, and those of which nobody knows what they are about, that are only in `rejected`.

    Args:
        found: what was read of them (`rejected_read`).
    """

    def __init__(self, found: Iterable[Mapping[str, Any]]) -> None:
        times = [item.get("cluster_time") for item in found]
        self._all = len(times) == _MANY or None in times
        self._times = [ClusterTime.of(time) for time in times if time is not None]

    def between(self, since: ClusterTime, until: ClusterTime) -> bool:
        """Whether one lies between two cluster times, both included."""
        return self._all or any(since <= time <= until for time in self._times)


def rejected_read(namespaces: Sequence[str]) -> Read:
    """What is to be read for `Rejected`."""
    concerned = {"$or": [{"namespace": {"$in": [*namespaces]}}, {"namespace": {"$exists": False}}]}
    return Read(REJECTED, concerned, {"_id": 1}, _MANY, {"cluster_time": 1})


def rejected(database: Database[Any], namespaces: Sequence[str]) -> Rejected:
    """Read which events of some namespaces, `db.coll` each, are only in `rejected`."""
    read = rejected_read(namespaces)
    return Rejected(database[REJECTED].find(read.query, read.fields, sort=[*read.order.items()], limit=_MANY))


def gaps(database: Database[Any], namespace: str | None = None, stream: str | None = None) -> list[Gap]:
    """The intervals of which events were lost, oldest first.

    Args:
        database: the history database.
        namespace: only those in which events of this namespace can have been lost.
        stream: only those in which events can have been lost that this checkpoint is about.
    """
    return [
        read(gap)
        for gap in find(database, hint="gaps")
        if namespace is None or concerns(gap, namespace)
        if stream is None or partition.share(stream, gap["description"]["stream"])
    ]


def find(database: Database[Any], hint: str | None = None) -> Cursor[RawBSONDocument]:
    """The cursor over the history documents of all gaps, oldest first."""
    history = database.get_collection(HISTORY, codec_options=RAW)
    return history.find({"operation": "gap"}, sort=[("_id", 1)], hint=hint)


def read(gap: RawBSONDocument) -> Gap:
    """The interval that a gap's history document tells of."""
    said = gap["description"]
    level_at = said.get("level_at") if said.get("level") else None
    return Gap(
        ClusterTime.of(said["from"]),
        ClusterTime.of(said["to"]),
        ClusterTime.of(level_at) if level_at is not None else None,
        said["stream"],
    )


def concerns(gap: RawBSONDocument, namespace: str) -> bool:
    """Whether events of a namespace, `db.coll`, can have been lost in a gap."""
    said = gap["description"]
    return globs.covers(said["include"], said["exclude"], namespace)


class Reached(NamedTuple):
    """How far a stream, or a part of one, has recorded.

    Attributes:
        checkpoint: its name.
        until: the cluster time.
    """

    checkpoint: str
    until: Timestamp


def recorded_until(database: Database[Any], namespace: str) -> Timestamp | None:
    """The cluster time up to which all events of a namespace are recorded; None: no stream follows it.

    Of several streams, the furthest counts; of the parts of one, the one that is furthest behind.
    """
    least: dict[str, Timestamp] = {}
    for reached in _reached(database, namespace):
        stream, _ = partition.read(reached.checkpoint)
        least[stream] = min(least.get(stream, reached.until), reached.until)
    return max(least.values(), default=None)


def parts_before(database: Database[Any], moment: Timestamp, namespace: str | None = None) -> list[Reached]:
    """The parts of streams that have not recorded everything up to a moment yet, the last first.

    Args:
        database: the history database.
        moment: the cluster time.
        namespace: only of streams that cover it.
    """
    parts = (each for each in _reached(database, namespace) if partition.read(each.checkpoint)[1] is not None)
    return sorted((each for each in parts if each.until < moment), key=lambda each: each.until)


def _reached(database: Database[Any], namespace: str | None) -> Iterator[Reached]:
    checkpoints = database.get_collection(CHECKPOINTS, codec_options=CODEC)
    wanted = {"options": 1, "cluster_time": 1, "token": 1}
    for found in checkpoints.find({"token": {"$exists": True}}, wanted):
        time, options = found.get("cluster_time"), found["options"]
        covers = namespace is None or globs.covers(options["include"], options["exclude"], namespace)
        if covers and isinstance(time, Timestamp):
            yield Reached(str(found["_id"]), min(time, _time_of(found) or time))


def _time_of(found: Mapping[str, Any]) -> Timestamp | None:
    """The time in the resume token. The one beside it is the server's clock, ahead of a stream that is behind."""
    try:
        time = token_time(bson.encode(found["token"]))
    except (TypeError, KeyError):
        return None
    return time.timestamp if time is not None else None
