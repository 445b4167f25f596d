"""Lineage: since when a namespace has its present documents, and under which names they were before.

A drop ends every document of a collection, without an event for each. A rename moves them all to another name, and
ends the documents that were there; so does the server's own `$out` and the conversion to a capped collection.
"""

from __future__ import annotations

import re
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.reconstruct import trust
from change_history.reconstruct.reads import Read, read_together
from change_history.reconstruct.scopes import was_watched
from change_history.reconstruct.trust import Unknown
from change_history.stored.event import to_event
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY, NAMESPACE_TIMELINE
from change_history.stored.order import END, HistoryPosition, after, before, identity, position_at
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.stored.event import Event

ENDS = ("drop", "dropDatabase", "rename")
"""Operations that end a collection's documents, or move them to another name."""

_CONVERSION = re.compile(r"\.tmp\w{5}\.convertToCapped\.")
"""The server's name of the copy that becomes a capped collection. The server copies the documents from the original
collection without events; only those that it deletes again because they do not fit have events."""

_OF_A_BOUNDARY = {"namespace": 1, "timestamp": 1, "description.to": 1}


class Incarnation(NamedTuple):
    """An interval of history in which the documents are under one name.

    Attributes:
        since: its first cluster time.
        until: the position at which it ends, exclusive.
    """

    namespace: str
    since: ClusterTime
    until: HistoryPosition

    def ids(self) -> dict[str, Any]:
        """The condition on `_id`. Entries of the last cluster time may still be beyond `until`."""
        return {"$gte": Binary(self.since.first_id), "$lte": Binary(self.until.last_id)}


class Boundary(NamedTuple):
    """An event that ended the documents of a namespace, or moved others there.

    Attributes:
        source: the name from which it moved them; None: it ended them.
        wall: its wall time, in milliseconds since 1970.
    """

    id: bytes
    source: str | None
    wall: int

    @property
    def cluster_time(self) -> ClusterTime:
        """The event's cluster time."""
        return ClusterTime.from_id(self.id)


def lineage_of(
    database: Database[Any],
    namespace: str,
    until: HistoryPosition,
    follow: Callable[[str], bool] | None = None,
    asked: tuple[Boundary | None] | None = None,
) -> Iterator[Incarnation]:
    """Yield the incarnations that hold the documents of a namespace at a position, newest first.

    Args:
        follow: whether history under a former name may be relied upon; by default, if a stream watched it then.
        asked: the result of `last_boundary` for the position, if known already.
    """
    name: str | None = namespace
    while name is not None:
        boundary = asked[0] if asked is not None else last_boundary(database, name, until)
        asked = None
        since = boundary.cluster_time if boundary is not None else BEGINNING_OF_TIME
        yield Incarnation(name, since, until)
        until = before(since)
        source = boundary.source if boundary is not None else None
        if source is not None and _CONVERSION.search(source) is not None:
            yield Incarnation(source, BEGINNING_OF_TIME, until)
            name = name if _was_created(database, source) else None
        else:
            followed = source is not None and (
                follow(source) if follow is not None else was_watched(database, source, name, since)
            )
            name = source if followed else None


def incarnations_of(database: Database[Any], namespace: str) -> list[Incarnation]:
    """All incarnations of a namespace, oldest first: its history, cut where its documents ended or were moved there."""
    found: list[Incarnation] = []
    boundary, until = last_boundary(database, namespace, END), END
    while boundary is not None:
        since = boundary.cluster_time
        found.append(Incarnation(namespace, since, until))
        until = before(since)
        boundary = last_boundary(database, namespace, until)
    return [Incarnation(namespace, BEGINNING_OF_TIME, until), *reversed(found)]


def last_boundary(database: Database[Any], namespace: str, until: HistoryPosition) -> Boundary | None:
    """The last event before a position that ended the documents of a namespace, or moved others there; None: none."""
    return boundary_of(
        chain(*read_together(database, boundary_reads(namespace, until), dict(DOCUMENT_TIMELINE))), namespace
    )


def boundary_reads(namespace: str, until: HistoryPosition) -> tuple[Read, Read]:
    """The reads for `boundary_of`: the last event before a position that ended documents, and that moved some."""
    name, _, collection = namespace.partition(".")
    upto = {"$lte": Binary(until.last_id)}
    ended = {
        "namespace": {"$in": [namespace, name]},
        "document_id": {"$exists": False},
        "operation": {"$in": list(ENDS)},
        "_id": upto,
    }
    brought = {
        "operation": "rename",
        "description": {"$exists": True},
        "description.to.db": name,
        "description.to.coll": collection,
        "_id": upto,
    }
    return Read(HISTORY, ended, {"_id": -1}, 1, _OF_A_BOUNDARY), Read(HISTORY, brought, {"_id": -1}, 1, _OF_A_BOUNDARY)


def boundary_of(found: Iterable[RawBSONDocument], namespace: str) -> Boundary | None:
    """The later of the events found by `boundary_reads`; None: there is none."""
    return max((_boundary(event, namespace) for event in found), default=None)


def _was_created(database: Database[Any], namespace: str) -> bool:
    """Whether the events of a collection were recorded from its beginning."""
    query = {"namespace": namespace, "document_id": {"$exists": False}, "operation": "create"}
    return database[HISTORY].find_one(query, {"_id": 1}, hint=DOCUMENT_TIMELINE) is not None


def _boundary(event: RawBSONDocument, namespace: str) -> Boundary:
    fields = raw.fields(bytes(event.raw))
    source = raw.text_of(fields[b"namespace"]).decode("utf-8", "surrogateescape")
    target = raw.fields(fields[b"description"][1]).get(b"to") if b"description" in fields else None
    arrived = target is not None and b".".join(raw.text_of(v) for v in raw.fields(target[1]).values())
    brought = arrived == namespace.encode("utf-8", "surrogateescape")
    wall = int.from_bytes(fields[b"timestamp"][1], "little", signed=True)
    return Boundary(identity(fields), source if brought else None, wall)


_OF_EXISTING = frozenset({"baseline", "delete", "reconcile", "replace", "update"})
"""Operations that only happen to documents that exist."""


class Lineage:
    """The incarnations that hold the documents of a namespace at a position, read as needed.

    Args:
        moment: the cluster time up to which a missing event matters.
    """

    def __init__(
        self,
        database: Database[Any],
        namespace: str,
        until: HistoryPosition,
        moment: ClusterTime,
        asked: tuple[Boundary | None] | None,
    ) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, codec_options=RAW)
        self._rest = lineage_of(database, namespace, until, asked=asked)
        self._found: list[Incarnation] = []
        self.namespace = namespace
        self._until = moment

    def __iter__(self) -> Iterator[Incarnation]:
        """The incarnations, newest first."""
        yield from self._found
        for incarnation in self._rest:
            self._found.append(incarnation)
            yield incarnation

    @property
    def newest(self) -> Incarnation:
        """The newest incarnation."""
        return next(iter(self))

    @cached_property
    def unrecorded(self) -> Unknown | None:
        """Why the documents are unknown where a rename moved them from a name without history; None: they are known."""
        *_, oldest = self
        if oldest.namespace == self.namespace:
            return None
        query = {"namespace": oldest.namespace, "_id": oldest.ids()}
        if self._history.find_one(query, {"_id": 1}, hint=NAMESPACE_TIMELINE) is not None:
            return None
        return Unknown(f"a rename brought it from {oldest.namespace}, of which nothing is recorded")

    @cached_property
    def not_yet(self) -> Unknown | None:
        """Why the documents are unknown where watching began after the position; None: they are known."""
        if self.newest.since:
            return None  # all earlier documents had ended
        query = {"namespace": self.namespace}
        options: dict[str, Any] = {"sort": [("_id", 1)], "hint": NAMESPACE_TIMELINE}
        first = self._history.find_one(query, {"operation": 1, "resume_token": 1}, **options)
        if first is None or first["operation"] not in _OF_EXISTING:
            return None
        position = position_at(first["_id"], first.get("resume_token"))
        if position < self.newest.until or last_boundary(self._database, self.namespace, position) is not None:
            return None  # something was recorded by then, or they were moved here later
        return Unknown(f"nothing was recorded of it by then, and its first recorded event is {first['operation']}")

    def gaps(self, base: ClusterTime | None, stored: Iterable[RawBSONDocument] | None = None) -> list[Event]:
        """The gaps that an answer reaches across: an event lost in one of them might change the answer.

        Args:
            base: cluster time of the entry that the answer is based on; None: the beginning of the lineage.
            stored: all gaps, if they have been read already.
        """
        found = list(trust.find(self._database) if stored is None else stored)
        if not found:
            return []
        *_, oldest = self
        since, until = oldest.since if base is None else base, self._until
        names = {incarnation.namespace for incarnation in self}
        return [to_event(gap) for gap in found if _is_across(gap, names, since, until)]


def _is_across(gap: RawBSONDocument, names: set[str], since: ClusterTime, until: ClusterTime) -> bool:
    lost = trust.read(gap)
    if lost.since >= until or lost.until.just_before <= since:
        return False
    if lost.reconciled_at is not None and lost.reconciled_at < until:
        return False
    return any(trust.concerns(gap, name) for name in names)


def boundary_before(database: Database[Any], namespace: str, position: HistoryPosition) -> Event | None:
    """The last event before a position that ended the documents of a namespace, or moved others there; None: none."""
    boundary = last_boundary(database, namespace, position)
    return _event(database, boundary.id) if boundary is not None else None


def arrival_after(database: Database[Any], namespace: str, position: HistoryPosition) -> Event | None:
    """The first rename after a position that moved documents to a namespace; None: none."""
    found: Boundary | None = None
    boundary = last_boundary(database, namespace, END)
    while boundary is not None and after(boundary.cluster_time) > position:
        found = boundary if boundary.source is not None else found
        boundary = last_boundary(database, namespace, before(boundary.cluster_time))
    return _event(database, found.id) if found is not None else None


def _event(database: Database[Any], event_id: bytes) -> Event | None:
    history = database.get_collection(HISTORY, codec_options=RAW)
    stored: RawBSONDocument | None = history.find_one({"_id": Binary(event_id)})
    return to_event(stored) if stored is not None else None
