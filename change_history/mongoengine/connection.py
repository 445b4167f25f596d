"""The history database of an application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import MongoClient

from change_history.stored.names import DATABASE

if TYPE_CHECKING:
    from pymongo.database import Database

_chosen: list[Database[Any]] = []
"""The history database that the application chose, if any."""


def connect(uri: str, database: str = DATABASE, **options: Any) -> MongoClient[Any]:
    """Read history from this database from now on, for documents of any deployment.

    Args:
        uri: MongoDB connection string of the deployment with the history.
        database: name of the history database.
        options: passed on to `pymongo.MongoClient`.

    Returns:
        The client, connected lazily: nothing is sent to a server yet.

    Raises:
        pymongo.errors.ConfigurationError: the connection string is malformed.
    """
    disconnect()
    client: MongoClient[Any] = MongoClient(uri, **options)
    _chosen.append(client.get_database(database))
    return client


def disconnect() -> None:
    """Forget the history database that was chosen, and close its client."""
    while _chosen:
        _chosen.pop().client.close()


def history_database(watched: MongoClient[Any]) -> Database[Any]:
    """The chosen database; otherwise the daemon's default one, on the deployment of the documents."""
    return _chosen[0] if _chosen else watched.get_database(DATABASE)
