"""The indexes of history and of the snapshots: checks and creates them."""

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
"""Each model's collection and indexes, in mongoengine's form."""


def ensure(database: Database[Any]) -> None:
    """Create missing indexes.

    The privilege to create indexes also allows deleting history, by a TTL index. So if all indexes exist, none is
    created, and the privilege can be revoked.

    Args:
        database: the history database, which the models are connected to.

    Raises:
        pymongo.errors.PyMongoError: the server refuses; one of them may be there in another form.
    """
    try:
        if not wrong(database):
            return
    except OperationFailure as error:
        if error.code != server_codes.UNAUTHORIZED:  # if they cannot be listed, create them
            raise
    for model in _MODELS:
        model.ensure_indexes()


def wrong(database: Database[Any]) -> list[str]:
    """A phrase for each index that is missing or has another definition."""
    found: list[str] = []
    for meta in METAS:
        there = {each["name"]: dict(each) for each in database[meta["collection"]].list_indexes()}
        found += (f"{meta['collection']}.{each}" for each in judged(meta["index_specs"], there))
    return found


def judged(wanted: list[dict[str, Any]], there: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Compare a collection's indexes with those of its model.

    Args:
        wanted: the model's indexes in mongoengine's form: `fields`, `name`, `partialFilterExpression`.
        there: the server's indexes by name.

    Returns:
        A phrase for each index that is missing or has another definition.
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
