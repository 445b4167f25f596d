"""Change events as a server sends them, for tests without a server."""

from __future__ import annotations

import datetime as dt
from typing import Any

import bson
from bson import Timestamp

TOKEN = bytes.fromhex("826B04A8F90000001F2B022C0100296E04")
WALL_TIME = dt.datetime(2026, 11, 23, 21, 0, 0, 123000, tzinfo=dt.UTC)


def an_event(operation: str, **more: Any) -> bytes:
    """An event of an operation, BSON, with its envelope."""
    return bson.encode(
        {
            "_id": {"_data": TOKEN.hex().upper()},
            "operationType": operation,
            "clusterTime": Timestamp(1_795_467_513, 31),
            "wallTime": WALL_TIME,
            "ns": {"db": "shop", "coll": "users"},
            "documentKey": {"_id": 7},
            **more,
        }
    )
