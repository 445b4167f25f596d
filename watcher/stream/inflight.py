"""History that is recorded and may not be stored yet.

Until a batch is acknowledged, the history collection can hold any part of it. So what is reconstructed from there ends
before the first batch in flight, and what is kept here follows.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.reconstruct.lineage import ENDS
from change_history.stored.order import position_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from change_history.stored.order import HistoryPosition
    from watcher.stream.batch import Recorded

    Fields = dict[bytes, raw.Value]

_ENDS = frozenset(name.encode() for name in ENDS)


class Key(NamedTuple):
    """One document: its namespace, and its `_id` as the server compares it."""

    namespace: bytes
    document: Hashable


class InFlight:
    """The batches that are on their way, oldest first. Used by the recording stage alone, but for `stored`."""

    def __init__(self) -> None:
        self._batches: deque[_Indexed] = deque()
        self._stored = 0

    def add(self, recorded: Recorded) -> bool:
        """Keep a batch, whose history may still grow; let go of those that are stored.

        Returns:
            Whether what broke off the history of documents in flight is stored by now, so that it can be followed.
        """
        mended = False
        while self._batches and self._batches[0].recorded.number <= self._stored:
            mended |= self._batches.popleft().breaks()
        self._batches.append(_Indexed(recorded))
        return mended

    def stored(self, number: int) -> None:
        """Batches up to this number are acknowledged by a majority. May be called from another thread."""
        self._stored = number

    def start(self) -> HistoryPosition | None:
        """Where the first of these batches begins; None: there is no history in flight."""
        return next((place for batch in self._batches if (place := batch.start()) is not None), None)

    def of(self, key: Key) -> Iterator[Fields | None]:
        """What is in flight of one document, oldest first; None where its collection or an event was lost to it."""
        for batch in self._batches:
            yield from batch.of(key)


class _Indexed:
    """A batch whose history is looked through only when it is asked for, each entry once."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self._looked_through = 0
        self._documents: dict[Key, list[tuple[int, Fields]]] = {}
        self._breaks: list[tuple[int, frozenset[bytes]]] = []

    def start(self) -> HistoryPosition | None:
        entries = self.recorded.entries
        return position_of(raw.fields(entries[0].document)) if entries else None

    def breaks(self) -> bool:
        return bool(self.recorded.rejected) or any(operation in ENDS for _, operation in self.recorded.counts)

    def of(self, key: Key) -> Iterator[Fields | None]:
        self._look_through()
        database = key.namespace.partition(b".")[0]
        steps: list[tuple[int, Fields | None]] = list(self._documents.get(key, ()))
        steps += [(number, None) for number, names in self._breaks if not names.isdisjoint((key.namespace, database))]
        if self.recorded.rejected:
            yield None  # nobody knows which document it was about; only what is stated whole counts from here on
        yield from (fields for _, fields in sorted(steps, key=lambda step: step[0]))
        if self.recorded.rejected:
            yield None

    def _look_through(self) -> None:
        entries = self.recorded.entries
        for number in range(self._looked_through, len(entries)):
            fields = raw.fields(entries[number].document)
            document_id = fields.get(b"document_id")
            namespace = raw.text_of(fields[b"namespace"]) if b"namespace" in fields else b""
            if document_id is not None:
                self._documents.setdefault(Key(namespace, key_of(document_id)), []).append((number, fields))
            elif raw.text_of(fields[b"operation"]) in _ENDS:
                self._breaks.append((number, frozenset((namespace, _target(fields)))))
        self._looked_through = len(entries)


def _target(fields: Fields) -> bytes:
    """The name that a rename gives; empty for everything else."""
    described = raw.fields(fields[b"description"][1]) if b"description" in fields else {}
    target = described.get(b"to")
    return b".".join(raw.text_of(part) for part in raw.fields(target[1]).values()) if target is not None else b""
