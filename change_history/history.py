"""`History`: reads recorded history from Python, and puts documents back."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Self, cast

from pymongo import MongoClient

from change_history.bson.values import ABSENT, document_to_python
from change_history.query import gaps, timeline, transactions
from change_history.query.selection import Selection, StatsQuestion
from change_history.reconstruct.collection import CollectionDocument, CollectionState
from change_history.reconstruct.state import Reconstruction, UnknownStateError
from change_history.revert.api import Reverting
from change_history.stored.event import to_event
from change_history.stored.names import CONTEXT_COLLECTION, DATABASE
from change_history.stored.reading import distinct, history_collection, recorded_names

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from change_history.diff.collections import Changed
    from change_history.diff.compare import Difference
    from change_history.http.connection import Connection
    from change_history.query.stats import Stats
    from change_history.query.transactions import Name
    from change_history.reconstruct.point_in_time import Instant, PointInTime
    from change_history.reconstruct.state import State
    from change_history.stored.event import Change, Event, Transaction


class History(Reverting):
    """A history database. Reads it, and puts documents back.

    It is also a context manager, which closes the connections that `connect` opened.

    A point in time is an aware `datetime` (wall time, in milliseconds), a `bson.Timestamp` (cluster time) or, for one
    document, the number of a version: 1 is its first recorded event, -1 its last. Events at that point are included.
    None is the end of what is recorded. `since` and `until` are times, both included.

    Values are exact, see `change_history.bson.values.to_python`. History never guesses: if a state is unknown,
    `UnknownStateError` says why. An answer may reach across a gap, an interval whose events were lost; `state` and
    `collection` list these gaps.

    Every method raises, besides its own errors:
        NoSuchVersionError: the document has no version of this number.
        TypeError: an argument is no point in time, or is a version number for a collection.
        ValueError: a time has no zone, or a namespace is not `database.collection`.
        pymongo.errors.PyMongoError: a deployment does not answer, or refuses.

    `revert`, `undelete` and `revert_transaction` take `actor`, `reason` and `request`: who puts documents back, and
    why. Without an actor, it is that of the surrounding `change_history.acting` block. They are written as a context
    document in the same transaction. These methods also raise:
        ContendedError: other writes to the documents kept interfering; nothing was changed.
        NotAllowedError: the user of the watched deployment lacks `readWrite` on the database, or that of the history on
            the history database, or the context document may not be written. Nothing was changed.
        UnsureError: the deployment went away during the commit.

    Args:
        client: client of the deployment with the history. It belongs to the caller: `close` does not close it.
        watched: client of the deployment with the documents, which only reverting needs; None: the same one.
        context_collection: collection for the context documents of reverts: the daemon's `CONTEXT_COLLECTION`.
    """

    def __init__(
        self,
        client: MongoClient[Any],
        database: str = DATABASE,
        *,
        watched: MongoClient[Any] | None = None,
        context_collection: str = CONTEXT_COLLECTION,
    ) -> None:
        self._database = client.get_database(database)
        self._own: tuple[MongoClient[Any], ...] = ()
        self._watched = watched if watched is not None else client
        self._collection = history_collection(self._database)
        self._context_collection = context_collection

    @classmethod
    def connect(cls, uri: str, database: str = DATABASE, *, watched: str | None = None, **options: Any) -> Self:
        """Connect to the deployment with the history, lazily: the first request goes out with the first question.

        If that deployment cannot be reached, `https://…` connects to a `watcher serve` instead
        (`change_history.http.history`), with `token="…"`.

        Args:
            uri: MongoDB connection string, or the URL of a `watcher serve`.
            watched: connection string of the deployment with the documents, if it is another one.
            options: passed on to `pymongo.MongoClient`, or to `change_history.http.connection.Connection`.

        Raises:
            pymongo.errors.ConfigurationError: a connection string is malformed.
            ValueError: a URL is malformed.
        """
        if uri.startswith(("http://", "https://")):
            from change_history.http.connection import Connection

            return cast("Self", _over_http()(Connection(uri, **options)))
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
        since: Instant | None = None,
        until: Instant | None = None,
        operation: str | None = None,
        transaction: Transaction | None = None,
        changed_from: Any = ABSENT,
        changed_to: Any = ABSENT,
        actor: Any = None,
        reason: str | None = None,
        request: Any = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        """Read recorded events, oldest first.

        Args:
            namespace: `database.collection`; None: all of them.
            document_id: `_id` of one document, any BSON type; left out: the whole collection.
            field: only events that concern this field or something below it, as MongoDB writes it: `address.city`.
                For one document, these include every event that `blame` names for it at any time, even if the event
                has another index in an array, or the collection had another name.
            since: first point in time, included. An aware datetime is compared with the event's wall time, in
                milliseconds; a `bson.Timestamp` with its cluster time.
            until: last point in time, included.
            operation: only events of this operation (`change_history.stored.operations`).
            transaction: only events of this transaction (`transaction` finds one by name).
            changed_from: only events in which the field, or any field if none is given, had this value before.
                Equality is the server's: 3, `Int64(3)` and 3.0 are equal. An unknown value never matches.
            changed_to: only events in which the field got this value. With both, one change must match both.
            actor: only events of this actor: a string, or the `ObjectId` that the application uses. Events whose actor
                is unknown (`event.actor` is None) never match.
            reason: only events with this reason.
            request: only events of this request.
            limit: maximum number of events; the newest are kept.
            reverse: newest first.

        Raises:
            ValueError: a document without a namespace, an unknown operation, or a negative limit.
        """
        only = (operation,) if operation is not None else ()
        selection = Selection(
            namespace,
            document_id,
            field,
            since,
            until,
            only,
            transaction,
            changed_from,
            changed_to,
            actor=actor,
            reason=reason,
            request=request,
        )
        stored = timeline.read(self._collection, selection, limit=limit, newest_first=reverse)
        return map(to_event, stored)

    def follow(
        self,
        namespace: str | None,
        document_id: Any = ABSENT,
        *,
        field: str | None = None,
        since: Instant | None = None,
        actor: Any = None,
        reason: str | None = None,
        request: Any = None,
        limit: int | None = None,
        stop: threading.Event,
    ) -> Iterator[Event]:
        """Read recorded events, then new ones as they are recorded, gaps too.

        The conditions are those of `log`.

        Args:
            actor: an event is returned once its actor is known, which may be later than the event.
            limit: maximum number of events that are recorded already; the newest are kept.
            stop: set it to end the iteration.
        """
        selection = Selection(namespace, document_id, field, since, actor=actor, reason=reason, request=request)
        return map(to_event, timeline.follow(self._collection, selection, stop=stop, limit=limit))

    def transaction(self, name: str | Name) -> Transaction:
        """Find a transaction by name: `session:number` as a log prints it, or the beginning of an event's id.

        Raises:
            ValueError: not a valid name (see `change_history.query.transactions.read_name`).
            change_history.query.transactions.UnknownTransactionError: no transaction has this name.
            change_history.query.transactions.AmbiguousTransactionError: several transactions have it.
        """
        return transactions.find(self._collection, transactions.read_name(name) if isinstance(name, str) else name)

    def gaps(
        self, namespace: str | None = None, *, since: Instant | None = None, until: Instant | None = None
    ) -> Iterator[Event]:
        """Read the gaps, oldest first: intervals whose events were lost for good. `query.gaps.view` parses one.

        Args:
            namespace: only gaps in which events of this namespace may have been lost; None: all gaps.
            since: only gaps that end at this time or later.
            until: only gaps that begin at this time or earlier.
        """
        return map(to_event, gaps.read(self._collection, namespace, since, until))

    def stats(
        self, namespace: str | None = None, *, since: Instant | None = None, until: Instant | None = None
    ) -> Stats:
        """Count recorded events by collection, day, document and field (see `change_history.query.stats`).

        The conditions are those of `log`.
        """
        from change_history.query.stats import Stats

        return Stats(self._collection, StatsQuestion(namespace, since, until))

    def namespaces(self) -> list[str]:
        """The namespaces that have history, sorted; the server skips from one to the next in an index."""
        return recorded_names(self._collection)

    def actors(self) -> list[Any]:
        """The actors of recorded events."""
        return distinct(self._collection, "actor.id", {"actor.id": {"$exists": True}})

    def as_of(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> dict[str, Any] | None:
        """A document at a point in time.

        Args:
            at: the point in time; None: the end of what is recorded.

        Returns:
            The document; None: it did not exist, or nothing had been recorded of it by then.

        Raises:
            UnknownStateError: its state is unknown.
        """
        document = Reconstruction(self._database, namespace, document_id, at).known()
        return document_to_python(document) if document is not None else None

    def state(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> State:
        """A document at a point in time, with the event, version and gaps behind it, or why it is unknown.

        Arguments are those of `as_of`.
        """
        return Reconstruction(self._database, namespace, document_id, at, for_state=True).state()

    def collection_as_of(
        self, namespace: str, at: Instant | None = None, query: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The documents of a collection at a point in time, in the server's order of `_id`s.

        Only a few of them are in memory at a time.

        Args:
            query: a MongoDB filter on the documents at that time. The server applies it (see
                `change_history.reconstruct.filters`).

        Raises:
            UnknownStateError: a document, or the set of documents, is unknown. `collection` continues in that case.
            change_history.reconstruct.filters.FilterError: the server refuses the filter.
        """
        collection = self.collection(namespace, at)
        if collection.unknown is not None:
            raise UnknownStateError(namespace, collection.unknown)
        return map(_document, collection.documents(query))

    def collection(self, namespace: str, at: Instant | None = None) -> CollectionState:
        """A collection at a point in time, with its unknown documents and its gaps."""
        return CollectionState(self._database, namespace, at)

    def diff(
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None = None
    ) -> list[Change]:
        """The changes of a document between two points in time, as one event would have recorded them.

        Applied as an update is (fields in place, new fields at the end, arrays as wholes), the changes lead from
        `as_of(a)` to `as_of(b)`. If the document existed at only one of them, there is a change for each field.
        `differences` compares arrays by element.

        Args:
            a: the first point in time.
            b: the second one, which may also be the earlier.

        Raises:
            UnknownStateError: the document is unknown at one of them.
        """
        from change_history.diff import images

        return images.read(images.changes(*self._both(namespace, document_id, a, b)))

    def differences(
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None = None
    ) -> list[Difference]:
        """The differences between two points in time, down to the leaves (see `change_history.diff.compare`).

        Elements of arrays are matched by `_id` where they have one. Arguments and errors are those of `diff`.
        """
        from change_history.diff.compare import compare

        return compare(*self._both(namespace, document_id, a, b))

    def collection_diff(self, namespace: str, a: Instant | None, b: Instant | None = None) -> Iterator[Changed]:
        """The documents of a collection that differ between two points in time, in the server's order of `_id`s.

        Documents that are unknown at one of them are included, with the reason. `change_history.diff.compare` compares
        the two states of one.

        Raises:
            UnknownStateError: the set of documents is unknown at one of them.
        """
        from change_history.diff.collections import changed

        before, after = self.collection(namespace, a), self.collection(namespace, b)
        for collection in (before, after):
            if collection.unknown is not None:
                raise UnknownStateError(namespace, collection.unknown)
        return changed(self._database, before, after)

    def blame(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> dict[str, Event]:
        """The event that set each leaf of a document (see `change_history.blame.leaves` for the rules).

        Returns:
            For each field, such as `items.0.price`, the event that last set it. If the dotted form would be ambiguous
            (a key with a dot, a number as a key), the field is its path as a JSON list. Empty: there was no document.

        Raises:
            UnknownStateError: the document is unknown.
        """
        from change_history.blame import recorded

        return {
            leaf.field: leaf.event
            for leaf in recorded.leaves(self._database, Reconstruction(self._database, namespace, document_id, at))
        }

    def _both(
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None
    ) -> tuple[bytes | None, bytes | None]:
        one, other = (Reconstruction(self._database, namespace, document_id, at).known() for at in (a, b))
        return one, other

    def close(self) -> None:
        """Close the connections that `connect` opened."""
        for client in self._own:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@cache
def _over_http() -> Callable[[Connection], History]:
    """The class of a `History` over HTTP; combined here, so that `http/` does not import `History`."""
    from change_history.http.history import HttpHistory

    class HistoryOverHttp(HttpHistory, History):  # type: ignore[misc]  # it refuses what HTTP does not offer
        """A history database behind a `watcher serve`."""

    return HistoryOverHttp


def _document(told: CollectionDocument) -> dict[str, Any]:
    if told.data is None:
        raise UnknownStateError(told.namespace, told.unknown or "", told.document_id)
    return document_to_python(told.data)
