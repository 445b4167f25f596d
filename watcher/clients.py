"""The daemon's client options: an application name, and timeouts for every operation."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient

APP_NAME = "mongo-change-watcher"
_CLOSE_S = 1
_TIMEOUTS = {"serverselectiontimeoutms": 3_000, "connecttimeoutms": 3_000, "sockettimeoutms": 60_000}


def options(uri: str) -> dict[str, Any]:
    """Options for `MongoClient`, except those that the connection string sets itself.

    A write that no majority acknowledges, or an unreachable peer, must become an error that is retried; and a stop must
    not wait for an unreachable server longer than a service manager allows. Hence the timeouts, in milliseconds.

    Raises:
        pymongo.errors.InvalidURI: the connection string is malformed.
    """
    given = {name.lower() for name in parse_uri(uri, validate=False, warn=True)["options"]}
    wanted: dict[str, Any] = {"appname": APP_NAME, **_TIMEOUTS}
    chosen = {name: value for name, value in wanted.items() if name not in given}
    # A client-side deadline for all operations would also be the time that an idle stream waits for events.
    return {**chosen, "timeoutMS": None}


@contextmanager
def closing_soon(client: MongoClient[Any]) -> Iterator[MongoClient[Any]]:
    """Close a client at the end of the block, without waiting long for an unreachable server."""
    try:
        yield client
    finally:
        with suppress(PyMongoError), pymongo.timeout(_CLOSE_S):
            client.close()
