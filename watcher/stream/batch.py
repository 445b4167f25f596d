"""The values that the stages pass to each other. A position always travels with its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from change_history.bson import raw
    from change_history.bson.cluster_time import ClusterTime


@lru_cache(maxsize=4096)
def _names(namespace: bytes, operation: bytes) -> tuple[str, str]:
    return namespace.decode("utf-8", "replace"), operation.decode("utf-8", "replace")


class Position(NamedTuple):
    """How far a stream has been read.

    Attributes:
        token: the resume token document as the server gave it, BSON.
        cluster_time: the cluster time of the token.
    """

    token: bytes
    cluster_time: ClusterTime

    @property
    def seconds(self) -> int:
        """Cluster time in seconds since 1970 (UTC)."""
        return self.cluster_time.seconds


class Lost(NamedTuple):
    """A position from which the server cannot resume, and why: events after it are lost for good.

    Attributes:
        position: the last good position.
        cause: name and code of the server's error.
        resumed: where the stream resumes; None: not yet known.
    """

    position: Position
    cause: str
    resumed: Position | None = None


@dataclass(slots=True)
class Batch:
    """Events as the server sent them, in order, and the position after the last; it may be empty.

    Attributes:
        events: the events, BSON.
        position: the position after the last event; an empty batch moves it too.
        lost: the gap before the first event; None: there is none.
    """

    events: list[bytes]
    position: Position
    lost: Lost | None = None


class SharedProgress:
    """State shared by the stream and the backfill that runs beside it. Each attribute is written by one thread only.

    Attributes:
        recorded: everything up to here is acknowledged by a majority; None: nothing yet. Set by the stream.
        backfills: number of plans that the backfill has completed; after each, more can be reconstructed from history.
    """

    def __init__(self) -> None:
        self.recorded: Position | None = None
        self.backfills = 0

    def recorded_until(self) -> ClusterTime | None:
        """The cluster time up to which everything is acknowledged by a majority; None: nothing yet."""
        return self.recorded.cluster_time if self.recorded is not None else None


class RejectedEvent(NamedTuple):
    """An event that cannot be turned into history, or a history document that cannot be stored; and why.

    Attributes:
        event: the event, BSON; empty: the history document was not made from an event.
        error: the reason.
        entry: the history document, BSON, if no event made it; otherwise empty.
        actor: the actor, BSON; empty: unknown.
    """

    event: bytes
    error: str
    entry: bytes = b""
    actor: bytes = b""


class Entry(NamedTuple):
    """One history document to write, and the event that it records (empty if it was not made from an event)."""

    document: bytes
    event: bytes


class Renamed(NamedTuple):
    """A renamed collection: both names as `db.coll`, and the cluster time of the rename."""

    source: str
    target: str
    cluster_time: ClusterTime


class Completion(NamedTuple):
    """The actor of a transaction, for its events that were handed on in earlier batches without one.

    Attributes:
        cluster_time: of the transaction.
        session, number: its `lsid` and `txnNumber`, as its events carry them.
        token: key string of the context document's resume token; only events before it get the actor.
        actor: the actor as it is stored, BSON.
    """

    cluster_time: ClusterTime
    session: raw.Value
    number: raw.Value
    token: bytes
    actor: bytes


@dataclass(slots=True)
class Recorded:
    """The history of a batch, and the position after it.

    Attributes:
        safe: where a restarted daemon must resume to have all state that this one has: `position`, or one before it;
            None: at `safe` of the previous batch.
        unsafe: number of events after `safe`.
    """

    entries: list[Entry]
    rejected: list[RejectedEvent]
    position: Position
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    """Number of events by namespace and operation."""
    appeared: set[str] = field(default_factory=set)
    """Namespaces of collections that were created, or renamed to this name."""
    renamed: list[Renamed] = field(default_factory=list)
    """Renamings of collections, in their order."""
    size: int = 0
    """Bytes of history."""
    lost: Lost | None = None
    """The gap before the first of these events; None: there is none."""
    number: int = 0
    """Number of the batch, or of the last batch joined to it; the recorder counts batches from 1."""
    completions: list[Completion] = field(default_factory=list)
    """Actors to add to the stored history of earlier batches."""
    safe: Position | None = None
    unsafe: int = 0

    def __post_init__(self) -> None:
        self.safe = self.position

    def __len__(self) -> int:
        return len(self.entries) + len(self.rejected)

    def add(self, entry: Entry, namespace: bytes, operation: bytes) -> None:
        """Append the history of one event."""
        self.entries.append(entry)
        self.size += len(entry.document)
        key = _names(namespace, operation)
        self.counts[key] = self.counts.get(key, 0) + 1

    def extend(self, entries: list[Entry], counts: Mapping[tuple[bytes, bytes], int], size: int) -> None:
        """Append the history of several events.

        Args:
            entries: one for each event.
            counts: number of events by namespace and operation.
            size: bytes of history.
        """
        self.entries += entries
        self.size += size
        for names, count in counts.items():
            key = _names(*names)
            self.counts[key] = self.counts.get(key, 0) + count

    def join(self, later: Recorded) -> None:
        """Append the history of the batch that follows this one."""
        self.safe, self.unsafe = (
            (self.safe, self.unsafe + later.unsafe) if later.safe is None else (later.safe, later.unsafe)
        )
        self.entries += later.entries
        self.rejected += later.rejected
        self.position = later.position
        self.appeared |= later.appeared
        self.renamed += later.renamed
        self.completions += later.completions
        self.size += later.size
        self.number = later.number
        for key, count in later.counts.items():
            self.counts[key] = self.counts.get(key, 0) + count
