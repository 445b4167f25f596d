"""Inserting documents so that the server stores the very bytes.

A server that inserts a document puts its own time into every empty timestamp at the top of it, but for `_id`
(https://www.mongodb.com/docs/manual/reference/bson-types/#timestamps). Where that stands for somebody's value it is no
longer that value. What an update with a pipeline puts there is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, UpdateOne

from change_history.bson import raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

_EMPTY_TIMESTAMP = bytes(8)
_DOCUMENT_ID = b"\x11document_id\x00" + _EMPTY_TIMESTAMP
_LOOKED_AT = 512
"""A history document begins with `_id`, namespace and document_id; a namespace has at most 255 bytes."""


def insert(collection: Collection[Any], documents: Sequence[bytes], session: ClientSession | None = None) -> None:
    """Insert history documents: without a session in no particular order, all that can be inserted.

    Args:
        documents: BSON.
        session: of a transaction.

    Raises:
        pymongo.errors.BulkWriteError: the server refused some; `index` is that of the document. One that is there
            already may be among them, with code 11000.
        pymongo.errors.PyMongoError: not all is acknowledged.
    """
    ordered = session is not None
    if not any(map(_would_be_changed, documents)):
        collection.insert_many([RawBSONDocument(one) for one in documents], ordered=ordered, session=session)
        return
    writes = [
        put(document) if _would_be_changed(document) else InsertOne(RawBSONDocument(document)) for document in documents
    ]
    collection.bulk_write(writes, ordered=ordered, session=session)


def _would_be_changed(document: bytes) -> bool:
    return document.find(_DOCUMENT_ID, 0, _LOOKED_AT) >= 0


def put(document: bytes) -> UpdateOne:
    """What stores a document, every byte as it is, unless one with its `_id` is there."""
    literal = {"$literal": RawBSONDocument(document)}
    is_new = {"$eq": [{"$size": {"$objectToArray": "$$ROOT"}}, 1]}
    query = RawBSONDocument(raw.document([raw.element(b"_id", raw.fields(document)[b"_id"])]))
    return UpdateOne(query, [{"$replaceWith": {"$cond": [is_new, literal, "$$ROOT"]}}], upsert=True)
