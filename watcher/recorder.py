"""The second stage: events become history documents. What cannot become one is set aside, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core import event, record, update
from models.raw import MalformedBSON
from watcher.batch import Entry, Recorded, Rejected

if TYPE_CHECKING:
    from watcher.batch import Batch

_APPEARING = frozenset({b"create", b"rename"})
_UNREADABLE = (MalformedBSON, event.UnreadableEventError, update.UnknownUpdateFormatError)


class Recorder:
    """Turns batches of events into batches of history. Stateless: see `core.record`."""

    def record(self, batch: Batch) -> Recorded:
        """Turn the events of a batch into history documents; the position goes along."""
        recorded = Recorded([], [], batch.position, lost=batch.lost)
        entries, counts = recorded.entries, recorded.counts
        for data in batch.events:
            try:
                happened = event.parse(data)
                document = record.document(happened)
            except _UNREADABLE as error:
                recorded.rejected.append(Rejected(data, f"{type(error).__name__}: {error}"))
                continue
            entries.append(Entry(document, data))
            recorded.size += len(document)
            key = happened.namespace.decode("utf-8", "replace"), happened.operation.decode("utf-8", "replace")
            counts[key] = counts.get(key, 0) + 1
            if happened.operation in _APPEARING:
                recorded.appeared.add(_new_name(happened))
        return recorded


def _new_name(happened: event.Event) -> str:
    """The namespace that now exists: of a rename the new name, else the event's own."""
    target = happened.document(b"to")
    parts = event.namespace_of(target) if target is not None else happened.namespace
    return parts.decode("utf-8", "replace")
