"""What can be asked: each path with its parameters, what it answers, and how history is asked for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from change_history.bson.values import ABSENT, to_raw
from change_history.http import wire
from change_history.query import gaps as stored_gaps
from change_history.query.selection import Selection
from watcher.web import problems
from watcher.web.api import cursors, filters
from watcher.web.api import parameters as p
from watcher.web.api.answers import Item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from change_history.query.actors import Authors
    from change_history.query.stats import Numbers
    from change_history.stored.event import Event
    from watcher.web.counts import Count
    from watcher.web.visible import VisibleHistory

_KEY_BYTES = 16


class Asked(NamedTuple):
    """A request, read.

    Attributes:
        given: its parameters.
        check: ties cursors to this question.
    """

    given: p.Given
    check: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something that can be asked.

    Attributes:
        path: below `/api/v1`.
        summary: what it answers, in few words.
        description: the rest.
        parameters: what may be said.
        schema: name of the schema of the answer, or of an item of a list.
        work: asks history. Gives a tree, or of a list an iterator of items; runs in a thread.
        lists: whether the answer is a list: with `limit` and `cursor`, also line by line.
        most: the longest page of a list.
        slow: whether an answer may take as long as a streamed one.
    """

    path: str
    summary: str
    description: str
    parameters: tuple[p.Parameter, ...]
    schema: str
    work: Callable[[VisibleHistory, Asked], Any]
    lists: bool = False
    most: int = 1000
    slow: bool = False

    @property
    def name(self) -> str:
        """Its operation id."""
        return self.work.__name__

    @property
    def all_parameters(self) -> tuple[p.Parameter, ...]:
        """Also those of every list."""
        return (*self.parameters, p.limit(self.most), p.CURSOR) if self.lists else self.parameters


def _named(history: VisibleHistory, given: p.Given) -> tuple[str, Any]:
    """The document that a path names, of which perhaps nothing is recorded."""
    namespace, document_id = given["namespace"], given["id"]
    history.require(namespace)
    if isinstance(document_id, p.OfEvent):
        event = history.event(document_id.event_id)
        if event.namespace != namespace or event.document_id is ABSENT:
            raise problems.not_found()
        document_id = event.document_id
    return namespace, document_id


def document_of(history: VisibleHistory, given: p.Given) -> tuple[str, Any]:
    """The document that a path names; of one that nothing is recorded of, not found."""
    namespace, document_id = _named(history, given)
    if not history.knows(namespace, document_id):
        # It may lie under the name that its collection had before.
        state = history.state(namespace, document_id)
        if state.data is None and state.entry is None:
            raise problems.not_found()
    return namespace, document_id


def collections(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """List what is recorded."""
    after = _key_after(asked)
    names = history.namespaces()
    wanted = [name for name in names if name.encode("utf-8", "surrogateescape") > after] if after is not None else names
    for begin in range(0, len(wanted), _COUNTED_TOGETHER):
        counted = history.counts(*wanted[begin : begin + _COUNTED_TOGETHER])
        for name, count in counted.items():
            cursor = cursors.after_key(name.encode("utf-8", "surrogateescape"), asked.check)
            yield Item(_collection(name, count), cursor)


_COUNTED_TOGETHER = 101
"""A page of the usual length, and one more, which shows that there is another."""


def collection(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """One of them."""
    name = history.require(asked.given["namespace"])
    count = history.counts(name)[name]
    if count.last is None:
        raise problems.not_found()
    return _collection(name, count)


def _collection(name: str, count: Count) -> dict[str, Any]:
    tree: dict[str, Any] = {"namespace": name, "events": count.events}
    for key, event in (("first", count.first), ("last", count.last)):
        if event is not None:
            tree[key] = {
                "timestamp": wire.time_tree(event.timestamp),
                "cluster_time": wire.cluster_time(event.cluster_time),
            }
    return tree


def events(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """Events of all that is visible."""
    name = asked.given.get("namespace")
    namespace = history.recorded(name) if name is not None else None
    return _events(history, asked, _selection(history, asked.given, namespace, ABSENT))


def collection_events(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """Events of a collection."""
    namespace = history.recorded(asked.given["namespace"])
    return _events(history, asked, _selection(history, asked.given, namespace, ABSENT))


def document_events(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """The timeline of a document."""
    namespace, document_id = _named(history, asked.given)
    found = _events(history, asked, _selection(history, asked.given, namespace, document_id))
    first = next(found, None)
    if first is None:
        document_of(history, asked.given)  # it may have others
        return iter(())
    return chain([first], found)


def _selection(history: VisibleHistory, given: p.Given, namespace: str | None, document_id: Any) -> Selection:
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


def _events(history: VisibleHistory, asked: Asked, selection: Selection) -> Iterator[Item]:
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


def event(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """One event."""
    return wire.event_tree(history.event(asked.given["event"]))


def transaction(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """What a transaction did."""
    found = history.transaction(asked.given["transaction"])
    return _events(history, asked, Selection(None, transaction=found))


def document(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """A document as it was."""
    given = asked.given
    namespace, document_id = history.require(given["namespace"]), given["id"]
    if isinstance(document_id, p.OfEvent):
        namespace, document_id = document_of(history, given)
    state = history.state(namespace, document_id, given.get("at"))
    if state.data is None and state.entry is None:
        document_of(history, given)  # it may be known at another time
    return wire.state_tree(state)


def versions(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """How many versions of a document there are."""
    namespace, document_id = document_of(history, asked.given)
    return {
        "namespace": namespace,
        "document_id": wire.of(document_id),
        "versions": history.versions(namespace, document_id),
    }


def diff(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """What is different."""
    namespace, document_id = document_of(history, asked.given)
    a, b = asked.given["from"], asked.given.get("to")
    return {
        "namespace": namespace,
        "document_id": wire.of(document_id),
        "changes": [wire.change_tree(change) for change in history.diff(namespace, document_id, a, b)],
        "differences": [wire.difference_tree(each) for each in history.differences(namespace, document_id, a, b)],
    }


def blame(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """Which event each leaf has its value from."""
    namespace, document_id = _named(history, asked.given)
    found = history.blame(namespace, document_id, asked.given.get("at"))
    if not found:
        document_of(history, asked.given)  # it was not there then
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


def documents(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """A collection as it was."""
    given, after = asked.given, _key_after(asked)
    state = history.collection(history.recorded(given["namespace"]), given.get("at"))
    if state.unknown is not None:
        from change_history.reconstruct.state import UnknownStateError

        raise UnknownStateError(given["namespace"], state.unknown)
    query = filters.query(given.get("where", ()), given.get("filter"))
    for found in history.documents(state, query):
        key = _key(found.raw_id)
        if after is not None:
            after = None if key == after else after
            continue
        tree: dict[str, Any] = {"document_id": wire.Value(found.raw_id)}
        tree["document"] = wire.Value((raw.DOCUMENT, found.data)) if found.data is not None else None
        if found.unknown is not None:
            tree["unknown"] = found.unknown
        yield Item(tree, cursors.after_key(key, asked.check))


def collection_diff(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """What is different between two points in time of a collection."""
    given, after = asked.given, _key_after(asked)
    namespace = history.recorded(given["namespace"])
    for changed in history.collection_diff(namespace, given["from"], given.get("to")):
        key = _key(changed.raw_id)
        if after is not None:
            after = None if key == after else after
            continue
        tree: dict[str, Any] = {"document_id": wire.Value(changed.raw_id)}
        for name, side in (("before", changed.before), ("after", changed.after)):
            tree[name] = wire.Value((raw.DOCUMENT, side)) if side is not None else None
        if changed.unknown is not None:
            tree["unknown"] = changed.unknown
        yield Item(tree, cursors.after_key(key, asked.check))


def actors(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """Who is known to have done something."""
    after = _key_after(asked)
    for actor in history.actors():
        key = _key(to_raw(actor))
        if after is not None:
            after = None if key == after else after
            continue
        yield Item({"id": wire.of(actor)}, cursors.after_key(key, asked.check))


def gaps(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """What was lost."""
    given, after = asked.given, _key_after(asked)
    name = given.get("namespace")
    namespace = history.recorded(name) if name is not None else None
    for gap in history.gaps(namespace, since=given.get("since"), until=given.get("until")):
        key = bytes(gap.id)
        if after is not None and key <= after:
            continue
        view = stored_gaps.view(gap)
        tree = {
            "id": key.hex(),
            "from": wire.cluster_time(view.since),
            "to": wire.cluster_time(view.until),
            "stream": view.stream,
            "cause": view.cause,
            "include": list(view.include),
            "exclude": list(view.exclude),
            "event": wire.event_tree(gap),
        }
        yield Item(tree, cursors.after_key(key, asked.check))


def verification(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """Whether history is still what was sealed."""
    del asked
    report = history.verify()
    return {
        "sound": not report.findings,
        "seals": report.seals,
        "digest": report.digest,
        "unsigned": report.unsigned,
        "entries": report.entries,
        "unsealed": report.unsealed,
        "amended": report.amended,
        "findings": [
            {
                "what": finding.what,
                "said": finding.said,
                **({"event": finding.id.hex()} if finding.id is not None else {}),
                **({"seal": finding.seal} if finding.seal is not None else {}),
                **({"namespace": finding.namespace} if finding.namespace is not None else {}),
                **({"document_id": wire.Value(finding.document_id)} if finding.document_id is not None else {}),
            }
            for finding in report.findings[:_MOST_FINDINGS]
        ],
        "more_findings": max(len(report.findings) - _MOST_FINDINGS, 0),
        "remarks": list(report.remarks),
    }


_MOST_FINDINGS = 1000


def stats(history: VisibleHistory, asked: Asked) -> dict[str, Any]:
    """How much is recorded."""
    given, name = asked.given, asked.given.get("namespace")
    names = [history.recorded(name)] if name is not None else history.namespaces()
    top, found = given.get("top", 10), dict[str, Any]()
    counting = [(each, history.stats(each, since=given.get("since"), until=given.get("until"))) for each in names]
    wanted = given.get("of", ("collections",))
    if "collections" in wanted:
        found["collections"] = [_numbers(each, numbers) for each, of in counting for _, numbers in of.by_collection()]
    if "days" in wanted:
        found["days"] = [
            {"day": wire.time_tree(day), **_numbers(each, numbers)}
            for each, of in counting
            for day, _, numbers in of.by_day(given.get("zone", "UTC"))
        ]
    if "documents" in wanted:
        busiest = [
            {"document_id": wire.of(document_id), **_numbers(each, numbers)}
            for each, of in counting
            for _, document_id, numbers in of.busiest_documents(top)
        ]
        found["documents"] = sorted(busiest, key=lambda one: one["events"], reverse=True)[:top]
    if "fields" in wanted:
        fields: list[dict[str, Any]] = [
            {"namespace": each, "field": field, "changes": int(count)}
            for each, of in counting
            for _, field, count in of.busiest_fields(top)
        ]
        found["fields"] = sorted(fields, key=lambda one: one["changes"], reverse=True)[:top]
    if "actors" in wanted:
        found["actors"] = _actors([of.by_actor() for _, of in counting], top)
    return found


def _actors(found: list[Authors], top: int) -> dict[str, Any]:
    """Who did how much, over several collections."""
    events: Counter[tuple[raw.Value, str]] = Counter()
    for each in found:
        for author in each.actors:
            events[to_raw(author.actor), author.provenance] += author.events
    return {
        "events": sum(each.events for each in found),
        "unknown": sum(each.unknown for each in found),
        "busiest": [
            {"id": wire.Value(actor), "provenance": provenance, "events": count}
            for (actor, provenance), count in events.most_common(top)
        ],
    }


def _numbers(namespace: str, numbers: Numbers) -> dict[str, Any]:
    return {"namespace": namespace, **{name: int(count) for name, count in numbers._asdict().items()}}


def _key(raw_id: raw.Value) -> bytes:
    return blake2b(bytes([raw_id[0]]) + raw_id[1], digest_size=_KEY_BYTES).digest()


def _key_after(asked: Asked) -> bytes | None:
    cursor = asked.given.get("cursor")
    return cursors.key(cursor, asked.check) if cursor is not None else None


WHERE = p.Parameter(
    "where",
    f"Only documents of which this holds, {filters.FORM}; with several, all must. A value is written as an id is, and "
    "compared as a value.",
    filters.condition,
    filters.FORM,
    several=True,
)

FILTER = p.Parameter(
    "filter",
    f"Only documents that fit {filters.FILTER_FORM}. The server decides; text is compared byte by byte.",
    filters.of_mongodb,
    filters.FILTER_FORM,
)

_NARROWING = (
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
        (p.NAMESPACE, *_NARROWING),
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
        (p.NAMESPACE, p.ID, *_NARROWING),
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
    Endpoint(
        "/events",
        "Read events of all collections",
        "All conditions must hold.",
        (p.ABOUT, *_NARROWING),
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
    Endpoint(
        "/actors",
        "List who did something",
        "Everybody who is known to have changed something. What they did: `/events?actor=…`.",
        (),
        "KnownActor",
        actors,
        lists=True,
    ),
    Endpoint(
        "/gaps",
        "List what was lost",
        "Intervals of which events were lost for good, oldest first.",
        (p.ABOUT, p.SINCE, p.UNTIL),
        "Gap",
        gaps,
        lists=True,
    ),
    Endpoint(
        "/verification",
        "Verify that history is what was sealed",
        "All of it is read, as `watcher verify` does. Only for those who may read everything.",
        (),
        "Verification",
        verification,
        slow=True,
    ),
    Endpoint(
        "/stats",
        "Count what is recorded",
        "Each table that is asked for is one pass over the events.",
        (p.ABOUT, p.OF, p.SINCE, p.UNTIL, p.ZONE, p.TOP),
        "Stats",
        stats,
    ),
)
