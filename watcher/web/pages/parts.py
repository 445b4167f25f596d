"""The parts of a document or an event that their pages leave out, and whole values as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.bson import extended_json, raw
from change_history.bson.paths import decoded, encoded
from change_history.bson.values import Missing, to_python
from watcher.web import problems
from watcher.web.pages import event_rows, links
from watcher.web.pages.chosen_point import LARGEST_NUMBER, known
from watcher.web.pages.page_request import Page, PlainText
from watcher.web.pages.tree import Tree

if TYPE_CHECKING:
    from change_history.bson.paths import Path
    from change_history.bson.raw import Value
    from watcher.web.pages.page_request import Answer, PageRequest


def part(request: PageRequest) -> Answer:
    """A part of a document that its page leaves out: the value at a path, or its further fields."""
    namespace, document_id, chosen, data = known(request)
    value, path = _value_at(request, data)
    where = links.of_document(namespace, document_id, chosen.event)
    start = request.number("from", 0, LARGEST_NUMBER)
    found = chosen.marks()
    tree = Tree(found, whole=links.of_values(where, chosen.number)).of(value, path, start=start)
    shown = {
        "ns": namespace,
        "id": document_id,
        "where": where,
        "chosen": chosen,
        "tree": tree,
        "start": start,
        "path": event_rows.where(decoded(path)),
        "up": links.address("document", **where, at=chosen.asked or chosen.number or None),
        "part_address": links.address("document/part", **where, at=chosen.asked or chosen.number or None),
    }
    return Page("part.html", shown)


def _value_at(request: PageRequest, data: bytes) -> tuple[Value, Path]:
    """The value at the requested path, and the path."""
    try:
        path = encoded(links.path(request.params.get("path", "[]")))
    except (ValueError, RecursionError) as error:
        raise problems.wrong_request("The path cannot be read.") from error
    value: Value = (raw.DOCUMENT, data)
    for key in path:
        inner = None
        if value[0] == raw.ARRAY and isinstance(key, int):
            items = raw.items(value[1])
            inner = items[key] if 0 <= key < len(items) else None
        elif value[0] == raw.DOCUMENT and isinstance(key, bytes):
            inner = next(((kind, found) for name, kind, found in raw.elements(value[1]) if name == key), None)
        if inner is None:
            raise problems.not_found()
        value = inner
    return value, path


def value(request: PageRequest) -> Answer:
    """One whole value as plain text."""
    named = request.get("event")
    if named is not None and request.get("change") is not None:
        event = request.event(named)
        index = request.number("change", 0, LARGEST_NUMBER)
        if index >= len(event.changes):
            raise problems.not_found()
        change = event.changes[index]
        found = change.old_value if request.get("side") == "old" else change.new_value
        if isinstance(found, Missing):
            raise problems.not_found()
        return _as_text(found)
    _, _, _, data = known(request)
    found_value, _ = _value_at(request, data)
    return _as_text(to_python(found_value))


def _as_text(found: Any) -> PlainText:
    if type(found) is str:
        return PlainText(found.encode("utf-8", "replace").decode())
    return PlainText(extended_json.dumps(found))


def whole(request: PageRequest) -> Answer:
    """A whole document as canonical Extended JSON."""
    _, _, _, data = known(request)
    return PlainText(extended_json.dumps_document(data) + "\n", "application/json")
