"""An application's own list of changes comes into history: in order, once, marked, and what does not fit is said."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, json_util

from change_history import ABSENT, History
from change_history.query import imported
from tests.support.daemon import watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from tests.support.daemon import Daemon


def at(second: int) -> datetime:
    """A time."""
    return datetime(2023, 5, 1, 12, 0, second, 7000, tzinfo=UTC)


def change(second: int, field: str, **values: Any) -> dict[str, Any]:
    """An item of a list."""
    return {"field": field, "timestamp": at(second), **values}


@pytest.fixture
def users(database: Database[Any], daemon: Daemon) -> Database[Any]:
    """Two documents with lists of changes, of which some do not fit."""
    good = [
        change(3, "price", old_value=Decimal128("1.10"), new_value=None, user={"name": "eve"}),
        change(1, "name", new_value="Ada", user="eve"),
        change(1, "email", new_value="a@x"),
        change(1, "email", new_value="a@x"),
    ]
    database.users.insert_one({"_id": 1, "history": {"changes": good}})
    bad = [3, change(1, "", new_value=1), {"field": "a", "new_value": 1}, change(2, "a"), change(5, "b", old_value=1)]
    database.users.insert_one({"_id": 2, "history": {"changes": bad}})
    database.users.insert_one({"_id": 3, "history": {"changes": "none"}})
    database.users.insert_one({"_id": 4})
    for number in range(1, 5):  # a batch is written in no particular order
        daemon.recorded(f"{database.name}.users", number)
    return database


def test_a_list_comes_in_once_in_the_order_of_its_times_and_no_past_is_worked_out_from_it(
    users: Database[Any], daemon: Daemon
) -> None:
    """Equal items stay two; what the daemon recorded is as it was."""
    namespace = f"{users.name}.users"

    def recorded(history: History) -> tuple[list[bytes], Any]:
        """Without what befell the collection: that pre-images were switched on is recorded when it will."""
        events = [event.id for number in range(1, 5) for event in history.log(namespace, number)]
        return events, history.as_of(namespace, 1, None)

    with History(daemon.client, daemon.database.name) as history:
        before = recorded(history)
        shown = watcher(daemon, "import", namespace, "--field", "history.changes")
        assert "Nothing was changed" in shown.stdout
        assert daemon.database.imported.count_documents({}) == 0

        done = watcher(daemon, "import", namespace, "--field", "history.changes", "--yes", "--json")
        assert done.returncode == exit_codes.REMAINING
        told = json.loads(done.stdout)
        assert (told["documents"], told["items"], told["imported"], told["known"], told["left_out"]) == (2, 10, 5, 0, 5)
        assert [said.partition(": ")[0] for said in told["misfits"]] == [
            "_id 2, history.changes.0",
            "_id 2, history.changes.1",
            "_id 2, history.changes.2",
            "_id 2, history.changes.3",
            "_id 3",
        ]
        again = json.loads(watcher(daemon, "import", namespace, "--field", "history.changes", "--yes", "--json").stdout)
        assert (again["imported"], again["known"]) == (0, 5)
        assert recorded(history) == before
    found = list(imported.read(daemon.database, namespace, 1))
    assert [
        (entry.changes[0].field, entry.changes[0].old_value, entry.changes[0].new_value, entry.timestamp, entry.user)
        for entry in found
    ] == [
        ("name", ABSENT, "Ada", at(1), "eve"),
        ("email", ABSENT, "a@x", at(1), ABSENT),
        ("email", ABSENT, "a@x", at(1), ABSENT),
        ("price", Decimal128("1.10"), None, at(3), {"name": "eve"}),
    ]
    said = [str(entry.actor.id) if entry.actor is not None else None for entry in found]
    assert said == ["eve", None, None, None]  # of a document nobody knows which of its fields is the name
    assert {entry.actor.provenance for entry in found if entry.actor is not None} == {"imported"}
    with History(daemon.client, daemon.database.name) as history:
        assert "eve" not in history.actors()  # nobody has checked what the application wrote down
    assert {entry["operation"] for entry in daemon.database.imported.find()} == {"imported"}
    log = watcher(daemon, "log", namespace, "1", "--imported")
    lines = watcher(daemon, "log", namespace, "1", "--imported", "--json", "--limit", "1").stdout.splitlines()
    assert log.stdout.count("  imported") == 4
    assert "by eve (imported)" in log.stdout
    assert [json_util.loads(line)["changes"][0]["field"] for line in lines] == ["price"]
    refused = watcher(daemon, "log", namespace, "--imported", "--follow", "--by", "eve")
    assert (refused.returncode, "leave --by, --follow out" in refused.stderr) == (exit_codes.USAGE, True)
    assert watcher(daemon, "log", f"{namespace}s", "--imported").returncode == exit_codes.NOT_FOUND


def test_a_list_that_was_cut_and_differences_that_were_removed_bring_nothing_in_twice(
    database: Database[Any], daemon: Daemon, tmp_path: Path
) -> None:
    """One save changes three fields at once, and `$slice` keeps the last two: they were taken for new ones."""
    once = [change(1, "a", new_value=1), change(1, "b", new_value=1), change(1, "b", new_value=1)]
    database.users.insert_one({"_id": 1, "history": {"changes": once}})
    for number, item in enumerate(once):
        database.versions.insert_one({"_id": number, "document_id": 2, **item})
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(f'from = "{database.name}.versions"\n')
    of_list = ("--field", "history.changes")

    def imported(*arguments: str, rules: str = "") -> tuple[int, int]:
        settings = {"WATCHER_REDACT": rules} if rules else {}
        done = watcher(daemon, "import", f"{database.name}.users", *arguments, "--yes", "--json", **settings)
        told = json.loads(done.stdout)
        return told["imported"], told["known"]

    assert imported(*of_list) == (3, 0)
    more = [change(1, "b", new_value=1), change(1, "c", new_value=1), change(2, "a", new_value=2)]
    database.users.update_one({"_id": 1}, {"$push": {"history.changes": {"$each": more, "$slice": -5}}})
    assert imported(*of_list) == (3, 2)
    assert imported(*of_list) == (0, 5)
    database.users.update_one({"_id": 1}, {"$push": {"history.changes": {"$each": [], "$slice": -3}}})
    assert imported(*of_list) == (0, 3)
    assert imported(*of_list, rules="*.users:b=drop") == (0, 3)
    assert sorted(entry.changes[0].field for entry in imported_entries(daemon, database, 1)) == [
        "a",
        "a",
        "b",
        "b",
        "b",
        "c",
    ]

    assert imported("--mapping", str(mapping)) == (3, 0)
    database.versions.delete_one({"_id": 0})
    database.versions.insert_one({"_id": -1, "document_id": 2, **change(1, "z", new_value=1)})
    assert imported("--mapping", str(mapping)) == (1, 2)
    assert imported("--mapping", str(mapping)) == (0, 3)
    assert sorted(entry.changes[0].field for entry in imported_entries(daemon, database, 2)) == ["a", "b", "b", "z"]


def imported_entries(daemon: Daemon, database: Database[Any], document_id: Any) -> list[imported.ImportedEntry]:
    """What was brought in of a document, in order."""
    return list(imported.read(daemon.database, f"{database.name}.users", document_id))


RULES = ["*.users:email=drop,*.users:card=mask", "*.users:email=mask,*.users:address=drop,*.users:card=drop", ""]


def test_history_imported_under_other_rules_comes_in_once_and_without_its_secrets(
    database: Database[Any], daemon: Daemon
) -> None:
    """A new item beside one of which the rules leave nothing to tell the two apart is not lost either."""
    items = [
        change(1, "email", old_value="old-secret@x", new_value="new-secret@x", user="eve"),
        change(1, "email", new_value="other-secret@x"),
        change(2, "address.street", old_value="1 Secret Street", new_value="2 Secret Street"),
        change(2, "name", new_value="Ada"),
        change(3, "card", new_value="4000-secret-1234"),
    ]
    database.users.insert_one({"_id": 1, "history": {"changes": items}})
    namespace, stored = f"{database.name}.users", daemon.database.imported

    def imported_under(rules: str) -> tuple[int, int]:
        settings = {"WATCHER_REDACT": rules} if rules else {}
        done = watcher(daemon, "import", namespace, "--field", "history.changes", "--yes", "--json", **settings)
        told = json.loads(done.stdout)
        return told["imported"], told["known"]

    assert imported_under("") == (5, 0)
    before = sorted(stored.find_raw_batches({}))
    for rules in RULES:
        assert imported_under(rules) == (0, 5), rules
    assert sorted(stored.find_raw_batches({})) == before

    late = change(1, "email", new_value="late-secret@x")
    database.users.update_one({"_id": 1}, {"$push": {"history.changes": late}})
    assert imported_under(RULES[0]) == (1, 5)
    assert b"late-secret" not in b"".join(stored.find_raw_batches({}))
    for rules in RULES:
        assert imported_under(rules) == (0, 6), rules

    stored.delete_many({})
    assert imported_under(RULES[1]) == (6, 0)
    for rules in RULES:
        assert imported_under(rules) == (0, 6), rules
    assert b"ecret" not in b"".join(stored.find_raw_batches({}))


@pytest.mark.parametrize("trail", ["fields", "times"])
def test_an_erased_entry_confirms_no_guess_and_does_not_come_in_again(
    database: Database[Any], daemon: Daemon, trail: str
) -> None:
    """Neither by the digest in its `_id`, which was of the values."""
    items = [
        change(1, "email", old_value="old-secret@x", new_value="new-secret@x"),
        change(2, "name", new_value="Secret"),
    ]
    database.users.insert_many([{"_id": each, "history": {"changes": items}} for each in (1, 2)])
    namespace, stored = f"{database.name}.users", daemon.database.imported

    def imported() -> tuple[int, int]:
        done = watcher(daemon, "import", namespace, "--field", "history.changes", "--yes", "--json")
        told = json.loads(done.stdout)
        return told["imported"], told["known"]

    assert imported() == (4, 0)
    before = {each["_id"] for each in stored.find({"document_id": 1})}
    untouched = sorted(stored.find_raw_batches({"document_id": 2}))
    database.users.delete_one({"_id": 1})
    erased = watcher(daemon, "erase", namespace, "1", "--trail", trail, "--reason", "on request", "--yes")
    assert erased.returncode == 0, erased.stderr
    after = {each["_id"] for each in stored.find({"document_id": 1})}
    assert not before & after
    assert {each[:8] for each in before} == {each[:8] for each in after}
    assert sorted(stored.find_raw_batches({"document_id": 2})) == untouched

    database.users.insert_one({"_id": 1, "history": {"changes": items}})
    assert imported() == (0, 4)
    assert b"ecret" not in b"".join(stored.find_raw_batches({"document_id": 1}))


def test_differences_that_look_alike_under_rules_are_all_kept(
    database: Database[Any], daemon: Daemon, tmp_path: Path
) -> None:
    """Of one document and one time, with those of another in between; one comes in later, before the others."""
    mapping = tmp_path / "versions.toml"
    mapping.write_text(f'from = "{database.name}.versions"\n')

    def difference(number: int, document: int) -> dict[str, Any]:
        return {"_id": number, "document_id": document, **change(1, "email", new_value=f"secret{number}@x")}

    def imported_under(rules: str) -> tuple[int, int]:
        settings = {"WATCHER_REDACT": rules} if rules else {}
        arguments = ("import", f"{database.name}.users", "--mapping", str(mapping), "--yes", "--json")
        told = json.loads(watcher(daemon, *arguments, **settings).stdout)
        return told["imported"], told["known"]

    database.versions.insert_many([difference(2, 1), difference(3, 2), difference(4, 1)])
    assert imported_under("*.users:email=drop") == (3, 0)
    database.versions.insert_many([difference(0, 1), difference(1, 2)])
    assert imported_under("*.users:email=drop") == (2, 3)
    assert imported_under("") == (0, 5)
    assert imported_under("*.users:email=mask") == (0, 5)
    assert b"secret" not in b"".join(daemon.database.imported.find_raw_batches({}))


def test_a_collection_of_differences_comes_in_by_a_mapping(
    users: Database[Any], daemon: Daemon, tmp_path: Path
) -> None:
    """From field to old and new, or as a list; ids and times under their own names."""
    users.versions.insert_many(
        [
            {"ref": {"id": 1}, "at": "2023-05-01T12:00:02+00:00", "diff": {"name": ["Ada", "Eve"], "age": [1, 2]}},
            {
                "ref": {"id": 1},
                "at": at(1),
                "who": "x",
                "diff": [{"field": "name", "old_value": "", "new_value": "Ada"}],
            },
            {"at": at(1), "diff": {}},
        ]
    )
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        f'from = "{users.name}.versions"\ndocument_id = "ref.id"\ntimestamp = "at"\nuser = "who"\nchanges = "diff"\n'
    )
    namespace = f"{users.name}.users"
    done = watcher(daemon, "import", namespace, "--mapping", str(mapping), "--yes")

    assert done.returncode == exit_codes.REMAINING
    assert "2 imported" in done.stdout
    assert "it has no ref.id" in done.stderr
    assert [
        (entry.user, [(c.field, c.old_value, c.new_value) for c in entry.changes])
        for entry in imported.read(daemon.database, namespace, 1)
    ] == [("x", [("name", "", "Ada")]), (ABSENT, [("name", "Ada", "Eve"), ("age", 1, 2)])]


def test_a_mapping_with_a_mistake_is_refused_with_all_of_them(daemon: Daemon, tmp_path: Path) -> None:
    """A misspelt key would silently import nothing of what it means."""
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('from = 3\nwhen = "at"\n')
    done = watcher(daemon, "import", "a.b", "--mapping", str(mapping))

    assert done.returncode == exit_codes.USAGE
    assert "when is no key of a mapping" in done.stderr
    assert "from must be text" in done.stderr
    neither = watcher(daemon, "import", "a.b")
    assert neither.returncode == exit_codes.USAGE
    assert "--field history.changes" in neither.stderr
