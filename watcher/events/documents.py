"""Documents that are kept up to date with the events of them, as long as there is room."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from watcher.events.event import DocumentKey

_OVERHEAD = 300  # bytes of one document: keys, objects


class Documents:
    """Documents as they are after their last event. Those that did not change for the longest time give way.

    Compiled code (`watcher.events.fast_path.record_some`) reads and writes the attributes as the methods here do.

    Attributes:
        known: by key, least recently changed first; None: it is unknown, or gone.
        size: bytes of it all.
        room: bytes that are kept at most, or one document.
    """

    def __init__(self, room: int) -> None:
        self.known: OrderedDict[DocumentKey, bytes | None] = OrderedDict()
        self.size = 0
        self.room = room

    def keep(self, key: DocumentKey, document: bytes | None) -> None:
        """Keep what a document is now; None: it is unknown, or gone."""
        if key in self.known:
            self.size += len(document or b"") - len(self.known[key] or b"")
            self.known[key] = document
            self.known.move_to_end(key)
        else:
            self.known[key] = document
            self.size += weight(key, document)
        while self.size > self.room and len(self.known) > 1:
            self.size -= weight(*self.known.popitem(last=False))

    def forget(self, keys: Iterable[DocumentKey]) -> None:
        """Forget documents that are kept."""
        for key in list(keys):
            self.size -= weight(key, self.known.pop(key))

    def clear(self) -> None:
        """Forget every document."""
        self.known.clear()
        self.size = 0


def weight(key: DocumentKey, document: bytes | None) -> int:
    """What keeping a document takes, in bytes."""
    return _OVERHEAD + len(key.namespace) + len(str(key.document)) + len(document or b"")
