"""One document: its timeline, what it was at a chosen point, what changed there, and who set what."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from change_history.bson import extended_json, raw
from change_history.bson.equality import key_of
from change_history.bson.paths import encoded, pattern
from change_history.bson.redacted import How, Redacted
from change_history.bson.values import ABSENT, to_python, to_raw
from change_history.diff.compare import Difference, Kind
from change_history.query import briefs
from change_history.query.selection import Selection
from change_history.query.transactions import event_name
from change_history.reconstruct.point_in_time import NoSuchVersionError
from change_history.reconstruct.state import UnknownStateError
from change_history.stored.event import path_of
from watcher.web import problems
from watcher.web.pages import links, said, values
from watcher.web.pages.look import Elsewhere, Page
from watcher.web.pages.tree import Marks, Tree, changed, flat, marks
from watcher.words import meanings
from watcher.words.value_text import is_plain_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from change_history.bson.paths import TextPath
    from change_history.bson.raw import Value
    from change_history.query.briefs import Brief
    from change_history.reconstruct.state import State
    from change_history.stored.event import Event
    from watcher.web.pages.look import Answer, Look
    from watcher.web.pages.tree import Node

VERSIONS_ON_A_PAGE = 50
MOST_RAW = 200_000
"""So many characters of a document are shown raw; all of it has an address of its own."""
MOST_BLAMED = 1_000_000
"""A document of more bytes is not blamed unasked."""
_VIEWS = ("state", "changes", "blame", "raw")
LARGEST_NUMBER = 10**9


@dataclass(frozen=True, slots=True)
class Chosen:
    """The point of a document's history that is looked at.

    Attributes:
        number: which version; 0: before the first under this name.
        total: how many versions there are.
        state: what the document was.
        before: what it was before that version; None: nothing, or nobody knows.
        asked: the time that was asked for; None: a version was.
        some: the versions around it.
    """

    number: int
    total: int
    state: State
    before: State | None
    asked: str | None
    some: Sequence[Brief] = ()

    @property
    def event(self) -> Event | None:
        """The event that made it so."""
        return self.state.entry

    def marks(self) -> Marks | None:
        """What this version changed; None: the documents are too large, or one of them is not known."""
        if self.event is None or self.state.unknown is not None:
            return None
        if self.before is None or self.before.unknown is not None:
            return Marks() if self.event.operation in {"insert", "baseline"} else None
        return marks(self.before.data, self.state.data, unseen_changes(self.event))


def unseen_changes(event: Event) -> list[Difference]:
    """Changes of withheld values that look the same before and after."""
    found = []
    for change in event.changes:
        value = change.new_value
        if isinstance(value, Redacted) and not value.digest and change.old_value == value:
            path = encoded(path_of(change))
            unnamed = (None,) * len(path)
            found.append(Difference(Kind.CHANGED, path, path, value.raw, value.raw, unnamed))
    return found


def page(look: Look) -> Answer:
    """The page of a document."""
    namespace, document_id = look.document()
    total = look.history.versions(namespace, document_id)
    if look.get("field") is not None:
        return _of_field(look, namespace, document_id, total)
    if not total and look.get("at") is None:
        return _not_here(look, namespace, document_id)
    chosen = _chosen(look, namespace, document_id, total)
    view = look.get("view") or _VIEWS[0]
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
        "tabs": {name: _here(where, chosen, view=None if name == _VIEWS[0] else name) for name in _VIEWS},
        "link": links.permalink(chosen.event) if chosen.event is not None else None,
        "previous": _at(where, chosen.number - 1, view) if chosen.number > 1 else None,
        "next": _at(where, chosen.number + 1, view) if chosen.number < total else None,
        "first": _at(where, 1, view) if chosen.number != 1 and total else None,
        "last": _at(where, total, view) if chosen.number != total else None,
        "timeline": _timeline(look, namespace, chosen, where, view),
        "part_address": links.address("document/part", **where, at=chosen.number or None),
        "blame_address": links.address("document/blame", **where, at=chosen.number or None),
        "part_before": links.address("document/part", **where, at=chosen.number - 1 or None),
        "erased": is_erased(chosen),
        "undelete": _undelete(chosen, namespace, document_id),
        "revert": _revert_to(chosen, namespace, document_id),
        "with_collection": chosen.state.ended_by is not None and chosen.state.ended_by.document_id is ABSENT,
        **_NOTHING_SHOWN,
        **_content(look, chosen, view, where),
    }
    return Page("document.html", shown)


_NOTHING_SHOWN: dict[str, Any] = {
    **dict.fromkeys(("lines", "tree", "raw", "blame_unknown", "blame_anyway")),
    **dict.fromkeys(("gone", "blameable"), False),
    "compared": True,
    "changed": (),
    "size": 0,
}


def known(look: Look) -> tuple[str, Any, Chosen, bytes]:
    """The chosen version of the document that is asked for: its namespace, `_id`, the version, and its bytes.

    Raises:
        watcher.web.problems.Problem: there was no such document then, or history cannot tell it.
    """
    namespace, document_id = look.document()
    chosen = _chosen(look, namespace, document_id, look.history.versions(namespace, document_id))
    if chosen.state.data is None:
        raise problems.not_found()
    return namespace, document_id, chosen, chosen.state.data


def _row(chosen: Chosen) -> said.Row | None:
    event = chosen.event
    if event is None:
        return None
    return said.Row(event, number=chosen.number)


def _here(where: Mapping[str, Any], chosen: Chosen, **more: Any) -> str:
    at = chosen.asked or chosen.number or None
    return links.address("document", **where, at=at, **more)


def _at(where: Mapping[str, Any], number: int, view: str) -> str:
    return links.address("document", **where, at=number, view=view if view != _VIEWS[0] else None)


def _chosen(look: Look, namespace: str, document_id: Any, total: int) -> Chosen:
    named, text = look.get("event"), look.get("at")
    asked = None
    if named is not None:
        event = look.event(named)
        if event.namespace != namespace or not _is_same(event.document_id, document_id):
            raise problems.not_found()
        number: int | None = look.reader.version_of(event)
    elif text is not None:
        number = look.version(namespace, document_id, text)
        asked = None if text.strip().lstrip("-").isdecimal() else text.strip()
    else:
        number = total
    if number and number > total:
        raise problems.not_found()
    first, last = _window(look, number or 0, total)
    some = _versions(look, namespace, document_id, max(first - 1, 1), min(last + 1, total), total)
    try:
        if asked is not None:
            state = look.history.state(namespace, document_id, links.point(asked))
        else:
            state = _state_of(look, namespace, document_id, number or 0, total, some)
        before = _state_of(look, namespace, document_id, number - 1, total, some) if number and number > 1 else None
    except NoSuchVersionError as error:
        raise problems.not_found() from error
    shown = [brief for brief in some if first <= brief.number <= last]
    return Chosen(number or 0, total, state, before, asked, shown)


def _is_same(one: Any, other: Any) -> bool:
    """Whether two `_id`s are one, as the server compares them."""
    return one is not ABSENT and key_of(to_raw(one)) == key_of(to_raw(other))


def _window(look: Look, number: int, total: int) -> tuple[int, int]:
    """The numbers of the oldest and the newest version in the timeline that is shown.

    Pages are counted from the oldest version, so that their addresses go on meaning the same; the newest is full.
    """
    size = VERSIONS_ON_A_PAGE
    last = look.number("to", 0, LARGEST_NUMBER)
    if not 0 < last <= total:
        last = total if number > total - size else min(-(-max(number, 1) // size) * size, total)
    return max(last - size + 1, 1), last


def _versions(look: Look, namespace: str, document_id: Any, first: int, last: int, total: int) -> list[Brief]:
    collection = look.reader.collection_of_history
    return briefs.versions(collection, namespace, document_id, first, last - first + 1, total)


def _state_of(look: Look, namespace: str, document_id: Any, number: int, total: int, some: Sequence[Brief]) -> State:
    """What a version was: by its cluster time if that is known and no other version's, since it is found sooner."""
    if not number:
        return look.history.state(namespace, document_id, None)
    times = {brief.number: brief.event.cluster_time for brief in some}
    moment = times.get(number)
    alone = number == total or (number + 1 in times and times[number + 1] != moment)
    if moment is not None and alone:
        return look.history.state(namespace, document_id, moment, version=number)
    return look.history.state(namespace, document_id, number)


def _not_here(look: Look, namespace: str, document_id: Any) -> Page:
    """A document of which nothing is recorded under this name: it may have another one."""
    state = look.history.state(namespace, document_id, None)
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
    """Whether a deleted document was erased: of its values, nothing is left that could be brought back."""
    event, before = chosen.event, chosen.before
    if event is None or event.operation != "delete" or before is None or before.data is None:
        return False
    return all_erased(to_python((kind, payload)) for key, kind, payload in raw.elements(before.data) if key != b"_id")


def all_erased(found: Iterable[Any]) -> bool:
    """Whether some values were erased, and no other is left beside them."""
    leaves = [leaf for value in found for leaf in _leaves_of(value)]
    return bool(leaves) and all(isinstance(leaf, Redacted) and leaf.how == How.ERASED for leaf in leaves)


def _leaves_of(value: Any) -> Iterable[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return [leaf for each in inner for leaf in _leaves_of(each)] if inner else [value]


def undelete_command(namespace: str, document_id: Any) -> str | None:
    """The command that brings a deleted document back; None: its `_id` is too long to be typed."""
    return _revert(namespace, document_id, "--undelete")


def _revert(namespace: str, document_id: Any, goal: str, field: str | None = None) -> str | None:
    """A command that puts back a document, or one field of it; None: something of it cannot be typed."""
    argument = meanings.argument(document_id)
    typed = [namespace] if field is None else [namespace, field]
    if len(argument) >= links.LONGEST_ID or not all(map(str.isprintable, typed)):
        return None
    one_field = f" --field {_word(field)}" if field is not None else ""
    return f"watcher revert {_word(namespace)} {argument} {goal}{one_field}"


def _word(text: str) -> str:
    """A text as one word for a shell."""
    return text if is_plain_word(text) else "'" + text.replace("'", "'\\''") + "'"


def _revert_to(chosen: Chosen, namespace: str, document_id: Any) -> str | None:
    """The command that makes a document what it was at an earlier version; None: it is that, or was not there."""
    if chosen.state.data is None or chosen.state.unknown is not None or not 0 < chosen.number < chosen.total:
        return None
    return _revert(namespace, document_id, f"--to {chosen.number}")


@dataclass(frozen=True, slots=True)
class Timeline:
    """Some versions of a document, newest first.

    Attributes:
        rows: the versions, and gaps among them.
        newer: the address of newer ones.
        older: the address of older ones.
        first: number of the oldest here.
        last: number of the newest here.
    """

    rows: Sequence[said.Row]
    newer: str | None
    older: str | None
    first: int
    last: int


def _timeline(look: Look, namespace: str, chosen: Chosen, where: Mapping[str, Any], view: str) -> Timeline:
    total, size = chosen.total, VERSIONS_ON_A_PAGE
    first, last = _window(look, chosen.number, total)
    visible = [brief for brief in chosen.some if look.history.shown(brief.event) is not None]
    rows = said.rows(look, namespace, reversed(visible), end=last == total)
    stay = {**where, "at": chosen.asked or chosen.number or None, "view": view if view != _VIEWS[0] else None}
    newer = links.address("document", **stay, to=min(last + size, total)) if last < total else None
    older = links.address("document", **stay, to=first - 1) if first > 1 else None
    return Timeline(rows, newer, older, first, last)


def _content(look: Look, chosen: Chosen, view: str, where: Mapping[str, Any]) -> dict[str, Any]:
    """What a view shows of the chosen version."""
    state = chosen.state
    if view == "changes":
        return {"lines": _change_lines(chosen)}
    if state.unknown is not None or state.data is None:
        # What is gone is shown as it was.
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
        return _blamed(look, chosen, where)
    found = chosen.marks()
    tree = Tree(found, whole=links.of_values(where, chosen.number)).document(state.data)
    return {
        "tree": tree,
        "changed": [(node, said.where(node.path)) for node in changed(tree)],
        "compared": found is not None,
        "change_count": found.count if found is not None else 0,
        "size": len(state.data),
        "blameable": len(state.data) <= MOST_BLAMED,
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


def _change_lines(chosen: Chosen) -> list[said.Line]:
    """What the chosen version changed, down to the leaves where both states are known."""
    event = chosen.event
    if event is None:
        return []
    found = chosen.marks()
    if found:
        differences = [one for each in (*found.at.values(), *found.gone.values()) for one in each]
        return [said.difference_line(one) for one in differences[: said.MOST_LINES]]
    return said.event_lines(event)


@dataclass(frozen=True, slots=True)
class Setter:
    """Who set a leaf: the event, and which version of the document that is."""

    event: Event | None
    number: int
    row: said.Row | None
    link: str | None
    field: str | None
    line: said.Line | None = None


def _setters(look: Look, chosen: Chosen) -> dict[TextPath, Setter]:
    state = chosen.state
    at: Any = chosen.number if chosen.asked is None else links.point(chosen.asked)
    numbers: dict[bytes, int] = {}
    found: dict[TextPath, Setter] = {}
    for leaf, event in look.history.blame(state.namespace, state.document_id, at or None):
        if event is None:
            found[leaf.path] = Setter(None, 0, None, None, None)
            continue
        if bytes(event.id) not in numbers:
            here = event.namespace == state.namespace
            numbers[bytes(event.id)] = look.reader.version_of(event) if here and len(numbers) < said.MOST_LINES else 0
        number = numbers[bytes(event.id)]
        field = pattern(leaf.path) if all(isinstance(key, str) for key in leaf.path) else None
        plain = field if field is not None and field == leaf.field else None
        row = said.Row(event, number=number)
        found[leaf.path] = Setter(event, number, row, links.document(event, number), plain, _line_of(event, leaf.path))
    return found


def _line_of(event: Event, path: TextPath) -> said.Line | None:
    """What an event made of a field, if it says so."""
    if len(event.changes) > said.MOST_LINES:
        return None
    change = next((each for each in event.changes if path_of(each) == path), None)
    return said.line(change, event) if change is not None and change.old_value is not ABSENT else None


def _blamed(look: Look, chosen: Chosen, where: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the setter of each leaf beside it."""
    data = chosen.state.data or raw.EMPTY_DOCUMENT
    if len(data) > MOST_BLAMED and look.get("all") is None:
        return {"blame_anyway": _here(where, chosen, view="blame", all=1), "size": len(data)}
    try:
        setters = _setters(look, chosen)
    except UnknownStateError as error:
        return {"blame_unknown": error.reason}
    tree = Tree(whole=links.of_values(where, chosen.number), setters=setters).document(data)
    return {"tree": tree, "leaves": list(_leaves(flat(tree), where)), "size": len(data)}


def _leaves(lines: Iterable[tuple[int, Node]], where: Mapping[str, Any]) -> Iterable[tuple[int, Node, str | None]]:
    """Each line with the address of its field's own timeline."""
    for depth, node in lines:
        setter = node.setter
        field = setter.field if isinstance(setter, Setter) else None
        short = field is not None and len(field) < links.LONGEST_ID
        yield depth, node, links.address("document", **where, field=field) if short else None


def blame(look: Look) -> Answer:
    """Who set each leaf of a document, for the page that shows it: by path."""
    namespace, document_id = look.document()
    total = look.history.versions(namespace, document_id)
    chosen = _chosen(look, namespace, document_id, total)
    if chosen.state.data is None or len(chosen.state.data) > MOST_BLAMED:
        return Page("blame_card.html", {"cards": {}})
    try:
        setters = _setters(look, chosen)
    except UnknownStateError:
        setters = {}
    where = links.of_document(namespace, document_id, chosen.event)
    cards: dict[int, dict[str, Any]] = {}
    ids: dict[str, int] = {}
    leaves = []
    for path, setter in setters.items():
        named = setter.row.hexadecimal if setter.row is not None else ""
        number = ids.setdefault(named, len(ids))
        cards.setdefault(number, {"setter": setter, "number": number})
        field = links.address("document", **where, field=setter.field) if setter.field is not None else None
        leaves.append((links.path_name(path), number, field, setter.line))
    return Page("blame_card.html", {"cards": list(cards.values()), "leaves": leaves})


def _of_field(look: Look, namespace: str, document_id: Any, total: int) -> Answer:
    """The history of one field of a document."""
    field = look.get("field") or ""
    selection = Selection(namespace, document_id, field)
    selection = look.reader.resolve(selection)
    found = list(look.history.events(selection, newest_first=True, limit=VERSIONS_ON_A_PAGE + 1))
    rows: list[said.Row] = []
    for event in found[:VERSIONS_ON_A_PAGE]:
        concerned = list(islice(selection.changes_of(event), said.MOST_LINES))
        lines = [said.line(change, event, most=values.LONG) for change in concerned]
        rows.append(said.Row(event, lines, 0, look.reader.version_of(event), links.permalink(event)))
    cut = len(found) > VERSIONS_ON_A_PAGE
    oldest = rows[-1].event if cut else _first_version(look, namespace, document_id, total)
    last = rows[0].number if rows else 0
    where = links.of_document(namespace, document_id, found[0] if found else None)
    shown = {
        "ns": namespace,
        "id": document_id,
        "where": where,
        "field": field,
        "rows": said.among_gaps(look, namespace, rows, since=oldest.cluster_time) if oldest is not None else rows,
        "count": len(rows),
        "total": total,
        "cut": cut,
        "before": last - 1,
        "revert": _revert(namespace, document_id, f"--to {last - 1}", field) if last > 1 else None,
        "up": links.address("document", **where),
    }
    return Page("field.html", shown)


def _first_version(look: Look, namespace: str, document_id: Any, total: int) -> Event | None:
    found = _versions(look, namespace, document_id, 1, 1, total) if total else []
    return found[0].event if found else None


def event(look: Look) -> Answer:
    """One event, whole."""
    found = look.event(look.get("id") or "")
    if found.operation == "gap":
        return Elsewhere("gaps")
    shown = {
        "event": found,
        "row": said.Row(found, link=links.document(found) if found.document_id is not ABSENT else None),
        "lines": said.event_lines(found),
        "left": max(len(found.changes) - said.MOST_LINES, 0),
        "name": event_name(found.id),
    }
    return Page("event.html", shown)
