"""Blame: which event set each leaf of a document, shown beside the document and as cards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.paths import pattern
from change_history.bson.values import ABSENT
from change_history.reconstruct.state import UnknownStateError
from change_history.stored.event import path_of
from watcher.web.pages import event_rows, links
from watcher.web.pages.chosen_point import address_of, choose
from watcher.web.pages.page_request import Page
from watcher.web.pages.tree import Tree, flat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from change_history.bson.paths import TextPath
    from change_history.stored.event import Event
    from watcher.web.pages.chosen_point import Chosen
    from watcher.web.pages.page_request import Answer, PageRequest
    from watcher.web.pages.tree import Node

MOST_BLAMED = 1_000_000
"""Bytes of a document; the blame of a larger one is computed only on request."""


@dataclass(frozen=True, slots=True)
class Setter:
    """The event that set a leaf, and the version of the document that it made."""

    event: Event | None
    number: int
    row: event_rows.EventRow | None
    link: str | None
    field: str | None
    line: event_rows.FieldLine | None = None


def _setters(request: PageRequest, chosen: Chosen) -> dict[TextPath, Setter]:
    state = chosen.state
    at: Any = chosen.number if chosen.asked is None else links.point(chosen.asked)
    numbers: dict[bytes, int] = {}
    found: dict[TextPath, Setter] = {}
    for leaf, event in request.history.blame(state.namespace, state.document_id, at or None):
        if event is None:
            found[leaf.path] = Setter(None, 0, None, None, None)
            continue
        if bytes(event.id) not in numbers:
            here = event.namespace == state.namespace
            numbers[bytes(event.id)] = (
                request.reader.version_of(event) if here and len(numbers) < event_rows.MOST_LINES else 0
            )
        number = numbers[bytes(event.id)]
        field = pattern(leaf.path) if all(isinstance(key, str) for key in leaf.path) else None
        plain = field if field is not None and field == leaf.field else None
        row = event_rows.EventRow(event, number=number)
        found[leaf.path] = Setter(event, number, row, links.document(event, number), plain, _line_of(event, leaf.path))
    return found


def _line_of(event: Event, path: TextPath) -> event_rows.FieldLine | None:
    """An event's change of exactly this field; None: it has none, or too many changes to be searched."""
    if len(event.changes) > event_rows.MOST_LINES:
        return None
    change = next((each for each in event.changes if path_of(each) == path), None)
    return event_rows.line(change, event) if change is not None and change.old_value is not ABSENT else None


def blamed(request: PageRequest, chosen: Chosen, where: Mapping[str, Any]) -> dict[str, Any]:
    """What the view needs that shows the setter of each leaf beside the document."""
    data = chosen.state.data or raw.EMPTY_DOCUMENT
    if len(data) > MOST_BLAMED and request.get("all") is None:
        return {"blame_anyway": address_of(where, chosen, view="blame", all=1), "size": len(data)}
    try:
        setters = _setters(request, chosen)
    except UnknownStateError as error:
        return {"blame_unknown": error.reason}
    tree = Tree(whole=links.of_values(where, chosen.number), setters=setters).document(data)
    return {"tree": tree, "leaves": list(_leaves(flat(tree), where)), "size": len(data)}


def _leaves(lines: Iterable[tuple[int, Node]], where: Mapping[str, Any]) -> Iterable[tuple[int, Node, str | None]]:
    """Each line with the address of its field's timeline."""
    for depth, node in lines:
        setter = node.setter
        field = setter.field if isinstance(setter, Setter) else None
        short = field is not None and len(field) < links.LONGEST_ID
        yield depth, node, links.address("document", **where, field=field) if short else None


def cards(request: PageRequest) -> Answer:
    """The setter of each leaf by path, for the page that shows the document."""
    namespace, document_id = request.document()
    total = request.history.versions(namespace, document_id)
    chosen = choose(request, namespace, document_id, total)
    if chosen.state.data is None or len(chosen.state.data) > MOST_BLAMED:
        return Page("blame_card.html", {"cards": [], "leaves": []})
    try:
        setters = _setters(request, chosen)
    except UnknownStateError:
        setters = {}
    where = links.of_document(namespace, document_id, chosen.event)
    found: dict[int, dict[str, Any]] = {}
    ids: dict[str, int] = {}
    leaves = []
    for path, setter in setters.items():
        named = setter.row.hexadecimal if setter.row is not None else ""
        number = ids.setdefault(named, len(ids))
        found.setdefault(number, {"setter": setter, "number": number})
        field = links.address("document", **where, field=setter.field) if setter.field is not None else None
        leaves.append((links.path_name(path), number, field, setter.line))
    return Page("blame_card.html", {"cards": list(found.values()), "leaves": leaves})
