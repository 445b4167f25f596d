"""A new user's files: what a collection was before the mishap, and all that became of it since."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from bson import Int64, json_util
from bson.raw_bson import RawBSONDocument
from pyarrow import parquet

from change_history.bson import extended_json, raw
from change_history.bson.values import to_raw
from change_history.reconstruct import fold
from change_history.stored.reading import RAW
from tests.support.daemon import watcher
from tests.support.generated.documents import every_type
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from bson import Timestamp
    from pymongo.database import Database

    from tests.support.daemon import Daemon


def _now(database: Database[Any]) -> str:
    """The server's cluster time, as it is typed."""
    moment: Timestamp = database.command("ping")["operationTime"]
    return f"{moment.time}:{moment.inc}"


@pytest.fixture
def shop(daemon: Daemon, database: Database[Any]) -> tuple[dict[Any, bytes], str]:
    """A collection's documents as bytes, by `_id`, and the moment after which they were all changed or lost."""
    extra = raw.from_fields([(b"_id", to_raw(Int64(7))), *list(raw.fields(every_type()).items())[1:]])
    database.users.insert_many([{"_id": 1, "name": "Ada"}, {"_id": 2, "tags": [1, 2]}, RawBSONDocument(extra)])
    database.users.update_one({"_id": 1}, {"$set": {"address.city": "Bonn"}})
    raw_users = database.users.with_options(RAW)
    then = {found["_id"]: bytes(found.raw) for found in raw_users.find()}
    moment = _now(database)
    database.users.update_many({}, {"$unset": {"name": 1, "tags": 1, "double": 1}})
    database.users.delete_one({"_id": 2})
    database.users.insert_one({"_id": 3})
    daemon.recorded(f"{database.name}.users", 3)
    return then, moment


@pytest.mark.parametrize("chosen", ["ndjson", "csv-json", "parquet-json"])
def test_the_collection_of_before_comes_back_byte_for_byte(
    daemon: Daemon, database: Database[Any], shop: tuple[dict[Any, bytes], str], tmp_path: Path, chosen: str
) -> None:
    """Every type, in every format; the deleted document too."""
    then, moment = shop
    file = tmp_path / f"users.{chosen}"

    found = watcher(daemon, "export", f"{database.name}.users", "--at", moment, "--format", chosen, "-o", str(file))
    assert found.returncode == exit_codes.OK, found.stderr
    assert "3 rows written" in found.stderr
    if chosen == "ndjson":
        lines = file.read_text().splitlines()
    elif chosen == "csv-json":
        lines = [row["document"] for row in csv.DictReader(io.StringIO(file.read_text()))]
    else:
        lines = parquet.read_table(file).column("document").to_pylist()
    documents = [to_raw(extended_json.loads(line))[1] for line in lines]
    assert documents == [then[1], then[2], then[7]]


@pytest.mark.parametrize("more", [[], ["--flatten"]])
def test_the_collection_of_before_has_a_column_for_each_field(
    daemon: Daemon, database: Database[Any], shop: tuple[dict[Any, bytes], str], tmp_path: Path, more: list[str]
) -> None:
    """An analyst adds up prices; text in Extended JSON would have to be taken apart first."""
    then, moment = shop
    file, schema, cells = tmp_path / "users.parquet", tmp_path / "schema.json", tmp_path / "users.csv"
    users = f"{database.name}.users"

    found = watcher(daemon, "export", users, "--at", moment, *more, "-o", str(file), "--write-schema", str(schema))
    assert found.returncode == exit_codes.OK, found.stderr
    rows = parquet.read_table(file).to_pylist()
    assert [row["_id"] for row in rows] == list(then)
    assert json.loads(schema.read_text())["tags"] == ["int32"]
    assert rows[1]["tags"] == [1, 2]
    again = watcher(daemon, "export", users, "--at", moment, "--schema", str(schema), "-o", str(cells))
    assert again.returncode == exit_codes.OK, again.stderr
    assert [row["tags"] for row in csv.DictReader(io.StringIO(cells.read_text()))][1] == "[1, 2]"
    schema.write_text('{"a": "number", "b": []}')
    refused = watcher(daemon, "export", users, "--at", moment, "--schema", str(schema), "-o", str(cells))
    assert refused.returncode == exit_codes.USAGE
    assert 'a: "number" is no type' in refused.stderr
    assert "b: [] is no type" in refused.stderr


DOCS = Path(__file__).parents[2] / "docs" / "analysis.md"


def test_the_examples_for_analysts_run_as_they_stand(
    daemon: Daemon, database: Database[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB, Polars and pandas, each block of the page, on files that the commands of the page wrote."""
    database.orders.insert_many([{"_id": number, "price": number * 1.5, "status": "new"} for number in range(4)])
    database.orders.update_one({"_id": 1}, {"$set": {"price": 10, "status": "paid"}})
    database.orders.update_one({"_id": 2}, {"$set": {"price": 1.25}})
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")
    monkeypatch.chdir(tmp_path)
    for name, more in (("changes", []), ("orders", ["--at", "now"])):
        found = watcher(daemon, "export", f"{database.name}.orders", *more, "-o", str(tmp_path / f"{name}.parquet"))
        assert found.returncode == exit_codes.OK, found.stderr

    blocks = re.findall(r"```(sql|python)\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    answers = []
    for language, block in blocks:
        if "scan_delta" in block:
            continue  # of a table: test_lake
        if language == "python":
            names: dict[str, Any] = {}
            exec(block, names)
            answers.append(names["result"])
        elif "parquet.`" not in block:  # Spark SQL
            relation = duckdb.sql(block)
            assert relation is not None
            answers.append(relation.fetchall())
    averages, statuses, rises, total = answers[:4]
    assert [average for _, average in averages] == [(0 + 1.5 + 3 + 4.5 + 10 + 1.25) / 6]
    assert [row[:3] for row in statuses if row[1] is not None] == [("1", "new", "paid")]
    assert rises.rows() == [("1", 1)]
    assert total == 0 + 10 + 1.25 + 4.5


def test_one_document_of_before_and_one_that_was_not_there(
    daemon: Daemon, database: Database[Any], shop: tuple[dict[Any, bytes], str]
) -> None:
    """Bring back the deleted one: mongoimport reads this."""
    _, moment = shop
    users = f"{database.name}.users"

    deleted = watcher(daemon, "export", users, "2", "--at", moment)
    assert json_util.loads(deleted.stdout) == {"_id": 2, "tags": [1, 2]}
    later = watcher(daemon, "export", users, "3", "--at", moment)
    assert (later.returncode, later.stdout) == (exit_codes.NOT_FOUND, "")
    empty = watcher(daemon, "export", users, "--at", "2020-01-01")
    assert empty.returncode == exit_codes.NOT_FOUND
    gone = watcher(daemon, "export", users, "2", "--at", _now(database))
    assert gone.returncode == exit_codes.NOT_FOUND
    assert "had no such document" in gone.stderr


def test_the_exported_history_replays(
    daemon: Daemon, database: Database[Any], shop: tuple[dict[Any, bytes], str]
) -> None:
    """Nothing of an event is lost on the way: the file alone gives the documents."""
    users = f"{database.name}.users"
    raw_users = database.users.with_options(RAW)
    for live in raw_users.find():
        found = watcher(daemon, "export", users, extended_json.dumps(live["_id"]))
        events = [to_raw(extended_json.loads(line))[1] for line in found.stdout.splitlines()]
        assert fold.fold(None, events) == bytes(live.raw)
        assert found.stderr == ""


def test_what_cannot_be_told_is_said_and_not_invented(daemon: Daemon, database: Database[Any]) -> None:
    """A document of which only an update was recorded."""
    users = f"{database.name}.users"
    database.users.insert_many([{"_id": 1, "n": 1}, {"_id": 2}])
    daemon.recorded(users, 2)
    database.users.update_one({"_id": 1}, {"$set": {"n": 2}})
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")
    daemon.database.history.delete_one({"document_id": 1, "operation": "insert"})

    lines = watcher(daemon, "export", users, "--at", _now(database))
    assert [json.loads(line) for line in lines.stdout.splitlines()] == [{"_id": {"$numberInt": "2"}}]
    assert "1 documents cannot be told, and are left out: " in lines.stderr
    table = watcher(daemon, "export", users, "--at", _now(database), "--format", "csv-json")
    unknown, known = csv.DictReader(io.StringIO(table.stdout))
    assert (unknown["_id"], unknown["document"], known["unknown"]) == ('{"$numberInt": "1"}', "", "")
    assert unknown["unknown"]
    one = watcher(daemon, "export", users, "1", "--at", _now(database))
    assert (one.returncode, one.stdout) == (exit_codes.NOT_FOUND, "")
    assert "history cannot tell it" in one.stderr
