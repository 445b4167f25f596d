"""The read side for Python programs."""

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
from change_history.stored.reading import distinct, history_collection

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
    """A history database: to read it, and to put documents back.

    Also a context manager, which closes what `connect` opened.

    A point in time is an aware `datetime` (wall time, in milliseconds), a `bson.Timestamp` (cluster time) or, for one
    document, the number of a version: 1 is its first recorded event, -1 its last. Each includes what happened at it.
    None is the last that is recorded. `since` and `until` are times, both included.

    Values are exact, see `change_history.bson.values.to_python`. Nothing is invented: where history cannot tell,
    `UnknownStateError` says why. An answer may reach across a gap, an interval of which events were lost; `state` and
    `collection` tell.

    Every method raises, besides what it says itself:
        NoSuchVersionError: the document has no version of this number.
        TypeError: no point in time, or a version number for a collection.
        ValueError: a time without a zone, or a namespace that is not `database.collection`.
        pymongo.errors.PyMongoError: a deployment does not answer, or refuses.

    What puts documents back (`revert`, `undelete`, `revert_transaction`) takes `actor`, `reason` and `request`: who
    reverts, and why. Without an actor, it is whoever acts by `change_history.acting`. A context document in the same
    transaction says so, and `NotAllowedError` that it must not be written. It also raises:
        ContendedError: others wrote to the documents all the time; nothing was changed.
        NotAllowedError: the user of the watched deployment lacks `readWrite` on the database, or that of the history on
            the history database. Nothing was changed.
        UnsureError: the deployment went away during the commit.

    Args:
        client: the deployment that keeps the history. It stays the caller's: `close` does not close it.
        watched: the deployment that has the documents, which only reverting needs; without it, the same.
        context_collection: where it is written down who puts documents back: the daemon's `CONTEXT_COLLECTION`.
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
        """Connect to the deployment that keeps the history. Lazily: no server is asked anything yet.

        Where it cannot be reached, `https://…` names a `watcher serve` (`change_history.http.history`), to which
        `token="…"` is shown.

        Args:
            uri: MongoDB connection string, or the URL of a `watcher serve`.
            watched: connection string of the deployment that has the documents, if it is another one.
            options: passed on to `pymongo.MongoClient`, or to `change_history.http.connection.Connection`.

        Raises:
            pymongo.errors.ConfigurationError: a connection string is malformed.
            ValueError: a URL is.
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
            namespace: `database.collection`; None: all that is recorded.
            document_id: `_id` of one document, any BSON type; left out: the whole collection.
            field: only events that concern this field or something below it, as MongoDB writes it: `address.city`.
                Of one document, whatever `blame` says or would have said of it belongs to them, though an event names
                another place in an array, or the collection had another name.
            since: first moment, included. An aware datetime is compared with the event's wall time, in
                milliseconds; a `bson.Timestamp` with its cluster time.
            until: last moment, included.
            operation: only events of this operation (`change_history.stored.operations`).
            transaction: only events of this one (`transaction` finds it by name).
            changed_from: only events in which the field, or any if none is given, had this value before. Equality is
                the server's: 3, `Int64(3)` and 3.0 are one value. An unknown value is not taken for any.
            changed_to: only events in which it got this value; together, one change must have both.
            actor: only events of which it is known that this one did them: a string, or the `ObjectId` that the
                application calls them by. Of the others `event.actor` is another one, or None: nobody knows.
            reason: only events that were done for this reason.
            request: only events that were done in the course of this.
            limit: only the newest so many.
            reverse: newest first.

        Raises:
            ValueError: a document without a namespace, no such operation, or a negative limit.
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
            actor: an event comes once it is known who did it, which may be later than the event.
            limit: of what is recorded already, only the newest so many.
            stop: set from outside to end.
        """
        selection = Selection(namespace, document_id, field, since, actor=actor, reason=reason, request=request)
        return map(to_event, timeline.follow(self._collection, selection, stop=stop, limit=limit))

    def transaction(self, name: str | Name) -> Transaction:
        """Find a transaction by name: `session:number` as a log prints it, or the beginning of an event's id.

        Raises:
            ValueError: no such name (see `change_history.query.transactions.read_name`).
            change_history.query.transactions.UnknownTransactionError: none has it.
            change_history.query.transactions.AmbiguousTransactionError: several have it.
        """
        return transactions.find(self._collection, transactions.read_name(name) if isinstance(name, str) else name)

    def gaps(
        self, namespace: str | None = None, *, since: Instant | None = None, until: Instant | None = None
    ) -> Iterator[Event]:
        """Read the gaps: intervals of which events were lost for good, oldest first. `query.gaps.view` reads one.

        Args:
            namespace: only gaps in which events of this namespace can have been lost; without it, all of them.
            since: only gaps that reach to this moment or beyond it.
            until: only gaps that begin at this moment or before it.
        """
        return map(to_event, gaps.read(self._collection, namespace, since, until))

    def stats(
        self, namespace: str | None = None, *, since: Instant | None = None, until: Instant | None = None
    ) -> Stats:
        """Count what is recorded, by collection, day, document and field (see `change_history.query.stats`).

        The conditions are those of `log`.
        """
        from change_history.query.stats import Stats

        return Stats(self._collection, StatsQuestion(namespace, since, until))

    def namespaces(self) -> list[str]:
        """Every namespace that has history, sorted; the server hops from one to the next through an index."""
        found = distinct(self._collection, "namespace")
        return sorted(name for name in found if name is not None)  # a gap has none; the index says null of it

    def actors(self) -> list[Any]:
        """Everybody who is known to have done something; the server hops from one to the next through an index."""
        return distinct(self._collection, "actor.id", {"actor.id": {"$exists": True}})

    def as_of(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> dict[str, Any] | None:
        """What a document was.

        Args:
            at: when; None: as last recorded.

        Returns:
            None: it was not there, or nothing was recorded of it by then.

        Raises:
            UnknownStateError: history cannot tell.
        """
        document = Reconstruction(self._database, namespace, document_id, at).known()
        return document_to_python(document) if document is not None else None

    def state(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> State:
        """What a document was, with the event, the version and the gaps behind the answer, or why it is unknown.

        Arguments are those of `as_of`.
        """
        return Reconstruction(self._database, namespace, document_id, at, for_state=True).state()

    def collection_as_of(
        self, namespace: str, at: Instant | None = None, query: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The documents of a collection as they were, one after the other, in the server's order of `_id`s.

        In memory are only a few of them at a time.

        Args:
            query: a MongoDB filter on the documents as they were. The server decides, by its own rules (see
                `change_history.reconstruct.filters`).

        Raises:
            UnknownStateError: history cannot tell a document, or which there were. `collection` goes on in that case.
            change_history.reconstruct.filters.FilterError: the server refuses the filter.
        """
        collection = self.collection(namespace, at)
        if collection.unknown is not None:
            raise UnknownStateError(namespace, collection.unknown)
        return map(_document, collection.documents(query))

    def collection(self, namespace: str, at: Instant | None = None) -> CollectionState:
        """A collection as it was, with its unknown documents and its gaps."""
        return CollectionState(self._database, namespace, at)

    def diff(
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None = None
    ) -> list[Change]:
        """What became of a document between two points in time, as one event would have recorded it.

        Applied as an update is (fields in their place, new ones at the end, arrays as wholes), the changes lead from
        `as_of(a)` to `as_of(b)`; of a document that was only there at one moment, there is one for each field.
        `differences` takes arrays apart.

        Args:
            a: the first point in time.
            b: the second one, which may also be the earlier.

        Raises:
            UnknownStateError: history cannot tell the document at one of them.
        """
        from change_history.diff import images

        return images.read(images.changes(*self._both(namespace, document_id, a, b)))

    def differences(
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None = None
    ) -> list[Difference]:
        """What is different between two points in time, down to the leaves (see `change_history.diff.compare`).

        Elements of arrays are matched by `_id` where they have one. Arguments and errors are those of `diff`.
        """
        from change_history.diff.compare import compare

        return compare(*self._both(namespace, document_id, a, b))

    def collection_diff(self, namespace: str, a: Instant | None, b: Instant | None = None) -> Iterator[Changed]:
        """The documents of a collection that are different at two points in time, in the server's order of `_id`s.

        Those of which history cannot tell it come too, and say why. Compare them with `change_history.diff.compare`.

        Raises:
            UnknownStateError: history cannot tell which documents there were.
        """
        from change_history.diff.collections import changed

        before, after = self.collection(namespace, a), self.collection(namespace, b)
        for collection in (before, after):
            if collection.unknown is not None:
                raise UnknownStateError(namespace, collection.unknown)
        return changed(self._database, before, after)

    def blame(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> dict[str, Event]:
        """Which event each leaf of a document has its value from (see `change_history.blame.leaves` for the rules).

        Returns:
            By field, `items.0.price`, the event that last set it. Where the dotted form would mislead (a key with a
            dot, a number as a key), the path as a list of JSON. Empty if the document was not there.

        Raises:
            UnknownStateError: history cannot tell the document.
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
    """What makes a `History` that asks over HTTP; put together here, so that asking over HTTP needs no `History`."""
    from change_history.http.history import HttpHistory

    class HistoryOverHttp(HttpHistory, History):  # type: ignore[misc]  # what it cannot do, it refuses
        """A history database that is reached through `watcher serve`."""

    return HistoryOverHttp


def _document(told: CollectionDocument) -> dict[str, Any]:
    if told.data is None:
        raise UnknownStateError(told.namespace, told.unknown or "", told.document_id)
    return document_to_python(told.data)
