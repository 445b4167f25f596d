"""Endpoints of the history as a whole: actors, gaps, verification, statistics."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from change_history.bson.values import to_raw
from change_history.http import wire
from change_history.query import gaps as stored_gaps
from watcher.web.api import cursors
from watcher.web.api import parameters as p
from watcher.web.api.endpoint import Endpoint, from_cursor, key_after
from watcher.web.api.representation import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from change_history.bson import raw
    from change_history.query.actors import Authors
    from change_history.query.stats import Numbers
    from watcher.web.api.endpoint import Asked
    from watcher.web.visible import VisibleHistory


def actors(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """The actors."""
    for actor, cursor in from_cursor(asked, history.actors(), to_raw):
        yield Item({"id": wire.of(actor)}, cursor)


def gaps(history: VisibleHistory, asked: Asked) -> Iterator[Item]:
    """The gaps."""
    given, after = asked.given, key_after(asked)
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
    """Whether history matches its seals."""
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
    """Statistics of the history."""
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
        found["documents"] = sorted(busiest, key=lambda one: (one["events"], one["changes"]), reverse=True)[:top]
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
    """The numbers of events by actor, over several collections."""
    events: Counter[tuple[raw.Value, str]] = Counter()
    unknown: Counter[tuple[str, str]] = Counter()
    for each in found:
        for author in each.actors:
            events[to_raw(author.actor), author.provenance] += author.events
        for kind in each.unknown_by:
            unknown[kind.namespace, kind.operation] += kind.events
    return {
        "events": sum(each.events for each in found),
        "unknown": sum(each.unknown for each in found),
        "busiest": [
            {"id": wire.Value(actor), "provenance": provenance, "events": count}
            for (actor, provenance), count in events.most_common(top)
        ],
        "unknown_by": [
            {"namespace": namespace, "operation": operation, "events": count}
            for (namespace, operation), count in sorted(unknown.items(), key=lambda one: (-one[1], one[0]))[:top]
        ],
    }


def _numbers(namespace: str, numbers: Numbers) -> dict[str, Any]:
    return {"namespace": namespace, **{name: int(count) for name, count in numbers._asdict().items()}}


ENDPOINTS = (
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
