"""Old values without pre-images: told by history where that is sound, else unknown. Never a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support import oracle
from tests.support.daemon import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon


def _changes(daemon: Daemon, namespace: str, operation: str) -> list[list[dict[str, Any]]]:
    query = {"namespace": namespace, "operation": operation}
    return [oracle.entry(item)["changes"] for item in oracle.history(daemon.database, query)]


def test_history_tells_old_values_where_the_server_does_not(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """From an insert and from a baseline; through restarts; of updates, replacements and deletes."""
    database.a.insert_one({"_id": "before", "n": 1, "tags": [1, 2]})
    daemon = make_daemon(replica_set_uri, database.name, pre_images="off").start().ready()
    eventually(lambda: daemon.database.history.find_one({"operation": "baseline"}), "the baseline")
    database.a.insert_one({"_id": "new", "n": 1})
    database.a.update_one({"_id": "new"}, {"$set": {"n": 2}})
    database.a.update_one({"_id": "before"}, {"$push": {"tags": 3}})
    daemon.recorded(f"{database.name}.a", "new")
    assert daemon.stop() == 0
    database.a.update_one({"_id": "new"}, {"$set": {"n": 3}})
    daemon.start()
    database.a.replace_one({"_id": "new"}, {"m": 1})
    database.a.delete_one({"_id": "before"})
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    assert _changes(daemon, f"{database.name}.a", "update") == [
        [{"field": "n", "old_value": 1, "new_value": 2, "old_value_from": "history"}],
        [{"field": "tags.2", "new_value": 3, "old_value_from": "history"}],
        [{"field": "n", "old_value": 2, "new_value": 3, "old_value_from": "history"}],
    ]
    assert _changes(daemon, f"{database.name}.a", "replace") == [
        [
            {"field": "n", "old_value": 3, "old_value_from": "history"},
            {"field": "m", "new_value": 1, "old_value_from": "history"},
        ]
    ]
    assert _changes(daemon, f"{database.name}.a", "delete") == [
        [
            {"field": "_id", "old_value": "before", "old_value_from": "history"},
            {"field": "n", "old_value": 1, "old_value_from": "history"},
            {"field": "tags", "old_value": [1, 2, 3], "old_value_from": "history"},
        ]
    ]


def test_what_history_cannot_tell_stays_unknown(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """No baseline; and a collection dropped and made again under the same name."""
    database.a.insert_one({"_id": "before", "n": 1})
    daemon = make_daemon(replica_set_uri, database.name, pre_images="off", baseline="off").start().ready()
    database.a.update_one({"_id": "before"}, {"$set": {"n": 2}})
    database.a.insert_one({"_id": 1, "n": 1})
    database.a.drop()
    database.a.insert_one({"_id": 1, "m": 7})
    database.a.update_one({"_id": 1}, {"$set": {"m": 8}})
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    assert _changes(daemon, f"{database.name}.a", "update") == [
        [{"field": "n", "new_value": 2, "old_value_from": "unknown"}],
        [{"field": "m", "old_value": 7, "new_value": 8, "old_value_from": "history"}],
    ]


def test_images_switched_off_in_between_cost_no_old_value(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """With images, without, with again: every old value is there, and says where it is from."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    daemon = make_daemon(replica_set_uri, database.name, pre_images="use").start().ready()
    database.a.insert_one({"_id": 1, "n": 0})
    for number, on in enumerate((True, False, False, True, False), 1):
        database.command({"collMod": "a", "changeStreamPreAndPostImages": {"enabled": on}})
        database.a.update_one({"_id": 1}, {"$set": {"n": number}})
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    updates = [changes[0] for changes in _changes(daemon, f"{database.name}.a", "update")]
    assert [(change["old_value"], change["new_value"]) for change in updates] == [(n, n + 1) for n in range(5)]
    assert [change.get("old_value_from") for change in updates] == [None, "history", "history", None, "history"]
