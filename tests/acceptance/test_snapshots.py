"""Snapshots that a running daemon takes, and the commands that make them anew and verify them."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, ObjectId, json_util
from pymongo import UpdateOne

from change_history.reconstruct.snapshot_maker import SPACING
from tests.support.daemon import eventually, watcher
from tests.support.recording import check, spoil, stored
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon

DOCUMENTS = 5
UPDATES = 600
KILLS = 6


def lines(said: str) -> list[Any]:
    """The answer of a command with `--json`."""
    return [json_util.loads(line) for line in said.splitlines()]


def busy(database: Database[Any], updates: int = UPDATES, documents: int = DOCUMENTS) -> None:
    """Change few documents often, and once in a while replace one or make it again."""
    dice = random.Random(updates)
    for number in range(updates * documents):
        document_id, what = number % documents, dice.random()
        if what < 0.005:
            database.a.delete_one({"_id": document_id})
        elif what < 0.02:
            database.a.replace_one({"_id": document_id}, {"n": number, "list": [number]}, upsert=True)
        else:
            update = {"$inc": {"n": 1}, "$push": {"list": {"$each": [number], "$slice": -5}}}
            database.a.update_one({"_id": document_id}, update, upsert=True)


@pytest.fixture
def namespace(database: Database[Any]) -> str:
    """A collection that keeps pre-images."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    return f"{database.name}.a"


@pytest.fixture
def recorded(daemon: Daemon, database: Database[Any], namespace: str) -> Daemon:
    """A daemon that has recorded the life of one document, and taken its snapshots."""
    updates = [UpdateOne({"_id": 1}, {"$set": {f"f{n % 20}": n}}, upsert=True) for n in range(UPDATES)]
    database.a.bulk_write(updates)
    database.a.insert_one({"_id": 2, "short": "life"})
    daemon.recorded(namespace, 2)
    # One more for good measure: the entries after the last that was noticed, one of sixteen, have to wait for the next.
    eventually(lambda: len(stored(daemon.database)) >= UPDATES // SPACING // 2, "snapshots")
    return daemon


def test_whatever_happens_to_the_daemon_its_snapshots_say_what_history_says(
    daemon: Daemon, database: Database[Any], namespace: str
) -> None:
    """`kill -9` at random moments, in the middle of a snapshot too."""
    dice = random.Random(5)
    writer = threading.Thread(target=busy, args=(database,))
    writer.start()
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.5, 2))
        daemon.kill()
        daemon.start()
    writer.join()
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    def each_has_one() -> bool:  # what was due when the daemon was killed is made when the document changes again
        without = set(range(DOCUMENTS)) - set(daemon.database.snapshots.distinct("document_id", {"claim": None}))
        for document_id in without:
            database.a.update_one({"_id": document_id}, {"$inc": {"n": 1}}, upsert=True)
        return not without

    eventually(each_has_one, "snapshots of every document")

    found = watcher(daemon, "snapshots", "verify", "--json")
    assert (found.returncode, found.stdout) == (exit_codes.OK, ""), found.stderr
    assert daemon.stop() == exit_codes.OK
    assert all(check(daemon.database, namespace, document_id) for document_id in range(DOCUMENTS))


def test_snapshots_of_a_document_wait_for_nothing_but_time(recorded: Daemon, namespace: str) -> None:
    """Those that are due in the middle of a burst are made after it."""
    whole = UPDATES // SPACING - 1  # the last ones may wait for the next update
    eventually(lambda: len(stored(recorded.database)) >= whole - 2, "the snapshots of the whole life")

    places = [snapshot.id for snapshot in check(recorded.database, namespace, 1)]
    query = {"namespace": namespace, "document_id": 1, "_id": {"$lte": Binary(places[-1])}}
    assert recorded.database.history.count_documents(query) == len(places) * SPACING


def test_a_wrong_snapshot_is_found_and_repaired(recorded: Daemon, namespace: str) -> None:
    """A disk, or a person, may change anything; history is what counts."""
    recorded.stop()
    kept = recorded.database.snapshots
    first, second, third, *_ = stored(recorded.database)
    right = list(kept.find({}, sort=[("_id", 1)]))
    spoil(recorded.database, first, f0="another")
    kept.update_one({"_id": Binary(second.id)}, {"$set": {"base": Binary(second.id)}})
    kept.update_one({"_id": Binary(third.id)}, {"$set": {"document_id": 2}})
    kept.insert_one({"_id": Binary(b"nowhere".ljust(16)), **{k: v for k, v in right[0].items() if k != "_id"}})
    kept.insert_one(
        {"_id": Binary(b"claimed".ljust(16)), "namespace": namespace, "document_id": 3, "claim": ObjectId()}
    )

    table = watcher(recorded, "snapshots", "verify", namespace)
    assert table.returncode == exit_codes.DIFFERENT
    assert f"{len(right) + 2} snapshots of 3 documents compared, 4 wrong\n" in table.stdout
    found = watcher(recorded, "snapshots", "verify", "--json")
    assert found.returncode == exit_codes.DIFFERENT
    told = {bytes(line["snapshot"]): line for line in lines(found.stdout)}
    assert {key: line["wrong"] for key, line in told.items()} == {
        first.id: "the document was another",
        second.id: "it is based on another entry",
        third.id: "no entry of the document stands there",
        b"nowhere".ljust(16): "no entry of the document stands there",
    }
    assert [line["document_id"] for line in told.values()].count(2) == 1
    assert all(line["namespace"] == namespace and not line["repaired"] for line in told.values())

    repaired = watcher(recorded, "snapshots", "verify", "--repair", "--json")
    assert (repaired.returncode, len(lines(repaired.stdout))) == (exit_codes.OK, 4)
    assert all(line["repaired"] for line in lines(repaired.stdout))
    again = watcher(recorded, "snapshots", "verify")
    assert (again.returncode, again.stdout.partition(", ")[2]) == (exit_codes.OK, "0 wrong\n")
    watcher(recorded, "snapshots", "rebuild", "--continue")  # what stood under another document
    assert list(kept.find({"document_id": 1}, sort=[("_id", 1)], limit=len(right))) == right


def test_snapshots_are_made_anew_from_history_alone(recorded: Daemon, namespace: str) -> None:
    """All of them, those of a collection, of a document, or only what is missing."""
    recorded.stop()
    kept = recorded.database.snapshots
    due = recorded.database.history.count_documents({"namespace": namespace, "document_id": 1}) // SPACING
    kept.drop()

    everything = watcher(recorded, "snapshots", "rebuild")
    assert everything.returncode == exit_codes.OK, everything.stderr
    made = int(everything.stdout.split(", ")[1].split()[0])
    assert everything.stdout == f"1 long-lived document, {made} snapshots\n"
    assert due - 1 <= made <= due  # what lies after the checkpoint is left for later
    right = list(kept.find({}, sort=[("_id", 1)]))
    assert len(check(recorded.database, namespace, 1)) == made
    assert {index["name"] for index in kept.list_indexes()} == {"_id_", "document_timeline"}

    kept.update_many({}, {"$set": {"document": {"_id": 1}}})
    of_one = watcher(recorded, "snapshots", "rebuild", namespace, "1", "--json")
    (line,) = lines(of_one.stdout)
    assert line == {"namespace": namespace, "document_id": 1, "entries": UPDATES, "snapshots": made}
    assert list(kept.find({}, sort=[("_id", 1)])) == right

    kept.delete_many({"_id": {"$in": [item["_id"] for item in right[1:4]]}})
    rest = watcher(recorded, "snapshots", "rebuild", namespace, "--continue")
    assert rest.returncode == exit_codes.OK
    assert list(kept.find({}, sort=[("_id", 1)])) == right


def test_what_is_not_in_history_is_named(recorded: Daemon, namespace: str) -> None:
    """A slip of the pen must not look like success."""
    for command in (("rebuild", "shop.nonesuch"), ("rebuild", namespace, "17"), ("verify", "shop.nonesuch")):
        found = watcher(recorded, "snapshots", *command)

        assert found.returncode == exit_codes.NOT_FOUND
        assert "nothing is recorded of" in found.stderr


def test_no_snapshots_are_taken_if_the_settings_say_so(
    replica_set_uri: str, database: Database[Any], namespace: str, make_daemon: Callable[..., Daemon]
) -> None:
    """They take room; and who keeps no copies of documents keeps none here."""
    daemon = make_daemon(replica_set_uri, database.name, snapshots="off").start().ready()
    busy(database, documents=1)
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")
    time.sleep(1)

    assert stored(daemon.database) == []
    assert daemon.stop() == exit_codes.OK


def test_a_baseline_that_comes_late_leaves_no_snapshot_that_was_made_without_it(
    replica_set_uri: str, database: Database[Any], namespace: str, make_daemon: Callable[..., Daemon]
) -> None:
    """What one stream recorded, then what nobody did, then a new stream: only its baseline tells what lies between."""
    old = make_daemon(replica_set_uri, database.name, stream="old").start().ready()
    busy(database, updates=100, documents=1)
    database.end.insert_one({"_id": "old"})
    old.recorded(f"{database.name}.end", "old")
    assert old.stop() == exit_codes.OK
    database.a.update_one({"_id": 0}, {"$set": {"nobody": "saw"}}, upsert=True)
    database["0.first"].insert_many([{"_id": number, "text": "x" * 500} for number in range(5000)])

    new = make_daemon(replica_set_uri, database.name, stream="new", history_database=old.database.name).start().ready()
    busy(database, updates=500, documents=1)
    database.end.insert_one({"_id": "new"})
    new.recorded(f"{database.name}.end", "new")
    done = {"_id": "new", "surveys": {"$exists": False}, "survey": {"$exists": False}}
    eventually(lambda: new.database.checkpoints.find_one(done), "the end of the backfill")

    def taken() -> bool:  # what the baseline has removed is made again when the document changes again
        database.a.update_one({"_id": 0}, {"$inc": {"n": 1}})
        return len(stored(new.database)) >= 5

    eventually(taken, "snapshots")
    assert new.stop() == exit_codes.OK
    assert check(new.database, namespace, 0)
    assert watcher(new, "snapshots", "verify").returncode == exit_codes.OK
