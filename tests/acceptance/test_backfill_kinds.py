"""What is no ordinary collection: recorded as far as it can be, and said in so many words where it cannot."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from change_history import History
from tests.support.backfill import backfilled, entries, settled
from tests.support.daemon import eventually, watcher
from tests.support.several_daemons import started, stopped
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from bson import Timestamp
    from pymongo.database import Database

    from tests.support.daemon import Daemon


def test_a_capped_collection_is_told_as_it_is_while_it_is_written_to(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """It cannot be read at a moment; updates, and removal of the oldest, must not slip in between."""
    database.create_collection("a", capped=True, size=4_000_000, max=1200)
    database.a.insert_many([{"_id": number, "odd": 0, "text": "x" * 100} for number in range(1200)])
    daemon = make_daemon(replica_set_uri, database.name, pre_images="off").start()
    end = threading.Event()

    def write() -> None:
        number = 0
        while not end.is_set():
            number += 1
            database.a.insert_one({"_id": f"new {number}"})
            here, there = ("even", "odd") if number % 2 else ("odd", "even")
            # Told one event too late or too early, a document does not have what is removed.
            database.a.update_many({"_id": {"$gte": 1000}}, {"$set": {here: number}, "$unset": {there: 1}})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        daemon.ready()
        eventually(lambda: daemon.database.history.find_one({"operation": "baseline"}), "the baseline")
    finally:
        end.set()
        writer.join()

    settled(daemon, database)
    assert daemon.database.history.count_documents({"operation": "delete"}) > 0
    assert "could not be read" not in daemon.log()
    of_before = entries(daemon, {"operation": "baseline", "document_id": {"$lt": 1000}})
    assert len({entry["document_id"] for entry in of_before}) == len(of_before)
    assert daemon.stop() == exit_codes.OK


def test_after_a_gap_a_capped_collection_is_level_too(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Left out, the gap would never be reconciled, and removed documents would stay in every answer."""
    database.create_collection("a", capped=True, size=100_000, max=10)
    database.a.insert_many([{"_id": number} for number in range(10)])
    daemon = make_daemon(replica_set_uri, database.name).start().ready()
    eventually(lambda: backfilled(daemon), "the baseline")
    assert daemon.stop() == exit_codes.OK
    database.a.insert_many([{"_id": number} for number in range(10, 15)])
    database.a.update_one({"_id": 7}, {"$set": {"n": 1}})
    assert watcher(daemon, "checkpoint", "set", "--now", "--yes", "--force").returncode == exit_codes.OK
    daemon.start()

    settled(daemon, database)
    (gap,) = entries(daemon, {"operation": "gap"})
    assert gap["description"]["level"] is True
    found = {entry["document_id"]: entry["changes"] for entry in entries(daemon, {"operation": "reconcile"})}
    assert found.keys() == {0, 1, 2, 3, 4, 7, 10, 11, 12, 13, 14}
    assert found[7] == [{"field": "n", "new_value": 1, "old_value_from": "history"}]
    assert daemon.stop() == exit_codes.OK


def test_a_view_or_a_time_series_is_named_with_what_to_watch_instead(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Nothing of it would ever be recorded, and nobody would know why."""
    database.a.insert_one({"_id": 1})
    database.create_collection("view", viewOn="a")
    database.create_collection("above", viewOn="view")
    database.create_collection("series", timeseries={"timeField": "at"})
    name = database.name
    include = f"{name}.a,{name}.above,{name}.series,{name}.later"
    daemon = make_daemon(replica_set_uri, name, include=include, exclude=f"{name}.later").start().ready()
    daemon.recorded(f"{name}.a", 1)
    alone = make_daemon(replica_set_uri, name, include=f"{name}.above", stream="alone").start()

    said = {line["namespace"]: line for line in daemon.log_lines() if line["level"] == "warning"}
    assert "view" in said[f"{name}.above"]["event"]
    assert f"WATCHER_INCLUDE={name}.a," in said[f"{name}.above"]["remedy"]
    assert "time-series" in said[f"{name}.series"]["event"]
    assert said[f"{name}.later"]["event"] == "included, and never watched"
    assert daemon.stop() == exit_codes.OK
    assert alone.wait() == exit_codes.FATAL
    assert f"Watch the collection that it shows, WATCHER_INCLUDE={name}.a" in alone.log()
    assert "Traceback" not in alone.log()


def test_what_the_server_never_lets_be_watched_is_refused_at_the_door(
    replica_set_uri: str, make_daemon: Callable[..., Daemon]
) -> None:
    """Else the daemon runs, watches nothing, and looks well."""
    daemon = make_daemon(replica_set_uri, "shop", include="shop.*,admin.x").start()

    assert daemon.wait() == exit_codes.USAGE
    assert "'admin.x' is in a system database; MongoDB opens no change stream there" in daemon.log()


def test_what_comes_under_watch_by_other_options_begins_with_what_is_there(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Also what was watched long before, and was changed and deleted while it was not."""
    database.a.insert_many([{"_id": number, "n": 0} for number in range(5)])
    database.b.insert_many([{"_id": number, "n": 0} for number in range(5)])
    name = database.name
    daemon = make_daemon(replica_set_uri, name).start().ready()
    eventually(lambda: backfilled(daemon), "the baseline")
    assert daemon.stop() == exit_codes.OK
    _adopt(daemon, f"{name}.a")
    daemon.start()
    database.b.update_one({"_id": 1}, {"$inc": {"n": 1}})
    database.b.delete_one({"_id": 2})
    database.c.insert_one({"_id": "unseen"})
    database.a.insert_one({"_id": "seen"})
    unwatched = daemon.recorded(f"{name}.a", "seen")["cluster_time"]
    assert daemon.stop() == exit_codes.OK
    _adopt(daemon, f"{name}.a,{name}.b,{name}.c")
    database.c.insert_one({"_id": "seen"})
    daemon.start()

    settled(daemon, database)
    found = entries(daemon, {"operation": "baseline", "namespace": f"{name}.c"})
    assert [entry["document_id"] for entry in found] == ["unseen"]
    found = entries(daemon, {"operation": "reconcile"})
    updated, gone = sorted(found, key=lambda entry: str(entry["document_id"]))
    assert updated["changes"] == [{"field": "n", "old_value": 0, "new_value": 1, "old_value_from": "history"}]
    assert gone["document_id"] == 2
    eventually(lambda: daemon.database.history.find_one({"operation": "gap", "description.level": True}), "its end")
    history = History(daemon.client, daemon.database.name)
    for document_id in (0, 1, 2):
        told = history.state(f"{name}.b", document_id, unwatched)
        assert [gap.description["cause"] for gap in told.gaps] == ["not watched"], "it may have been another one then"
        assert history.state(f"{name}.b", document_id, None).gaps == ()
    assert history.state(f"{name}.a", 0, unwatched).gaps == ()
    (gap,) = history.gaps()
    assert gap.description["include"] == [f"{name}.b"]
    assert not history.revert(f"{name}.b", 1, to=unwatched, dry_run=True).complete
    assert daemon.stop() == exit_codes.OK


def test_what_a_gap_may_have_changed_stays_doubtful_when_only_other_collections_were_compared(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Options were narrowed after it: the next reconciliation made `show` tell the value from before it as certain."""
    name = database.name
    daemon = make_daemon(replica_set_uri, name, on_gap="record").start().ready()
    database.a.insert_one({"_id": 1, "n": 0})
    database.b.insert_one({"_id": 1, "n": 0})
    daemon.recorded(f"{name}.b", 1)
    assert daemon.stop() == exit_codes.OK
    database.b.update_one({"_id": 1}, {"$set": {"n": "lost"}})
    _skip(daemon)
    daemon.start().ready()
    database.b.insert_one({"_id": "after", "n": 0})
    after = daemon.recorded(f"{name}.b", "after")["cluster_time"]
    assert daemon.stop() == exit_codes.OK

    _adopt(daemon, f"{name}.a")
    daemon._environment["WATCHER_ON_GAP"] = "reconcile"
    database.a.update_one({"_id": 1}, {"$set": {"n": 1}})
    _skip(daemon)
    daemon.start().ready()
    eventually(lambda: daemon.database.history.find_one({"operation": "gap", "description.level": True}), "its end")

    history = History(daemon.client, daemon.database.name)
    assert [f"{name}.b"] in [gap.description["include"] for gap in history.state(f"{name}.b", 1, after).gaps]
    assert sorted(gap.description.get("level", False) for gap in history.gaps()) == [False, True, True]
    assert history.as_of(f"{name}.a", 1, None) == {"_id": 1, "n": 1}
    assert daemon.stop() == exit_codes.OK


@pytest.mark.parametrize("number", [1, 2])
def test_documents_that_a_rename_brought_stay_when_the_former_name_is_watched_no_more_or_again(
    database: Database[Any], parts: Callable[..., list[Daemon]], number: int
) -> None:
    """By the options of today, all of a collection vanished from history, and what was deleted unseen came back."""
    every, but_loads = f"{database.name}.*", ",".join(f"{database.name}.{name}" for name in ("a", "b", "end"))
    daemons = started(parts(number))
    kept, name = daemons[0].database, database.name
    history = History(daemons[0].client, kept.name)

    def told(collection: str, at: Timestamp | None = None) -> list[Any]:
        return [each["_id"] for each in history.collection_as_of(f"{name}.{collection}", at)]

    def change_to(include: str) -> None:
        stopped(daemons)
        for daemon in daemons:
            daemon._environment["WATCHER_INCLUDE"] = include
            done = watcher(daemon, "checkpoint", "set", "--adopt-options", "--yes")
            assert done.returncode == exit_codes.OK, done.stderr
        started(daemons)
        eventually(lambda: not kept.checkpoints.count_documents({"survey": {"$exists": True}}), "the backfill")

    database.load.insert_many([{"_id": each} for each in range(4)])
    database.load.rename("a")
    database.load.insert_many([{"_id": each} for each in range(4)])
    database.end.insert_one({"_id": "end"})
    then = daemons[0].recorded(f"{name}.end", "end")
    eventually(lambda: kept.history.count_documents({"operation": {"$in": ["insert", "rename"]}}) == 10, "all of it")
    assert told("a") == [0, 1, 2, 3]

    change_to(but_loads)
    assert told("a") == told("a", then["cluster_time"]) == [0, 1, 2, 3]
    database.load.delete_one({"_id": 1})
    database.load.rename("b")
    eventually(lambda: told("b") == [0, 2, 3], "what the rename brought")

    change_to(every)
    if number == 2:
        stopped(daemons)
        assert watcher(daemons[0], "partition", "1", "--yes").returncode == exit_codes.OK
    assert told("b") == [0, 2, 3]
    assert history.as_of(f"{name}.b", 1, None) is None
    assert told("a") == told("a", then["cluster_time"]) == [0, 1, 2, 3]


def _adopt(daemon: Daemon, include: str) -> None:
    daemon._environment["WATCHER_INCLUDE"] = include
    found = watcher(daemon, "checkpoint", "set", "--adopt-options", "--yes", "--force")
    assert found.returncode == exit_codes.OK, found.stderr


def _skip(daemon: Daemon) -> None:
    """Lose what has happened since the position, as a gap."""
    found = watcher(daemon, "checkpoint", "set", "--now", "--yes")
    assert found.returncode == exit_codes.OK, found.stderr
