"""The read side for Python programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pymongo import MongoClient

from history import follow, timeline
from history.selection import Selection
from models.connection import DATABASE
from models.reading import as_query, history_collection, is_document, to_event
from models.values import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from bson.raw_bson import RawBSONDocument

    from history.window import Moment
    from models import HistoryModel


class History:
    """A history database, read only. Also a context manager, which closes the connection.

    Args:
        client: the deployment that keeps the history; `close` closes it.
        database: name of the history database.
    """

    def __init__(self, client: MongoClient[Any], database: str = DATABASE) -> None:
        self._client = client
        self._collection = history_collection(client.get_database(database))

    @classmethod
    def connect(cls, uri: str, database: str = DATABASE, **options: Any) -> Self:
        """Connect to the deployment that keeps the history. Lazily: no server is asked anything yet.

        Args:
            uri: MongoDB connection string.
            database: name of the history database.
            options: passed on to `pymongo.MongoClient`.

        Raises:
            pymongo.errors.ConfigurationError: the connection string is malformed.
        """
        return cls(MongoClient(uri, **options), database)

    def log(
        self,
        namespace: str,
        document_id: Any = ABSENT,
        *,
        field: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        limit: int | None = None,
    ) -> Iterator[HistoryModel]:
        """Read recorded events, oldest first.

        Args:
            namespace: `database.collection`.
            document_id: `_id` of one document, any BSON type; left out: the whole collection.
            field: only events that concern this field or something below it, as MongoDB writes it: `address.city`.
            since: first moment, included. An aware datetime is compared with the event's wall time, in
                milliseconds; a `bson.Timestamp` with its cluster time.
            until: last moment, included.
            limit: only the newest so many.

        Raises:
            ValueError: a time without a zone, or a negative limit.
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        return map(to_event, self.stored(Selection(namespace, document_id, field, since, until), limit=limit))

    def stored(self, selection: Selection, *, limit: int | None = None) -> Iterator[RawBSONDocument]:
        """Read the history documents themselves, oldest first, every byte as stored. Raises as `log` does."""
        return timeline.read(self._collection, selection, limit=limit)

    def follow(self, selection: Selection, *, stop: Event, limit: int | None = None) -> Iterator[RawBSONDocument]:
        """Read recorded history documents, then new ones as they are recorded (see `history.follow`)."""
        return follow.follow(self._collection, selection, stop=stop, limit=limit)

    def namespaces(self) -> list[str]:
        """Every namespace that has history, sorted; the server hops from one to the next through an index."""
        return sorted(self._collection.distinct("namespace"))

    def knows(self, namespace: str, document_id: Any) -> bool:
        """Whether anything is recorded about a document."""
        query = as_query({"namespace": {"$eq": namespace}, "document_id": is_document(document_id)})
        return self._collection.find_one(query, {"_id": 1}) is not None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
