"""Storing what is larger than a document may be: in parts, and by a head that stands for them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bson import Binary
from pymongo import WriteConcern
from pymongo.errors import DuplicateKeyError

from change_history.bson import raw
from change_history.stored import chunks
from change_history.stored.names import PARTS

if TYPE_CHECKING:
    from pymongo.database import Database

MAJORITY = WriteConcern("majority")
_BINARY_HEADER = 5


class LargeDocuments:
    """Stores parts, acknowledged by a majority. Safe to repeat: a part's id names its content.

    Args:
        database: the history database.
    """

    def __init__(self, database: Database[Any]) -> None:
        self._parts = database.get_collection(PARTS, write_concern=MAJORITY)

    def fitted(self, document: bytes) -> bytes:
        """A history document as a server can store it: itself, or its head once its parts are stored.

        Raises:
            pymongo.errors.PyMongoError: a part is not acknowledged.
        """
        return document if len(document) <= chunks.LARGEST_DOCUMENT else self.in_parts(document)

    def in_parts(self, document: bytes) -> bytes:
        """The head of a history document, once its parts are stored.

        For what is too large, and for what nests deeper with history around it than a server stores.

        Raises:
            pymongo.errors.PyMongoError: a part is not acknowledged.
        """
        pieces = chunks.cut(raw.fields(document)[b"_id"][1][_BINARY_HEADER:], document)
        self._store(pieces)
        return chunks.head(document, pieces)

    def kept(self, event_id: bytes, event: bytes) -> dict[str, Any]:
        """A rejected event as a field of its document: `event`, or `parts` once they are stored.

        Raises:
            pymongo.errors.PyMongoError: a part is not acknowledged.
        """
        if len(event) <= chunks.CHUNK_BYTES:
            return {"event": Binary(event)}
        pieces = chunks.cut(event_id, event)
        self._store(pieces)
        return {"parts": [Binary(piece.id) for piece in pieces]}

    def _store(self, pieces: list[chunks.Chunk]) -> None:
        for piece in pieces:  # one by one: three fill a message
            with suppress(DuplicateKeyError):
                self._parts.insert_one({"_id": Binary(piece.id), "data": Binary(piece.data)})
