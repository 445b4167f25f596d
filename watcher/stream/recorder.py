"""The second stage: events become history documents. What cannot become one is set aside, whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from change_history.reconstruct import fold
from watcher.events import event, fast_path, record
from watcher.stream.batch import Entry, Recorded, Rejected, Renamed
from watcher.stream.memory import without_image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from watcher.events.fast_path import Usual
    from watcher.stream.batch import Batch
    from watcher.stream.memory import Memory

_APPEARING = frozenset({b"create", b"rename", b"createIndexes"})
"""Also the end of an index build: while it lasts, the server refuses to alter the collection."""
_UNREADABLE = (ValueError, KeyError, IndexError)  # those of `core` and `change_history.bson.raw` are ValueErrors


class Recorder:
    """Turns batches of events into batches of history; what an event means is in `watcher.events.record`.

    Args:
        memory: tells the old values of events that come without a pre-image.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._batches = 0

    def record(self, batch: Batch) -> Recorded:
        """Turn the events of a batch into history documents; the position goes along.

        Raises:
            Exception: whatever recalling documents from history raises.
        """
        self._batches += 1
        recorded = Recorded([], [], batch.position, lost=batch.lost, number=self._batches)
        readable = self._read(batch.events, recorded)
        taken_apart = [happened for _, happened in readable if isinstance(happened, event.Event)]
        self._memory.begin(recorded, taken_apart, batch.lost)
        if recorded.rejected:
            self._memory.forget_all()
        for data, happened in readable:
            if isinstance(happened, event.Event):
                self._add(data, happened, recorded)
            else:
                document, namespace, operation = happened
                recorded.add(Entry(document, data), namespace, operation)
        return recorded

    def stored(self, recorded: Recorded) -> None:
        """A majority has this history, and all before it."""
        self._memory.stored(recorded.number)

    def _read(self, events: Iterable[bytes], recorded: Recorded) -> list[tuple[bytes, event.Event | Usual]]:
        """Record what is usual; take apart the rest, and what the memory follows. Reject what cannot be read."""
        read = [(data, fast_path.record(data) or _parsed(data, recorded)) for data in events]
        followed = self._memory.follows([happened for _, happened in read if isinstance(happened, event.Event)])
        if followed:
            read = [
                (data, _parsed(data, recorded) if _is_short(happened) and happened[1] in followed else happened)
                for data, happened in read
            ]
        return [(data, happened) for data, happened in read if happened is not None]

    def _add(self, data: bytes, happened: event.Event, recorded: Recorded) -> None:
        try:
            document = self._document(happened)
        except _UNREADABLE as error:
            recorded.rejected.append(_rejected(data, error))
            self._memory.forget_all()
            return
        recorded.add(Entry(document, data), happened.namespace, happened.operation)
        if happened.operation in _APPEARING:
            recorded.appeared.add(_new_name(happened))
        if happened.operation == b"rename":
            former = happened.namespace.decode("utf-8", "replace")
            recorded.renamed.append(Renamed(former, _new_name(happened), happened.cluster_time))

    def _document(self, happened: event.Event) -> bytes:
        document = record.document(happened, self._memory.before(happened))
        try:
            self._memory.after(happened, document)
        except fold.DoesNotApplyError:
            # History has a hole that it does not know of; what it told was not the document.
            return record.document(happened)
        return document


def _parsed(data: bytes, recorded: Recorded) -> event.Event | None:
    try:
        happened = event.parse(data)
        without_image(happened)  # the memory will ask
    except _UNREADABLE as error:
        recorded.rejected.append(_rejected(data, error))
        return None
    return happened


def _is_short(happened: event.Event | Usual | None) -> TypeGuard[Usual]:
    return happened is not None and not isinstance(happened, event.Event)


def _rejected(data: bytes, error: Exception) -> Rejected:
    return Rejected(data, f"{type(error).__name__}: {error}")


def _new_name(happened: event.Event) -> str:
    """The namespace that now exists: of a rename the new name, else the event's own."""
    target = happened.document(b"to")
    parts = event.namespace_of(target) if target is not None else happened.namespace
    return parts.decode("utf-8", "replace")
