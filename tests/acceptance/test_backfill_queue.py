"""Several things to backfill, one after the other, whatever happens in between."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from bson import Timestamp
from pymongo.errors import OperationFailure

from tests.support.backfill import backfilled, complete, entries, settled, told
from tests.support.daemon import eventually, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

SNAPSHOT_TOO_OLD = 239


def _plans(daemon: Daemon) -> list[str]:
    checkpoint = daemon.database.checkpoints.find_one() or {}
    return [plan["kind"] for plan in checkpoint.get("survey", [])]


def _is_too_old(daemon: Daemon, at: Timestamp) -> bool:
    """Whether the server has let go of what was there at a time. It looks when it is written to."""
    daemon.client.filler.a.insert_one({})
    try:
        daemon.client.shop.command({"find": "a", "limit": 1, "readConcern": {"level": "snapshot", "atClusterTime": at}})
    except OperationFailure as error:
        return error.code == SNAPSHOT_TOO_OLD
    return False


def test_a_gap_in_the_middle_of_the_baseline_costs_no_collection_its_state(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Killed at random throughout: every plan is carried out, and in the end history is level."""
    dice = random.Random(5)
    for name in "abcd":
        database[name].insert_many([{"_id": number, "n": 0, "text": "x" * 300} for number in range(800)])
    daemon = make_daemon(replica_set_uri, database.name, pre_images="off").start().ready()
    eventually(daemon.database.history.estimated_document_count, "a first entry")
    daemon.kill()
    database.a.update_many({"_id": {"$lt": 500}}, {"$inc": {"n": 1}})
    database.d.delete_many({"_id": {"$gte": 500}})
    database.e.insert_many([{"_id": number} for number in range(600)])
    assert watcher(daemon, "checkpoint", "set", "--now", "--yes", "--force").returncode == exit_codes.OK
    assert _plans(daemon) == ["baseline", "reconcile"]

    for _ in range(2):
        daemon.start()
        database.b.update_many({"_id": {"$lt": 100}}, {"$inc": {"n": 1}})
        eventually(lambda: daemon.log().count('"started"') or _plans(daemon), "a start")
        time.sleep(dice.uniform(0.3, 1))
        daemon.kill()
    before = daemon.log().count('"started"')
    daemon.start()
    eventually(lambda: daemon.log().count('"started"') > before, "a start")

    settled(daemon, database)
    assert {name: len(told(daemon, f"{database.name}.{name}")) for name in "abcde"} == {
        "a": 800,
        "b": 800,
        "c": 800,
        "d": 500,
        "e": 600,
    }
    (gap,) = entries(daemon, {"operation": "gap"})
    assert gap["description"]["level"] is True
    assert gap["description"]["level_at"] >= Timestamp(gap["description"]["to"].time, 0)
    assert daemon.stop() == exit_codes.OK


def test_a_plan_of_an_earlier_version_is_carried_out(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """There was one plan, not a list; an upgrade in the middle of a baseline must not lose it."""
    database.a.insert_many([{"_id": number} for number in range(10)])
    daemon = make_daemon(replica_set_uri, database.name, baseline="off").start().ready()
    assert daemon.stop() == exit_codes.OK
    at = daemon.client.admin.command("ping")["operationTime"]
    plan = {"kind": "baseline", "at": at, "namespaces": [f"{database.name}.a"], "after": {"_id": 3}}
    kept = plan | {"documents": 4, "entries": 4, "whole": True}
    daemon.database.checkpoints.update_one({}, {"$set": {"survey": kept}})

    again = make_daemon(replica_set_uri, database.name, history_database=daemon.database.name).start()
    eventually(lambda: backfilled(again), "the end of the backfill")

    found = entries(again, {"operation": "baseline"})
    assert sorted(entry["document_id"] for entry in found) == [3, 4, 5, 6, 7, 8, 9]


def test_at_a_later_moment_what_happened_since_is_stated_whole(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """Events after the gap were made of a document that history does not know; a difference would not fit them."""
    server = own_server(extra_args=("--setParameter", "minSnapshotHistoryWindowInSeconds=1"))
    daemon = make_daemon(server.uri, "shop", pre_images="off")
    shop = daemon.client.shop
    shop.a.insert_many([{"_id": number, "n": 0, "l": [1]} for number in range(700)])
    shop.a.insert_many([{"_id": "gone"}, {"_id": "gone and back"}, {"_id": "gone later"}])
    daemon.start().ready()
    eventually(lambda: backfilled(daemon), "the baseline")
    assert daemon.stop() == exit_codes.OK
    shop.a.update_many({"_id": {"$gte": 3}}, {"$set": {"n": 1}})
    shop.a.update_many({"_id": {"$lt": 3}}, {"$set": {"m": {"x": 1}}, "$push": {"l": 2}})
    shop.a.delete_many({"_id": {"$in": ["gone", "gone and back"]}})
    assert watcher(daemon, "checkpoint", "set", "--now", "--yes", "--force").returncode == exit_codes.OK
    # The daemon records what follows, but does not reconcile.
    daemon._environment["WATCHER_ON_GAP"] = "record"
    daemon.start()
    shop.a.update_one({"_id": 1}, {"$set": {"m.y": 2}})
    shop.a.update_one({"_id": 2}, {"$set": {"later": 1}})
    shop.a.replace_one({"_id": 3}, {"replaced": True})
    shop.a.insert_one({"_id": "gone and back", "anew": True})
    shop.a.delete_one({"_id": "gone later"})
    daemon.recorded("shop.a", "gone later")
    shop.a.insert_one({"_id": "end"})
    daemon.recorded("shop.a", "end")
    assert daemon.stop() == exit_codes.OK
    assert _plans(daemon) == ["reconcile"]
    resume_at = daemon.database.checkpoints.find()[0]["survey"][0]["at"]
    eventually(lambda: _is_too_old(daemon, resume_at), "a server that cannot read at the end of the gap any more")

    daemon._environment["WATCHER_ON_GAP"] = "reconcile"
    daemon.start()
    eventually(lambda: backfilled(daemon), "the end of the backfill")

    assert complete(daemon, shop), daemon.log()
    (gap,) = entries(daemon, {"operation": "gap"})
    resumed, level_at = gap["description"]["to"], gap["description"]["level_at"]
    found = {entry["document_id"]: entry for entry in entries(daemon, {"operation": "reconcile"})}
    assert found.keys() == {*range(700), "gone"} - {3}
    assert {key for key, entry in found.items() if entry["cluster_time"] > resumed} == {1, 2}
    assert all(entry["cluster_time"] <= level_at for entry in found.values())
    assert all(change["old_value_from"] == "unknown" for key in (1, 2) for change in found[key]["changes"])
    assert found[0]["changes"] == [
        {"field": "l", "old_value": [1], "new_value": [1, 2], "old_value_from": "history"},
        {"field": "m", "new_value": {"x": 1}, "old_value_from": "history"},
    ]
    assert daemon.stop() == exit_codes.OK
