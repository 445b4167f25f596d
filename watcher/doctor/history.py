"""The history database: its indexes, the view, and what history itself says is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

from change_history.stored.names import HISTORY, REJECTED
from models import HistoryModel, SnapshotModel
from models.changes_view import NAME as VIEW
from models.changes_view import PIPELINE
from watcher.doctor.finding import could_not, listed, many, ok, unchecked, warning
from watcher.errors import UNAUTHORIZED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

INDEXES, VIEW_CHECK, COMPLETE = "history indexes", "view of the changes", "completeness"
_MAKES = "`watcher run` makes them when it starts."
_MOST = 1000


def indexes(subject: Subject) -> Iterator[Finding]:
    """The indexes of history and of the snapshots."""
    kinds = _kinds(subject)
    if isinstance(kinds, dict) and HISTORY not in kinds:
        yield ok(INDEXES, "no history yet: `watcher run` makes them when it first starts")
        return
    wrong: list[str] = []
    for model in (HistoryModel, SnapshotModel):
        meta = model._meta  # noqa: SLF001 - where mongoengine keeps what a model says of itself
        try:
            there = {each["name"]: dict(each) for each in subject.history[meta["collection"]].list_indexes()}
        except OperationFailure as error:
            if error.code not in UNAUTHORIZED:
                raise
            yield unchecked(INDEXES, "listIndexes on the history database is not granted", "See about privileges.")
            return
        wrong += (f"{meta['collection']}.{each}" for each in judge_indexes(meta["index_specs"], there))
    yield _of_indexes(wrong)


def judge_indexes(wanted: list[dict[str, Any]], there: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Compare a collection's indexes with those that its model wants.

    Args:
        wanted: as mongoengine has them: `fields`, `name`, `partialFilterExpression`.
        there: as the server lists them, by name.

    Returns:
        A phrase for each that is missing or another.
    """
    wrong = []
    for spec in wanted:
        name = spec["name"]
        found = there.get(name)
        if found is None:
            wrong.append(f"{name} is missing")
        elif [*found["key"].items()] != [*map(tuple, spec["fields"])]:
            wrong.append(f"{name} is of other fields")
        elif found.get("partialFilterExpression") != spec.get("partialFilterExpression"):
            wrong.append(f"{name} is of other documents")
    return wrong


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
    """What history says it does not have."""
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


def _kinds(subject: Subject) -> dict[str, Any] | Finding:
    """What there is in the history database, by name; or why that is not known."""
    try:
        return {each["name"]: each for each in subject.history.list_collections()}
    except OperationFailure as error:
        if error.code in UNAUTHORIZED:
            return unchecked(
                VIEW_CHECK, "listCollections on the history database is not granted", "See about privileges."
            )
        return could_not(VIEW_CHECK, error)
