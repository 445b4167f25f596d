"""A cache of documents that is kept up to date by their events, within a limited size."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from watcher.events.event import DocumentKey

_OVERHEAD = 300  # bytes of one document: keys, objects


class Documents:
    """Documents as they are after their last event. The least recently changed ones are evicted.

    Compiled code (`watcher.events.fast_path.record_some`) reads and writes the attributes as the methods here do.

    Attributes:
        known: documents by key, least recently changed first; None: unknown, or deleted.
        size: size of everything in bytes.
        room: maximum size in bytes; a single document may be larger.
    """

    def __init__(self, room: int) -> None:
        self.known: OrderedDict[DocumentKey, bytes | None] = OrderedDict()
        self.size = 0
        self.room = room

    def keep(self, key: DocumentKey, document: bytes | None) -> None:
        """Store the present state of a document; None: unknown, or deleted."""
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
        """Remove documents that are in the cache."""
        for key in list(keys):
            self.size -= weight(key, self.known.pop(key))

    def clear(self) -> None:
        """Remove every document."""
        self.known.clear()
        self.size = 0


def weight(key: DocumentKey, document: bytes | None) -> int:
    """The memory that a cached document takes, in bytes (an estimate)."""
    return _OVERHEAD + len(key.namespace) + len(str(key.document)) + len(document or b"")
