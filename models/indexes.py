"""The indexes of history and of the snapshots: what is wrong with them, and making them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

from change_history import server_codes
from models.history import HistoryModel
from models.snapshot import SnapshotModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo.database import Database

_MODELS = (HistoryModel, SnapshotModel)
METAS: tuple[dict[str, Any], ...] = tuple(model._meta for model in _MODELS)  # noqa: SLF001 - where mongoengine keeps them
"""What each model says of its collection and its indexes, in mongoengine's form."""


def ensure(database: Database[Any]) -> None:
    """Make those that are missing.

    Who may make indexes can have the server remove history by one (TTL). So where all are there none is asked for, and
    the privilege can be taken away.

    Args:
        database: the history database, which the models are connected to.

    Raises:
        pymongo.errors.PyMongoError: the server refuses; one of them may be there in another form.
    """
    try:
        if not wrong(database):
            return
    except OperationFailure as error:
        if error.code != server_codes.UNAUTHORIZED:  # who may not look makes them
            raise
    for model in _MODELS:
        model.ensure_indexes()


def wrong(database: Database[Any]) -> list[str]:
    """What is wrong with them: a phrase for each that is missing or another."""
    found: list[str] = []
    for meta in METAS:
        there = {each["name"]: dict(each) for each in database[meta["collection"]].list_indexes()}
        found += (f"{meta['collection']}.{each}" for each in judged(meta["index_specs"], there))
    return found


def judged(wanted: list[dict[str, Any]], there: Mapping[str, Mapping[str, Any]]) -> list[str]:
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
