"""Checks the history database: its indexes, the view, and gaps and rejected events in history."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.reconstruct.entries import NEVER_WHOLE, reconstruct_many
from change_history.reconstruct.lineage import lineage_of
from change_history.stored.names import ERASURES, HISTORY, NAMESPACE_TIMELINE, REJECTED
from change_history.stored.order import END
from change_history.stored.reading import RAW, history_collection, recorded_names
from models import indexes as indexes_
from models.changes_view import NAME as VIEW
from models.changes_view import PIPELINE
from watcher.doctor.finding import could_not, listed, many, ok, problem, unchecked, warning
from watcher.errors import UNAUTHORIZED
from watcher.retention.stretches import first_pending

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from pymongo.database import Database

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

INDEXES, VIEW_CHECK, COMPLETE = "history indexes", "view of the changes", "completeness"
TTL, BEGINNINGS = "expiry by the server", "beginnings"
_MAKES = "`watcher run` makes them when it starts."
_MOST = 1000
_LOOKED_AT = 200
_MOST_NAMESPACES = 100


def indexes(subject: Subject) -> Iterator[Finding]:
    """The indexes of history and of the snapshots."""
    kinds = _kinds(subject)
    if isinstance(kinds, dict) and HISTORY not in kinds:
        yield ok(INDEXES, "no history yet: `watcher run` makes them when it first starts")
        return
    try:
        wrong = indexes_.wrong(subject.history)
    except OperationFailure as error:
        if error.code not in UNAUTHORIZED:
            raise
        yield unchecked(INDEXES, "listIndexes on the history database is not granted", "See about privileges.")
        return
    yield _of_indexes(wrong)


def _of_indexes(wrong: list[str]) -> Finding:
    if not wrong:
        return ok(INDEXES, "all there")
    remedy = _MAKES if all(each.endswith("missing") for each in wrong) else f"Drop them in mongosh; {_MAKES}"
    return warning(INDEXES, f"{listed(wrong)}; questions are slow, or refused, without", remedy, wrong=wrong)


def view(subject: Subject) -> Iterator[Finding]:
    """The view with a row for each change."""
    kinds = _kinds(subject)
    if not isinstance(kinds, dict):
        yield kinds
        return
    found = kinds.get(VIEW)
    name = f"{subject.settings.history_database}.{VIEW}"
    if found is None:
        made = "`watcher run` makes it when it starts."
        yield (
            warning(VIEW_CHECK, f"there is no {name}", made) if HISTORY in kinds else ok(VIEW_CHECK, f"not yet; {made}")
        )
    elif found["type"] != "view" or found["options"].get("viewOn") != HISTORY:
        yield warning(VIEW_CHECK, f"something else has the name {name}", "Rename that, and restart the daemon.")
    elif found["options"].get("pipeline") != PIPELINE:
        yield warning(
            VIEW_CHECK, f"{name} is not as this version defines it", "`watcher run` changes it when it starts."
        )
    else:
        yield ok(VIEW_CHECK, f"{name} is there")


def complete(subject: Subject) -> Iterator[Finding]:
    """Unfinished erasures, and what history lacks: gaps and rejected events."""
    left = subject.history[ERASURES].count_documents({"state": "working"}, limit=_MOST)
    if left:
        yield warning(
            COMPLETE, f"{many(left, 'erasure')} left in the middle", "watcher erase --continue", erasures=left
        )
    rejected = subject.history[REJECTED].count_documents({}, limit=_MOST)
    query = {"operation": "gap", "description.stream": subject.settings.checkpoint, "description.level": {"$ne": True}}
    gaps = subject.history[HISTORY].count_documents(query, limit=_MOST)
    facts = {"rejected": rejected, "gaps": gaps}
    if not rejected and not gaps:
        yield ok(COMPLETE, "no rejected events, no gaps that are not reconciled", **facts)
    if rejected:
        yield warning(COMPLETE, f"{many(rejected, 'event')} could not be stored", "watcher rejected list", **facts)
    if gaps:
        said = f"{many(gaps, 'gap')} not reconciled"
        yield warning(COMPLETE, said, "watcher gaps; with WATCHER_ON_GAP=reconcile new ones are.", **facts)


def expiring(subject: Subject) -> Iterator[Finding]:
    """TTL indexes in the history database, with which the server itself would delete history."""
    kinds = _kinds(subject)
    if not isinstance(kinds, dict):
        yield kinds
        return
    found: list[tuple[str, str]] = []
    for name, kind in kinds.items():
        if kind["type"] == "collection" and not name.startswith("system."):
            indexes = subject.history[name].list_indexes()
            found += [(name, str(each["name"])) for each in indexes if "expireAfterSeconds" in each]
    if not found:
        yield ok(TTL, "no index removes anything from the history database")
        return
    database = subject.settings.history_database
    drops = "; ".join(
        f"db.getSiblingDB({json.dumps(database)}).getCollection({json.dumps(name)}).dropIndex({json.dumps(index)})"
        for name, index in found
    )
    yield problem(
        TTL,
        f"{listed([f'{name}.{index}' for name, index in found])}: the server removes entries that others rest on; "
        "documents that lose their beginning are unknown from then on",
        f"In mongosh: {drops}\nLet history expire by WATCHER_RETENTION instead, which keeps every document's state.",
        indexes=[f"{name}.{index}" for name, index in found],
    )


def beginnings(subject: Subject) -> Iterator[Finding]:
    """Whether the documents of the oldest entries can be reconstructed; not if older entries were deleted by hand."""
    lost: dict[str, tuple[int, int]] = {}
    for namespace in recorded_names(history_collection(subject.history))[:_MOST_NAMESPACES]:
        if "." in namespace and first_pending(subject.history, namespace) is None:
            unknown, looked_at = _without_beginning(subject.history, namespace)
            if unknown:
                lost[namespace] = unknown, looked_at
    if not lost:
        yield ok(BEGINNINGS, "the documents of the oldest entries are told whole")
    for namespace, (unknown, looked_at) in lost.items():
        yield warning(
            BEGINNINGS,
            f"of {many(looked_at, 'document')} of {namespace} that were looked at, no entry tells {unknown} whole: "
            "entries were removed, or watching began without a baseline; `show` and `revert` refuse them",
            f"watcher baseline {namespace}",
            namespace=namespace,
            unknown=unknown,
            documents=looked_at,
        )


def _without_beginning(database: Database[Any], namespace: str) -> tuple[int, int]:
    """How many of the documents that the oldest entries are of are not told whole by any, and how many there are."""
    raw_history = database.get_collection(HISTORY, codec_options=RAW)
    query = {"namespace": namespace, "document_id": {"$exists": True}}
    ids: dict[Hashable, raw.Value] = {}
    oldest = raw_history.find(query, {"document_id": 1}, sort=[("_id", 1)], hint=NAMESPACE_TIMELINE, limit=_LOOKED_AT)
    for stored in oldest:
        document_id = raw.fields(bytes(stored.raw))[b"document_id"]
        ids[key_of(document_id)] = document_id
    found = reconstruct_many(database, lineage_of(database, namespace, END), list(ids.values()))
    return sum(each.document == NEVER_WHOLE for each in found.values()), len(ids)


def _kinds(subject: Subject) -> dict[str, Any] | Finding:
    """The collections and views of the history database by name, or a finding why they cannot be listed."""
    try:
        return {each["name"]: each for each in subject.history.list_collections()}
    except OperationFailure as error:
        if error.code in UNAUTHORIZED:
            return unchecked(
                VIEW_CHECK, "listCollections on the history database is not granted", "See about privileges."
            )
        return could_not(VIEW_CHECK, error)
