"""The read side for Python programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pymongo import MongoClient

from change_history.bson.values import ABSENT
from change_history.past import Past
from change_history.query import follow, gaps, timeline, transactions
from change_history.query.selection import Selection
from change_history.query.stats import Question, Stats
from change_history.revert.api import Reverting
from change_history.stored.event import to_event
from change_history.stored.names import DATABASE
from change_history.stored.reading import as_query, history_collection, is_document

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from bson.raw_bson import RawBSONDocument

    from change_history.query.transactions import Name, Transaction
    from change_history.reconstruct.point_in_time import Moment
    from change_history.stored.event import Event


class History(Past, Reverting):
    """A history database: to read it, and to put documents back.

    Also a context manager, which closes what `connect` opened.

    Args:
        client: the deployment that keeps the history. It stays the caller's: `close` does not close it.
        database: name of the history database.
        watched: the deployment that has the documents, which only reverting needs; without it, the same.
    """

    def __init__(
        self, client: MongoClient[Any], database: str = DATABASE, *, watched: MongoClient[Any] | None = None
    ) -> None:
        super().__init__(client.get_database(database))
        self._own: tuple[MongoClient[Any], ...] = ()
        self._watched = watched if watched is not None else client
        self._collection = history_collection(client.get_database(database))

    @classmethod
    def connect(cls, uri: str, database: str = DATABASE, *, watched: str | None = None, **options: Any) -> Self:
        """Connect to the deployment that keeps the history. Lazily: no server is asked anything yet.

        Args:
            uri: MongoDB connection string.
            database: name of the history database.
            watched: connection string of the deployment that has the documents, if it is another one.
            options: passed on to `pymongo.MongoClient`.

        Raises:
            pymongo.errors.ConfigurationError: a connection string is malformed.
        """
        other: MongoClient[Any] | None = MongoClient(watched, **options) if watched is not None else None
        client: MongoClient[Any] = MongoClient(uri, **options)
        history = cls(client, database, watched=other)
        history._own = (client,) if other is None else (client, other)
        return history

    def log(
        self,
        namespace: str | None,
        document_id: Any = ABSENT,
        *,
        field: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        operation: str | None = None,
        transaction: Transaction | None = None,
        changed_from: Any = ABSENT,
        changed_to: Any = ABSENT,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        """Read recorded events, oldest first.

        Args:
            namespace: `database.collection`; None: all that is recorded.
            document_id: `_id` of one document, any BSON type; left out: the whole collection.
            field: only events that concern this field or something below it, as MongoDB writes it: `address.city`.
            since: first moment, included. An aware datetime is compared with the event's wall time, in
                milliseconds; a `bson.Timestamp` with its cluster time.
            until: last moment, included.
            operation: only events of this operation (`change_history.stored.operations`).
            transaction: only events of this one (`transaction` finds it by name).
            changed_from: only events in which the field, or any if none is given, had this value before. Equality is
                the server's: 3, `Int64(3)` and 3.0 are one value. An unknown value is not taken for any.
            changed_to: only events in which it got this value; together, one change must have both.
            limit: only the newest so many.
            reverse: newest first.

        Raises:
            ValueError: a time without a zone, a document without a namespace, or a negative limit.
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        only = (operation,) if operation is not None else ()
        selection = Selection(namespace, document_id, field, since, until, only, transaction, changed_from, changed_to)
        return map(to_event, self.stored(selection, limit=limit, newest_first=reverse))

    def stored(
        self,
        selection: Selection,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        on_unknown: Callable[[], object] = timeline.nothing,
    ) -> Iterator[RawBSONDocument]:
        """Read the history documents themselves, every byte as recorded (see `change_history.query.timeline.read`)."""
        return timeline.read(self._collection, selection, limit=limit, newest_first=newest_first, on_unknown=on_unknown)

    def transaction(self, name: str | Name) -> Transaction:
        """Find a transaction by name: `session:number` as a log prints it, or the beginning of an event's id.

        Raises:
            ValueError: no such name (see `change_history.query.transactions.read_name`).
            change_history.query.transactions.UnknownTransactionError: none has it.
            change_history.query.transactions.AmbiguousTransactionError: several have it.
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        return transactions.find(self._collection, transactions.read_name(name) if isinstance(name, str) else name)

    def gaps(
        self, namespace: str | None = None, *, since: Moment | None = None, until: Moment | None = None
    ) -> Iterator[Event]:
        """Read the gaps: intervals of which events were lost for good, oldest first. `query.gaps.view` reads one.

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
        self, selection: Selection, events: Iterable[RawBSONDocument], *, cut: bool = False, newest_first: bool = False
    ) -> Iterator[RawBSONDocument]:
        """Put the gaps that an answer reaches across into their places among its events (see `query.gaps`)."""
        return gaps.among(self._collection, selection, events, cut=cut, newest_first=newest_first)

    def follow(
        self,
        selection: Selection,
        *,
        stop: threading.Event,
        limit: int | None = None,
        on_unknown: Callable[[], object] = timeline.nothing,
    ) -> Iterator[RawBSONDocument]:
        """Read recorded history documents, then new ones as they are recorded, gaps too (see `query.follow`)."""
        return follow.follow(self._collection, selection, stop=stop, limit=limit, on_unknown=on_unknown)

    def stats(self, namespace: str | None = None, *, since: Moment | None = None, until: Moment | None = None) -> Stats:
        """Count what is recorded, by collection, day, document and field (see `change_history.query.stats`).

        Args:
            namespace: only this `database.collection`.
            since: first moment, included.
            until: last moment, included.

        Raises:
            ValueError: a time without a zone.
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        return Stats(self._collection, Question(namespace, since, until))

    def namespaces(self) -> list[str]:
        """Every namespace that has history, sorted; the server hops from one to the next through an index."""
        found = self._collection.distinct("namespace")
        return sorted(name for name in found if name is not None)  # a gap has none; the index says null of it

    def knows(self, namespace: str, document_id: Any) -> bool:
        """Whether anything is recorded about a document."""
        query = as_query({"namespace": {"$eq": namespace}, "document_id": is_document(document_id)})
        return self._collection.find_one(query, {"_id": 1}) is not None

    def close(self) -> None:
        """Close the connections that `connect` opened."""
        for client in self._own:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
