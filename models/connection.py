"""The one place where mongoengine is told about a database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mongoengine

if TYPE_CHECKING:
    from pymongo import MongoClient

ALIAS = "change_history"
"""mongoengine connection alias of the history database."""

HISTORY = "history"
CHECKPOINTS = "checkpoints"
REJECTED = "rejected"
PARTS = "history_parts"
SNAPSHOTS = "snapshots"
REVERTS = "reverts"
TERMS = "terms"
DATABASE = "change_history"
"""Default name of the history database."""


def connect(uri: str, database: str = DATABASE, **options: Any) -> MongoClient[Any]:
    """Point the models at a history database, replacing an earlier choice.

    Args:
        uri: MongoDB connection string of the deployment that keeps the history.
        database: name of the history database.
        options: passed on to `pymongo.MongoClient`.

    Returns:
        The client, connected lazily: no server is asked anything yet.

    Raises:
        pymongo.errors.ConfigurationError: the connection string is malformed.
    """
    disconnect()
    client: MongoClient[Any] = mongoengine.connect(
        db=database, host=uri, alias=ALIAS, tz_aware=True, uuidRepresentation="unspecified", **options
    )
    return client


def disconnect() -> None:
    """Forget the history database and close its client."""
    mongoengine.disconnect(alias=ALIAS)
