"""`watcher show`, as people and scripts meet it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Int64, ObjectId, json_util

from tests.support.daemon import cluster_time, eventually, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.daemon import Daemon

CANONICAL = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL)
OWNER = ObjectId("66f2a1c0e4b0d52a3c9f1e77")


@pytest.fixture
def shop(daemon: Daemon, database: Database[Any]) -> str:
    """A collection with a document that was changed twice and one that was deleted, both recorded; its namespace."""
    database.create_collection("orders")
    database.orders.insert_one({"_id": 17, "qty": Int64(3), "price": Decimal128("9.90"), "owner": OWNER})
    database.orders.update_one({"_id": 17}, {"$set": {"qty": Int64(5)}})
    database.orders.insert_one({"_id": 18, "qty": 1})
    database.orders.delete_one({"_id": 18})
    database.orders.update_one({"_id": 17}, {"$unset": {"owner": 1}})
    database.orders.insert_one({"_id": 19, "qty": 7})
    daemon.recorded(f"{database.name}.orders", 19)
    return f"{database.name}.orders"


def test_what_order_17_looked_like(daemon: Daemon, shop: str) -> None:
    """By version, by time, and now; exact for scripts, readable for people, and always told where it stands."""
    first = watcher(daemon, "show", shop, "17", "--at", "1", "--json")
    assert (first.returncode, json_util.loads(first.stdout, json_options=CANONICAL)) == (
        exit_codes.OK,
        {"_id": 17, "qty": Int64(3), "price": Decimal128("9.90"), "owner": OWNER},
    )
    assert '"$numberLong": "3"' in first.stdout
    for at in ("2", "-2", cluster_time(daemon, 18, "insert"), cluster_time(daemon, 18, "delete")):
        found = watcher(daemon, "show", shop, "17", "--at", at, "--json")
        assert json_util.loads(found.stdout)["qty"] == 5
        assert "version 2, " in found.stderr
        assert " update, event " in found.stderr

    now = watcher(daemon, "show", shop, "17", "--utc")
    assert json.loads(now.stdout) == {"_id": 17, "qty": 5, "price": {"$numberDecimal": "9.90"}}
    assert now.stdout.startswith('{\n  "_id": 17,\n')
    assert f"{shop}, id 17: version 3, 20" in now.stderr
    assert "+00:00 update" in now.stderr


def test_a_deleted_document_is_not_there_and_can_be_seen_as_it_was(daemon: Daemon, shop: str) -> None:
    """The message says when it went, and what to type; typed, that works."""
    gone = watcher(daemon, "show", shop, "18")
    assert (gone.returncode, gone.stdout) == (exit_codes.NOT_FOUND, "")
    assert "was not there any more" in gone.stderr
    assert " delete, event " in gone.stderr
    command = gone.stderr.split("What it was before: watcher ")[1].splitlines()[0].split()
    assert json.loads(watcher(daemon, *command).stdout) == {"_id": 18, "qty": 1}

    early = watcher(daemon, "show", shop, "18", "--at", cluster_time(daemon, 17, "insert"))
    assert early.returncode == exit_codes.NOT_FOUND
    assert "Its first recorded event after it" in early.stderr
    assert " insert, event " in early.stderr


def test_nothing_recorded_suggests_what_might_be_meant(daemon: Daemon, shop: str) -> None:
    """An id of another type, a version too many, a name that is nearly right."""
    other = watcher(daemon, "show", shop, '"17"')
    many = watcher(daemon, "show", shop, "17", "--at", "4")
    mistyped = watcher(daemon, "show", shop.replace("orders", "oders"))

    assert {other.returncode, many.returncode, mistyped.returncode} == {exit_codes.NOT_FOUND}
    assert "There is an id of another type" in other.stderr
    assert "there is no version 4: there are 3 versions of it" in many.stderr
    assert f"There is history of: {shop}" in mistyped.stderr


def test_a_whole_collection_as_it_was_and_only_what_matched_then(daemon: Daemon, shop: str) -> None:
    """One document a line; the filter sees the documents of that moment, not those of today."""
    at = cluster_time(daemon, 18, "insert")
    found = watcher(daemon, "show", shop, "--at", at, "--json")
    assert [json_util.loads(line)["_id"] for line in found.stdout.splitlines()] == [17, 18]
    assert (found.returncode, found.stderr) == (exit_codes.OK, "")

    query = json.dumps({"owner": {"$oid": str(OWNER)}, "qty": {"$gt": 4}})
    then = watcher(daemon, "show", shop, "--at", at, "--query", query)
    assert [json.loads(line)["_id"] for line in then.stdout.splitlines()] == [17]
    now = watcher(daemon, "show", shop, "--query", query)
    assert (now.returncode, now.stdout) == (exit_codes.NOT_FOUND, "")
    assert "no document of" in now.stderr
    refused = watcher(daemon, "show", shop, "--query", '{"$where": "1"}')
    assert refused.returncode == exit_codes.USAGE
    assert "the server refuses the filter: $where" in refused.stderr


def test_a_renamed_collection_is_found_under_the_other_name(daemon: Daemon, database: Database[Any], shop: str) -> None:
    """Before the rename and after it, whichever name is asked for."""
    before = cluster_time(daemon, 19, "insert")
    database.orders.rename("sales")
    eventually(lambda: daemon.database.history.find_one({"operation": "rename"}), "the rename")
    sales = shop.replace("orders", "sales")

    assert json.loads(watcher(daemon, "show", sales, "17").stdout)["qty"] == 5
    gone = watcher(daemon, "show", shop, "17")
    assert (gone.returncode, gone.stdout) == (exit_codes.NOT_FOUND, "")
    assert f"watcher show {sales} 17" in gone.stderr
    early = watcher(daemon, "show", sales, "17", "--at", before)
    assert early.returncode == exit_codes.NOT_FOUND
    assert f"was {shop}: watcher show {shop} 17 --at" in early.stderr
    assert len(watcher(daemon, "show", sales).stdout.splitlines()) == 2
    empty = watcher(daemon, "show", shop)
    assert empty.returncode == exit_codes.NOT_FOUND
    assert f"It has another name since: watcher show {sales}" in empty.stderr


def test_a_dropped_collection_says_so_and_how_to_see_it(daemon: Daemon, database: Database[Any], shop: str) -> None:
    """What the message tells to type shows what was there."""
    database.orders.drop()
    eventually(lambda: daemon.database.history.find_one({"operation": "drop"}), "the drop")

    for asked in ([shop], [shop, "17"]):
        gone = watcher(daemon, "show", *asked)
        assert (gone.returncode, gone.stdout) == (exit_codes.NOT_FOUND, "")
        assert " drop, event " in gone.stderr
        command = gone.stderr.split("What there was right before: watcher ")[1].split()
        assert '"_id": 17' in watcher(daemon, *command).stdout


def test_what_history_cannot_tell_is_not_shown(daemon: Daemon, shop: str) -> None:
    """One document of it is unknown: it is named, left out, and the exit status tells scripts."""
    known = daemon.database.history.find_one({"document_id": 19})
    daemon.database.history.delete_one({"document_id": 17, "operation": "insert"})
    assert known is not None

    alone = watcher(daemon, "show", shop, "17")
    assert (alone.returncode, alone.stdout) == (exit_codes.UNKNOWN, "")
    assert "history cannot tell" in alone.stderr
    together = watcher(daemon, "show", shop, "--json")
    assert together.returncode == exit_codes.UNKNOWN
    assert [json_util.loads(line)["_id"] for line in together.stdout.splitlines()] == [19]
    assert "id 17 is left out, history cannot tell it: no entry tells the whole document" in together.stderr


def test_a_gap_in_between_is_said_beside_the_document(daemon: Daemon, shop: str) -> None:
    """It may have been changed without a trace."""
    last: Any = daemon.database.history.find_one(sort=[("_id", -1)])
    moment = last["cluster_time"]
    gap = {
        "_id": last["_id"][:8] + b"g" * 8,
        "operation": "gap",
        "cluster_time": moment,
        "timestamp": last["timestamp"],
        "changes": [],
        "description": {
            "stream": "default",
            "from": moment,
            "to": type(moment)(moment.time + 60, 1),
            "cause": "a test",
            "include": [shop],
            "exclude": [],
        },
    }
    daemon.database.history.insert_one(gap)

    for asked in ([shop, "17"], [shop]):
        found = watcher(daemon, "show", *asked)
        assert found.returncode == exit_codes.OK
        assert "Events were lost from " in found.stderr
        assert "because of a test" in found.stderr
    assert "Events were lost" not in watcher(daemon, "show", shop, "17", "--at", "1").stderr
