"""Connections of the daemon: named, and never waiting for ever."""

from __future__ import annotations

from typing import Any

from pymongo.uri_parser import parse_uri

APP_NAME = "mongo-change-watcher"
_TIMEOUTS = {"serverselectiontimeoutms": 5_000, "connecttimeoutms": 5_000, "sockettimeoutms": 60_000}


def options(uri: str) -> dict[str, Any]:
    """Options for `MongoClient`, save those that the connection string itself gives.

    A write that no majority acknowledges, or a peer that is cut off, must become an error that is tried again,
    hence the timeouts, in milliseconds.

    Raises:
        pymongo.errors.InvalidURI: the connection string is malformed.
    """
    given = {name.lower() for name in parse_uri(uri, validate=False, warn=True)["options"]}
    wanted: dict[str, Any] = {"appname": APP_NAME, **_TIMEOUTS}
    return {name: value for name, value in wanted.items() if name not in given}
