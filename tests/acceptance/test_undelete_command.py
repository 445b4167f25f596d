"""`watcher revert` as a newcomer meets it: what it undoes, what it brings back, and what it refuses with advice."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util

from tests.support.daemon import eventually, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.daemon import Daemon

WAS = {"_id": "ann", "name": "Ann", "email": "ann@example.org"}


@pytest.fixture
def shop(database: Database[Any], daemon: Daemon) -> str:
    """A collection with a deleted customer, recorded; its namespace."""
    database.customers.insert_one(WAS | {"email": "old@example.org"})
    database.customers.update_one({"_id": "ann"}, {"$set": {"email": "ann@example.org"}})
    database.customers.delete_one({"_id": "ann"})
    recorded(daemon, database, 3)
    return f"{database.name}.customers"


def recorded(daemon: Daemon, database: Database[Any], events: int) -> None:
    """Wait until the customer has so many events."""
    query = {"namespace": f"{database.name}.customers", "document_id": "ann"}
    eventually(lambda: daemon.database.history.count_documents(query) >= events, f"{events} events")


def test_a_deleted_customer_comes_back_and_stays(shop: str, database: Database[Any], daemon: Daemon) -> None:
    """`show` says how; typed twice it does no harm, recorded or not."""
    gone = watcher(daemon, "show", shop, "ann")
    assert f"To bring it back: watcher revert {shop} ann --undelete" in gone.stderr
    assert "--undelete" in watcher(daemon, "revert", shop, "ann").stderr

    shown = watcher(daemon, "revert", shop, "ann", "--undelete")
    assert "to be inserted" in shown.stdout
    assert "Later recorded events that will be undone:" in shown.stderr
    assert database.customers.find_one() is None
    command = shown.stderr.split("To do it: watcher ")[1].strip()
    done = watcher(daemon, *shlex.split(command))
    assert done.returncode == exit_codes.OK, done.stderr
    assert database.customers.find_one() == WAS

    at_once = watcher(daemon, *shlex.split(command))
    recorded(daemon, database, 4)
    later = watcher(daemon, "revert", shop, "ann", "--undelete", "--yes")
    for again in (at_once, later):
        assert again.returncode == exit_codes.OK, again.stderr
        assert "There is nothing to put back: the document is there." in again.stderr
    assert database.customers.find_one() == WAS


def test_a_customer_who_signed_up_again_is_not_trampled(shop: str, database: Database[Any], daemon: Daemon) -> None:
    """Not while it is unrecorded, and not by the command of an earlier dry run."""
    shown = watcher(daemon, "revert", shop, "ann", "--undelete")
    command = shlex.split(shown.stderr.split("To do it: watcher ")[1])
    daemon.send(signal.SIGSTOP)
    try:
        database.customers.insert_one({"_id": "ann", "name": "Another"})
        unrecorded = watcher(daemon, "revert", shop, "ann", "--undelete", "--yes")
    finally:
        daemon.send(signal.SIGCONT)
    recorded(daemon, database, 4)
    late = watcher(daemon, *command)

    for refused in (unrecorded, late):
        assert refused.returncode == exit_codes.REMAINING, refused.stderr
        assert "! there is a document, although history says there is none; it stays" in refused.stdout
    assert "so left alone:" in late.stderr
    assert "behind" not in late.stderr
    assert "last seconds" not in late.stderr
    assert database.customers.find_one() == {"_id": "ann", "name": "Another"}
    assert watcher(daemon, "revert", shop, "ann", "--undelete", "--yes").returncode == exit_codes.OK
    assert database.customers.find_one() == {"_id": "ann", "name": "Another"}


def test_a_number_below_zero_does_not_delete_what_it_brought_back(
    shop: str, database: Database[Any], daemon: Daemon
) -> None:
    """`--to -2 --yes`, typed again, meant the deletion; the way to do even that is named."""
    arguments = ("revert", shop, "ann", "--to", "-2", "--yes")
    assert watcher(daemon, *arguments).returncode == exit_codes.OK
    recorded(daemon, database, 4)

    refused = watcher(daemon, *arguments)

    assert refused.returncode == exit_codes.USAGE
    assert "--to -2 is version 3 by now" in refused.stderr
    assert f"watcher revert {shop} ann --undelete --yes" in refused.stderr
    assert database.customers.find_one() == WAS
    (command,) = (line.split("watcher ")[1] for line in refused.stderr.splitlines() if line.startswith("To delete it"))
    assert watcher(daemon, *shlex.split(command)).returncode == exit_codes.OK
    assert database.customers.find_one() is None


def test_the_later_events_are_listed_before_and_after(shop: str, database: Database[Any], daemon: Daemon) -> None:
    """Whoever goes back to Monday reads what of Tuesday that takes away."""
    database.customers.insert_one(WAS)
    database.customers.update_one({"_id": "ann"}, {"$set": {"vip": True}})
    recorded(daemon, database, 5)
    events = list(daemon.database.history.find({"document_id": "ann"}, sort=[("_id", 1)]))

    shown = watcher(daemon, "revert", shop, "ann", "--to", "1")
    (line,) = watcher(daemon, "revert", shop, "ann", "--to", "4", "--json").stdout.splitlines()
    done = watcher(daemon, "revert", shop, "ann", "--to", "4", "--yes")

    assert [event["_id"].hex()[:20] in shown.stderr for event in events] == [False, True, True, True, True]
    undone = json_util.loads(line)["undone"]
    assert undone["count"] == 1
    assert [(event["_id"], event["operation"], event["fields"]) for event in undone["events"]] == [
        (events[-1]["_id"], "update", ["vip"])
    ]
    assert "Later recorded events that were undone:" in done.stderr
    assert "update  vip" in done.stderr
    nothing = watcher(daemon, "revert", shop, "ann", "--to", "4", "--yes")
    assert "nothing to put back: the document is what it was at version 4." in nothing.stderr


def test_what_was_deleted_under_a_former_name_is_told_there(shop: str, database: Database[Any], daemon: Daemon) -> None:
    """It was said to have gone with its collection, with a command that brought nothing back."""
    database.customers.insert_one({"_id": "eve"})
    database.customers.rename("clients")
    database.clients.insert_one({"_id": "bob"})
    daemon.recorded(f"{database.name}.clients", "bob")

    refused = watcher(daemon, "revert", f"{database.name}.clients", "ann", "--undelete", "--yes")

    assert refused.returncode == exit_codes.NOT_FOUND
    assert "was deleted before the collection got this name" in refused.stderr
    told = watcher(daemon, *shlex.split(refused.stderr.split("then: watcher ")[1].strip()), "--json")
    assert json_util.loads(told.stdout) == WAS
    assert "--undelete" not in watcher(daemon, "show", f"{database.name}.clients", "ann").stderr


def test_what_cannot_be_is_answered_with_what_to_type(shop: str, database: Database[Any], daemon: Daemon) -> None:
    """As `log` and `show` do."""
    database.orders.insert_one({"_id": 17, "lines": [{"_id": 2, "qty": 1}]})
    daemon.recorded(f"{database.name}.orders", 17)
    orders = f"{database.name}.orders"
    for arguments, code, said in [
        ([shop, "ann", "--to", "77"], exit_codes.NOT_FOUND, "there are 3 versions"),
        ([f"{database.name}.customer", "ann", "--undelete"], exit_codes.NOT_FOUND, f"history of: {shop}"),
        ([f"{database.name}.customer", "ann", "--to", "1"], exit_codes.NOT_FOUND, f"history of: {shop}"),
        ([orders, '"17"', "--to", "1"], exit_codes.NOT_FOUND, "There is an id of another type"),
        ([orders, "17", "--to", "1", "--field", "lines.$[].qty"], exit_codes.NOT_FOUND, "the array, lines,"),
        ([shop, "ann", "--to", "3"], exit_codes.OK, "was not there at version 3"),
        (["customers", "ann", "--undelete"], exit_codes.USAGE, f"did you mean {shop}?"),
    ]:
        result = watcher(daemon, "revert", *arguments)
        assert (result.returncode, said in result.stderr) == (code, True), result.stderr
    assert "the array, lines," in watcher(daemon, "log", orders, "17", "--field", "lines[_id: 2].qty").stderr
    assert f"did you mean {orders}?" in watcher(daemon, "log", "orders").stderr
    assert watcher(daemon, "log", orders, "Long('17')").returncode == exit_codes.OK
