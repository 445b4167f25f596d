"""Since when history can be trusted, and how far it has been recorded: what an old value may be derived from.

History is complete from where its stream began, except for its gaps. A gap is reconciled from the cluster time at which
every document was compared with history: entries recorded after it may rely on those before the gap. Entries within the
gap, or before that time, may rely only on entries after the gap that hold the whole document. An event that is only in
`rejected` breaks the history of its document in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import bson
from bson import Timestamp

from change_history import globs, partition
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.resume_token import token_time
from change_history.bson.values import CODEC
from change_history.reconstruct.reads import Read, is_id
from change_history.stored.names import CHECKPOINTS, HISTORY, REJECTED
from change_history.stored.reading import RAW
from change_history.stored.rejected import FIELDS
from change_history.stored.rejected import concern as concern_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.cursor import Cursor
    from pymongo.database import Database

    from change_history.bson import raw
    from change_history.stored.rejected import Concern


class Unknown(NamedTuple):
    """History has entries of the document, but not all that are needed to reconstruct it."""

    reason: str


class GapBounds(NamedTuple):
    """An interval in which events were lost.

    Attributes:
        since: history is complete up to here.
        until: history is complete again from here.
        reconciled_at: when the documents were compared with history; None: they were not, or not all.
        checkpoint: name of the stream, or the partition, that lost the events.
    """

    since: ClusterTime
    until: ClusterTime
    reconciled_at: ClusterTime | None
    checkpoint: str = ""


def trusted_since(moment: ClusterTime, begun: ClusterTime, gaps: Iterable[GapBounds]) -> ClusterTime:
    """The cluster time since which the history before a moment is complete.

    Args:
        moment: the cluster time of the value to be derived.
        begun: since when the stream has been followed with its present scope.
        gaps: the gaps since then.
    """
    broken = (
        gap.until for gap in gaps if gap.since < moment and (gap.reconciled_at is None or moment <= gap.reconciled_at)
    )
    return max((begun, *broken)).just_before


_MANY = 1000
"""Most rejected events to read along with other reads. If there are more, all are read separately."""


class RejectedConcerns:
    """The events that are only in `rejected`, of some namespaces, and those that cannot be read.

    Each concerns its own document; one of a collection, such as a drop, concerns all of its documents; one that cannot
    be read may concern any.
    """

    def __init__(self, database: Database[Any], found: Iterable[RawBSONDocument], namespaces: Sequence[str]) -> None:
        names = {name.encode("utf-8", "surrogateescape") for name in _names(namespaces)}
        self._of: dict[Hashable, list[Concern]] = {}
        self._ids: dict[Hashable, raw.Value] = {}
        for item in found:
            concern = concern_of(database, bytes(item.raw))
            if concern.namespace is not None and concern.namespace not in names:
                continue  # known only after its stored bytes were read
            self._of.setdefault(concern.key, []).append(concern)
            if concern.document_id is not None:
                self._ids[concern.key] = concern.document_id

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self._of

    def concerning(self, document: Hashable, since: ClusterTime, until: ClusterTime) -> Concern | None:
        """One that may have changed a document between two cluster times, both included; None: there is none.

        Args:
            document: `change_history.bson.equality.key_of` the `_id`.
        """
        if not self._of:
            return None
        possible = (*self._of.get(document, ()), *self._of.get(None, ()))
        return next((each for each in possible if each.since <= until and since <= each.until), None)

    def documents(self, since: ClusterTime, until: ClusterTime, namespace: str | None = None) -> list[raw.Value]:
        """The `_id`s of the documents that have a rejected event between two cluster times, both included."""
        name = namespace.encode("utf-8", "surrogateescape") if namespace is not None else None
        return [
            document_id
            for key, document_id in self._ids.items()
            if any(
                each.since <= until and since <= each.until and (name is None or each.namespace == name)
                for each in self._of[key]
            )
        ]


def rejected_read(namespaces: Sequence[str], document_id: raw.Value | None = None) -> Read:
    """The read for `RejectedConcerns`: events of some namespaces, or only those that may concern one document."""
    names = _names(namespaces)
    concerned: dict[str, Any] = {"$or": [{"namespace": {"$in": names}}, {"namespace": {"$exists": False}}]}
    if document_id is not None:
        of_it = [{"document_id": is_id(document_id)}, {"document_id": {"$exists": False}}]
        concerned = {"$and": [concerned, {"$or": of_it}]}
    return Read(REJECTED, concerned, {"_id": 1}, _MANY, FIELDS)


def _names(namespaces: Sequence[str]) -> list[str]:
    """The namespaces and their databases: a rejected event may be about a whole database."""
    return sorted({*namespaces, *(namespace.partition(".")[0] for namespace in namespaces)})


def rejected_of(
    database: Database[Any], namespaces: Sequence[str], read: Read, found: Sequence[RawBSONDocument] | None = None
) -> RejectedConcerns:
    """The rejected events that a read selects.

    Args:
        read: from `rejected_read`.
        found: its results, if it was run already; if they reach its limit, all are read again.
    """
    if found is None or len(found) == read.limit:
        stored = database.get_collection(REJECTED, codec_options=RAW)
        return RejectedConcerns(database, stored.find(read.query, read.fields, sort=[*read.order.items()]), namespaces)
    return RejectedConcerns(database, found, namespaces)


def rejected(
    database: Database[Any], namespaces: Sequence[str], document_id: raw.Value | None = None
) -> RejectedConcerns:
    """Read the events of some namespaces, `db.coll`, or of one document there, that are only in `rejected`."""
    return rejected_of(database, namespaces, rejected_read(namespaces, document_id))


def gaps(database: Database[Any], namespace: str | None = None, stream: str | None = None) -> list[GapBounds]:
    """All gaps, oldest first.

    Args:
        namespace: only those in which events of this namespace can have been lost.
        stream: only those in which events of this checkpoint's stream or partition can have been lost.
    """
    return [
        read(gap)
        for gap in find(database, hint="gaps")
        if namespace is None or concerns(gap, namespace)
        if stream is None or partition.share(stream, gap["description"]["stream"])
    ]


def find(database: Database[Any], hint: str | None = None) -> Cursor[RawBSONDocument]:
    """Open a cursor over the history documents of all gaps, oldest first."""
    history = database.get_collection(HISTORY, codec_options=RAW)
    return history.find({"operation": "gap"}, sort=[("_id", 1)], hint=hint)


def read(gap: RawBSONDocument) -> GapBounds:
    """Decode a gap's history document."""
    said = gap["description"]
    level_at = said.get("level_at") if said.get("level") else None
    return GapBounds(
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
    """How far a stream, or a partition of one, has recorded."""

    checkpoint: str
    until: Timestamp


def recorded_until(database: Database[Any], namespace: str) -> Timestamp | None:
    """The cluster time up to which all events of a namespace are recorded; None: no stream follows it.

    Of several streams, the furthest counts; of the partitions of one, the one that is furthest behind.
    """
    least: dict[str, Timestamp] = {}
    for reached in _reached(database, namespace):
        stream, _ = partition.read(reached.checkpoint)
        least[stream] = min(least.get(stream, reached.until), reached.until)
    return max(least.values(), default=None)


def parts_before(database: Database[Any], moment: Timestamp, namespace: str | None = None) -> list[Reached]:
    """The partitions that have not recorded everything up to a moment yet, the one furthest behind first.

    Args:
        namespace: only those of streams that cover it; None: all.
    """
    parts = (each for each in _reached(database, namespace) if partition.read(each.checkpoint)[1] is not None)
    return sorted((each for each in parts if each.until < moment), key=lambda each: each.until)


def _reached(database: Database[Any], namespace: str | None) -> Iterator[Reached]:
    checkpoints = database.get_collection(CHECKPOINTS, codec_options=CODEC)
    wanted = {"options": 1, "cluster_time": 1, "token": 1}
    for found in checkpoints.find({"token": {"$exists": True}}, wanted):
        time, options = recorded_to(found), found["options"]
        covers = namespace is None or globs.covers(options["include"], options["exclude"], namespace)
        if covers and time is not None:
            yield Reached(str(found["_id"]), time)


def recorded_to(checkpoint: Mapping[str, Any]) -> Timestamp | None:
    """The cluster time up to which the stream of a checkpoint is recorded; None: the checkpoint has none."""
    time = checkpoint.get("cluster_time")
    return min(time, _time_of(checkpoint) or time) if isinstance(time, Timestamp) else None


def _time_of(found: Mapping[str, Any]) -> Timestamp | None:
    """The time in the resume token. `cluster_time` beside it is the server's clock, ahead of a stream that lags."""
    try:
        time = token_time(bson.encode(found["token"]))
    except (TypeError, KeyError):
        return None
    return time.timestamp if time is not None else None
