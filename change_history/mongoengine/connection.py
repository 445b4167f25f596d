"""Where an application's history is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import MongoClient

from change_history.stored.names import DATABASE

if TYPE_CHECKING:
    from pymongo.database import Database

_chosen: list[Database[Any]] = []
"""The history database that the application named, if it did."""


def connect(uri: str, database: str = DATABASE, **options: Any) -> MongoClient[Any]:
    """Read history from this database from now on, whatever deployment a document lives in.

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
    client: MongoClient[Any] = MongoClient(uri, **options)
    _chosen.append(client.get_database(database))
    return client


def disconnect() -> None:
    """Forget the history database that was chosen, and close its client."""
    while _chosen:
        _chosen.pop().client.close()


def history_database(watched: MongoClient[Any]) -> Database[Any]:
    """The database that was chosen; otherwise the daemon's default one, beside the documents."""
    return _chosen[0] if _chosen else watched.get_database(DATABASE)
