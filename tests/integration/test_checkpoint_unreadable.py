"""A checkpoint with something missing, or of another type: said whole, and nothing is done by what is left of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from change_history.bson.cluster_time import ClusterTime
from watcher.backfill.plan_store import PlanStore
from watcher.errors import PositionRefusedError
from watcher.leadership.fence import Fence
from watcher.leadership.lease import Lease
from watcher.stream.batch import Position
from watcher.stream.checkpointer import Checkpointer
from watcher.targets.identity import ReplicaSet
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from pymongo.database import Database

UNREADABLE: list[tuple[str, dict[str, Any]]] = [
    ("`cluster_time` is missing", {"$unset": {"cluster_time": 1}}),
    ("`token` is missing", {"$unset": {"token": 1}}),
    ("`token` is not a document", {"$set": {"token": "82"}}),
    ("`cluster_time` is not a timestamp", {"$set": {"cluster_time": 5}}),
    ("`replica_set` is missing", {"$unset": {"replica_set": 1}}),
    ("`replica_set` is not a document", {"$set": {"replica_set": "rs0"}}),
    ("`replica_set` has no name", {"$set": {"replica_set": {}}}),
    ("`options` is missing", {"$unset": {"options": 1}}),
    ("`options` is not a document, `events` is not a number", {"$set": {"options": [], "events": "5"}}),
    ("`fingerprint` is not that of `options`", {"$set": {"fingerprint": "00"}}),
    ("`begun` is not a timestamp", {"$set": {"begun": None}}),
    ("`survey` cannot be read", {"$set": {"survey": [{"kind": "baseline"}]}}),
    ("`survey` cannot be read", {"$set": {"survey": 5}}),
    (
        "`survey` cannot be read",
        {"$set": {"survey": [{"kind": "x", "at": 1, "namespaces": "a", "documents": {}, "entries": 1, "whole": 1}]}},
    ),
]


SCOPE = Scope(("shop.*",), (), "history")
SET = ReplicaSet("rs0", "65a000000000000000000001")
POSITION = Position(b"\x05\x00\x00\x00\x00", ClusterTime.start_of(1 << 24))
LEASES: list[Any] = [
    *("garbage", 5, [], [{"owner": "x"}], {}, None, {"owner": "x"}),
    {"owner": "x", "term": "y", "expires_at": "never"},
    {"owner": 5, "term": 1, "expires_at": datetime.now(UTC) + timedelta(days=9), "pid": "p", "host": None},
    {"owner": "x", "term": None, "expires_at": datetime.now(UTC) + timedelta(seconds=60)},
]


@pytest.mark.parametrize(("said", "damage"), UNREADABLE)
def test_what_cannot_be_read_is_named_and_refused(database: Database[Any], said: str, damage: dict[str, Any]) -> None:
    """Never a traceback, and never another position, none at all, or a backfill that is left out."""
    term = Lease(database, "default").acquire()
    assert term is not None
    checkpointer = Checkpointer(database, "default", SCOPE, SET, term)
    checkpointer.begin(POSITION)
    checkpointer.save(POSITION, 5)
    assert checkpointer.load() is not None
    database.checkpoints.update_one({}, damage)

    with pytest.raises(PositionRefusedError) as caught:  # noqa: PT012 - the one or the other
        checkpointer.load()
        PlanStore(database, Fence(database, "default", term)).load()

    assert f"is damaged: {said}" in caught.value.problem
    assert "WATCHER_STREAM=<another name>" in caught.value.remedy


def test_a_checkpoint_of_an_earlier_version_is_read(database: Database[Any]) -> None:
    """It has no digest, and once had no count of events."""
    checkpointer = Checkpointer(database, "default", SCOPE, SET)
    checkpointer.save(POSITION, 5)
    database.checkpoints.update_one({}, {"$unset": {"digest": 1, "events": 1, "begun": 1}})

    found = checkpointer.load()

    assert found is not None
    assert (found.position, found.events, found.intact) == (POSITION, 0, True)


@pytest.mark.parametrize("lease", LEASES, ids=range(len(LEASES)))
def test_a_lease_that_is_none_is_taken(database: Database[Any], lease: Any) -> None:
    """Damaged, made up, or of a clock that was wrong: it must not keep every daemon waiting for ever."""
    database.checkpoints.insert_one({"_id": "default", "lease": lease})
    mine = Lease(database, "default")

    assert mine.holder() is None
    term = mine.acquire()
    assert term is not None
    mine.renew(term)
    assert mine.holder() is not None
