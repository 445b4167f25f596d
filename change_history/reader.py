"""`Reader`: what the commands and pages need beyond the public `History`, such as stored documents as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Binary

from change_history.bson.values import to_raw
from change_history.history import History
from change_history.query import gaps, timeline, transactions
from change_history.reconstruct.horizon import horizon
from change_history.reconstruct.lineage import arrival_after, boundary_before
from change_history.reconstruct.point_in_time import Versions
from change_history.reconstruct.state import Reconstruction, first_later
from change_history.revert.intents import Intents, Reverts
from change_history.stored.chunks import whole
from change_history.stored.event import to_event
from change_history.stored.names import DOCUMENT_TIMELINE, NAMESPACE_TIMELINE
from change_history.stored.order import BEGINNING, position_at
from change_history.stored.reading import as_query, distinct, is_document

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection
    from pymongo.database import Database

    from change_history.blame.recorded import Leaf
    from change_history.contexts import Acting, Identity
    from change_history.query.actors import Authors
    from change_history.query.selection import Selection
    from change_history.query.transactions import Name
    from change_history.reconstruct.point_in_time import Instant, PointInTime
    from change_history.reconstruct.state import State
    from change_history.revert.attribution import Attribution
    from change_history.revert.intents import Unsettled
    from change_history.seals.finding import Report
    from change_history.stored.event import Event, Transaction
    from change_history.stored.order import HistoryPosition


_WITHOUT_CHANGES = dict.fromkeys(("namespace", "document_id", "operation", "timestamp", "cluster_time"), 1)


class Reader(History):
    """A history database for our own commands and pages. Not public: it changes with them."""

    _reverter: Acting | None = None

    def stored(
        self,
        selection: Selection,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        on_unknown: Callable[[], object] = timeline.ignore,
    ) -> Iterator[RawBSONDocument]:
        """Read the stored history documents, byte for byte (see `change_history.query.timeline.read`)."""
        return timeline.read(self._collection, selection, limit=limit, newest_first=newest_first, on_unknown=on_unknown)

    def imported(
        self, namespace: str, document_id: Any, *, limit: int | None, newest_first: bool
    ) -> Iterator[RawBSONDocument]:
        """Imported changes, in the form of history documents (see `query.imported`)."""
        from change_history.query import imported

        return imported.as_events(self._database, namespace, document_id, limit=limit, newest_first=newest_first)

    def resolve(self, selection: Selection) -> Selection:
        """Find the events that set a selection's field without naming it (see `query.setters`)."""
        from change_history.query import setters

        return setters.resolve(self._database, selection)

    def stored_gaps(
        self, namespace: str | None = None, *, since: Instant | None = None, until: Instant | None = None
    ) -> Iterator[RawBSONDocument]:
        """Read the gaps' stored history documents. Raises as `gaps` does."""
        return gaps.read(self._collection, namespace, since, until)

    def with_gaps(
        self, selection: Selection, events: Iterable[RawBSONDocument], *, cut: bool = False, newest_first: bool = False
    ) -> Iterator[RawBSONDocument]:
        """Insert the gaps that an answer reaches across among its events (see `query.gaps`)."""
        return gaps.among(self._collection, selection, events, cut=cut, newest_first=newest_first)

    def follow_stored(
        self,
        selection: Selection,
        *,
        stop: threading.Event,
        limit: int | None = None,
        on_unknown: Callable[[], object] = timeline.ignore,
    ) -> Iterator[RawBSONDocument]:
        """Read recorded history documents, then new ones as they are recorded, gaps too (see `query.timeline`)."""
        return timeline.follow(self._collection, selection, stop=stop, limit=limit, on_unknown=on_unknown)

    def new_events(
        self, stop: threading.Event, token: Any = None
    ) -> Iterator[tuple[list[tuple[Event, int, bool]] | None, Any]]:
        """Read every event as it is recorded (see `change_history.query.timeline.new`).

        With each come its size in bytes, and whether it only comes once more, since it is known now who did it.
        """
        for found, after in timeline.new(self._collection, stop, token):
            new = [(to_event(each.stored), len(each.stored.raw), each.completed) for each in found or ()]
            yield new if found is not None else None, after

    def is_standalone(self) -> bool:
        """Whether history and documents are on one standalone `mongod`, which has no change streams."""
        hello = self._database.client.admin.command("hello")
        return not (hello.get("setName") or hello.get("isreplicaset") or hello.get("msg") == "isdbgrid")

    def knows(self, namespace: str, document_id: Any) -> bool:
        """Whether anything is recorded of a document."""
        query = as_query({"namespace": {"$eq": namespace}, "document_id": is_document(document_id)})
        return self._collection.find_one(query, {"_id": 1}) is not None

    def expired_before(self, namespace: str) -> datetime | None:
        """The time before which the history of a namespace has expired; None: none has."""
        found = horizon(self._database, namespace)
        return found.when if found is not None else None

    def event(self, event_id: bytes) -> Event | None:
        """An event by its full id, with all its values."""
        stored = self._collection.find_one({"_id": Binary(event_id)})
        return to_event(whole(self._database, stored)) if stored is not None else None

    def events(self, event_ids: Iterable[bytes]) -> dict[bytes, Event]:
        """Events by their full ids, with all their values; unknown ids are left out."""
        found = self._collection.find({"_id": {"$in": [Binary(each) for each in event_ids]}})
        return {bytes(stored["_id"]): to_event(whole(self._database, stored)) for stored in found}

    def transactions_named(self, name: Name, namespaces: Iterable[str]) -> list[Transaction]:
        """Transactions of a name with events in some namespaces; at most two of them."""
        return transactions.among(self._collection, name, namespaces)

    def actors_in(self, namespaces: Iterable[str]) -> list[Any]:
        """The actors of recorded events in these namespaces."""
        query = {"actor.id": {"$exists": True}, "namespace": {"$in": list(namespaces)}}
        return distinct(self._collection, "actor.id", query)

    def count(self, namespace: str, document_id: Any) -> int:
        """How many versions of a document are recorded under a name."""
        query = as_query({"namespace": {"$eq": namespace}, "document_id": is_document(document_id)})
        return self._collection.count_documents(query, hint=DOCUMENT_TIMELINE)

    def is_recorded(self, namespace: str) -> bool:
        """Whether anything is recorded of a namespace, also under a former name."""
        found = self._collection.find_one(as_query({"namespace": namespace}), {"_id": 1}, hint=NAMESPACE_TIMELINE)
        return found is not None or arrival_after(self._database, namespace, BEGINNING) is not None

    def verify(self) -> Report:
        """Verify history against its seals (see `change_history.seals.verification`)."""
        from change_history.seals.verification import verify

        return verify(self._database)

    def count_all(self, namespace: str) -> int:
        """The number of recorded events of a namespace, counted in an index."""
        return self._collection.count_documents(as_query({"namespace": namespace}), hint=NAMESPACE_TIMELINE)

    def ends(self, namespace: str) -> tuple[Event | None, Event | None]:
        """The first and the last event of a namespace, by cluster time, without their changes."""
        query = as_query({"namespace": namespace})
        found = (
            self._collection.find_one(query, _WITHOUT_CHANGES, sort=[("_id", order)], hint=NAMESPACE_TIMELINE)
            for order in (1, -1)
        )
        first, last = (to_event(stored) if stored is not None else None for stored in found)
        return first, last

    def blame_leaves(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> list[Leaf]:
        """The leaves of a document with exact path, value and event. Arguments and errors are those of `blame`."""
        from change_history.blame import recorded

        return recorded.leaves(self._database, Reconstruction(self._database, namespace, document_id, at))

    def first_later(self, state: State) -> Event | None:
        """The first recorded event of a document after the moment that was asked about."""
        return first_later(self._database, state)

    def authors_between(self, one: State, other: State) -> Authors | None:
        """The actors of the events between two states of a document; None: the collection was renamed in between."""
        from change_history.query import actors
        from change_history.stored.order import BEGINNING, position_at

        entries = [state.entry for state in (one, other)]
        if any(entry is not None and entry.namespace != one.namespace for entry in entries):
            return None
        places = [position_at(entry.id, entry.resume_token) if entry is not None else BEGINNING for entry in entries]
        return actors.of_document(self._collection, one.namespace, one.document_id, min(places), max(places))

    def turn_before(self, namespace: str, position: HistoryPosition) -> Event | None:
        """The last drop or rename before a position that ended a namespace's documents, or brought in others."""
        return boundary_before(self._database, namespace, position)

    def arrival_after(self, namespace: str, position: HistoryPosition) -> Event | None:
        """The first rename after a position that gave a namespace its documents; before it they have another name."""
        return arrival_after(self._database, namespace, position)

    def revert_as(self, acting: Acting) -> None:
        """Attribute this reader's reverts. If that cannot be written, they are done anyway, and the outcome says so."""
        self._reverter = acting

    def _attribution(self, actor: Identity | None, reason: str | None, request: Identity | None) -> Attribution | None:
        if actor is None and self._reverter is not None:
            from change_history.revert.attribution import Attribution

            return Attribution(self._reverter, self._context_collection, needed=False)
        return super()._attribution(actor, reason, request)

    @property
    def collection_of_history(self) -> Collection[RawBSONDocument]:
        """The history collection, its documents left as bytes: for questions that `change_history.query` answers."""
        return self._collection

    @property
    def database_of_history(self) -> Database[Any]:
        """The history database."""
        return self._database

    def version_at(self, namespace: str, document_id: Any, at: PointInTime | None, version: int) -> State:
        """A document at a point in time whose version is known already (see `state`)."""
        return Reconstruction(self._database, namespace, document_id, at, for_state=True).state(version)

    def version_of(self, event: Event) -> int:
        """The version number of an event in its document."""
        versions = Versions(self._database, event.namespace, to_raw(event.document_id))
        return versions.number(position_at(event.id, event.resume_token))

    def events_named(self, digits: str) -> Iterator[Event]:
        """The events whose `_id` begins with these hexadecimal digits, with all values, in its order."""
        query = transactions.event_query(transactions.EventName(digits))
        for stored in self._collection.find(as_query(query), sort=[("_id", 1)]):
            yield to_event(whole(self._database, stored))

    @property
    def reverts(self) -> Reverts:
        """Recognizes the recorded events of reverts."""
        return Reverts(self._database)

    def unsettled_reverts(self) -> list[Unsettled]:
        """Reverts that were begun and never confirmed, because their process ended, with their outcome."""
        return Intents(self._database).unsettled()

    def settle_reverts(self) -> list[Unsettled]:
        """The same, and store the outcomes, so that they are not reported again."""
        intents = Intents(self._database)
        found = intents.unsettled()
        intents.settle(found)
        return found
