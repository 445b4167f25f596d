"""How the collection of history is made: events take a third less of the disk, and what is there is not touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.stored.names import HISTORY
from watcher.composition import make_collection

if TYPE_CHECKING:
    from pymongo.database import Database


def _compressor(database: Database[Any]) -> str:
    made = database.command("collStats", HISTORY)["wiredTiger"]["creationString"]
    return str(made).partition("block_compressor=")[2].partition(",")[0]


def test_a_history_that_begins_takes_no_more_of_the_disk_than_it_has_to(database: Database[Any]) -> None:
    """Made by default, an update would take more than 200 bytes. A daemon that starts again makes it no more."""
    make_collection(database)
    make_collection(database)

    assert _compressor(database) == "zstd"


def test_a_history_that_is_there_stays_as_it_is(database: Database[Any]) -> None:
    """An earlier build has made it; it is read, and written on, as before."""
    database[HISTORY].insert_one({"_id": 1})
    before = _compressor(database)

    make_collection(database)

    assert _compressor(database) == before != "zstd"
    assert database[HISTORY].count_documents({}) == 1


def test_a_server_that_refuses_makes_a_history_of_its_own_kind(database: Database[Any]) -> None:
    """A capped namesake, or a server without such an option, must not keep the daemon from recording."""
    database.command("create", "base")
    database.command("create", HISTORY, viewOn="base", pipeline=[])

    make_collection(database)

    assert next(database.list_collections(filter={"name": HISTORY}))["type"] == "view"
