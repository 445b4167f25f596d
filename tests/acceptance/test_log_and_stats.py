"""Questions to a history that a daemon has recorded: what a person asks, with one command each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Decimal128, json_util

from models.changes_view import NAME, PIPELINE
from tests.support.daemon import watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.daemon import Daemon


def orders(daemon: Daemon, database: Database[Any]) -> None:
    """Two orders; one is paid, and its goods leave the stock, in one transaction."""
    for name in ("orders", "stock"):
        database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    database.orders.insert_one({"_id": 17, "status": "new", "price": Decimal128("19.99"), "address": {"city": "Bonn"}})
    database.orders.insert_one({"_id": -1, "status": "new"})
    database.stock.insert_one({"_id": "a", "left": 5})
    with database.client.start_session() as session, session.start_transaction():
        database.orders.update_one({"_id": 17}, {"$set": {"status": "paid"}}, session=session)
        database.stock.update_one({"_id": "a"}, {"$inc": {"left": -1}}, session=session)
    database.orders.update_one({"_id": 17}, {"$set": {"price": Decimal128("24.99")}})
    database.orders.delete_one({"_id": -1})
    database.marker.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.marker", "end")


def ask(daemon: Daemon, *arguments: str) -> list[Any]:
    """What a command prints as JSON, read by the driver's own reader."""
    found = watcher(daemon, *arguments, "--json")
    assert found.returncode == exit_codes.OK, found.stderr
    return [json_util.loads(line) for line in found.stdout.splitlines()]


def test_who_set_this_price_and_with_what_else(daemon: Daemon, database: Database[Any]) -> None:
    """By value, by operation, by transaction, by an id below zero; each as its own event tells it."""
    orders(daemon, database)
    collection = f"{database.name}.orders"

    (priced,) = ask(daemon, "log", collection, "--field", "price", "--changed-to", '{"$numberDecimal": "24.990"}')
    assert priced["document_id"] == 17
    assert priced["changes"] == [{"field": "price", "old_value": Decimal128("19.99"), "new_value": Decimal128("24.99")}]
    (paid,) = ask(daemon, "log", collection, "--changed-to", "paid")
    line = watcher(daemon, "log", collection, "--changed-to", "paid", "--oneline").stdout
    together = ask(daemon, "log", "--transaction", line.split()[0])
    assert [(e["namespace"], e["document_id"]) for e in together] == [
        (collection, 17),
        (f"{database.name}.stock", "a"),
    ]
    assert together[0] == paid
    (gone,) = ask(daemon, "log", collection, "-1", "--operation", "delete")
    assert [change["field"] for change in gone["changes"]] == ["_id", "status"]
    newest = ask(daemon, "log", collection, "17", "--reverse", "--limit", "1")
    assert newest == [priced]


def test_counts_are_those_of_what_was_recorded(daemon: Daemon, database: Database[Any]) -> None:
    """The same by `stats`, by `log --stat` and in the history itself."""
    orders(daemon, database)
    collection = f"{database.name}.orders"
    recorded = list(daemon.database.history.find({"namespace": collection}))
    changes = sum(len(event["changes"]) for event in recorded)

    counted = ask(daemon, "stats", collection)
    listed = ask(daemon, "log", collection, "--stat")

    assert (counted[0]["documents"], counted[0]["events"], counted[0]["changes"]) == (2, len(recorded), changes)
    assert (listed[0]["events"], listed[0]["changes"]) == (len(recorded), changes)
    by_field = [
        {line["field"]: line["changes"] for line in lines if line["by"] == "field"} for lines in (counted, listed)
    ]
    assert by_field[0] == by_field[1]
    assert by_field[0]["status"] == 4


def test_the_daemon_makes_the_view_of_the_changes(daemon: Daemon, database: Database[Any]) -> None:
    """Whoever knows only rows, a shell or a BI tool, sees the changes as soon as there are any."""
    orders(daemon, database)
    (info,) = daemon.database.list_collections(filter={"name": NAME})
    rows = daemon.database[NAME].find({"namespace": f"{database.name}.orders", "document_id": 17, "field": "price"})

    assert info["options"]["pipeline"] == PIPELINE
    assert [(row.get("old_value"), row["new_value"], row["operation"]) for row in rows.sort("event_id")] == [
        (None, Decimal128("19.99"), "insert"),
        (Decimal128("19.99"), Decimal128("24.99"), "update"),
    ]
