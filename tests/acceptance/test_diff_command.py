"""`watcher diff`, as people and scripts meet it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest
from bson import json_util

from tests.support.daemon import cluster_time, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.daemon import Daemon


@pytest.fixture
def shop(daemon: Daemon, database: Database[Any]) -> str:
    """A collection that was changed between two deploys, all recorded; its namespace."""
    database.orders.insert_one({"_id": 1, "state": "new", "items": [{"_id": "a", "qty": 1}, {"_id": "b", "qty": 2}]})
    database.orders.insert_many([{"_id": 2, "state": "new"}, {"_id": 3, "state": "new"}])
    database.orders.update_one({"_id": 1}, {"$set": {"state": "paid", "items.1.qty": 3}})
    database.orders.update_one({"_id": 1}, {"$pull": {"items": {"_id": "a"}}})
    database.orders.delete_one({"_id": 2})
    database.orders.insert_one({"_id": 4, "state": "new"})
    daemon.recorded(f"{database.name}.orders", 4)
    return f"{database.name}.orders"


def test_what_changed_in_a_document_between_two_moments(daemon: Daemon, shop: str) -> None:
    """Elements by their `_id`, whatever their index was; backwards too; negative versions without `--`."""
    found = watcher(daemon, "diff", shop, "1", "1", "-1")
    assert (found.returncode, found.stdout.splitlines()) == (
        exit_codes.OK,
        ['- state: "new"', '+ state: "paid"', '- items[_id: "a"]: {_id: "a", qty: 1}', *items("-", 2), *items("+", 3)],
    )
    assert "A: version 1, " in found.stderr
    assert "B: version 3, " in found.stderr

    back = watcher(daemon, "diff", shop, "1", "now", "-3")
    assert '+ state: "new"' in back.stdout.splitlines()
    same = watcher(daemon, "diff", shop, "1", "-1", "now")
    assert (same.returncode, same.stdout) == (exit_codes.OK, "")
    assert "no difference" in same.stderr


def items(sign: str, qty: int) -> list[str]:
    """The line about the element that stayed."""
    return [f'{sign} items[_id: "b"].qty: {qty}']


def test_scripts_get_every_difference_with_exact_values(daemon: Daemon, shop: str) -> None:
    """Parsed back by the driver's own reader."""
    found = watcher(daemon, "diff", shop, "1", "1", "-1", "--json")

    lines = [json_util.loads(line) for line in found.stdout.splitlines()]
    assert [(line["kind"], line["field"], line.get("old_value"), line.get("new_value")) for line in lines] == [
        ("changed", "state", "new", "paid"),
        ("removed", "items.0", {"_id": "a", "qty": 1}, None),
        ("changed", "items.0.qty", 2, 3),
    ]


def test_a_patch_gives_the_other_document(daemon: Daemon, shop: str) -> None:
    """Applied by a public library to what `show` prints."""
    patch = watcher(daemon, "diff", shop, "1", "1", "3", "--patch")
    before, after = (json.loads(watcher(daemon, "show", shop, "1", "--at", at, "--json").stdout) for at in "13")

    assert jsonpatch.apply_patch(before, json.loads(patch.stdout)) == after


def test_a_document_that_came_or_went_is_told_field_by_field(daemon: Daemon, shop: str) -> None:
    """Not there at one moment is a difference; at both it is none, and an error."""
    gone = watcher(daemon, "diff", shop, "2", "1", "now")
    assert gone.stdout.splitlines() == ["- _id: 2", '- state: "new"']
    assert "B: not there" in gone.stderr
    never = watcher(daemon, "diff", shop, "2", cluster_time(daemon, 4), "now")
    assert (never.returncode, never.stdout) == (exit_codes.NOT_FOUND, "")
    assert " delete, event " in never.stderr
    unknown = watcher(daemon, "diff", shop, "99", "1", "2")
    assert unknown.returncode == exit_codes.NOT_FOUND
    assert "nothing is recorded of" in unknown.stderr


def test_what_changed_in_a_collection_between_two_deploys(daemon: Daemon, shop: str) -> None:
    """Every document that differs, in the order of their ids, and none that does not."""
    since = cluster_time(daemon, 3)
    found = watcher(daemon, "diff", shop, since, "now")
    headings = [line for line in found.stdout.splitlines() if not line.startswith(" ")]
    assert (found.returncode, headings) == (exit_codes.OK, ["changed 1", "removed 2", "added 4"])
    assert found.stderr == "1 added, 1 removed, 1 changed\n"

    lines = [
        json_util.loads(line) for line in watcher(daemon, "diff", shop, since, "now", "--json").stdout.splitlines()
    ]
    assert [(line["document_id"], line["kind"]) for line in lines] == [
        (1, "changed"),
        (1, "removed"),
        (1, "changed"),
        (2, "removed"),
        (4, "added"),
    ]
    patches = [json.loads(line) for line in watcher(daemon, "diff", shop, since, "now", "--patch").stdout.splitlines()]
    assert [patch["patch"][0]["op"] for patch in patches] == ["replace", "remove", "add"]

    nothing = watcher(daemon, "diff", shop, "now", "now")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (exit_codes.OK, "", "no difference\n")
    mistyped = watcher(daemon, "diff", shop.replace("orders", "oders"), since, "now")
    assert mistyped.returncode == exit_codes.NOT_FOUND
    assert f"There is history of: {shop}" in mistyped.stderr


def test_a_collection_diff_reaches_across_a_drop(daemon: Daemon, database: Database[Any], shop: str) -> None:
    """Of the documents that were dropped, no event tells that they are gone."""
    since = cluster_time(daemon, 4)
    database.orders.drop()
    database.orders.insert_one({"_id": 3, "state": "again"})
    database.orders.insert_one({"_id": 5})
    daemon.recorded(shop, 5)

    found = watcher(daemon, "diff", shop, since, "now")
    headings = [line for line in found.stdout.splitlines() if not line.startswith(" ")]
    assert headings == ["removed 1", "changed 3", "removed 4", "added 5"]
