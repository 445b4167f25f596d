"""`watcher revert` beside a real daemon: shows first, does it when told to, and is seen in the log."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util

from change_history import History
from tests.support.daemon import eventually, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    import subprocess

    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.support.daemon import Daemon

TAGS: dict[str, Any] = {"tags": [{"x": 1}]}


@pytest.fixture
def shop(database: Database[Any], daemon: Daemon) -> Database[Any]:
    """A watched database with a user who has changed."""
    database.users.insert_one(
        {"_id": 42, "name": "Ada", "email": "old@example.com", "address": {"city": "x", "zip": 1}, **TAGS}
    )
    database.users.update_one({"_id": 42}, {"$set": {"email": "new@example.com", "address.city": "y"}})
    recorded(daemon, database, 2)
    return database


def recorded(daemon: Daemon, shop: Database[Any], events: int, document_id: Any = 42) -> None:
    """Wait until a document has so many events."""
    query = {"namespace": f"{shop.name}.users", "document_id": document_id}
    eventually(lambda: daemon.database.history.count_documents(query) >= events, f"{events} events")


def lines(result: subprocess.CompletedProcess[str]) -> list[Any]:
    """What was printed as JSON, as the driver reads it."""
    return [json_util.loads(line) for line in result.stdout.splitlines()]


def test_the_dry_run_shows_what_would_be_done_and_what_to_type(shop: Database[Any], daemon: Daemon) -> None:
    """And does nothing. What it names does just that, and the log says so."""
    namespace = f"{shop.name}.users"
    before = shop.users.find_one()

    shown = watcher(daemon, "revert", namespace, "42", "--to", "-2")

    assert shown.returncode == exit_codes.OK, shown.stderr
    for line in (
        '- email: "new@example.com"',
        '+ email: "old@example.com"',
        '- address.city: "y"',
        '+ address.city: "x"',
    ):
        assert line in shown.stdout
    assert shop.users.find_one() == before
    assert daemon.database.reverts.count_documents({}) == 0
    (command,) = (line.partition("To do it: watcher ")[2] for line in shown.stderr.splitlines() if "To do it" in line)
    assert " --to 1 --seen " in command

    done = watcher(daemon, *shlex.split(command))

    assert done.returncode == exit_codes.OK, done.stderr
    recorded(daemon, shop, 3)
    with History.connect(daemon._environment["WATCHER_MONGODB_URI"], daemon.database.name) as history:
        assert shop.users.find_one() == history.as_of(namespace, 42, 1) == history.as_of(namespace, 42, None)
    log = watcher(daemon, "log", namespace, "42").stdout
    assert log.count("revert to version 1") == 1
    assert "revert to version 1" in watcher(daemon, "log", namespace, "42", "--oneline").stdout.splitlines()[-1]
    *others, last = lines(watcher(daemon, "log", namespace, "42", "--json"))
    assert last["revert"]["to"] == 1
    assert last["revert"]["state"] == "done"
    assert not any("revert" in event for event in others)
    name = done.stderr.split("--transaction ")[1].split()[0]
    assert "revert to version 1" in watcher(daemon, "log", "--transaction", name).stdout
    assert "There is nothing to put back: " in watcher(daemon, "revert", namespace, "42", "--to", "1").stderr


def test_a_deleted_document_is_brought_back(shop: Database[Any], daemon: Daemon) -> None:
    """With one command; a time does as well as a version."""
    namespace = f"{shop.name}.users"
    was = shop.users.find_one()
    shop.users.delete_one({"_id": 42})
    recorded(daemon, shop, 3)

    shown = watcher(daemon, "revert", namespace, "42", "--to", "2")
    assert "to be inserted" in shown.stdout
    assert watcher(daemon, "revert", namespace, "42", "--to", "2", "--yes").returncode == exit_codes.OK
    assert shop.users.find_one() == was
    recorded(daemon, shop, 4)
    shown = watcher(daemon, "revert", namespace, "42", "--to", "1s ago", "--json", "--force")
    assert shown.returncode == exit_codes.OK, shown.stderr


def test_conflicts_are_listed_and_stay(shop: Database[Any], daemon: Daemon) -> None:
    """The exit code says that something remains, and --json what."""
    namespace = f"{shop.name}.users"
    daemon.send(signal.SIGSTOP)
    try:
        shop.users.update_one({"_id": 42}, {"$set": {"email": "newest@example.com"}})
        result = watcher(daemon, "revert", namespace, "42", "--to", "1", "--yes")
        assert result.returncode == exit_codes.REMAINING
        assert '! email: "newest@example.com" stays; history says "new@example.com"' in result.stdout
        assert "Done. What is listed as not put back is as it was." in result.stderr
        found = shop.users.find_one()
        assert found == {
            "_id": 42,
            "name": "Ada",
            "email": "newest@example.com",
            "address": {"city": "x", "zip": 1},
            **TAGS,
        }
        (line,) = lines(watcher(daemon, "revert", namespace, "42", "--to", "1", "--field", "email", "--json"))
    finally:
        daemon.send(signal.SIGCONT)
    assert line["applied"] is False
    (conflict,) = line["conflicts"]
    assert conflict == {
        "field": "email",
        "path": ["email"],
        "expected": "new@example.com",
        "actual": "newest@example.com",
        "target": "old@example.com",
    }


def test_a_transaction_is_undone_by_the_name_that_the_log_prints(
    client: MongoClient[Any], shop: Database[Any], daemon: Daemon
) -> None:
    """All of its documents at once, and the log says which transaction was undone."""
    shop.users.insert_one({"_id": 7, "n": 1})
    with client.start_session() as session, session.start_transaction():
        shop.users.update_one({"_id": 42}, {"$set": {"name": "Eve"}}, session=session)
        shop.users.delete_one({"_id": 7}, session=session)
        shop.other.insert_one({"_id": 1}, session=session)
    recorded(daemon, shop, 3)
    recorded(daemon, shop, 2, document_id=7)
    (_, _, event) = lines(watcher(daemon, "log", f"{shop.name}.users", "42", "--json"))
    name = f"{event['transaction']['session']['id'].hex()[:8]}:{event['transaction']['number']}"
    assert f"transaction {name}" in watcher(daemon, "log", f"{shop.name}.users").stdout

    assert watcher(daemon, "revert", "--transaction", name).returncode == exit_codes.OK
    assert shop.other.count_documents({}) == 1
    done = watcher(daemon, "revert", "--transaction", name, "--yes")

    assert done.returncode == exit_codes.OK, done.stderr
    assert shop.other.count_documents({}) == 0
    assert list(shop.users.find({}, {"name": 1, "n": 1})) == [{"_id": 42, "name": "Ada"}, {"_id": 7, "n": 1}]
    recorded(daemon, shop, 4)
    assert f"revert of transaction {name}" in watcher(daemon, "log", f"{shop.name}.users", "42").stdout


REFUSED = [
    (["42", "--to", "1", "--field", "tags.0.x"], exit_codes.USAGE, "arrays are put back as wholes"),
    (["42", "--to", "9"], exit_codes.NOT_FOUND, "there is no version 9"),
    (["43", "--to", "2020-01-01"], exit_codes.NOT_FOUND, "nothing is recorded of"),
    (["42", "--to", "1", "--field", "nonsense"], exit_codes.NOT_FOUND, "no field nonsense"),
]


def test_what_makes_no_sense_is_refused_with_the_reason(shop: Database[Any], daemon: Daemon) -> None:
    """Before anything is written."""
    before = shop.users.find_one()

    for arguments, code, said in REFUSED:
        result = watcher(daemon, "revert", f"{shop.name}.users", *arguments, "--yes")
        assert (result.returncode, said in result.stderr) == (code, True), result.stderr
    assert shop.users.find_one() == before
