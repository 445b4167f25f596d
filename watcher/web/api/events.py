"""Endpoints of events: of all collections, one by its id, and those of a transaction."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from change_history.bson.values import ABSENT
from change_history.http import wire
from change_history.query.selection import Selection
from watcher.web.api import cursors
from watcher.web.api import parameters as p
from watcher.web.api.endpoint import Endpoint
from watcher.web.api.representation import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.stored.event import Event
    from watcher.web.api.endpoint import Asked
    from watcher.web.visible import VisibleHistory


NARROWING = (
    p.FIELD,
    p.OPERATION,
    p.SINCE,
    p.UNTIL,
    p.TRANSACTION,
    p.CHANGED_FROM,
    p.CHANGED_TO,
    p.ACTOR,
    p.REASON,
    p.REQUEST,
    p.ORDER,
    p.DETAIL,
)


def events(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """The events of all collections that the visitor may read."""
    name = asked.given.get("namespace")
    namespace = history.recorded(name) if name is not None else None
    return listed(history, asked, selection(history, asked.given, namespace, ABSENT))


def event(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """One event."""
    return wire.event_tree(history.event(asked.given["event"]))


def transaction(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """The events of a transaction."""
    found = history.transaction(asked.given["transaction"])
    return listed(history, asked, Selection(None, transaction=found))


def selection(history: VisibleHistory, given: p.Given, namespace: str | None, document_id: Any) -> Selection:
    """The selection that the parameters of a request describe."""
    name = given.get("transaction")
    return Selection(
        namespace,
        document_id,
        given.get("field"),
        given.get("since"),
        given.get("until"),
        given.get("operation", ()),
        history.transaction(name) if name is not None else None,
        given.get("changed_from", ABSENT),
        given.get("changed_to", ABSENT),
        actor=given.get("actor"),
        reason=given.get("reason"),
        request=given.get("request"),
    )


def listed(history: VisibleHistory, asked: Asked, selection: Selection) -> Iterator[Item]:
    """Events as items of a list, from the position of its cursor on."""
    given, cursor = asked.given, asked.given.get("cursor")
    beyond = cursors.rank(cursor, asked.check) if cursor is not None else None
    found = history.events(selection, newest_first=given.get("order", "newest") == "newest", beyond=beyond)
    show = _summary if given.get("detail") == "summary" else wire.event_tree
    return (Item(show(event), cursors.after(event, asked.check)) for event in found)


def _summary(event: Event) -> dict[str, Any]:
    """An event without its values."""
    tree = wire.event_tree(replace(event, changes=(), description=ABSENT))
    count = event.change_count if event.change_count is not None else len(event.changes)
    fields = [change.field for change in islice(event.changes, _MOST_FIELDS)]
    return {name: said for name, said in tree.items() if name != "changes"} | {"change_count": count, "fields": fields}


_MOST_FIELDS = 100


ENDPOINTS = (
    Endpoint(
        "/events",
        "Read events of all collections",
        "All conditions must hold.",
        (p.ABOUT, *NARROWING),
        "Event",
        events,
        lists=True,
    ),
    Endpoint("/events/{event}", "Read an event", "With all its values.", (p.EVENT_ID,), "Event", event),
    Endpoint(
        "/transactions/{transaction}",
        "Read a transaction",
        "All its events that you may read.",
        (p.TRANSACTION_NAME, p.ORDER, p.DETAIL),
        "Event",
        transaction,
        lists=True,
    ),
)
