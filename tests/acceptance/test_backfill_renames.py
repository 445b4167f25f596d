"""Documents that come under watch with a collection's name, without an event of their own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.backfill import backfilled, entries, settled, told
from tests.support.daemon import eventually
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon


def _renamed(database: Database[Any]) -> None:
    database.other.rename("n")


def _renamed_onto(database: Database[Any]) -> None:
    database.n.insert_one({"_id": "of before"})
    database.other.rename("n", dropTarget=True)


def _written_by_out(database: Database[Any]) -> None:
    database.n.insert_one({"_id": "of before"})
    database.other.aggregate([{"$out": "n"}])


def _made_capped(database: Database[Any]) -> None:
    database.other.rename("n")
    database.command({"convertToCapped": "n", "size": 1_000_000})


@pytest.mark.parametrize("come", [_renamed, _renamed_onto, _written_by_out, _made_capped])
def test_what_is_given_a_watched_name_is_known_from_then_on(
    come: Callable[[Database[Any]], None],
    replica_set_uri: str,
    database: Database[Any],
    make_daemon: Callable[..., Daemon],
) -> None:
    """Else as-of shows an empty collection, and later updates apply to nothing."""
    database.other.insert_many([{"_id": number, "m": {"x": number}, "l": [1, 2]} for number in range(1000)])
    include = f"{database.name}.n,{database.name}.end"
    daemon = make_daemon(replica_set_uri, database.name, include=include, pre_images="off").start().ready()
    end = threading.Event()

    def write() -> None:
        number = 0
        while not end.is_set():
            number = (number + 7) % 1000
            database.n.update_one({"_id": number}, {"$set": {"m.y": number}, "$push": {"l": number}})
            database.n.delete_one({"_id": 999 - number})

    come(database)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        daemon.recorded(f"{database.name}.n", 500)
    finally:
        end.set()
        writer.join()
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")
    eventually(lambda: backfilled(daemon), "the end of the backfill")
    database.other.drop()

    settled(daemon, database)
    (rename, *_) = entries(daemon, {"operation": "rename"})[-1:]
    baselines = entries(daemon, {"operation": "baseline", "namespace": f"{database.name}.n"})
    if come is not _made_capped:  # which cannot be read at a moment; then it is whenever nobody writes to it
        assert {entry["cluster_time"] for entry in baselines} == {rename["cluster_time"]}
    assert len(told(daemon, f"{database.name}.n")) == database.n.count_documents({})
    assert daemon.stop() == exit_codes.OK


def test_a_kill_right_after_the_renaming_costs_nothing(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """The event is recorded, the daemon is gone, and nobody would ever look at the documents."""
    daemon = make_daemon(replica_set_uri, database.name, include=f"{database.name}.n*").start().ready()
    for number in range(4):
        database.other.insert_many([{"_id": number} for number in range(500)])
        database.other.rename(f"n{number}")
        renamed = {"operation": "rename", "description.to.coll": f"n{number}"}
        eventually(lambda: daemon.database.history.find_one(renamed), "the event")  # noqa: B023
        daemon.kill()
        daemon.start()

    for number in range(4):
        name = f"{database.name}.n{number}"
        eventually(lambda: daemon.database.history.find_one({"namespace": name, "document_id": 499}), "a baseline")  # noqa: B023
    settled(daemon, database)
    assert daemon.database.history.count_documents({"operation": "baseline"}) == 4 * 500


def test_a_collection_renamed_before_it_was_read_is_read_under_its_new_name(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """The server reads nothing under a name that is gone, without a word, and history would begin with a hole."""
    database.a.insert_many([{"_id": number, "text": "x" * 500} for number in range(4000)])
    for name in ("b", "c", "d"):
        database[name].insert_many([{"_id": number, "of": name} for number in range(100)])
    daemon = make_daemon(replica_set_uri, database.name, pre_images="off").start().ready()

    eventually(daemon.database.history.estimated_document_count, "the backfill of the first collection")
    database.a.rename("z")
    database.b.rename("y")
    database.c.rename("b")
    database.y.rename("x")
    database.d.drop()
    database.x.update_one({"_id": 1}, {"$set": {"later": 1}})
    database.z.update_one({"_id": 3999}, {"$set": {"later": 1}})

    settled(daemon, database)
    assert {namespace: len(told(daemon, f"{database.name}.{namespace}")) for namespace in "zxbd"} == {
        "z": 4000,
        "x": 100,
        "b": 100,
        "d": 0,
    }
    assert daemon.stop() == exit_codes.OK
