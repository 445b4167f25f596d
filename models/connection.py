"""Connects the models to a database; no other module does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mongoengine

from change_history.stored.names import ALIAS, DATABASE

if TYPE_CHECKING:
    from pymongo import MongoClient


def connect(uri: str, database: str = DATABASE, **options: Any) -> MongoClient[Any]:
    """Point the models at a history database, replacing an earlier choice.

    Args:
        options: passed on to `pymongo.MongoClient`.

    Returns:
        The client, which connects lazily: no server is contacted yet.

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
