"""Endpoints of one document: its state at a point in time, its timeline, differences, and blame."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from change_history.bson.values import ABSENT
from change_history.http import wire
from watcher.web import problems
from watcher.web.api import parameters as p
from watcher.web.api.endpoint import Endpoint
from watcher.web.api.events import NARROWING, listed, selection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.web.api.endpoint import Asked
    from watcher.web.api.representation import Item
    from watcher.web.visible import VisibleHistory


def document(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """A document at a point in time."""
    given = asked.given
    namespace, document_id = history.require(given["namespace"]), given["id"]
    if isinstance(document_id, p.OfEvent):
        namespace, document_id = document_of(history, given)
    state = history.state(namespace, document_id, given.get("at"))
    if state.data is None and state.entry is None:
        document_of(history, given)  # there may be history at another time
    return wire.state_tree(state)


def document_events(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """The timeline of a document."""
    namespace, document_id = named(history, asked.given)
    found = listed(history, asked, selection(history, asked.given, namespace, document_id))
    first = next(found, None)
    if first is None:
        document_of(history, asked.given)  # it may have events that the conditions exclude
        return iter(())
    return chain([first], found)


def versions(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """The number of versions of a document."""
    namespace, document_id = document_of(history, asked.given)
    return {
        "namespace": namespace,
        "document_id": wire.of(document_id),
        "versions": history.versions(namespace, document_id),
    }


def diff(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """The differences between two points in time."""
    namespace, document_id = document_of(history, asked.given)
    a, b = asked.given["from"], asked.given.get("to")
    return {
        "namespace": namespace,
        "document_id": wire.of(document_id),
        "changes": [wire.change_tree(change) for change in history.diff(namespace, document_id, a, b)],
        "differences": [wire.difference_tree(each) for each in history.differences(namespace, document_id, a, b)],
    }


def blame(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """The event that set each leaf."""
    namespace, document_id = named(history, asked.given)
    found = history.blame(namespace, document_id, asked.given.get("at"))
    if not found:
        document_of(history, asked.given)  # the document did not exist then
    known = {bytes(event.id).hex(): event for _, event in found if event is not None}
    return {
        "namespace": namespace,
        "document_id": wire.of(document_id),
        "leaves": [
            {
                "field": leaf.field,
                "path": list(leaf.path),
                "value": wire.of(leaf.value),
                "event": bytes(event.id).hex() if event is not None else None,
            }
            for leaf, event in found
        ],
        "events": {name: wire.event_tree(event) for name, event in known.items()},
    }


def document_of(history: VisibleHistory, given: p.Given) -> tuple[str, Any]:
    """The document that a path names; a document without history is answered with "not found"."""
    namespace, document_id = named(history, given)
    if not history.knows(namespace, document_id):
        # Its history may be in the namespace that its collection had before.
        state = history.state(namespace, document_id)
        if state.data is None and state.entry is None:
            raise problems.not_found()
    return namespace, document_id


def named(history: VisibleHistory, given: p.Given) -> tuple[str, Any]:
    """The document that a path names, even without history."""
    namespace, document_id = given["namespace"], given["id"]
    history.require(namespace)
    if isinstance(document_id, p.OfEvent):
        event = history.event(document_id.event_id)
        if event.namespace != namespace or event.document_id is ABSENT:
            raise problems.not_found()
        document_id = event.document_id
    return namespace, document_id


ENDPOINTS = (
    Endpoint(
        "/collections/{namespace}/documents/{id}",
        "Read a document as it was",
        "What it was, and what the answer rests on.",
        (p.NAMESPACE, p.ID, p.AT),
        "State",
        document,
    ),
    Endpoint(
        "/collections/{namespace}/documents/{id}/events",
        "Read the timeline of a document",
        "All conditions must hold.",
        (p.NAMESPACE, p.ID, *NARROWING),
        "Event",
        document_events,
        lists=True,
    ),
    Endpoint(
        "/collections/{namespace}/documents/{id}/versions",
        "Count the versions of a document",
        "Version 1 is its first recorded event.",
        (p.NAMESPACE, p.ID),
        "Versions",
        versions,
    ),
    Endpoint(
        "/collections/{namespace}/documents/{id}/diff",
        "Compare two points in time of a document",
        "`changes` is what one event would have recorded; `differences` takes arrays apart.",
        (p.NAMESPACE, p.ID, p.FROM, p.TO),
        "Diff",
        diff,
    ),
    Endpoint(
        "/collections/{namespace}/documents/{id}/blame",
        "Tell which event each value is from",
        "Every leaf, with the event that last set it; null: an event that you may not read.",
        (p.NAMESPACE, p.ID, p.AT),
        "Blame",
        blame,
    ),
)
