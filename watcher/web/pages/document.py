"""The page of a document: its timeline, its state at a chosen point, the changes there, and blame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from change_history.bson import extended_json, raw
from change_history.bson.redacted import How, Redacted
from change_history.bson.values import ABSENT, to_python
from change_history.query.selection import Selection
from change_history.query.transactions import event_name
from watcher.web import problems
from watcher.web.pages import blame, event_rows, links, values
from watcher.web.pages.chosen_point import VERSIONS_ON_A_PAGE, address_of, choose, versions, window
from watcher.web.pages.page_request import MovedPage, Page
from watcher.web.pages.tree import Tree, changed
from watcher.words import meanings
from watcher.words.value_text import is_plain_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from change_history.bson.raw import Value
    from change_history.stored.event import Event
    from watcher.web.pages.chosen_point import Chosen
    from watcher.web.pages.page_request import Answer, PageRequest

MOST_RAW = 200_000
"""Characters of a document's raw form that are shown at most; the whole form has its own address."""
_VIEWS = ("state", "changes", "blame", "raw")


def page(request: PageRequest) -> Answer:
    """The page of a document."""
    namespace, document_id = request.document()
    total = request.history.versions(namespace, document_id)
    if request.get("field") is not None:
        return _of_field(request, namespace, document_id, total)
    if not total and request.get("at") is None:
        return _not_here(request, namespace, document_id)
    chosen = choose(request, namespace, document_id, total)
    view = request.get("view") or _VIEWS[0]
    view = view if view in _VIEWS else _VIEWS[0]
    where = links.of_document(namespace, document_id, chosen.event)
    shown = {
        "ns": namespace,
        "id": document_id,
        "where": where,
        "chosen": chosen,
        "event": chosen.event,
        "row": _row(chosen),
        "view": view,
        "views": _VIEWS,
        "tabs": {name: address_of(where, chosen, view=None if name == _VIEWS[0] else name) for name in _VIEWS},
        "link": links.permalink(chosen.event) if chosen.event is not None else None,
        "previous": _at(where, chosen.number - 1, view) if chosen.number > 1 else None,
        "next": _at(where, chosen.number + 1, view) if chosen.number < total else None,
        "first": _at(where, 1, view) if chosen.number != 1 and total else None,
        "last": _at(where, total, view) if chosen.number != total else None,
        "timeline": _timeline(request, namespace, chosen, where, view),
        "part_address": links.address("document/part", **where, at=chosen.number or None),
        "blame_address": links.address("document/blame", **where, at=chosen.number or None),
        "part_before": links.address("document/part", **where, at=chosen.number - 1 or None),
        "erased": is_erased(chosen),
        "undelete": _undelete(chosen, namespace, document_id),
        "revert": _revert_to(chosen, namespace, document_id),
        "with_collection": chosen.state.ended_by is not None and chosen.state.ended_by.document_id is ABSENT,
        **_NOTHING_SHOWN,
        **_content(request, chosen, view, where),
    }
    return Page("document.html", shown)


_NOTHING_SHOWN: dict[str, Any] = {
    **dict.fromkeys(("lines", "tree", "raw", "blame_unknown", "blame_anyway")),
    **dict.fromkeys(("gone", "blameable"), False),
    "compared": True,
    "changed": (),
    "size": 0,
}


def _row(chosen: Chosen) -> event_rows.EventRow | None:
    event = chosen.event
    if event is None:
        return None
    return event_rows.EventRow(event, number=chosen.number)


def _at(where: Mapping[str, Any], number: int, view: str) -> str:
    return links.address("document", **where, at=number, view=view if view != _VIEWS[0] else None)


def _not_here(request: PageRequest, namespace: str, document_id: Any) -> Page:
    """The page of a document without history in this namespace: its collection may have had another name."""
    state = request.history.state(namespace, document_id, None)
    if state.entry is None:
        raise problems.not_found()
    former = links.address("document", **links.of_document(state.entry.namespace, document_id, state.entry))
    shown = {"ns": namespace, "id": document_id, "former": state.entry.namespace, "former_address": former}
    return Page("renamed.html", shown)


def _undelete(chosen: Chosen, namespace: str, document_id: Any) -> str | None:
    event = chosen.event
    if event is None or event.operation != "delete" or chosen.number != chosen.total or is_erased(chosen):
        return None
    return undelete_command(namespace, document_id)


def is_erased(chosen: Chosen) -> bool:
    """Whether a deleted document was erased, so that no value is left to restore."""
    event, before = chosen.event, chosen.before
    if event is None or event.operation != "delete" or before is None or before.data is None:
        return False
    return all_erased(to_python((kind, payload)) for key, kind, payload in raw.elements(before.data) if key != b"_id")


def all_erased(found: Iterable[Any]) -> bool:
    """Whether there are values, and all of them were erased."""
    leaves = [leaf for value in found for leaf in _leaves_of(value)]
    return bool(leaves) and all(isinstance(leaf, Redacted) and leaf.how == How.ERASED for leaf in leaves)


def _leaves_of(value: Any) -> Iterable[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return [leaf for each in inner for leaf in _leaves_of(each)] if inner else [value]


def undelete_command(namespace: str, document_id: Any) -> str | None:
    """The command that restores a deleted document; None: something in it cannot be typed."""
    return _revert(namespace, document_id, "--undelete")


def _revert(namespace: str, document_id: Any, goal: str, field: str | None = None) -> str | None:
    """The command that reverts a document, or one field of it; None: the `_id` or a name cannot be typed."""
    argument = meanings.argument(document_id)
    typed = [namespace] if field is None else [namespace, field]
    if len(argument) >= links.LONGEST_ID or not all(map(str.isprintable, typed)):
        return None
    one_field = f" --field {_word(field)}" if field is not None else ""
    return f"watcher revert {_word(namespace)} {argument} {goal}{one_field}"


def _word(text: str) -> str:
    """A text quoted as one word of a shell."""
    return text if is_plain_word(text) else "'" + text.replace("'", "'\\''") + "'"


def _revert_to(chosen: Chosen, namespace: str, document_id: Any) -> str | None:
    """The command that reverts a document to the chosen version; None: it is the last, unknown, or a deletion."""
    if chosen.state.data is None or chosen.state.unknown is not None or not 0 < chosen.number < chosen.total:
        return None
    return _revert(namespace, document_id, f"--to {chosen.number}")


@dataclass(frozen=True, slots=True)
class Timeline:
    """Some versions of a document, newest first.

    Attributes:
        rows: the versions, and the gaps between them.
        newer: the address of the page with newer versions.
        older: the address of the page with older versions.
        first: number of the oldest version in `rows`.
        last: number of the newest version in `rows`.
    """

    rows: Sequence[event_rows.EventRow]
    newer: str | None
    older: str | None
    first: int
    last: int


def _timeline(request: PageRequest, namespace: str, chosen: Chosen, where: Mapping[str, Any], view: str) -> Timeline:
    total, size = chosen.total, VERSIONS_ON_A_PAGE
    first, last = window(request, chosen.number, total)
    visible = [brief for brief in chosen.some if request.history.shown(brief.event) is not None]
    rows = event_rows.rows(request, namespace, reversed(visible), end=last == total)
    stay = {**where, "at": chosen.asked or chosen.number or None, "view": view if view != _VIEWS[0] else None}
    newer = links.address("document", **stay, to=min(last + size, total)) if last < total else None
    older = links.address("document", **stay, to=first - 1) if first > 1 else None
    return Timeline(rows, newer, older, first, last)


def _content(request: PageRequest, chosen: Chosen, view: str, where: Mapping[str, Any]) -> dict[str, Any]:
    """What a view shows of the chosen version."""
    state = chosen.state
    if view == "changes":
        return {"lines": _change_lines(chosen)}
    if state.unknown is not None or state.data is None:
        # A deleted document is shown as it was before.
        gone = chosen.before.data if chosen.before is not None and state.unknown is None else None
        return {
            "tree": Tree(whole=links.of_values(where, chosen.number - 1)).document(gone) if gone else None,
            "gone": True,
        }
    if view == "raw":
        text = extended_json.dumps_document(state.data) if len(state.data) < MOST_RAW else None
        address = links.address("document/raw", **where, at=chosen.asked or chosen.number or None)
        pretty = _pretty(state.data)
        return {"raw": pretty, "raw_line": text, "raw_address": address, "size": len(state.data)}
    if view == "blame":
        return blame.blamed(request, chosen, where)
    found = chosen.marks()
    tree = Tree(found, whole=links.of_values(where, chosen.number)).document(state.data)
    return {
        "tree": tree,
        "changed": [(node, event_rows.where(node.path)) for node in changed(tree)],
        "compared": found is not None,
        "change_count": found.count if found is not None else 0,
        "size": len(state.data),
        "blameable": len(state.data) <= blame.MOST_BLAMED,
    }


def _pretty(data: bytes) -> str:
    """A document as canonical Extended JSON on several lines, cut."""
    if len(data) > MOST_RAW:
        fields = raw.elements(data)
        some: list[tuple[bytes, Value]] = []
        size = 0
        for key, kind, payload in fields:
            size += len(payload) + len(key)
            if size > MOST_RAW:
                break
            some.append((key, (kind, payload)))
        data = raw.from_fields(some)
    written = extended_json.dumps_document(data)
    try:
        return json.dumps(json.loads(written), indent=2, ensure_ascii=False) if _no_repeated(data) else written
    except (ValueError, RecursionError):
        return written


def _no_repeated(data: bytes) -> bool:
    keys = [key for key, _, _ in raw.elements(data)]
    return len(set(keys)) == len(keys)


def _change_lines(chosen: Chosen) -> list[event_rows.FieldLine]:
    """What the chosen version changed, down to the leaves where both states are known."""
    event = chosen.event
    if event is None:
        return []
    found = chosen.marks()
    if found:
        differences = [one for each in (*found.at.values(), *found.gone.values()) for one in each]
        return [event_rows.difference_line(one) for one in differences[: event_rows.MOST_LINES]]
    return event_rows.event_lines(event)


def _of_field(request: PageRequest, namespace: str, document_id: Any, total: int) -> Answer:
    """The history of one field of a document."""
    field = request.get("field") or ""
    selection = Selection(namespace, document_id, field)
    selection = request.reader.resolve(selection)
    found = list(request.history.events(selection, newest_first=True, limit=VERSIONS_ON_A_PAGE + 1))
    rows: list[event_rows.EventRow] = []
    for event in found[:VERSIONS_ON_A_PAGE]:
        concerned = list(islice(selection.changes_of(event), event_rows.MOST_LINES))
        lines = [event_rows.line(change, event, most=values.LONG) for change in concerned]
        rows.append(event_rows.EventRow(event, lines, 0, request.reader.version_of(event), links.permalink(event)))
    cut = len(found) > VERSIONS_ON_A_PAGE
    oldest = rows[-1].event if cut else _first_version(request, namespace, document_id, total)
    last = rows[0].number if rows else 0
    where = links.of_document(namespace, document_id, found[0] if found else None)
    shown = {
        "ns": namespace,
        "id": document_id,
        "where": where,
        "field": field,
        "rows": event_rows.among_gaps(request, namespace, rows, since=oldest.cluster_time)
        if oldest is not None
        else rows,
        "count": len(rows),
        "total": total,
        "cut": cut,
        "before": last - 1,
        "revert": _revert(namespace, document_id, f"--to {last - 1}", field) if last > 1 else None,
        "up": links.address("document", **where),
    }
    return Page("field.html", shown)


def _first_version(request: PageRequest, namespace: str, document_id: Any, total: int) -> Event | None:
    found = versions(request, namespace, document_id, 1, 1, total) if total else []
    return found[0].event if found else None


def event(request: PageRequest) -> Answer:
    """The page of one event, with all its changes."""
    found = request.event(request.get("id") or "")
    if found.operation == "gap":
        return MovedPage("gaps")
    shown = {
        "event": found,
        "row": event_rows.EventRow(found, link=links.document(found) if found.document_id is not ABSENT else None),
        "lines": event_rows.event_lines(found),
        "left": max(len(found.changes) - event_rows.MOST_LINES, 0),
        "name": event_name(found.id),
    }
    return Page("event.html", shown)
