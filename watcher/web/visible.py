"""The history as one visitor may read it. All requests read history through this module.

Data that the visitor may not read is missing, as if it had never been recorded: namespaces, their events in a
transaction, former names of a collection, other namespaces in a gap, and the other name in a rename.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import merge
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from change_history.bson.values import ABSENT, to_raw
from change_history.query import gaps as stored_gaps
from change_history.query import transactions
from change_history.reconstruct.state import UnknownStateError
from change_history.stored.event import to_event
from change_history.stored.order import rank
from watcher.web import problems

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bson.raw_bson import RawBSONDocument

    from change_history.blame.recorded import Leaf
    from change_history.diff.collections import Changed
    from change_history.diff.compare import Difference
    from change_history.query.selection import Selection
    from change_history.query.stats import Stats
    from change_history.reader import Reader
    from change_history.reconstruct.collection import CollectionDocument, CollectionState
    from change_history.reconstruct.point_in_time import Instant, PointInTime
    from change_history.reconstruct.state import State
    from change_history.seals.finding import Report
    from change_history.stored.event import Change, Event, Transaction
    from change_history.stored.order import HistoryPosition
    from watcher.web.counts import EventCounter, NamespaceCount
    from watcher.web.question import Question
    from watcher.web.visitors import Visitor

_RENAME = "rename"

_OPEN_REASONS = ("no entry tells", "nothing was recorded of it", "its history before")
"""Beginnings of the reasons for an unknown state that name no other namespace or event."""

Rank: TypeAlias = "tuple[HistoryPosition, bytes]"
"""An event's place in history: its position, and its id, as several events without a token may share a position."""


class VisibleHistory:
    """The history without data that the visitor may not read. Made for one request, and used in its thread.

    Every method raises `watcher.web.problems.Problem` (not found) for a namespace that is not visible, and else what
    `change_history.History` raises.

    Args:
        question: cancels the reading when the client has disconnected.
        counts: cached counts, shared by all requests.
    """

    def __init__(self, reader: Reader, visitor: Visitor, question: Question, counts: EventCounter) -> None:
        self._reader = reader
        self._visitor = visitor
        self._question = question
        self._counts = counts
        self._taken: dict[tuple[str, Any], Any] = {}

    def taken(self) -> list[tuple[str, Any]]:
        """The documents that were returned since the last call, for the access log."""
        found = [(namespace, document_id) for (namespace, _), document_id in self._taken.items()]
        self._taken.clear()
        return found

    def take(self, namespace: str, document_id: Any) -> None:
        """Note that data of a document is returned, for the access log."""
        self._taken[namespace, to_raw(document_id)] = document_id

    @property
    def reader(self) -> Reader:
        """The whole history: to be used only for visible namespaces; its events must pass through `shown`."""
        return self._reader

    @property
    def reads_everything(self) -> bool:
        """Whether the visitor may read all that is recorded."""
        return self._visitor.reads_everything

    def may_read(self, namespace: str) -> bool:
        """Whether a namespace is visible."""
        return self._visitor.may_read(namespace)

    def require(self, namespace: str) -> str:
        """Refuse a namespace that the visitor may not read."""
        if not self._visitor.may_read(namespace):
            raise problems.not_found()
        return namespace

    def recorded(self, namespace: str) -> str:
        """Refuse a namespace of which nothing is recorded, like one that the visitor may not read."""
        if self._reader.is_recorded(self.require(namespace)):
            return namespace
        raise problems.not_found()

    def namespaces(self) -> list[str]:
        """Every visible namespace that has history, sorted."""
        return [name for name in self._reader.namespaces() if self._visitor.may_read(name)]

    def counts(self, *namespaces: str) -> dict[str, NamespaceCount]:
        """How many events each of these namespaces has, or each that is visible, and the first and last of them."""
        names = [self.require(name) for name in namespaces] if namespaces else self.namespaces()
        return self._counts.of(names)

    def knows(self, namespace: str, document_id: Any) -> bool:
        """Whether anything is recorded about a document."""
        return self._reader.knows(self.require(namespace), document_id)

    def versions(self, namespace: str, document_id: Any) -> int:
        """How many versions of a document are recorded."""
        return self._reader.count(self.require(namespace), document_id)

    def events(
        self,
        selection: Selection,
        *,
        newest_first: bool = True,
        beyond: Rank | None = None,
        limit: int | None = None,
    ) -> Iterator[Event]:
        """Read events.

        Args:
            beyond: only what comes after an event of this rank, in the order asked for.
        """
        found = self._selected(selection, newest_first=newest_first, beyond=beyond)
        if beyond is not None:
            found = self._beyond(found, selection, beyond, newest_first=newest_first)
        shown = (seen for stored in found if (seen := self.shown(to_event(stored))) is not None)
        return islice(self._question.each(self._noted(shown)), limit)

    def event(self, event_id: bytes) -> Event:
        """One event by its whole id."""
        found = self._reader.event(event_id)
        shown = self.shown(found) if found is not None else None
        if shown is None:
            raise problems.not_found()
        return next(self._noted([shown]))

    def event_named(self, digits: str) -> Event | None:
        """The first event whose id begins with these hexadecimal digits, as if there were none but the visible ones."""
        found = (self.shown(event) for event in self._question.each(self._reader.events_named(digits)))
        first = next((event for event in found if event is not None), None)
        return next(self._noted([first])) if first is not None else None

    def gaps(
        self, namespace: str | None = None, *, since: Instant | None = None, until: Instant | None = None
    ) -> Iterator[Event]:
        """The gaps in which visible events can have been lost."""
        if namespace is not None:
            self.require(namespace)
        found = self._reader.gaps(namespace, since=since, until=until)
        return (gap for each in self._question.each(found) if (gap := self._gap(each)) is not None)

    def stats(self, namespace: str, *, since: Instant | None = None, until: Instant | None = None) -> Stats:
        """Count what is recorded of one namespace."""
        return self._reader.stats(self.require(namespace), since=since, until=until)

    def actors(self) -> list[Any]:
        """All actors of visible events."""
        if self._visitor.reads_everything:
            return self._reader.actors()
        return self._reader.actors_in(self.namespaces())

    def transaction(self, name: str) -> Transaction:
        """Find a transaction of which something is visible by its name, as `History.transaction` does."""
        read = transactions.read_name(name)
        if self._visitor.reads_everything:
            return self._reader.transaction(read)
        found = self._reader.transactions_named(read, self.namespaces())
        if not found:
            raise problems.not_found()
        if len(found) > 1:
            raise transactions.AmbiguousTransactionError("several transactions have this name")
        return found[0]

    def state(
        self, namespace: str, document_id: Any, at: PointInTime | None = None, *, version: int | None = None
    ) -> State:
        """What a document was, and what the answer rests on (see `History.state`).

        Args:
            version: which version that is, if it is known: counting it takes long where there are many.
        """
        self.require(namespace)
        if version is None:
            state = self._reader.state(namespace, document_id, at)
        else:
            state = self._reader.version_at(namespace, document_id, at, version)
        if state.entry is not None or state.data is not None:
            self.take(namespace, document_id)
        return self._state(state)

    def blame(self, namespace: str, document_id: Any, at: PointInTime | None = None) -> list[tuple[Leaf, Event | None]]:
        """The leaves of a document, each with the event that set it; None: one that is not visible."""
        self.require(namespace)
        try:
            leaves = self._reader.blame_leaves(namespace, document_id, at)
        except UnknownStateError as error:
            error.reason = self.reason(error.reason)
            raise
        self.take(namespace, document_id)
        return [(leaf, self.shown(leaf.event)) for leaf in leaves]

    def diff(self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None) -> list[Change]:
        """What became of a document, as one event would have recorded it (see `History.diff`)."""
        changes = self._reader.diff(self.require(namespace), document_id, a, b)
        self.take(namespace, document_id)
        return changes

    def differences(
        self, namespace: str, document_id: Any, a: PointInTime | None, b: PointInTime | None
    ) -> list[Difference]:
        """What is different between two points in time, down to the leaves (see `History.differences`)."""
        found = self._reader.differences(self.require(namespace), document_id, a, b)
        self.take(namespace, document_id)
        return found

    def collection(self, namespace: str, at: Instant | None = None) -> CollectionState:
        """A collection as it was. Read its documents by `documents`, which the access log sees."""
        return self._reader.collection(self.require(namespace), at)

    def documents(self, collection: CollectionState, query: dict[str, Any] | None) -> Iterator[CollectionDocument]:
        """The documents of a collection as they were. The query must not come from a client unchecked."""
        self.require(collection.namespace)
        for document in self._question.each(collection.documents(query)):
            self.take(document.namespace, document.document_id)
            yield document._replace(unknown=self.reason(document.unknown)) if document.unknown else document

    def collection_diff(self, namespace: str, a: Instant | None, b: Instant | None) -> Iterator[Changed]:
        """The documents of a collection that are different at two points in time."""
        for changed in self._question.each(self._reader.collection_diff(self.require(namespace), a, b)):
            self.take(namespace, changed.document_id)
            yield changed._replace(unknown=self.reason(changed.unknown)) if changed.unknown else changed

    def verify(self) -> Report:
        """Whether history is still what was sealed, over everything (see `change_history.seals.verification`).

        Raises:
            watcher.web.problems.Problem: the visitor may not read everything.
        """
        self.require_everything()
        return self._reader.verify()

    def require_everything(self) -> None:
        """Refuse a visitor who may not read everything: seals cover everything."""
        if not self._visitor.reads_everything:
            raise problems.Problem(
                HTTPStatus.FORBIDDEN, "not-allowed", "seals are over everything: ask somebody who may read all of it"
            )

    def first_later(self, state: State) -> Event | None:
        """The first recorded event of a document after the moment that was asked about."""
        self.require(state.namespace)
        found = self._reader.first_later(state)
        return self.shown(found) if found is not None else None

    def shown(self, event: Event) -> Event | None:
        """An event as it may be shown; None: it may not."""
        if event.operation == stored_gaps.OPERATION:
            return self._gap(event)
        if self._visitor.reads_everything:
            return event
        if not event.namespace or not self._visitor.may_read(event.namespace):
            return None
        if event.operation == _RENAME and not self._visitor.may_read(_target(event)):
            return replace(event, description=ABSENT)
        return event

    def reason(self, reason: str) -> str:
        """The reason for an unknown state, without the names of other namespaces and events."""
        if self._visitor.reads_everything or reason.startswith(_OPEN_REASONS):
            return reason
        return "an event is missing"

    def _gap(self, gap: Event) -> Event | None:
        if self._visitor.reads_everything:
            return gap
        view = stored_gaps.view(gap)
        if not any(stored_gaps.concerns_namespace(view, name) for name in self.namespaces()):
            return None
        said = gap.description
        kept = {name: said[name] for name in ("from", "to", "cause", "level", "level_at") if name in said}
        return replace(gap, description=kept | {"stream": "", "include": list(self._visitor.read), "exclude": []})

    def _selected(self, selection: Selection, *, newest_first: bool, beyond: Rank | None) -> Iterator[RawBSONDocument]:
        edge = beyond[0].cluster_time.timestamp if beyond is not None else None
        if edge is not None:
            selection = replace(selection, until=edge) if newest_first else replace(selection, since=edge)
        if selection.namespace is not None:
            self.require(selection.namespace)
        elif not self._visitor.reads_everything:
            each = [
                self._reader.stored(replace(selection, namespace=name), newest_first=newest_first)
                for name in self.namespaces()
            ]
            return merge(*each, key=rank, reverse=newest_first)
        return self._reader.stored(selection, newest_first=newest_first)

    def _beyond(
        self,
        found: Iterable[RawBSONDocument],
        selection: Selection,
        beyond: Rank,
        *,
        newest_first: bool,
    ) -> Iterator[RawBSONDocument]:
        """Leave out what was on the pages before, and keep within the window that the position stands for now."""
        for stored in found:
            stands = rank(stored)
            if not (stands < beyond if newest_first else stands > beyond):
                self._question.check()
                continue
            if _within(stored, selection):
                yield stored

    def _state(self, state: State) -> State:
        if self._visitor.reads_everything:
            return state
        entry = self.shown(state.entry) if state.entry is not None else None
        ended_by = self.shown(state.ended_by) if state.ended_by is not None else None
        gaps = tuple(gap for each in state.gaps if (gap := self._gap(each)) is not None)
        version = state.version if entry is not None else None
        unknown = self.reason(state.unknown) if state.unknown is not None else None
        return replace(state, entry=entry, version=version, ended_by=ended_by, gaps=gaps, unknown=unknown)

    def _noted(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if event.document_id is not ABSENT:
                self.take(event.namespace, event.document_id)
            yield event


def _target(rename: Event) -> str:
    to = (rename.description or {}).get("to", {})
    return f"{to.get('db', '')}.{to.get('coll', '')}"


def _within(stored: RawBSONDocument, selection: Selection) -> bool:
    """Whether an event lies in the window of wall time, of which a position has taken the place of one end."""
    from datetime import datetime

    when = stored.get("timestamp")
    if not isinstance(when, datetime):
        return True
    since, until = selection.since, selection.until
    return not (isinstance(since, datetime) and when < since) and not (isinstance(until, datetime) and when > until)
