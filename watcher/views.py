"""The view of the changes: made, or brought up to date, when the daemon starts. Recording does not depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from pymongo.errors import OperationFailure

from change_history import server_codes
from change_history.stored.names import HISTORY
from models.changes_view import NAME, PIPELINE
from watcher.errors import UNAUTHORIZED, Verdict, classify, name_of

if TYPE_CHECKING:
    from pymongo.database import Database

log = structlog.get_logger(__name__)


def ensure(database: Database[Any]) -> None:
    """Make the view if it is not there, and change it if it is defined in another way. Safe to repeat.

    Without the privileges (`createCollection` and `collMod`, or `dropCollection` in its place) it warns and goes on.
    """
    try:
        _ensure(database)
    except OperationFailure as error:
        if classify(error) is Verdict.TRANSIENT:
            raise
        log.warning("the view of the changes stays as it is", view=f"{database.name}.{NAME}", error=name_of(error))


def _ensure(database: Database[Any]) -> None:
    found = next(iter(database.list_collections(filter={"name": NAME})), None)
    if found is None:
        _create(database)
    elif found["type"] != "view" or found["options"]["viewOn"] != HISTORY:
        log.warning("there is no view of the changes: something else has its name", view=f"{database.name}.{NAME}")
    elif found["options"]["pipeline"] != PIPELINE:
        _change(database)
        log.info("view of the changes brought up to date", view=f"{database.name}.{NAME}")


def _create(database: Database[Any]) -> None:
    try:
        database.command("create", NAME, viewOn=HISTORY, pipeline=PIPELINE)
    except OperationFailure as error:
        if error.code != server_codes.NAMESPACE_EXISTS:  # another daemon, just now
            raise


def _change(database: Database[Any]) -> None:
    try:
        database.command("collMod", NAME, viewOn=HISTORY, pipeline=PIPELINE)
    except OperationFailure as error:
        if error.code not in UNAUTHORIZED:
            raise
        # The role `readWrite` may not change a view, but drop it, and nothing is lost with it.
        database.drop_collection(NAME)
        _create(database)
