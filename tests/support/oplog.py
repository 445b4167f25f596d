"""Making a server forget: an oplog that is cut while a daemon is down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.daemon import eventually

if TYPE_CHECKING:
    from pymongo import MongoClient


def overrun(client: MongoClient[Any]) -> None:
    """Write until the oldest entry of the oplog is younger than all that was there.

    The oplog is never cut beyond the storage engine's last checkpoint, hence `--syncdelay 1` on these servers.
    """
    oldest = client.local["oplog.rs"].find_one(sort=[("$natural", 1)])
    assert oldest is not None
    last = client.local["oplog.rs"].find_one(sort=[("$natural", -1)])
    assert last is not None
    filler = {"x": "x" * 100_000}

    def cut() -> bool:
        client.filler.a.insert_many([dict(filler) for _ in range(100)])
        first = client.local["oplog.rs"].find_one(sort=[("$natural", 1)])
        return first is not None and first["ts"] > last["ts"]

    eventually(cut, "the oplog to be cut", patience_s=120)
