"""History on the documents of a mongoengine application.

    class UserModel(HistoryMixin, mongoengine.Document):
        name = mongoengine.StringField()

    for change in user.history.changes:
        print(change.field, change.old_value, change.new_value, change.timestamp)

Each value is the very one that was stored; see `values.to_python` for how its type is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, overload

import bson
from pymongo import MongoClient

from change_history.bson.values import document_to_python
from change_history.stored.chunks import whole
from change_history.stored.event import to_event
from change_history.stored.names import DATABASE
from change_history.stored.order import in_stream_order
from change_history.stored.reading import as_query, history_collection, is_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection
    from pymongo.database import Database

    from change_history.stored.event import Change, Event

T = TypeVar("T")

_chosen: list[Database[Any]] = []
"""The history database that the application named, if it did."""


def connect(uri: str, database: str = DATABASE, **options: Any) -> MongoClient[Any]:
    """Read history from this database from now on, whatever deployment a document lives in.

    Args:
        uri: MongoDB connection string of the deployment that keeps the history.
        database: name of the history database.
        options: passed on to `pymongo.MongoClient`.

    Returns:
        The client, connected lazily: no server is asked anything yet.

    Raises:
        pymongo.errors.ConfigurationError: the connection string is malformed.
    """
    disconnect()
    client: MongoClient[Any] = MongoClient(uri, **options)
    _chosen.append(client.get_database(database))
    return client


def disconnect() -> None:
    """Forget the history database that was chosen, and close its client."""
    while _chosen:
        _chosen.pop().client.close()


class HistoryMixin:
    """Gives a mongoengine document class the property `history`.

    Nothing about the class or how it is saved changes, and nothing is registered with mongoengine. History is read
    from where `connect` points; if the application never called it, from the database `change_history` of the
    deployment that the document lives in.
    """

    @property
    def history(self) -> DocumentHistory:
        """What is recorded about this document."""
        return DocumentHistory(self)


class DocumentHistory:
    """The history of one mongoengine document. Nothing is read before it is asked for, nor kept afterwards.

    Args:
        document: saved or not; what was never saved has an empty history.
    """

    def __init__(self, document: Any) -> None:
        self._document = document

    @property
    def events(self) -> Events:
        """Every recorded event of the document, oldest first."""
        return Events(self._document)

    @property
    def changes(self) -> Changes:
        """Every recorded change of the document, oldest first."""
        return Changes(self._document)

    def __repr__(self) -> str:
        return f"<history of {self._document!r}>"


class _Reading(Sequence[T]):
    """A sequence that lives in the database: each use asks anew, so it can grow between two uses."""

    _size: Any
    """Aggregation expression: how many items one history document counts for."""

    def __init__(self, document: Any) -> None:
        self._document = document

    def __iter__(self) -> Iterator[T]:
        return self._read(newest_first=False)

    def __reversed__(self) -> Iterator[T]:
        return self._read(newest_first=True)

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def __len__(self) -> int:
        query = self._query()
        if query is None:
            return 0
        counted: list[Mapping[str, Any]] = [{"$match": query}, {"$group": {"_id": None, "size": {"$sum": self._size}}}]
        found = next(iter(_collection_of(self._document).aggregate(counted)), None)
        return int(found["size"]) if found else 0

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return list(self)[index]
        items, skipped = (reversed(self), -index - 1) if index < 0 else (iter(self), index)
        for item in islice(items, skipped, None):
            return item
        raise IndexError(f"history has no item {index}")

    def _read(self, *, newest_first: bool) -> Iterator[T]:
        query = self._query()
        if query is None:
            return
        collection = _collection_of(self._document)
        with collection.find(query).sort("_id", -1 if newest_first else 1) as cursor:
            for stored in in_stream_order(cursor, newest_first=newest_first):
                items = self._items(to_event(whole(collection.database, stored)))
                yield from reversed(items) if newest_first else items

    def _query(self) -> RawBSONDocument | None:
        """The query for the document's events, or None for a document that was never saved."""
        document = self._document
        if document.pk is None:
            return None
        database = document._get_db()  # noqa: SLF001 - mongoengine's way, it heeds `switch_db`
        namespace = f"{database.name}.{document._get_collection_name()}"  # noqa: SLF001
        # As the application's own connection writes it: a UUID becomes the binary subtype it is configured for.
        stored = bson.encode(
            {"_id": document.to_mongo(fields=[document._meta["id_field"]])["_id"]},  # noqa: SLF001
            codec_options=database.codec_options,
        )
        return as_query({"namespace": namespace, "document_id": is_document(document_to_python(stored)["_id"])})

    def _items(self, event: Event) -> Sequence[T]:
        raise NotImplementedError


class Events(_Reading["Event"]):
    """The events of one document, oldest first."""

    _size = 1

    def _items(self, event: Event) -> Sequence[Event]:
        return [event]


class Changes(_Reading["Change"]):
    """The changes of one document, oldest first; within an event in the order the server gave."""

    _size: Any = {"$ifNull": ["$change_count", {"$size": "$changes"}]}  # noqa: RUF012 - never changed

    def _items(self, event: Event) -> Sequence[Change]:
        return list(event.changes)


def _collection_of(document: Any) -> Collection[RawBSONDocument]:
    # Where the application never chose one, its document's own deployment is where the daemon keeps history.
    return history_collection(_chosen[0] if _chosen else document._get_db().client[DATABASE])  # noqa: SLF001
