"""Lists of events: of a collection, a transaction, an actor; the newest ones, live; and the gaps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson import Binary

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_raw
from change_history.query import activity, backwards, briefs
from change_history.query.selection import EVERYTHING, Selection
from change_history.query.transactions import name_of
from change_history.reconstruct.reads import is_id
from change_history.stored import operations
from change_history.stored.names import DOCUMENT_TIMELINE, NAMESPACE_TIMELINE
from watcher.web import problems
from watcher.web.pages import event_rows, links, values
from watcher.web.pages.page_request import Page
from watcher.words import literals

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from change_history.query.briefs import Brief
    from watcher.web.pages.page_request import Answer, PageRequest

ON_A_PAGE = 50
MOST_IN_TRANSACTION = 500
MOST_DELETED = 20
MOST_ACTORS = 2000
MOST_COUNTED = 10_000
_SEARCH_S = 2.0
_COUNT_MS = 1500
_MOST_NAMESPACES = 500

SPANS = {
    "24h": (86_400, "hour", "24 hours"),
    "30d": (30 * 86_400, "day", "30 days"),
    "12m": (366 * 86_400, "month", "12 months"),
}
_STEP_S = {"hour": 3600, "day": 86_400}


def newest(
    request: PageRequest, namespaces: Sequence[str], limit: int, before: ClusterTime | None = None
) -> list[Brief]:
    """The newest events of some collections."""
    collection = request.reader.collection_of_history
    if len(namespaces) > 1 and before is None:
        if request.history.reads_everything:
            read = briefs.read(collection, {"operation": {"$ne": operations.GAP}}, EVERYTHING, limit)
            return visible(request, read)
        ends = [(activity.last(collection, namespace) or 0, namespace) for namespace in namespaces]
        namespaces = [namespace for _, namespace in sorted(ends, reverse=True)[:limit]]
    found: list[Brief] = []
    for namespace in namespaces:
        query: dict[str, Any] = {"namespace": namespace}
        if before is not None:
            query["_id"] = {"$lt": Binary(before.first_id)}
        found += briefs.read(collection, query, NAMESPACE_TIMELINE, limit)
    found.sort(key=lambda brief: ClusterTime.from_id(bytes(brief.event.id)), reverse=True)
    return visible(request, found[:limit])


def visible(request: PageRequest, found: Iterable[Brief]) -> list[Brief]:
    """The events that the visitor may see; their documents are noted for the access log."""
    shown = []
    for brief in found:
        event = request.history.shown(brief.event)
        if event is not None:
            request.saw(event)
            shown.append(briefs.Brief(event, brief.count, brief.number, brief.size, brief.in_parts))
    return shown


def within_sight(request: PageRequest, query: Any) -> Any:
    """Restrict a query to the collections that the visitor may read, so that counts do not reveal the others."""
    if request.history.reads_everything:
        return query
    return {"$and": [query, {"namespace": {"$in": request.history.namespaces()}}]}


def _before(request: PageRequest) -> ClusterTime | None:
    """The cluster time before which a page begins; None: it is the first page."""
    text = request.get("before")
    if text is None:
        return None
    seconds, _, increment = text.partition(":")
    if not (seconds.isdecimal() and increment.isdecimal() and len(seconds) + len(increment) < 21):  # noqa: PLR2004
        raise problems.wrong_request("The beginning of the page cannot be read.")
    return ClusterTime(min(int(seconds) << 32 | int(increment), 2**64 - 1))


def written(moment: ClusterTime) -> str:
    """A cluster time as a parameter of an address."""
    return f"{moment.seconds}:{moment.increment}"


def _older(found: Sequence[Brief], limit: int) -> str | None:
    """The cluster time before which the next page begins; None: there is no next page."""
    if len(found) < limit:
        return None
    times = [ClusterTime.from_id(bytes(brief.event.id)) for brief in found]
    # The events of a cluster time stay together unless they fill the page.
    return written(times[-1] if times[0] == times[-1] else ClusterTime(times[-1] + 1))


def collection(request: PageRequest) -> Answer:
    """The page of a collection: its activity, its events and its deleted documents."""
    namespace = request.namespace()
    span = request.get("span") if request.get("span") in SPANS else None
    chosen = span or _span_for(request, namespace)
    if chosen is None:
        raise problems.not_found()
    seconds, unit, words = SPANS[chosen]
    since = int(time.time()) - seconds
    before = _before(request)
    found = newest(request, [namespace], ON_A_PAGE, before)
    counted = activity.of_collection(request.reader.collection_of_history, namespace, since, unit, most_ms=_COUNT_MS)
    older = _older(found, ON_A_PAGE)
    shown = {
        "ns": namespace,
        "rows": event_rows.rows(request, namespace, found, end=before is None),
        "older": links.address("collection", ns=namespace, span=span, before=older) if older else None,
        "newest": links.address("collection", ns=namespace, span=span) if before is not None else None,
        "activity": counted,
        "bars": _bars(counted, since, unit),
        "unit": unit,
        "span": chosen,
        "spans": {name: (links.address("collection", ns=namespace, span=name), SPANS[name][2]) for name in SPANS},
        "span_words": words,
        "operations": sorted({op for counter in counted.slices.values() for op in counter}),
        "total": sum(counter.total() for counter in counted.slices.values()),
        "most_fields": counted.fields[0][1] if counted.fields else 0,
        "references": [each for each in request.references if namespace in (each.source, each.target)],
    }
    return Page("collection.html", shown)


def _span_for(request: PageRequest, namespace: str) -> str | None:
    """The shortest span that includes the last event; None: there is no event."""
    last = activity.last(request.reader.collection_of_history, namespace)
    if last is None:
        return None
    age = time.time() - last.seconds
    return next((name for name, (seconds, _, _) in SPANS.items() if age < seconds), "12m")


@dataclass(frozen=True, slots=True)
class Bar:
    """One slice of time, with the number of events by operation."""

    begin: datetime
    counts: dict[str, int]
    total: int


def _bars(counted: activity.Activity, since: int, unit: str) -> list[Bar]:
    """All slices in order, including those without events."""
    if unit in _STEP_S:
        step = _STEP_S[unit]
        begins = [datetime.fromtimestamp(at, UTC) for at in range(since // step * step, int(time.time()) + 1, step)]
    else:
        first, now = datetime.fromtimestamp(since, UTC), datetime.now(UTC)
        months = range(first.year * 12 + first.month - 1, now.year * 12 + now.month)
        begins = [datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months]
    return [
        Bar(begin, dict(found), found.total()) for begin in begins for found in (counted.slices.get(begin, _none()),)
    ]


def _none() -> Any:
    from collections import Counter

    return Counter()


@dataclass(frozen=True, slots=True)
class DeletedRow:
    """A deleted document.

    Attributes:
        row: the event that deleted it.
        command: the command that restores it; None: it cannot be typed, or the document was erased.
        last: the address of its last state.
        erased: its values were erased, so it cannot be restored.
    """

    row: event_rows.EventRow
    command: str | None
    last: str | None
    erased: bool = False


def deleted(request: PageRequest) -> Answer:
    """The documents of a collection that are deleted, latest deletion first."""
    from watcher.web.pages.document import all_erased, undelete_command

    namespace = request.namespace()
    before = _before(request)
    collection_ = request.reader.collection_of_history
    found = backwards.events(
        collection_, [namespace], {"operation": "delete"}, limit=MOST_DELETED, seconds=_SEARCH_S, before=before
    )
    gone = []
    for brief in visible(request, found.briefs):
        event = brief.event
        if isinstance(event.document_id, briefs.LeftOut):
            gone.append(DeletedRow(event_rows.row(brief), None, links.permalink(event)))
            continue
        query = {"namespace": namespace, "document_id": is_id(to_raw(event.document_id))}
        newest_ = briefs.read(collection_, query, DOCUMENT_TIMELINE, 1)
        if newest_ and newest_[0].event.id == event.id:
            old = [change.old_value for change in newest_[0].event.changes if change.field != "_id"]
            erased = all_erased(old)
            command = None if erased else undelete_command(namespace, event.document_id)
            gone.append(DeletedRow(event_rows.row(brief), command, links.permalink(event), erased))
    if not gone and not found.briefs and found.reached is None and before is None:
        request.history.require(namespace)
        if namespace not in request.history.namespaces():
            raise problems.not_found()
    further = (
        links.address("collection/deleted", ns=namespace, before=written(found.reached)) if found.reached else None
    )
    shown = {
        "ns": namespace,
        "gone": gone,
        "further": further,
        "reached": found.reached,
        "moment": _clock(found.reached),
    }
    return Page("deleted.html", shown)


def _clock(reached: ClusterTime | None) -> datetime | None:
    return datetime.fromtimestamp(reached.seconds, UTC) if reached is not None else None


def transaction(request: PageRequest) -> Answer:
    """The page of a transaction: all its changes."""
    name = request.get("name")
    if name is None:
        raise problems.wrong_request("Which transaction? Its name is session:number, as a timeline shows it.")
    try:
        found = request.history.transaction(name)
    except ValueError as error:
        raise problems.wrong_request(f"This is no name of a transaction: {error}.") from error
    selection = Selection(None, transaction=found)
    read = briefs.read(
        request.reader.collection_of_history,
        within_sight(request, selection.query()),
        selection.index,
        MOST_IN_TRANSACTION + 1,
        newest_first=False,
    )
    events = visible(request, read)
    if not events:
        raise problems.not_found()
    rows = [event_rows.row(brief, few=briefs.MOST_CHANGES) for brief in events[:MOST_IN_TRANSACTION]]
    touched: dict[str, set[Any]] = {}
    for each in rows:
        touched.setdefault(each.event.namespace, set()).add(each.link)
    shown = {
        "name": name_of(found),
        "rows": rows,
        "cut": len(read) > MOST_IN_TRANSACTION,
        "first": rows[0].event,
        "touched": {namespace: len(documents) for namespace, documents in sorted(touched.items())},
        "who": next((person for each in rows if (person := event_rows.who(each.event)) is not None), None),
    }
    return Page("transaction.html", shown)


def actor(request: PageRequest) -> Answer:
    """The events of an actor, newest first."""
    text = request.get("who")
    if text is None:
        raise problems.wrong_request("Whose changes? The name of the actor is missing.")
    before, since, until = _before(request), request.get("since"), request.get("until")
    collection_ = request.reader.collection_of_history
    read: list[Brief] = []
    total = 0
    for wanted in (text, *_other_types(text)):
        selection = Selection(None, actor=wanted, since=request.time("since"), until=request.time("until"))
        query = within_sight(request, selection.query())
        total += collection_.count_documents(query, hint=selection.index, limit=MOST_COUNTED + 1)
        if before is not None:
            query = {"$and": [query, {"_id": {"$lt": Binary(before.first_id)}}]}
        read += briefs.read(collection_, query, selection.index, ON_A_PAGE)
    read.sort(key=lambda brief: ClusterTime.from_id(bytes(brief.event.id)), reverse=True)
    del read[ON_A_PAGE:]
    found = visible(request, read)
    if not found and before is None and since is None and until is None:
        raise problems.not_found()
    older = _older(read, ON_A_PAGE)
    asked = {"who": text, "since": since, "until": until}
    shown = {
        "name": text,
        "since": since,
        "until": until,
        "total": total,
        "most": MOST_COUNTED,
        "rows": [event_rows.row(brief) for brief in found],
        "older": links.address("actor", **asked, before=older) if older else None,
        "newest": links.address("actor", **asked) if before is not None else None,
        "whole": links.address("api/v1/events", actor=text, since=since, until=until),
    }
    return Page("actor.html", shown)


def actors(request: PageRequest) -> Answer:
    """The list of all actors."""
    found = sorted({each if isinstance(each, str) else values.plain(each, 80) for each in request.history.actors()})
    return Page("actors.html", {"actors": found[:MOST_ACTORS], "cut": len(found) > MOST_ACTORS})


def _other_types(text: str) -> Iterable[Any]:
    """Values of other types that the text of an actor's name may mean."""
    try:
        found = literals.value(text)
    except Exception:  # noqa: BLE001 - the text is a name then, not a literal
        return []
    return [found] if not isinstance(found, str | list | dict) else []


def live(request: PageRequest) -> Answer:
    """The newest events; a script keeps them up to date."""
    namespace = request.get("ns")
    namespaces = [request.namespace()] if namespace is not None else request.history.namespaces()
    found = newest(request, namespaces[:_MOST_NAMESPACES], ON_A_PAGE)
    shown = {
        "ns": namespace,
        "rows": event_rows.rows(request, namespace, found) if found else [],
        "namespaces": namespaces if namespace is None else request.history.namespaces(),
        "follow": links.address("api/v1/follow", namespace=namespace),
        "now": datetime.now(UTC),
    }
    return Page("live_rows.html" if request.get("rows") is not None else "live.html", shown)


def gaps(request: PageRequest) -> Answer:
    """All gaps, newest first."""
    namespace = request.namespace() if request.get("ns") is not None else None
    found = list(islice(request.history.gaps(namespace), MOST_IN_TRANSACTION))
    shown = {"ns": namespace, "gaps": [event_rows.gap_of(event) for event in reversed(found)]}
    return Page("gaps.html", shown)
