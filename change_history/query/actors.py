"""Events by actor, and how many have no known actor. The server counts.

All events of the stream and of reconciliations count. Baselines, which record the documents found when watching began,
and gaps do not.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson.values import document_to_python
from change_history.stored import operations
from change_history.stored.names import DOCUMENT_TIMELINE
from change_history.stored.order import position_at
from change_history.stored.reading import as_query, is_document

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection

    from change_history.query.selection import StatsQuestion
    from change_history.stored.order import HistoryPosition

MOST_KINDS = 1000
"""Most actors, and most kinds of events without one, that are listed: the busiest."""


class Author(NamedTuple):
    """The number of one actor's events.

    Attributes:
        provenance: how the actor is known (see `change_history.stored.actor`); one known in two ways is listed twice.
    """

    actor: Any
    provenance: str
    events: int


class Unknown(NamedTuple):
    """Events whose actor is unknown."""

    namespace: str
    operation: str
    events: int


class Authors(NamedTuple):
    """Events by actor.

    Attributes:
        events: the number of all events that count.
        unknown: the number of those without a known actor.
        actors: the busiest first.
        unknown_by: the most frequent kinds first.
    """

    events: int
    unknown: int
    actors: list[Author]
    unknown_by: list[Unknown]


def count(collection: Collection[RawBSONDocument], question: StatsQuestion) -> Authors:
    """Count events by actor and provenance, in one pass over them."""
    nobodys = {"$eq": [{"$type": "$actor.id"}, "missing"]}
    about: dict[str, Any] = {"actor": "$actor.id", "provenance": "$actor.provenance"}
    of_nobody = {name: {"$cond": [nobodys, f"${name}", "$$REMOVE"]} for name in ("namespace", "operation")}
    somebodys = {"operation": {"$nin": [operations.BASELINE, operations.GAP]}}
    stages: list[dict[str, Any]] = [
        {"$match": {"$and": [question.match(), somebodys]}},
        {"$group": {"_id": about | of_nobody, "events": {"$sum": 1}}},
        {"$sort": {"events": -1, "_id": 1}},
    ]
    actors: list[Author] = []
    nobody: list[Unknown] = []
    events = unknown = 0
    pipeline = [as_query(stage) for stage in stages]
    with collection.aggregate(pipeline, hint=dict(question.index), allowDiskUse=True) as cursor:
        for row in cursor:
            found = document_to_python(row)
            key, size = found["_id"], int(found["events"])
            events += size
            if "actor" in key:
                if len(actors) < MOST_KINDS:
                    actors.append(Author(key["actor"], key.get("provenance", ""), size))
                continue
            unknown += size
            if len(nobody) < MOST_KINDS:
                nobody.append(Unknown(key.get("namespace", ""), key.get("operation", ""), size))
    return Authors(events, unknown, actors, nobody)


def of_document(
    collection: Collection[RawBSONDocument],
    namespace: str,
    document_id: Any,
    after: HistoryPosition,
    until: HistoryPosition,
) -> Authors:
    """Count the events of a document after one position and up to another by actor.

    Args:
        after: the position of an event, excluded.
        until: the position of an event, included.
    """
    of_it: dict[str, Any] = {"namespace": {"$eq": namespace}, "document_id": is_document(document_id)}
    wanted = {"resume_token": 1, "operation": 1, "namespace": 1, "actor.id": 1, "actor.provenance": 1}
    found: Counter[tuple[Any, ...]] = Counter()
    # Between the two cluster times the server counts; within each of them, only the tokens give the order.
    inside = {"$gt": Binary(after.cluster_time.last_id), "$lt": Binary(until.cluster_time.first_id)}
    group = {"_id": {"actor": "$actor.id", "provenance": "$actor.provenance"}, "events": {"$sum": 1}}
    stages = [as_query(stage) for stage in ({"$match": {**of_it, "_id": inside}}, {"$group": group})]
    for row in collection.aggregate(stages, hint=dict(DOCUMENT_TIMELINE)):
        key = document_to_python(row)["_id"]
        found[_of(key.get("actor"), key.get("provenance"))] += int(row["events"])
    for time in {after.cluster_time, until.cluster_time}:
        at_it = {**of_it, "_id": {"$gte": Binary(time.first_id), "$lte": Binary(time.last_id)}}
        for stored in collection.find(as_query(at_it), wanted, hint=DOCUMENT_TIMELINE):
            if after < position_at(stored["_id"], stored.get("resume_token")) <= until:
                said = document_to_python(stored).get("actor", {})
                found[_of(said.get("id"), said.get("provenance"))] += 1
    actors = [Author(who[0], who[1], events) for who, events in found.items() if who]
    return Authors(found.total(), found[()], sorted(actors, key=lambda one: (-one.events, str(one.actor))), [])


def _of(actor: Any, provenance: Any) -> tuple[Any, ...]:
    """An actor as a key; empty: no actor."""
    return (actor, str(provenance or "")) if actor is not None else ()
