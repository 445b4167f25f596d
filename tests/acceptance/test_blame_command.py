"""`watcher blame`, as people and scripts meet it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Int64, json_util

from tests.support.daemon import watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.daemon import Daemon


@pytest.fixture
def shop(daemon: Daemon, database: Database[Any]) -> str:
    """A document whose price was set in a transaction, recorded; its namespace."""
    database.create_collection("orders")
    database.orders.insert_one({"_id": 1, "price": Int64(5), "tags": ["a", "b"], "to": {"city": "Rome", "zip": 1}})
    with database.client.start_session() as session, session.start_transaction():
        database.orders.update_one({"_id": 1}, {"$set": {"price": Int64(6)}}, session=session)
    database.orders.update_one({"_id": 1}, {"$push": {"tags": {"$each": ["new"], "$position": 0}}})
    database.orders.update_one({"_id": 1}, {"$set": {"to": {"city": "Oslo", "zip": 1}}})
    database.orders.insert_one({"_id": 2})
    database.orders.delete_one({"_id": 2})
    database.orders.insert_one({"_id": 3})
    daemon.recorded(f"{database.name}.orders", 3)
    return f"{database.name}.orders"


def test_who_set_this_price(daemon: Daemon, shop: str) -> None:
    """Every leaf, by the event that gave it its value: elements that others pushed aside keep theirs."""
    lines = [json_util.loads(line) for line in watcher(daemon, "blame", shop, "1", "--json").stdout.splitlines()]
    blamed = {line["field"]: line["event"] for line in lines}
    updates: list[Any] = list(daemon.database.history.find({"document_id": 1}, sort=[("_id", 1)]))
    inserted, priced, tagged, moved = (bytes(event["_id"]) for event in updates)

    assert {field: bytes(event["_id"]) for field, event in blamed.items()} == {
        "_id": inserted,
        "price": priced,
        "tags.0": tagged,
        "tags.1": inserted,
        "tags.2": inserted,
        "to.city": moved,
        "to.zip": inserted,
    }
    assert blamed["price"]["transaction"]["number"] == updates[1]["transaction"]["number"]
    assert "transaction" not in blamed["to.city"]
    assert lines[4]["path"] == ["tags", 2]

    shown = watcher(daemon, "blame", shop, "1", "--utc")
    (price,) = [line.split() for line in shown.stdout.splitlines() if line.split()[:1] == ["price"]]
    assert price[1:3] == ['Long("6")', f"{updates[1]['timestamp']:%Y-%m-%d}"]
    assert price[-2] == priced.hex()[:20]
    assert watcher(daemon, "log", "--transaction", price[-1]).returncode == exit_codes.OK
    assert f"{shop}, id 1: version 4, " in shown.stderr


def test_blame_as_of_a_moment(daemon: Daemon, shop: str) -> None:
    """What came later is not blamed."""
    lines = [
        json_util.loads(line) for line in watcher(daemon, "blame", shop, "1", "--at", "1", "--json").stdout.splitlines()
    ]

    assert {line["event"]["operation"] for line in lines} == {"insert"}
    assert [line["value"] for line in lines if line["field"].startswith("tags")] == ["a", "b"]


def test_nobody_is_blamed_for_a_document_that_is_not_there(daemon: Daemon, shop: str) -> None:
    """Deleted, unknown to history, or never recorded: three answers, and the exit status of each."""
    gone = watcher(daemon, "blame", shop, "2")
    assert (gone.returncode, gone.stdout) == (exit_codes.NOT_FOUND, "")
    assert " delete, event " in gone.stderr
    assert watcher(daemon, "blame", shop, "2", "--at", "1").returncode == exit_codes.OK
    assert watcher(daemon, "blame", shop, "99").returncode == exit_codes.NOT_FOUND
    daemon.database.history.delete_one({"document_id": 1, "operation": "insert"})
    unknown = watcher(daemon, "blame", shop, "1")
    assert (unknown.returncode, unknown.stdout) == (exit_codes.UNKNOWN, "")
