"""What could not be stored comes into history once the cause is gone, as if nothing had been."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util

from tests.support.daemon import eventually, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon


@pytest.fixture
def rejecting(daemon: Daemon) -> Daemon:
    """A daemon whose history collection refuses documents 1 and 3, by a validator."""
    validator = {"document_id": {"$nin": [1, 3]}}
    daemon.database.command({"collMod": "history", "validator": validator})
    return daemon


def work(watched: Database[Any]) -> None:
    """Events of five documents, three each, all of them with their pre-images."""
    watched.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    for number in range(5):
        watched.a.insert_one({"_id": number, "n": 0})
        watched.a.update_one({"_id": number}, {"$set": {"n": 1}})
        watched.a.delete_one({"_id": number})


def heal(daemon: Daemon) -> None:
    """Take the validator away."""
    daemon.database.command({"collMod": "history", "validator": {}})


def stored(daemon: Daemon, watched: str) -> list[Any]:
    """The history of the test's collection."""
    return list(daemon.database.history.find({"namespace": f"{watched}.a"}, sort=[("_id", 1)]))


def test_rejected_events_come_into_history_as_if_nothing_had_been(
    rejecting: Daemon,
    make_daemon: Callable[..., Daemon],
    replica_set_uri: str,
    database: Database[Any],
) -> None:
    """The same documents as a plain run's, in their places; and nothing is left behind."""
    plain = make_daemon(replica_set_uri, database.name, stream="plain").start().ready()
    work(database)
    plain.recorded(f"{database.name}.a", 4)
    eventually(lambda: len(stored(plain, database.name)) >= 15, "the whole history of the plain run")
    eventually(lambda: rejecting.database.rejected.count_documents({}) == 6, "six rejected events")
    eventually(lambda: len(stored(rejecting, database.name)) == len(stored(plain, database.name)) - 6, "the others")

    listed = watcher(rejecting, "rejected", "list")
    assert listed.stdout.count("DocumentValidationFailure (121)") == 6
    assert listed.stdout.count(f"{database.name}.a") == 6
    first: Any = rejecting.database.rejected.find_one(sort=[("_id", 1)])
    assert first["_id"].hex() in listed.stdout
    lines = watcher(rejecting, "rejected", "list", "--json").stdout.splitlines()
    assert json_util.loads(lines[0])["event"] == first["event"]

    heal(rejecting)
    one = watcher(rejecting, "rejected", "retry", first["_id"].hex())
    assert (one.returncode, one.stdout) == (exit_codes.OK, "1 brought into history, 0 remain\n")
    rest = watcher(rejecting, "rejected", "retry", "--all")
    assert (rest.returncode, rest.stdout) == (exit_codes.OK, "5 brought into history, 0 remain\n")
    assert stored(rejecting, database.name) == stored(plain, database.name)
    assert watcher(rejecting, "rejected", "list").stdout == "no rejected events\n"


def test_what_still_cannot_be_stored_stays_whole_with_the_reason_of_today(
    rejecting: Daemon, database: Database[Any]
) -> None:
    """A retry must not be the way to lose an event."""
    work(database)
    eventually(lambda: rejecting.database.rejected.count_documents({}) == 6, "six rejected events")
    rejecting.database.rejected.update_many({}, {"$set": {"error": "of yesterday"}})
    before = list(rejecting.database.rejected.find({}, {"event": 1}))

    found = watcher(rejecting, "rejected", "retry", "--all")

    assert found.returncode == exit_codes.REMAINING
    assert found.stdout == "0 brought into history, 6 remain\n"
    assert found.stderr.count("remains: DocumentValidationFailure (121)") == 6
    assert list(rejecting.database.rejected.find({}, {"event": 1})) == before
    assert rejecting.database.rejected.distinct("error") == ["DocumentValidationFailure (121)"]


def test_an_event_that_is_in_history_already_is_only_removed(rejecting: Daemon, database: Database[Any]) -> None:
    """A kill between the two steps of a retry leaves it in both."""
    work(database)
    eventually(lambda: rejecting.database.rejected.count_documents({}) == 6, "six rejected events")
    heal(rejecting)
    kept = list(rejecting.database.rejected.find())
    watcher(rejecting, "rejected", "retry", "--all")
    history = stored(rejecting, database.name)
    rejecting.database.rejected.insert_many(kept)

    assert watcher(rejecting, "rejected", "retry", "--all").returncode == exit_codes.OK
    assert stored(rejecting, database.name) == history
    assert rejecting.database.rejected.count_documents({}) == 0


def test_a_mistyped_id_is_refused_and_an_unknown_one_named(daemon: Daemon) -> None:
    """Neither may look like success."""
    mistyped = watcher(daemon, "rejected", "retry", "12")
    unknown = watcher(daemon, "rejected", "retry", "ab" * 16)
    nothing = watcher(daemon, "rejected", "retry")

    assert mistyped.returncode == nothing.returncode == exit_codes.USAGE
    assert "32 hexadecimal digits" in mistyped.stderr
    assert unknown.returncode == exit_codes.REMAINING
    assert "is not there" in unknown.stderr
