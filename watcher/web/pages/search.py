"""Search for documents by `_id` or by a value that they ever had, and for references to a document."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson.errors import BSONError

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import Missing, to_raw
from change_history.query import backwards, briefs
from change_history.query.selection import Selection
from change_history.reconstruct.reads import is_id
from change_history.stored.names import DOCUMENT_TIMELINE
from change_history.stored.reading import as_query
from watcher.web import problems
from watcher.web.pages import event_rows, links
from watcher.web.pages.lists import _before, visible, within_sight, written
from watcher.web.pages.page_request import MovedPage, Page
from watcher.words import literals, meanings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from change_history.query.briefs import Brief
    from change_history.stored.event import Change
    from watcher.web.pages.page_request import Answer, PageRequest
    from watcher.web.pages.references import Reference

MOST_FOUND = 30
MOST_DOCUMENTS = 40
_EVENTS_OF_EACH = 30
_SEARCH_S = 2.5
_MOST_NAMESPACES = 500
_ID_DIGITS = range(16, 33)


@dataclass(frozen=True, slots=True)
class Hit:
    """A document whose `_id` was searched for."""

    namespace: str
    document_id: Any
    address: str
    row: event_rows.EventRow


def page(request: PageRequest) -> Answer:
    """The page of search results."""
    text = request.get("q")
    namespace = request.namespace() if request.get("ns") is not None else None
    names = request.history.namespaces()
    if text is None:
        return Page("search.html", {"q": "", "ns": namespace, "namespaces": names})
    text = text.strip()
    if namespace is None and text in names:
        return MovedPage(links.address("collection", ns=text))
    wanted = meant(text)
    within = [namespace] if namespace is not None else names[:_MOST_NAMESPACES]
    hits = _by_id(request, within, wanted)
    if len(hits) == 1 and request.get("by") == "id":
        return MovedPage(hits[0].address)
    found = backwards.Found()
    if request.get("by") != "id":
        found = backwards.mentions(
            request.reader.collection_of_history,
            within,
            wanted,
            limit=MOST_FOUND,
            seconds=_SEARCH_S,
            before=_before(request),
        )
    rows = [event_rows.row(_matching(brief, wanted)) for brief in visible(request, found.briefs)]
    asked = {"q": text, "ns": namespace, "by": "value"}
    shown = {
        "q": text,
        "ns": namespace,
        "by": request.get("by"),
        "namespaces": names,
        "hits": hits if request.get("before") is None else [],
        "rows": rows,
        "values": wanted,
        "further": links.address("search", **asked, before=written(found.reached)) if found.reached else None,
        "reached": datetime.fromtimestamp(found.reached.seconds, UTC) if found.reached else None,
        "event": _event_named(request, text),
        "actor": links.address("actor", who=text) if _is_actor(request, text) else None,
    }
    return Page("search.html", shown)


def _matching(brief: Brief, wanted: Sequence[Any]) -> Brief:
    """An event with those changes first whose old or new value is one of those searched for."""
    keys = {to_raw(value) for value in wanted}

    def matches(change: Change) -> bool:
        sides = (change.new_value, change.old_value)
        return any(not isinstance(side, Missing | briefs.LeftOut) and to_raw(side) in keys for side in sides)

    changes = tuple(sorted(brief.event.changes, key=lambda change: not matches(change)))
    return replace(brief, event=replace(brief.event, changes=changes))


def meant(text: str) -> list[Any]:
    """The values that a text may mean: as it is parsed, and of other types that look the same.

    Raises:
        watcher.web.problems.Problem: the text cannot be parsed.
    """
    try:
        first = literals.value(text)
    except (ValueError, BSONError, OverflowError, RecursionError) as error:
        raise problems.wrong_request(f"The value cannot be read: {error}.") from error
    found: list[Any] = []
    seen = set()
    for each in [first, text, *meanings.look_alikes(first)]:
        try:
            key = to_raw(each)
        except (ValueError, BSONError, OverflowError, RecursionError):
            continue
        if key not in seen:
            seen.add(key)
            found.append(each)
    return found


def _by_id(request: PageRequest, namespaces: Sequence[str], wanted: Sequence[Any]) -> list[Hit]:
    collection = request.reader.collection_of_history
    each = [{"document_id": is_id(to_raw(value))} for value in wanted if not isinstance(value, list)]
    hits = []
    for namespace in namespaces:
        query = as_query({"namespace": namespace, "$or": each})
        stored = collection.find_one(query, {"_id": 1}, hint=DOCUMENT_TIMELINE)
        if stored is None:
            continue
        newest = {bytes(to_raw(brief.event.document_id)[1]): brief for brief in _newest(request, namespace, wanted)}
        for brief in newest.values():
            event = brief.event
            address = links.address("document", **links.of_document(namespace, event.document_id, event))
            hits.append(Hit(namespace, event.document_id, address, event_rows.row(brief)))
    return hits[:MOST_FOUND]


def _newest(request: PageRequest, namespace: str, wanted: Iterable[Any]) -> list[Brief]:
    """The newest event of each document that has one of the given `_id`s."""
    collection = request.reader.collection_of_history
    found = []
    for value in wanted:
        if isinstance(value, list):
            continue
        query = {"namespace": namespace, "document_id": is_id(to_raw(value))}
        found += visible(request, briefs.read(collection, query, DOCUMENT_TIMELINE, 1))
    return found


def _is_actor(request: PageRequest, text: str) -> bool:
    """Whether there is an event of an actor of this name that the visitor may read."""
    selection = Selection(None, actor=text)
    query = within_sight(request, selection.query())
    found = request.reader.collection_of_history.find_one(as_query(query), {"_id": 1}, hint=selection.index)
    return found is not None


def _event_named(request: PageRequest, text: str) -> str | None:
    """The address of the event whose id begins so; None: there is none."""
    digits = text.strip().lower()
    if len(digits) not in _ID_DIGITS or any(digit not in "0123456789abcdef" for digit in digits):
        return None
    found = request.history.event_named(digits)
    return links.of_event(found) if found is not None else None


def across(request: PageRequest) -> Answer:
    """A document and those of other collections that mention it, in one timeline."""
    namespace, document_id = request.document()
    total = request.history.versions(namespace, document_id)
    if not total:
        raise problems.not_found()
    references = [each for each in request.references if each.target == namespace]
    references = [each for each in references if request.history.may_read(each.source)]
    names = [name for name in request.history.namespaces() if name != namespace]
    within = list(dict.fromkeys(each.source for each in references)) or names[:_MOST_NAMESPACES]
    collection = request.reader.collection_of_history
    found = backwards.Found()
    if within:
        found = backwards.mentions(
            collection, within, [document_id], limit=MOST_FOUND * 4, seconds=_SEARCH_S, before=_before(request)
        )
    mentioned = visible(request, found.briefs)
    if references:
        mentioned = [brief for brief in mentioned if _refers(request, brief, references, document_id)]
    documents: dict[tuple[str, Any], Any] = {}
    for brief in mentioned:
        event = brief.event
        if not isinstance(event.document_id, briefs.LeftOut):
            documents.setdefault((event.namespace, to_raw(event.document_id)), event.document_id)
    sides = [
        (namespace, document_id),
        *((ns, found_id) for (ns, _), found_id in islice(documents.items(), MOST_DOCUMENTS)),
    ]
    events: list[Brief] = []
    for ns, found_id in sides:
        query = {"namespace": ns, "document_id": is_id(to_raw(found_id))}
        events += visible(request, briefs.read(collection, query, DOCUMENT_TIMELINE, _EVENTS_OF_EACH))
    events.sort(key=lambda brief: ClusterTime.from_id(bytes(brief.event.id)), reverse=True)
    where = links.of_document(namespace, document_id, events[0].event)
    shown = {
        "ns": namespace,
        "id": document_id,
        "where": where,
        "references": references,
        "sides": sides[1:],
        "side_addresses": [links.address("document", **links.of_document(ns, each)) for ns, each in sides[1:]],
        "rows": [event_rows.row(brief) for brief in events],
        "cut": len(documents) > MOST_DOCUMENTS,
        "own": namespace,
        "further": links.address("across", **where, before=written(found.reached)) if found.reached else None,
        "reached": datetime.fromtimestamp(found.reached.seconds, UTC) if found.reached else None,
        "up": links.address("document", **where),
    }
    return Page("across.html", shown)


def _refers(request: PageRequest, brief: Brief, references: Sequence[Reference], document_id: Any) -> bool:
    """Whether an event changes a field of a reference, or a field inside or around it."""
    del request, document_id
    fields = [each.field for each in references if each.source == brief.event.namespace]
    if brief.count > len(brief.event.changes):
        return True  # not all of its changes were read
    return any(
        change.field == field
        or change.field.startswith(f"{field}.")
        or field.startswith(f"{change.field}.")
        or not change.field
        for change in brief.event.changes
        for field in fields
    )
