"""Stores data that is larger than a document may be: as chunks, and a head document that refers to them."""

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
"""Largest event, in bytes, stored inside a document of `rejected`: its `_id` is stored there again and may be as
large."""


class LargeDocuments:
    """Stores chunks with majority write concern. Idempotent: a chunk's id is derived from its content."""

    def __init__(self, database: Database[Any]) -> None:
        self._parts = database.get_collection(PARTS, write_concern=MAJORITY)

    def fitted(self, document: bytes) -> bytes:
        """The document itself if a server can store it; otherwise store its chunks and return its head."""
        return document if len(document) <= chunks.LARGEST_DOCUMENT else self.in_parts(document)

    def in_parts(self, document: bytes) -> bytes:
        """Store a history document as chunks, and return its head.

        For documents that are too large, or that exceed the server's nesting limit with history around them.
        """
        document, who = actor.split(document)
        pieces = chunks.cut(raw.fields(document)[b"_id"][1][_BINARY_HEADER:], document)
        self._store(pieces)
        head = chunks.head(document, pieces)
        return head if who is None else actor.added(head, who)

    def kept(self, identity: bytes, item: RejectedEvent) -> dict[str, Any]:
        """The field of a `rejected` document that holds the event: `event`, or `parts` if it was stored as chunks.

        A history document that was not made from an event is kept as `entry` or `entry_parts`.
        """
        data = item.entry or item.event
        if len(data) <= LARGEST_KEPT:
            return {"entry" if item.entry else "event": Binary(data)}
        pieces = chunks.cut(identity, data)
        self._store(pieces)
        return {"entry_parts" if item.entry else "parts": [Binary(piece.id) for piece in pieces]}

    def _store(self, pieces: list[chunks.Chunk]) -> None:
        for piece in pieces:  # one by one: three of them fill a message
            with suppress(DuplicateKeyError):
                self._parts.insert_one({"_id": Binary(piece.id), "data": Binary(piece.data)})
