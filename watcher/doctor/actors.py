"""Checks how actors are found: the enabled sources, the actors of recent events, and how to find more."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.stored import operations
from change_history.stored.actor import CONTEXT, SESSION, STAMP
from change_history.stored.names import HISTORY
from config.settings import ActorSessions
from watcher.doctor.finding import Finding, Status, listed, many, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from config.settings import Settings
    from watcher.doctor.subject import Subject

NAME = "who did it"

_LATELY = 1000
_PAGE = "docs/actor.md"


class Routes(NamedTuple):
    """The enabled sources of actors.

    Attributes:
        contexts: name of the collection of context documents; empty: they are not used.
        there: the databases that have such a collection.
        fields: the fields that are used as stamps.
        sessions: whether the database user is looked up by session.
    """

    contexts: str
    there: tuple[str, ...]
    fields: tuple[str, ...]
    sessions: bool


def check(subject: Subject) -> Iterator[Finding]:
    """The settings, the context documents that there are, and the last events of the history."""
    settings: Settings = subject.settings
    found = [each.database for each in subject.collections if each.name == settings.context_collection]
    routes = Routes(
        settings.context_collection,
        tuple(found),
        settings.actor_fields,
        settings.actor_sessions is ActorSessions.ON,
    )
    yield judge(routes, lately(subject))


def lately(subject: Subject) -> Counter[str]:
    """Number of recent events by the source of their actor; "": unknown. Baselines and gaps are not counted."""
    nobodys = {"operation": {"$nin": [operations.BASELINE, operations.GAP]}}
    stages: list[dict[str, Any]] = [
        {"$sort": {"_id": -1}},
        {"$limit": 10 * _LATELY},
        {"$match": nobodys},
        {"$limit": _LATELY},
        {"$group": {"_id": {"$ifNull": ["$actor.provenance", ""]}, "events": {"$sum": 1}}},
    ]
    return Counter({str(row["_id"]): int(row["events"]) for row in subject.history[HISTORY].aggregate(stages)})


def judge(routes: Routes, told: Mapping[str, int]) -> Finding:
    """Report for how many events the actor is known, and how to know more.

    Args:
        routes: the enabled sources.
        told: number of recent events by the source of their actor; "": unknown.
    """
    events = sum(told.values())
    known = events - told.get("", 0)
    facts = {"events": events, "known": known, "by": {name: count for name, count in told.items() if name}}
    facts |= routes._asdict() | {"there": [*routes.there], "fields": [*routes.fields]}
    opened, more = _opened(routes), _more(routes, told)
    if not events:
        said = f"nothing is recorded yet of which that could be known; {opened}"
        return Finding(NAME, Status.OK, said, more, facts)
    by = ", ".join(f"{told[name]} by {name}" for name in (CONTEXT, STAMP, SESSION) if told.get(name))
    said = f"known of {known} of the last {many(events, 'event')}" + (f" ({by})" if by else "") + f"; {opened}"
    if routes.fields and not told.get(STAMP):
        return warning(
            NAME,
            said,
            f"No event had a stamp in {listed(routes.fields)}: do applications write the field with every change? "
            f"See {_PAGE}.\n{more}".rstrip(),
            **facts,
        )
    return Finding(NAME, Status.OK, said, more if known < events else "", facts)


def _opened(routes: Routes) -> str:
    ways = []
    if routes.contexts:
        where = f"in {listed([f'{name}.{routes.contexts}' for name in routes.there])}" if routes.there else "none yet"
        ways.append(f"context documents ({where})")
    if routes.fields:
        ways.append(f"stamps in {listed(routes.fields)}")
    if routes.sessions:
        ways.append("database users")
    return f"open: {', '.join(ways)}" if ways else "no way of knowing is open"


def _more(routes: Routes, told: Mapping[str, int]) -> str:
    lines = []
    if not routes.contexts:
        lines.append("WATCHER_CONTEXT_COLLECTION=watcher_context takes what applications say in their transactions.")
    elif not told.get(CONTEXT):
        lines.append(
            'Applications can say who writes, deletes too: `with recorded(session, actor="alice"):` of change_history.'
        )
    if not routes.fields:
        lines.append("WATCHER_ACTOR_FIELDS=updated_by:updated_at believes fields that applications write every time.")
    if not routes.sessions:
        lines.append("WATCHER_ACTOR_SESSIONS=on names the database user of what nobody else names.")
    return "\n".join(["To know more (" + _PAGE + "):", *lines]) if lines else ""
