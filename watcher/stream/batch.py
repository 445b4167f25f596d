"""What the stages hand to each other. The position travels with its events, never beside them."""

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
        cluster_time: what the token stands for.
    """

    token: bytes
    cluster_time: ClusterTime

    @property
    def seconds(self) -> int:
        """Cluster time in seconds since 1970 (UTC)."""
        return self.cluster_time.seconds


class Lost(NamedTuple):
    """A position from which the server cannot go on, and why: events after it are lost for good.

    Attributes:
        position: the last one that was good.
        cause: name and code of the server's error.
        resumed: where the stream goes on; None: not yet known.
    """

    position: Position
    cause: str
    resumed: Position | None = None


@dataclass(slots=True)
class Batch:
    """Events as the server sent them, in order, and the position after the last; without events, a sign of life.

    `lost`: what was lost before the first of them.
    """

    events: list[bytes]
    position: Position
    lost: Lost | None = None


class SharedProgress:
    """What the stream and the backfill beside it tell each other; each attribute is written by one thread.

    Attributes:
        recorded: everything up to here is acknowledged by a majority; None: nothing yet. Moved by the stream.
        backfills: plans that the backfill has carried out; after each, more can be known from history.
    """

    def __init__(self) -> None:
        self.recorded: Position | None = None
        self.backfills = 0

    def recorded_until(self) -> ClusterTime | None:
        """Up to which cluster time everything is acknowledged by a majority; None: nothing yet."""
        return self.recorded.cluster_time if self.recorded is not None else None


class RejectedEvent(NamedTuple):
    """An event that cannot be turned into history, and why; or, of what no event has made, a history document.

    `actor`: who it was, as far as that is known, BSON.
    """

    event: bytes
    error: str
    entry: bytes = b""
    actor: bytes = b""


class Entry(NamedTuple):
    """One history document ready to be written, with the event that it records; empty: no event has made it."""

    document: bytes
    event: bytes


class Renamed(NamedTuple):
    """A collection that was given another name, both as `db.coll`; and when."""

    source: str
    target: str
    cluster_time: ClusterTime


class Completion(NamedTuple):
    """The actor of a transaction's events that were handed on in earlier batches, before it was known.

    Attributes:
        cluster_time: of the transaction.
        session, number: its `lsid` and `txnNumber`, as its events carry them.
        token: key string of the resume token of the context document; only events before it are meant.
        actor: as it is stored, BSON.
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
        safe: from where a daemon that starts would have to go on, to know as much as this one: the position, or one
            before it; None: that of the batch before.
        unsafe: number of events after it.
    """

    entries: list[Entry]
    rejected: list[RejectedEvent]
    position: Position
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    """Number of events by namespace and operation."""
    appeared: set[str] = field(default_factory=set)
    """Namespaces of collections that were created, or got this name."""
    renamed: list[Renamed] = field(default_factory=list)
    """Renamings of collections, in their order."""
    size: int = 0
    """Bytes of history."""
    lost: Lost | None = None
    """What was lost before the first of these events."""
    number: int = 0
    """Of the batch, or of the last one that was joined to it; batches are counted as they are recorded."""
    completions: list[Completion] = field(default_factory=list)
    """What earlier events turn out to lack."""
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
            entries: of each event.
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
