"""Makes snapshots of long-lived documents in the background, without delaying the stream.

The writing stage queues the document of every sixteenth stored entry here; if the queue is full, it is dropped. A
separate thread takes one document at a time, and makes all snapshots that are due since its last one, including those
missed earlier. It works only while the stream is not behind, and rests for as long as it has worked.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from pymongo.errors import PyMongoError

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.reconstruct.snapshot_maker import SnapshotMaker
from change_history.stored.chunks import MissingChunkError
from change_history.stored.order import before, position_of
from watcher.errors import name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from threading import Event

    from pymongo.database import Database

    from change_history.stored.order import HistoryPosition
    from watcher.stream.batch import Entry, Recorded
    from watcher.stream.pipeline import Writes

log = structlog.get_logger(__name__)

ROOM = 10_000
"""Most documents in the queue."""

LARGEST_ID = 1024
"""Largest `_id`, in bytes, of a document in the queue, so that memory stays bounded."""

_LAST_OF_ID = 29
"""Offset of the last byte of a history document's `_id`, its first field: a byte of a digest, so in effect random."""
_ONE_IN_16 = 0x0F
_CHANGING = frozenset({b"update", b"replace"})
_PAUSE_S = 0.1
_AFTER_FAILURE_S = 10.0
_IN_VAIN_S = 60.0
_IN_VAIN_SHARE = 100


def is_candidate(document: bytes) -> bool:
    """Whether a stored history document is one of the sixteenth that are checked; a pure function of its `_id`."""
    return not document[_LAST_OF_ID] & _ONE_IN_16


class _Waiting(NamedTuple):
    """A document that may be due for snapshots.

    Attributes:
        until: the beginning of the cluster time of a stored entry of the document. More events of that same time may
            still come: those of a transaction share it.
    """

    namespace: str
    document_id: raw.Value
    until: HistoryPosition


class Snapshotter:
    """Makes snapshots in a thread of its own.

    Args:
        behind: returns whether the stream cannot keep up at the moment.
        room: most documents in the queue.
        age_s: maximum age of a snapshot in seconds; None: unlimited.
    """

    def __init__(
        self,
        database: Database[Any],
        behind: Callable[[], bool],
        stop: Event,
        room: int = ROOM,
        age_s: int | None = None,
    ) -> None:
        self._maker = SnapshotMaker(database, lambda: ClusterTime.start_of(int(time.time()) - age_s if age_s else 0))
        self._behind = behind
        self._stop = stop
        self._room = room
        self._lock = Lock()
        self._waiting: OrderedDict[tuple[str, Hashable], _Waiting] = OrderedDict()
        self._in_vain: OrderedDict[tuple[str, Hashable], float] = OrderedDict()
        self._failing = False

    def offer(self, entries: Iterable[Entry]) -> None:
        """Queue documents of history that was just stored. Never blocks, never fails: a full queue drops them."""
        for document, _ in entries:
            if is_candidate(document):
                self._note(raw.fields(document))

    def run(self) -> None:
        """Make the snapshots that are due, until the daemon stops."""
        while not self._stop.is_set():
            waiting = None if self._behind() else self._next()
            if waiting is None:
                self._stop.wait(_PAUSE_S)
                continue
            try:
                self._attend(waiting)
                self._failing = False
            except (PyMongoError, MissingChunkError, ValueError) as error:
                if not self._failing and not self._stop.is_set():
                    log.warning("snapshots are left out for now; history is not touched", error=name_of(error))
                self._failing = True
                self._stop.wait(_AFTER_FAILURE_S)

    def _note(self, entry: dict[bytes, raw.Value]) -> None:
        document_id = entry.get(b"document_id")
        if document_id is None or raw.text_of(entry[b"operation"]) not in _CHANGING or len(document_id[1]) > LARGEST_ID:
            return
        namespace = raw.text_of(entry[b"namespace"]).decode("utf-8", "replace")
        key = namespace, key_of(document_id)
        with self._lock:  # held only for a lookup
            if key in self._waiting or len(self._waiting) < self._room:
                self._waiting[key] = _Waiting(namespace, document_id, before(position_of(entry).cluster_time))

    def _next(self) -> _Waiting | None:
        with self._lock:
            return self._waiting.popitem(last=False)[1] if self._waiting else None

    def _attend(self, waiting: _Waiting) -> None:
        """Make the snapshots of one document that are due."""
        key = waiting.namespace, key_of(waiting.document_id)
        began = worked_since = time.monotonic()
        if began < self._in_vain.get(key, 0.0):
            return
        made = tried = 0
        for kept in self._maker.fill(waiting.namespace, waiting.document_id, waiting.until, onwards=True):
            made, tried = made + kept, tried + 1
            self._give_way(time.monotonic() - worked_since)
            if self._stop.is_set():
                return
            worked_since = time.monotonic()
        if tried and not made:  # history does not tell this document; finding that out again is not for every update
            self._in_vain[key] = time.monotonic() + max(_IN_VAIN_S, _IN_VAIN_SHARE * (time.monotonic() - began))
            if len(self._in_vain) > self._room:
                self._in_vain.popitem(last=False)
        self._give_way(time.monotonic() - worked_since)

    def _give_way(self, worked_s: float) -> None:
        self._stop.wait(worked_s)
        while self._behind() and not self._stop.is_set():
            self._stop.wait(_PAUSE_S)


class NoticedWriter:
    """A writing stage whose acknowledged history is offered to a snapshotter."""

    def __init__(self, writer: Writes, snapshotter: Snapshotter) -> None:
        self._writer = writer
        self._snapshotter = snapshotter

    def write(self, recorded: Recorded) -> int:
        """Write a batch, as the writer does."""
        rejected = self._writer.write(recorded)
        self._snapshotter.offer(recorded.entries)
        return rejected
