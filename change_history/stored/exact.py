"""Inserting documents so that the server stores the very bytes.

A server that inserts a document puts its own time into every empty timestamp at the top of it, but for `_id`
(https://www.mongodb.com/docs/manual/reference/bson-types/#timestamps). Where that stands for somebody's value it is no
longer that value. What an update with a pipeline puts there is left alone.
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
"""A history document begins with `_id`, namespace and document_id; a namespace has at most 255 bytes."""

_LARGEST_MESSAGE = 16 * 1024 * 1024
"""The driver takes a command for a document, and a little more than this for the largest; no document is larger."""


def insert(collection: Collection[Any], documents: Sequence[bytes], session: ClientSession | None = None) -> None:
    """Insert history documents: without a session in no particular order, all that can be inserted.

    Raises:
        pymongo.errors.BulkWriteError: the server refused some; `index` is that of the document. One that is there
            already may be among them, with code 11000.
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
    """As many documents as fit into one message, each time, and the number of the first of them."""
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
        pymongo.errors.PyMongoError: the server did not do what it was asked, or did not answer.
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
    """Documents one behind the other, as a message to the server has them: the driver writes the bytes as they are.

    To make an object of each, and to let the driver look at each, takes more time than all the rest of an insert. Where
    the driver looks into it, as its log of commands does, it is empty.
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
    """Whether any of some documents may be one that `is_put`."""
    return _DOCUMENT_ID in b"".join(documents)


def is_put(document: bytes) -> bool:
    """Whether a document is put by an update, as an insert might change it; one that is there already is left."""
    return document.find(_DOCUMENT_ID, 0, _LOOKED_AT) >= 0


def _write(document: bytes) -> InsertOne[Any] | UpdateOne:
    return put(document) if is_put(document) else InsertOne(RawBSONDocument(document))


def put(document: bytes) -> UpdateOne:
    """What stores a document, every byte as it is, unless one with its `_id` is there."""
    literal = {"$literal": RawBSONDocument(document)}
    is_new = {"$eq": [{"$size": {"$objectToArray": "$$ROOT"}}, 1]}
    query = RawBSONDocument(raw.document([raw.element(b"_id", raw.fields(document)[b"_id"])]))
    return UpdateOne(query, [{"$replaceWith": {"$cond": [is_new, literal, "$$ROOT"]}}], upsert=True)
