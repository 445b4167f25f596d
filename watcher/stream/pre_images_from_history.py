"""Reconstructs the documents before an event from trusted history: first the stored part, then the part in flight."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.reconstruct import trust
from change_history.reconstruct.entries import Reconstructed, follow, reconstruct_many
from change_history.reconstruct.lineage import ENDS, lineage_of
from change_history.reconstruct.trust import GapBounds, Unknown, trusted_since
from change_history.stored.order import position_of
from change_history.stored.rejected import told_by_event
from watcher.events.event import DOCUMENT_OPERATIONS, DocumentKey
from watcher.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from change_history.bson.raw import Value
    from change_history.reconstruct.lineage import Incarnation
    from change_history.stored.order import HistoryPosition
    from watcher.events.redaction import Redaction
    from watcher.retry import Retry
    from watcher.stream.batch import Recorded, RejectedEvent, SharedProgress
    from watcher.targets.scope import Scope

    Fields = dict[bytes, raw.Value]

_ENDS = frozenset(name.encode() for name in ENDS)
_AT_FIRST, _AT_MOST = 20, 100
"""Documents reconstructed in one query: at first, and at most. Each may have 16 MB."""
_LIGHT_BYTES = 32 * 1024
"""Average size in bytes below which more documents are reconstructed in one query."""


class PreImagesFromHistory:
    """Reconstructs documents from history, as far as one stream can trust it.

    Args:
        scope: the stream's scope.
        begun: since when it has had that scope.
        shared: counts the backfills that are done.
        redaction: redacts values, also those recorded before there was a rule; None: nothing is redacted.
    """

    def __init__(
        self,
        database: Database[Any],
        stream: str,
        scope: Scope,
        begun: ClusterTime,
        shared: SharedProgress,
        retry: Retry,
        redaction: Redaction | None,
    ) -> None:
        self._in_flight = InFlight()
        self._database = database
        self._stream = stream
        self._scope = scope
        self._begun = begun
        self._shared = shared
        self._backfills = shared.backfills
        self._retry = retry
        self._redaction = redaction
        self._gaps: dict[tuple[str, ClusterTime], GapBounds] = {}
        self._changed = True
        self._load_gaps()

    def begin(self, recorded: Recorded, stored: int) -> None:
        """Begin a batch, which is in flight from now on.

        Args:
            recorded: its history, still empty.
            stored: number of the last batch that a majority has acknowledged.
        """
        if self._in_flight.add(recorded, stored):
            self._changed = True
        if recorded.lost is not None:  # the gap may not be in history yet
            resumed = recorded.lost.resumed or recorded.position
            gap = GapBounds(recorded.lost.position.cluster_time, resumed.cluster_time, None, self._stream)
            self._gaps[gap.checkpoint, gap.since] = gap

    def learned(self) -> bool:
        """Whether more can be reconstructed than at the last call."""
        backfills = self._shared.backfills
        changed = self._changed or backfills != self._backfills
        self._changed, self._backfills = False, backfills
        if changed:
            self._load_gaps()
        return changed

    def documents(
        self, keys: Mapping[DocumentKey, Value], position: HistoryPosition
    ) -> Iterator[tuple[DocumentKey, bytes | None]]:
        """The documents of one collection as they were before a position; None: unknown.

        Raises:
            watcher.retry.StoppedError: a stop was requested.
        """
        since = trusted_since(position.cluster_time, self._begun, self._gaps.values())
        stored = min(self._in_flight.start() or position, position)
        name = next(iter(keys)).namespace
        namespace = name.decode("utf-8", "surrogateescape")
        redactor = self._redaction.of(name) if self._redaction is not None else None
        incarnations = self._ask(lambda: list(lineage_of(self._database, namespace, stored, self._covers)))
        rest, at_once = iter(keys.items()), _AT_FIRST
        while some := dict(islice(rest, at_once)):
            weight = 0
            told = self._reconstructed(incarnations, some)
            for key in some:
                reconstructed = self._followed(key, told.get(key))
                base = reconstructed.base_time if reconstructed is not None else None
                known = (
                    reconstructed.document if reconstructed is not None and base is not None and base >= since else None
                )
                document = known if not isinstance(known, Unknown) else None
                if redactor is not None and document is not None:
                    document = redactor.document(document)
                weight += len(document or b"")
                yield key, document
            at_once = _AT_MOST if weight < _LIGHT_BYTES * len(some) else _AT_FIRST

    def _reconstructed(
        self, incarnations: list[Incarnation], keys: Mapping[DocumentKey, Value]
    ) -> dict[DocumentKey, Reconstructed]:
        found = self._ask(lambda: reconstruct_many(self._database, incarnations, list(keys.values())))
        return {key: found[key.document] for key in keys if key.document in found}

    def _followed(self, key: DocumentKey, reconstructed: Reconstructed | None) -> Reconstructed | None:
        for entry in self._in_flight.of(key):
            reconstructed = follow([entry], reconstructed) if entry is not None else None
        return reconstructed

    def _covers(self, namespace: str) -> bool:
        database, _, collection = namespace.partition(".")
        return self._scope.covers(database, collection)

    def _load_gaps(self) -> None:
        for gap in self._ask(lambda: trust.gaps(self._database, stream=self._stream)):
            self._gaps[gap.checkpoint, gap.since] = gap

    def _ask(self, question: Any) -> Any:
        return self._retry.call(Step.READ_HISTORY, question)


class InFlight:
    """History that is recorded and may not be stored yet, by batches, oldest first.

    Until a batch is acknowledged, the history collection can hold any part of it. So reconstruction from the collection
    ends before the first batch in flight, and continues with the batches kept here.
    """

    def __init__(self) -> None:
        self._batches: deque[_Indexed] = deque()

    def add(self, recorded: Recorded, stored: int) -> bool:
        """Keep a batch, whose history may still grow; drop those that are stored.

        Args:
            recorded: the batch.
            stored: number of the last batch that is stored.

        Returns:
            Whether a dropped batch had interrupted the history of documents, which can now be reconstructed again.
        """
        mended = False
        while self._batches and self._batches[0].recorded.number <= stored:
            mended |= self._batches.popleft().breaks()
        self._batches.append(_Indexed(recorded))
        return mended

    def start(self) -> HistoryPosition | None:
        """The position of the first entry in flight; None: there is none."""
        return next((position for batch in self._batches if (position := batch.start()) is not None), None)

    def of(self, key: DocumentKey) -> Iterator[Fields | None]:
        """One document's entries in flight, oldest first; None where its collection ended or an event is missing."""
        for batch in self._batches:
            yield from batch.of(key)


class _Indexed:
    """A batch whose entries are indexed by document on first use, each entry once."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self._looked_through = 0
        self._documents: dict[DocumentKey, list[tuple[int, Fields]]] = {}
        self._breaks: list[tuple[int, frozenset[bytes]]] = []

    def start(self) -> HistoryPosition | None:
        entries = self.recorded.entries
        return position_of(raw.fields(entries[0].document)) if entries else None

    def breaks(self) -> bool:
        return bool(self.recorded.rejected) or any(operation in ENDS for _, operation in self.recorded.counts)

    def of(self, key: DocumentKey) -> Iterator[Fields | None]:
        self._look_through()
        database = key.namespace.partition(b".")[0]
        steps: list[tuple[int, Fields | None]] = list(self._documents.get(key, ()))
        steps += [(number, None) for number, names in self._breaks if not names.isdisjoint((key.namespace, database))]
        rejected = any(of is None or of == key for of in map(document_of, self.recorded.rejected))
        if rejected:
            yield None  # its place among these is unknown: only an entry with the whole document counts from here on
        yield from (fields for _, fields in sorted(steps, key=lambda step: step[0]))
        if rejected:
            yield None

    def _look_through(self) -> None:
        entries = self.recorded.entries
        for number in range(self._looked_through, len(entries)):
            fields = raw.fields(entries[number].document)
            document_id = fields.get(b"document_id")
            namespace = raw.text_of(fields[b"namespace"]) if b"namespace" in fields else b""
            if document_id is not None:
                self._documents.setdefault(DocumentKey(namespace, key_of(document_id)), []).append((number, fields))
            elif raw.text_of(fields[b"operation"]) in _ENDS:
                self._breaks.append((number, frozenset((namespace, _target(fields)))))
        self._looked_through = len(entries)


def document_of(rejected: RejectedEvent) -> DocumentKey | None:
    """The only document that a rejected event can have changed; None: unknown, or the event concerns a collection."""
    told = told_by_event(rejected.event)
    if told.namespace is None or told.document_id is None or told.operation not in DOCUMENT_OPERATIONS:
        return None
    return DocumentKey(told.namespace, key_of(told.document_id))


def _target(fields: Fields) -> bytes:
    """The new namespace of a rename; empty for other entries."""
    described = raw.fields(fields[b"description"][1]) if b"description" in fields else {}
    target = described.get(b"to")
    return b".".join(raw.text_of(part) for part in raw.fields(target[1]).values()) if target is not None else b""
