"""Endpoints of collections: their list, their events, and their documents at a point in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.values import ABSENT
from change_history.http import wire
from watcher.web import problems
from watcher.web.api import cursors, filters
from watcher.web.api import parameters as p
from watcher.web.api.endpoint import Endpoint, from_cursor, key_after
from watcher.web.api.events import NARROWING, listed, selection
from watcher.web.api.representation import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.web.api.endpoint import Asked
    from watcher.web.counts import NamespaceCount
    from watcher.web.visible import VisibleHistory


def collections(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """List the recorded collections."""
    after = key_after(asked)
    names = history.namespaces()
    wanted = [name for name in names if name.encode("utf-8", "surrogateescape") > after] if after is not None else names
    for begin in range(0, len(wanted), _COUNTED_TOGETHER):
        counted = history.counts(*wanted[begin : begin + _COUNTED_TOGETHER])
        for name, count in counted.items():
            cursor = cursors.after_key(name.encode("utf-8", "surrogateescape"), asked.check)
            yield Item(_collection(name, count), cursor)


_COUNTED_TOGETHER = 101
"""A page of the default length, and one more item, which shows that there is another page."""


def collection(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """One collection."""
    name = history.require(asked.given["namespace"])
    count = history.counts(name)[name]
    if count.last is None:
        raise problems.not_found()
    return _collection(name, count)


def _collection(name: str, count: NamespaceCount) -> dict[str, Any]:
    tree: dict[str, Any] = {"namespace": name, "events": count.events}
    for key, event in (("first", count.first), ("last", count.last)):
        if event is not None:
            tree[key] = {
                "timestamp": wire.time_tree(event.timestamp),
                "cluster_time": wire.cluster_time(event.cluster_time),
            }
    return tree


def collection_events(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """Events of a collection."""
    namespace = history.recorded(asked.given["namespace"])
    return listed(history, asked, selection(history, asked.given, namespace, ABSENT))


def documents(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """The documents of a collection at a point in time."""
    given = asked.given
    state = history.collection(history.recorded(given["namespace"]), given.get("at"))
    if state.unknown is not None:
        from change_history.reconstruct.state import UnknownStateError

        raise UnknownStateError(given["namespace"], state.unknown)
    query = filters.query(given.get("where", ()), given.get("filter"))
    for found, cursor in from_cursor(asked, history.documents(state, query), lambda each: each.raw_id):
        tree: dict[str, Any] = {"document_id": wire.Value(found.raw_id)}
        tree["document"] = wire.Value((raw.DOCUMENT, found.data)) if found.data is not None else None
        if found.unknown is not None:
            tree["unknown"] = found.unknown
        yield Item(tree, cursor)


def collection_diff(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """The differences of a collection between two points in time."""
    given = asked.given
    found = history.collection_diff(history.recorded(given["namespace"]), given["from"], given.get("to"))
    for changed, cursor in from_cursor(asked, found, lambda each: each.raw_id):
        tree: dict[str, Any] = {"document_id": wire.Value(changed.raw_id)}
        for name, side in (("before", changed.before), ("after", changed.after)):
            tree[name] = wire.Value((raw.DOCUMENT, side)) if side is not None else None
        if changed.unknown is not None:
            tree["unknown"] = changed.unknown
        yield Item(tree, cursor)


WHERE = p.Parameter(
    "where",
    f"Only documents of which this holds, {filters.CONDITION_ALLOWED}; with several, all must. A value is written as "
    "an id is, and compared as a value.",
    filters.condition,
    filters.CONDITION_ALLOWED,
    several=True,
)


FILTER = p.Parameter(
    "filter",
    f"Only documents that fit {filters.FILTER_ALLOWED}. The server decides; text is compared byte by byte.",
    filters.of_mongodb,
    filters.FILTER_ALLOWED,
)


ENDPOINTS = (
    Endpoint(
        "/collections",
        "List what is recorded",
        "Every namespace that you may read, with the number of its events (null while they are still being counted).",
        (),
        "Collection",
        collections,
        lists=True,
    ),
    Endpoint(
        "/collections/{namespace}",
        "Tell about a collection",
        "As the list does.",
        (p.NAMESPACE,),
        "Collection",
        collection,
    ),
    Endpoint(
        "/collections/{namespace}/events",
        "Read the events of a collection",
        "Its own too: created, renamed, dropped. All conditions must hold.",
        (p.NAMESPACE, *NARROWING),
        "Event",
        collection_events,
        lists=True,
    ),
    Endpoint(
        "/collections/{namespace}/documents",
        "Read a collection as it was",
        "One document after the other, in the order of their ids. A later page is found by reading on from the first: "
        "for the whole of a large collection, accept application/x-ndjson.",
        (p.NAMESPACE, p.AT_TIME, WHERE, FILTER),
        "CollectionDocument",
        documents,
        lists=True,
    ),
    Endpoint(
        "/collections/{namespace}/diff",
        "Compare two points in time of a collection",
        "The documents that are different, in the order of their ids.",
        (p.NAMESPACE, p.FROM_TIME, p.TO_TIME),
        "ChangedDocument",
        collection_diff,
        lists=True,
    ),
)
