"""The second stage: events become history documents. What cannot become one is set aside, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core import event, record
from watcher.batch import Entry, Recorded, Rejected

if TYPE_CHECKING:
    from watcher.batch import Batch

_APPEARING = frozenset({b"create", b"rename", b"createIndexes"})
"""Also the end of an index build: while it lasts, the server refuses to alter the collection."""
_UNREADABLE = (ValueError, KeyError, IndexError)  # those of `core` and `models.raw` are ValueErrors


class Recorder:
    """Turns batches of events into batches of history. Stateless: what an event means is in `core.record`."""

    def record(self, batch: Batch) -> Recorded:
        """Turn the events of a batch into history documents; the position goes along."""
        recorded = Recorded([], [], batch.position, lost=batch.lost)
        for data in batch.events:
            try:
                happened = event.parse(data)
                document = record.document(happened)
            except _UNREADABLE as error:
                recorded.rejected.append(_rejected(data, error))
                continue
            recorded.add(Entry(document, data), happened.namespace, happened.operation)
            if happened.operation in _APPEARING:
                recorded.appeared.add(_new_name(happened))
        return recorded


def _rejected(data: bytes, error: Exception) -> Rejected:
    return Rejected(data, f"{type(error).__name__}: {error}")


def _new_name(happened: event.Event) -> str:
    """The namespace that now exists: of a rename the new name, else the event's own."""
    target = happened.document(b"to")
    parts = event.namespace_of(target) if target is not None else happened.namespace
    return parts.decode("utf-8", "replace")
