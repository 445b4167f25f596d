"""Storing what is larger than a document may be: in chunks, and by a head that stands for them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bson import Binary
from pymongo import WriteConcern
from pymongo.errors import DuplicateKeyError

from change_history.bson import raw
from change_history.stored import actor, chunks
from change_history.stored.names import PARTS

if TYPE_CHECKING:
    from pymongo.database import Database

    from watcher.stream.batch import RejectedEvent

MAJORITY = WriteConcern("majority")
_BINARY_HEADER = 5
LARGEST_KEPT = 4 * 1024 * 1024
"""Bytes of what is kept in an entry of `rejected` itself: its `_id` may stand there once more, and be as large."""


class LargeDocuments:
    """Stores chunks, acknowledged by a majority. Safe to repeat: a chunk's id names its content."""

    def __init__(self, database: Database[Any]) -> None:
        self._parts = database.get_collection(PARTS, write_concern=MAJORITY)

    def fitted(self, document: bytes) -> bytes:
        """A history document as a server can store it: itself, or its head once its chunks are stored."""
        return document if len(document) <= chunks.LARGEST_DOCUMENT else self.in_parts(document)

    def in_parts(self, document: bytes) -> bytes:
        """The head of a history document, once its chunks are stored.

        For what is too large, and for what nests deeper with history around it than a server stores.
        """
        document, who = actor.split(document)
        pieces = chunks.cut(raw.fields(document)[b"_id"][1][_BINARY_HEADER:], document)
        self._store(pieces)
        head = chunks.head(document, pieces)
        return head if who is None else actor.added(head, who)

    def kept(self, identity: bytes, item: RejectedEvent) -> dict[str, Any]:
        """What is rejected as a field of its document: the event as `event`, or `parts`: chunks, once they are stored.

        A history document that no event has made is kept as `entry`, or `entry_parts`.
        """
        data = item.entry or item.event
        if len(data) <= LARGEST_KEPT:
            return {"entry" if item.entry else "event": Binary(data)}
        pieces = chunks.cut(identity, data)
        self._store(pieces)
        return {"entry_parts" if item.entry else "parts": [Binary(piece.id) for piece in pieces]}

    def _store(self, pieces: list[chunks.Chunk]) -> None:
        for piece in pieces:  # one by one: three fill a message
            with suppress(DuplicateKeyError):
                self._parts.insert_one({"_id": Binary(piece.id), "data": Binary(piece.data)})
