"""Which stretches of a namespace's history may go up to a horizon, and what each has to leave behind.

The documents of a collection that was dropped go whole. Of those that live on, be it under another name after a rename,
the state at the end of the stretch stays, as long as anybody asks for it. That holds of all that it had, those too that
an earlier rename brought: what lies under the name before that one then stands for nobody, and may go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.lineage import incarnations_of, lineage_of
from change_history.stored.names import CHECKPOINTS, HISTORY, HORIZONS
from change_history.stored.order import after

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history.reconstruct.lineage import Incarnation

STAYS = ("drop", "dropDatabase", "rename", "create", "gap")
"""What is not of a document, and stays: it says which documents a name stood for."""


class ExpiringStretch(NamedTuple):
    """Entries that lie under the namespace.

    Attributes:
        since, until: the first and the last cluster time of it.
        lineage: where the states at its end are told, newest first; empty: none has to stay.
        brought: lies under another name; its documents came from there with a rename, and need a base here.
    """

    since: ClusterTime
    until: ClusterTime
    lineage: tuple[Incarnation, ...]
    brought: tuple[Incarnation, ...] = ()


def stretches(
    database: Database[Any], namespace: str, done: ClusterTime, horizon: ClusterTime
) -> list[ExpiringStretch]:
    """What is to be looked at, oldest first.

    Args:
        done: everything before has gone already, but for what had to stay.
        horizon: up to where it is to go.
    """
    current = tuple(lineage_of(database, namespace, after(horizon)))
    mine = {each.since for each in current if each.namespace == namespace}
    kept: set[ClusterTime] = set()
    found: list[ExpiringStretch] = []
    for incarnation in reversed(incarnations_of(database, namespace)):
        if incarnation.since > horizon:
            continue
        end = incarnation.until.cluster_time.just_before
        if incarnation.since in mine:
            newest = incarnation.since == current[0].since
            brought = _brought(namespace, current, done) if newest else ()
            found.append(ExpiringStretch(incarnation.since, min(end, horizon), current, brought))
            continue
        lineage: tuple[Incarnation, ...] = ()
        # It lives on under another name, or a later one does that came of it, as when it was made capped.
        if incarnation.since in kept or _needed(database, namespace, incarnation):
            lineage = tuple(lineage_of(database, namespace, after(end)))
            kept.update(each.since for each in lineage if each.namespace == namespace)
            if end <= done:
                continue  # nothing has entered it since
        found.append(ExpiringStretch(incarnation.since, end, lineage, _brought(namespace, lineage, done)))
    return found[::-1]


def _brought(namespace: str, lineage: tuple[Incarnation, ...], done: ClusterTime) -> tuple[Incarnation, ...]:
    return tuple(each for each in lineage if each.namespace != namespace and each.until.cluster_time > done)


def namespaces(database: Database[Any]) -> list[str]:
    """Every namespace that has history, or that a rename has given some."""
    history = database[HISTORY]
    renames = history.find({"operation": "rename", "description": {"$exists": True}}, {"description.to": 1})
    targets = {f"{to.get('db')}.{to.get('coll')}" for each in renames if (to := each["description"].get("to"))}
    return sorted({name for name in history.distinct("namespace") if name and "." in name} | targets)


def first_pending(database: Database[Any], namespace: str) -> ClusterTime | None:
    """The earliest cluster time at which a backfill that is under way may still add entries of a namespace."""
    times = []
    for checkpoint in database[CHECKPOINTS].find({"survey": {"$exists": True}}, {"survey": 1}):
        plans = checkpoint["survey"] if isinstance(checkpoint["survey"], list) else [checkpoint["survey"]]
        for plan in plans:
            if namespace in plan.get("namespaces", ()):
                times += [plan[name] for name in ("at", "since") if plan.get(name) is not None]
    return ClusterTime.of(min(times)) if times else None


def _ended_by(database: Database[Any], namespace: str, incarnation: Incarnation) -> dict[str, Any] | None:
    """The event that ended a stretch; one that brought other documents in their place has another namespace."""
    time = incarnation.until.cluster_time
    at = {"$gte": Binary(time.first_id), "$lte": Binary(time.last_id)}
    return database[HISTORY].find_one({"namespace": namespace, "operation": "rename", "_id": at})


def _needed(database: Database[Any], namespace: str, incarnation: Incarnation) -> bool:
    """Whether the documents live on under another name, and that name's history still rests on this one."""
    event = _ended_by(database, namespace, incarnation)
    return event is not None and not _rests_no_more(database, event, incarnation.until.cluster_time)


def _rests_no_more(database: Database[Any], rename: dict[str, Any], time: ClusterTime) -> bool:
    to = rename.get("description", {}).get("to", {})
    found = database[HORIZONS].find_one({"_id": f"{to.get('db')}.{to.get('coll')}"}, {"done": 1})
    return found is not None and found.get("done") is not None and ClusterTime.of(found["done"]) >= time
