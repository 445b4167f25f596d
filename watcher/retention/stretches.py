"""Which stretches of a namespace's history can expire up to a horizon, and which need base documents in their place.

The history of a dropped collection is deleted completely. If the documents live on, possibly under another name after a
rename, their state at the end of the stretch is kept as long as later history depends on it. This includes documents
that came from another name with an earlier rename: with a base here, their entries under that name are not needed any
more, and can expire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.lineage import incarnations_of, lineage_of
from change_history.stored.names import CHECKPOINTS, HISTORY, HORIZONS
from change_history.stored.order import after
from change_history.stored.reading import recorded_collections

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history.reconstruct.lineage import Incarnation

STAYS = ("drop", "dropDatabase", "rename", "create", "gap")
"""Operations of collections whose entries are kept: they define which documents belong to a name."""


class ExpiringStretch(NamedTuple):
    """An interval of entries under the namespace.

    Attributes:
        since, until: its first and last cluster time.
        lineage: the incarnations from which the states at its end are reconstructed, newest first; empty: no state has
            to be kept.
        brought: incarnations under another name, whose documents came from there with a rename and need a base here.
    """

    since: ClusterTime
    until: ClusterTime
    lineage: tuple[Incarnation, ...]
    brought: tuple[Incarnation, ...] = ()


def stretches(
    database: Database[Any], namespace: str, done: ClusterTime, horizon: ClusterTime
) -> list[ExpiringStretch]:
    """The stretches to process, oldest first.

    Args:
        done: everything before is expired already, except for what is kept.
        horizon: up to where history is to expire.
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
        # It lives on under another name, or as a later incarnation made from it, as when it was converted to capped.
        if incarnation.since in kept or _needed(database, namespace, incarnation):
            lineage = tuple(lineage_of(database, namespace, after(end)))
            kept.update(each.since for each in lineage if each.namespace == namespace)
            if end <= done:
                continue  # nothing was added to it since
        found.append(ExpiringStretch(incarnation.since, end, lineage, _brought(namespace, lineage, done)))
    return found[::-1]


def _brought(namespace: str, lineage: tuple[Incarnation, ...], done: ClusterTime) -> tuple[Incarnation, ...]:
    return tuple(each for each in lineage if each.namespace != namespace and each.until.cluster_time > done)


def namespaces(database: Database[Any]) -> list[str]:
    """Every namespace that has history, or got some by a rename."""
    history = database[HISTORY]
    renames = history.find({"operation": "rename", "description": {"$exists": True}}, {"description.to": 1})
    targets = {f"{to.get('db')}.{to.get('coll')}" for each in renames if (to := each["description"].get("to"))}
    return sorted({*recorded_collections(database), *targets})


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
    """The rename that ended a stretch. A rename that replaced its documents by others has another namespace."""
    time = incarnation.until.cluster_time
    at = {"$gte": Binary(time.first_id), "$lte": Binary(time.last_id)}
    return database[HISTORY].find_one({"namespace": namespace, "operation": "rename", "_id": at})


def _needed(database: Database[Any], namespace: str, incarnation: Incarnation) -> bool:
    """Whether the documents live on under another name, and that name's history still depends on this one."""
    event = _ended_by(database, namespace, incarnation)
    return event is not None and not _rests_no_more(database, event, incarnation.until.cluster_time)


def _rests_no_more(database: Database[Any], rename: dict[str, Any], time: ClusterTime) -> bool:
    to = rename.get("description", {}).get("to", {})
    found = database[HORIZONS].find_one({"_id": f"{to.get('db')}.{to.get('coll')}"}, {"done": 1})
    return found is not None and found.get("done") is not None and ClusterTime.of(found["done"]) >= time
