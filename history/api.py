"""The read side for Python programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pymongo import MongoClient

from history import follow, gaps, timeline
from history.selection import Selection
from models.connection import DATABASE
from models.reading import as_query, history_collection, is_document, to_event
from models.values import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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
        """Read the history documents themselves, oldest first, every byte as recorded. Raises as `log` does."""
        return timeline.read(self._collection, selection, limit=limit)

    def gaps(
        self, namespace: str | None = None, *, since: Moment | None = None, until: Moment | None = None
    ) -> Iterator[HistoryModel]:
        """Read the gaps: intervals of which events were lost for good, oldest first. `history.gaps.view` reads one.

        Args:
            namespace: only gaps in which events of this namespace can have been lost; without it, all of them.
            since: only gaps that reach to this moment or beyond it.
            until: only gaps that begin at this moment or before it.

        Raises:
            ValueError: a time without a zone.
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        return map(to_event, self.stored_gaps(namespace, since=since, until=until))

    def stored_gaps(
        self, namespace: str | None = None, *, since: Moment | None = None, until: Moment | None = None
    ) -> Iterator[RawBSONDocument]:
        """Read the gaps' history documents themselves. Raises as `gaps` does."""
        return gaps.read(self._collection, namespace, since, until)

    def with_gaps(
        self, selection: Selection, events: Iterable[RawBSONDocument], *, cut: bool = False
    ) -> Iterator[RawBSONDocument]:
        """Put the gaps that an answer reaches across into their places among its events (see `history.gaps`)."""
        return gaps.among(self._collection, selection, events, cut=cut)

    def follow(self, selection: Selection, *, stop: Event, limit: int | None = None) -> Iterator[RawBSONDocument]:
        """Read recorded history documents, then new ones as they are recorded, gaps too (see `history.follow`)."""
        return follow.follow(self._collection, selection, stop=stop, limit=limit)

    def namespaces(self) -> list[str]:
        """Every namespace that has history, sorted; the server hops from one to the next through an index."""
        found = self._collection.distinct("namespace")
        return sorted(name for name in found if name is not None)  # a gap has none; the index says null of it

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
