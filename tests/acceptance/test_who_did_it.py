"""Who did it, from an application's transaction to the commands, with a real daemon."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util
from pymongo import MongoClient

from change_history import History, acting, recorded
from change_history.testing import RecordedHistory, recorded_history
from tests.support.daemon import PATIENCE_S, eventually
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.client_session import ClientSession

    Run = Callable[..., subprocess.CompletedProcess[str]]

__all__ = ["recorded_history"]  # the fixture, brought in as an application does


@pytest.fixture
def run(recorded_history: RecordedHistory) -> Run:
    """Run a command to its end."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WATCHER_")}
    environment |= {"WATCHER_MONGODB_URI": f"{recorded_history.uri}?directConnection=true", "TZ": "UTC"}

    def invoke(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "watcher", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    return invoke


@pytest.fixture
def application(recorded_history: RecordedHistory) -> Iterator[MongoClient[Any]]:
    """The application's client."""
    with MongoClient[Any](recorded_history.uri) as client:
        yield client


@pytest.fixture
def history(application: MongoClient[Any]) -> History:
    """What is recorded."""
    return History(application)


def _events(history: History, number: int, **asked: Any) -> list[tuple[Any, ...]]:
    """What somebody did, once so much of it is recorded."""

    def found() -> list[tuple[Any, ...]]:
        return [
            (event.namespace, event.operation, event.document_id, event.actor.reason if event.actor else None)
            for event in history.log(None, **asked)
        ]

    return eventually(lambda: (all_of_it := found()) and len(all_of_it) == number and all_of_it, f"{number} events")  # type: ignore[no-any-return]


def test_all_of_a_transaction_in_two_databases_is_of_whoever_one_context_document_names(
    application: MongoClient[Any], history: History, run: Run
) -> None:
    """Deletes too, and through a retry; what is written beside it is nobody's."""
    shop, crm = application.wdi_shop, application.wdi_crm
    shop.users.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 1}, {"_id": 3, "n": 1}])
    crm.notes.insert_one({"_id": 1})

    def work(session: ClientSession) -> None:
        with recorded(session, actor="alice", reason="ticket 7", request="r-1", database=shop):
            shop.users.update_one({"_id": 1}, {"$set": {"n": 2}}, session=session)
            crm.notes.insert_one({"_id": 2}, session=session)
            crm.notes.delete_one({"_id": 1}, session=session)

    with application.start_session() as session:
        session.with_transaction(work)
        with acting("bob"), recorded(session, database=shop):
            shop.users.delete_many({"_id": {"$gte": 2}}, session=session)
            shop.users.update_one({"_id": 1}, {"$set": {"m": 1}})  # without the session

    assert _events(history, 3, actor="alice") == [
        ("wdi_shop.users", "update", 1, "ticket 7"),
        ("wdi_crm.notes", "insert", 2, "ticket 7"),
        ("wdi_crm.notes", "delete", 1, "ticket 7"),
    ]
    assert len(_events(history, 3, request="r-1")) == 3
    assert {event[1:3] for event in _events(history, 2, actor="bob")} == {("delete", 2), ("delete", 3)}
    nobodys = [event for event in history.log("wdi_shop.users", 1) if event.actor is None]
    assert [event.operation for event in nobodys] == ["insert", "update"]
    assert not [name for name in history.namespaces() if name.endswith(".watcher_context")]

    text = run("log", "wdi_shop.users", "1", "--utc").stdout
    assert 'by alice (context), reason "ticket 7", request "r-1"' in text
    counted = run("stats", "wdi_shop.users", "--by", "actor", "--json").stdout
    total = json_util.loads(counted.splitlines()[0])
    assert (total["events"] - total["unknown"], total["unknown"] >= 4) == (3, True)
    report = run("doctor", "--json").stdout
    said = [found for line in report.splitlines() if (found := json_util.loads(line))["check"] == "who did it"]
    assert "wdi_shop" in said[0]["facts"]["there"]
    assert said[0]["facts"]["by"]["context"] >= 5


def test_a_revert_is_of_whoever_reverts(application: MongoClient[Any], history: History, run: Run) -> None:
    """By name, or the user of the operating system."""
    users = application.wdi_revert.users
    users.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 1}])
    users.update_many({}, {"$set": {"n": 2}})
    namespace = "wdi_revert.users"
    eventually(lambda: len(list(history.log(namespace, operation="update"))) == 2, "the updates")

    dry = run("revert", namespace, "1", "--to", "1", "--actor", "alice", "--reason", "ticket 8")
    assert dry.returncode == exit_codes.OK, dry.stderr
    assert "--actor alice --reason 'ticket 8' --yes" in dry.stderr
    named = run("revert", namespace, "1", "--to", "1", "--actor", "alice", "--reason", "ticket 8", "--yes")
    unnamed = run("revert", namespace, "2", "--to", "1", "--yes")
    assert (named.returncode, unnamed.returncode) == (0, 0), named.stderr + unnamed.stderr

    (event,) = _events(history, 1, actor="alice", reason="ticket 8")
    assert event == (namespace, "replace", 1, "ticket 8")
    (event,) = _events(history, 1, actor=getpass.getuser())
    assert event == (namespace, "replace", 2, None)
    assert "by alice (context)" in (text := run("log", namespace, "1").stdout)
    assert "revert to version 1" in text
