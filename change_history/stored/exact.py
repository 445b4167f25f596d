"""Insert documents so that the server stores exactly their bytes.

On an insert, the server replaces every empty timestamp at the top level of a document, except `_id`, by its own time
(https://www.mongodb.com/docs/manual/reference/bson-types/#timestamps). That would change a user's value. A timestamp
set by an update with a pipeline is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError

from change_history.bson import raw

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator, Sequence

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

_EMPTY_TIMESTAMP = bytes(8)
_DOCUMENT_ID = b"\x11document_id\x00" + _EMPTY_TIMESTAMP
_LOOKED_AT = 512
"""Bytes to search: a history document begins with `_id`, namespace (255 bytes at most) and document_id."""

_LARGEST_MESSAGE = 16 * 1024 * 1024
"""The driver takes a command for a document, and a little more than this for the largest; no document is larger."""


def insert(collection: Collection[Any], documents: Sequence[bytes], session: ClientSession | None = None) -> None:
    """Insert history documents: without a session in no particular order, all that can be inserted.

    Raises:
        pymongo.errors.BulkWriteError: the server refused some; `index` is the document's. A document that exists
            already is reported with code 11000.
    """
    if session is None:
        _insert_any(collection, documents)
    elif not any(map(is_put, documents)):
        collection.insert_many([RawBSONDocument(one) for one in documents], session=session)
    else:
        collection.bulk_write([_write(document) for document in documents], session=session)


def _insert_any(collection: Collection[Any], documents: Sequence[bytes]) -> None:
    """Insert what can be inserted, in no particular order."""
    errors: dict[str, list[dict[str, Any]]] = {"writeErrors": [], "writeConcernErrors": []}
    for start, some in _messages(documents):
        joined = b"".join(some)
        if _DOCUMENT_ID in joined and any(map(is_put, some)):
            try:
                collection.bulk_write([_write(document) for document in some], ordered=False)
                continue
            except BulkWriteError as error:
                reply = error.details
        else:
            reply = _sent(collection, joined, len(some))
        errors["writeErrors"] += ({**each, "index": start + each["index"]} for each in reply.get("writeErrors", ()))
        errors["writeConcernErrors"] += reply.get("writeConcernErrors", ())
    if any(errors.values()):
        raise BulkWriteError(errors)


def _messages(documents: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Split documents into messages; each with the number of its first document."""
    start = size = 0
    for number, document in enumerate(documents):
        size += len(document)
        if size > _LARGEST_MESSAGE and number > start:
            yield start, documents[start:number]
            start, size = number, len(document)
    if start < len(documents):
        yield start, documents[start:]


def _sent(collection: Collection[Any], joined: bytes, count: int) -> dict[str, Any]:
    """Insert documents that lie one behind the other in memory; the server's reply, with errors as of a bulk write.

    Raises:
        pymongo.errors.PyMongoError: the reply does not cover all documents, or there is none.
    """
    command = {"insert": collection.name, "ordered": False, "documents": [_Joined(joined)]}
    if concern := collection.write_concern.document:
        command["writeConcern"] = concern
    reply: dict[str, Any] = collection.database.command(command)
    if reply["n"] + len(reply.get("writeErrors", ())) != count:
        raise PyMongoError(f"of {count} documents, the server has told of {reply['n']}")
    failure = reply.get("writeConcernError")
    return {**reply, "writeConcernErrors": [failure] if failure else []}


class _Joined(RawBSONDocument):
    """Concatenated documents, as in a message to the server: the driver writes the bytes as they are.

    Creating an object for each, and letting the driver inspect each, takes longer than the rest of an insert. When the
    driver inspects this one, as its command log does, it is empty.
    """

    __slots__ = ("_joined",)

    def __init__(self, joined: bytes) -> None:
        self._joined = joined

    @property
    def raw(self) -> bytes:
        return self._joined

    def __getitem__(self, item: str) -> Any:
        raise KeyError(item)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def items(self) -> ItemsView[str, Any]:
        return {}.items()


def any_put(documents: Sequence[bytes]) -> bool:
    """Whether `is_put` may be true of any of the documents."""
    return _DOCUMENT_ID in b"".join(documents)


def is_put(document: bytes) -> bool:
    """Whether a document is stored by an update, as an insert might change it; an existing one is left alone."""
    return document.find(_DOCUMENT_ID, 0, _LOOKED_AT) >= 0


def _write(document: bytes) -> InsertOne[Any] | UpdateOne:
    return put(document) if is_put(document) else InsertOne(RawBSONDocument(document))


def put(document: bytes) -> UpdateOne:
    """The operation that stores a document byte for byte, unless one with its `_id` exists."""
    literal = {"$literal": RawBSONDocument(document)}
    is_new = {"$eq": [{"$size": {"$objectToArray": "$$ROOT"}}, 1]}
    query = RawBSONDocument(raw.document([raw.element(b"_id", raw.fields(document)[b"_id"])]))
    return UpdateOne(query, [{"$replaceWith": {"$cond": [is_new, literal, "$$ROOT"]}}], upsert=True)
