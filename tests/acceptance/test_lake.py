"""`watcher lake`: the rows in the table are the history, each once, whatever is killed or cut off."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self
from urllib.request import Request, urlopen

import duckdb
import pandas as pd
import polars as pl
import pytest
from bson import Binary, Decimal128, Int64
from bson.raw_bson import RawBSONDocument
from deltalake import DeltaTable

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.bson.values import to_raw
from change_history.stored.reading import RAW
from tests.chaos.proxy import Proxies
from tests.support.daemon import eventually
from tests.support.export_command import START, numbered_event
from tests.support.recording import make_indexes
from tests.support.servers import free_port
from watcher.cli import exit_codes
from watcher.lake import erasing
from watcher.lake.as_of import reconstruct
from watcher.lake.table import LakeTable, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo.database import Database

    from tests.support.daemon import Daemon

FULL_SIZE = os.environ.get("WATCHER_TEST_FULL_SIZE") == "1"
KILLS = 200 if FULL_SIZE else 6
PATIENCE_S = 120


class Lake:
    """Runs `watcher lake` for a history, into one location."""

    def __init__(self, environment: dict[str, str], location: str, store: dict[str, str]) -> None:
        self.environment = os.environ | environment
        self.location = location
        self.store = store

    def command(
        self, verb: str, *more: str, location: str | None = None, store: dict[str, str] | None = None
    ) -> list[str]:
        """What is run."""
        options = [part for item in (store or self.store).items() for part in ("--store", "=".join(item))]
        return [sys.executable, "-m", "watcher", "lake", verb, "--to", location or self.location, *options, *more]

    def run(self, verb: str, *more: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        command = self.command(verb, *more, **options)
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )

    def start(self, verb: str, *more: str, **options: Any) -> subprocess.Popen[str]:
        """Start it."""
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(verb, *more, **options), env=self.environment, **pipes)

    def once(self) -> None:
        """Append what is there."""
        found = self.run("once")
        assert found.returncode == exit_codes.OK, found.stderr

    def rows(self) -> list[dict[str, Any]]:
        """What is in the table."""
        table = DeltaTable(self.location, storage_options=self.store)
        found: list[dict[str, Any]] = table.to_pyarrow_table().to_pylist()
        return sorted(found, key=lambda row: (row["event"], row["ordinal"]))

    def entries(self) -> list[bytes]:
        """The history documents that are in the table, in the order of `_id`, each as often as it is there."""
        return [row["entry"] for row in self.rows() if row["ordinal"] == 0]


@pytest.fixture
def kept(database: Database[Any]) -> Database[Any]:
    """A history with some events."""
    make_indexes(database)
    database.history.insert_many([numbered_event(number) for number in range(50)])
    return database


@pytest.fixture
def lake(kept: Database[Any], replica_set_uri: str, tmp_path: Path) -> Lake:
    """A table in a folder."""
    environment = {"WATCHER_HISTORY_URI": replica_set_uri, "WATCHER_HISTORY_DATABASE": kept.name}
    return Lake(environment, str(tmp_path / "lake"), {})


def stored(database: Database[Any]) -> list[bytes]:
    """The history, in the order of `_id`."""
    found = database.get_collection("history", codec_options=RAW).find(sort=[("_id", 1)])
    return [bytes(document.raw) for document in found]


class Writer(threading.Thread):
    """Writes into a history as a daemon, its side threads and its commands do: new events, late ones, actors."""

    def __init__(self, database: Database[Any], seed: int) -> None:
        super().__init__(daemon=True)
        self.database, self.random, self.stopped = database, random.Random(seed), threading.Event()

    def run(self) -> None:
        """Write until stopped."""
        number = 100
        while not self.stopped.is_set():
            late = self.random.random() < 0.1
            at = number if not late else self.random.randrange(100, number + 1) + 1_000_000
            event = numbered_event(at)
            event["resume_token"] = Binary(number.to_bytes(8, "big"))
            digest = blake2b(event["resume_token"], digest_size=8).digest()
            event["_id"] = Binary(bytes(event["_id"])[:8] + digest)
            self.database.history.insert_one(event)
            if self.random.random() < 0.2:
                who = {"$set": {"actor": {"id": "alice", "provenance": "session"}}}
                one = next(self.database.history.aggregate([{"$sample": {"size": 1}}, {"$project": {"_id": 1}}]))
                self.database.history.update_one({"_id": one["_id"], "actor": {"$exists": False}}, who)
            number += 1
            time.sleep(0.002)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()


def test_the_rows_are_the_history_and_a_second_time_adds_nothing(lake: Lake, kept: Database[Any]) -> None:
    """Twice the same event would be twice the turnover."""
    lake.once()
    first = lake.rows()
    found = lake.run("once", "--json")

    expected = [row for document in stored(kept) for row in rows_of(document)]
    assert [(row["event"], row["ordinal"], row["new_value"]) for row in first] == [
        (row[0], row[-2], row[[*first[0]].index("new_value")]) for row in expected
    ]
    assert lake.entries() == stored(kept)
    assert json.loads(found.stdout)["events"] == 0
    assert lake.rows() == first
    status = json.loads(lake.run("status", "--json").stdout)
    assert (status["events"], status["rows"]) == (50, 100)


@pytest.mark.timeout(1800)
def test_an_exporter_that_is_killed_at_any_moment_loses_and_repeats_nothing(lake: Lake, kept: Database[Any]) -> None:
    """In the first scan, between two commits of one flush, in the middle of a compaction."""
    chance = random.Random(18)
    with Writer(kept, 18):
        for _ in range(KILLS):
            with lake.start("run", "--interval", "1") as exporter:
                time.sleep(chance.uniform(0.5, 4))
                exporter.kill()
    lake.once()

    assert lake.entries() == stored(kept)


def test_of_two_exporters_one_ends_and_each_row_is_there_once(lake: Lake, kept: Database[Any]) -> None:
    """A second one is started by mistake, or by an orchestrator that takes the first for dead."""
    with Writer(kept, 2):
        both = [lake.start("run", "--interval", "1") for _ in range(2)]
        ended = eventually(lambda: [each for each in both if each.poll() is not None], "one that gives up")
        assert [each.returncode for each in ended] == [exit_codes.BUSY]
        assert "another exporter writes to" in (ended[0].stderr.read() if ended[0].stderr else "")
    for each in both:
        each.send_signal(signal.SIGTERM)
        each.communicate(timeout=PATIENCE_S)
    assert sorted(each.returncode for each in both) == [exit_codes.OK, exit_codes.BUSY]
    lake.once()

    assert lake.entries() == stored(kept)


@pytest.mark.parametrize("trail", ["fields", "nothing"])
def test_what_is_erased_leaves_the_table_and_its_files_and_what_expires_stays(
    lake: Lake, kept: Database[Any], tmp_path: Path, trail: str
) -> None:
    """Erased in the history and kept in the lake is not erased; nor is what had expired from the history before."""
    secret, other = "Sybil Vane 4711", "Jim Vane 4712"
    for number in range(60, 70):
        event = numbered_event(number, document_id=number // 64)
        event["changes"][0]["new_value"] = {"name": secret} if number >= 64 else other
        kept.history.insert_one(event)
    lake.once()
    expired = kept.history.find_one_and_delete({"document_id": 1, "changes.new_value.name": secret})
    assert expired is not None
    before = len(lake.entries())

    command = [sys.executable, "-m", "watcher", "erase", "shop.users", "1", "--trail", trail, "--yes"]
    erased = subprocess.run(command, env=lake.environment, capture_output=True, text=True, check=False)
    assert erased.returncode == exit_codes.OK, erased.stderr
    found = lake.run("once", "--json")
    assert found.returncode == exit_codes.OK, found.stderr
    value = ["erase", "--value", other]
    dry, done = lake.run(*value), lake.run(*value, "--yes")

    assert dry.stdout.startswith("4 events would be erased")
    assert done.stdout.startswith("4 events erased"), done.stderr
    entries = lake.entries()
    assert len(entries) == (before if trail == "fields" else 4)
    assert (bytes(expired["_id"]) in [entry[14:30] for entry in entries]) == (trail == "fields")
    for path in (tmp_path / "lake").rglob("*.*"):
        told = str(pd.read_parquet(path).to_dict()) if path.suffix == ".parquet" else path.read_text("utf-8", "replace")
        assert not any(each in told for each in (secret, other)), path


def test_a_table_whose_place_in_the_history_is_lost_is_compared_with_it(lake: Lake, kept: Database[Any]) -> None:
    """The exporter was away for longer than the oplog reaches back: nothing twice, nothing missing, changes too."""
    lake.once()
    table = LakeTable(lake.location, {})
    position = table.open()
    assert position is not None
    table.append((), position.at("82" + "00" * 8 + position.token[18:]))
    kept.history.update_one({}, {"$set": {"actor": {"id": "bob", "provenance": "stamp"}}})
    kept.history.insert_many([numbered_event(number) for number in range(60, 90)])
    early = Binary(START.to_bytes(4, "big") + b"x" * 12)
    kept.history.insert_one({**numbered_event(7, document_id=99), "_id": early, "resume_token": Binary(b"late")})

    lake.once()
    assert lake.entries() == stored(kept)


def test_a_document_is_told_from_the_table_after_it_expired(
    daemon: Daemon, database: Database[Any], replica_set_uri: str, tmp_path: Path
) -> None:
    """History is kept for a year, and somebody asks about the year before."""
    database.orders.insert_one({"_id": 17, "status": "new", "items": [{"sku": "a"}]})
    database.orders.update_one({"_id": 17}, {"$set": {"status": "paid", "items.0.sku": "b"}})
    between = database.command("ping")["operationTime"]
    database.orders.delete_one({"_id": 17})
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")
    environment = {"WATCHER_HISTORY_URI": replica_set_uri, "WATCHER_HISTORY_DATABASE": daemon.database.name}
    location = str(tmp_path / "lake")
    lake = Lake(environment, location, {})
    lake.once()
    daemon.database.history.delete_many({"document_id": 17})

    def show(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "watcher", "show", f"{database.name}.orders", "17", "--lake", location, *more]
        return subprocess.run(command, env=lake.environment, capture_output=True, text=True, check=False)

    at = f"{between.time}:{between.inc}"
    assert json.loads(show("--at", at).stdout) == {"_id": 17, "status": "paid", "items": [{"sku": "b"}]}
    assert show().returncode == exit_codes.NOT_FOUND
    assert show("--at", "2020-01-01").returncode == exit_codes.NOT_FOUND
    assert show("--at", "-1").returncode == exit_codes.USAGE


def test_an_id_that_json_would_change_is_found_in_it_and_erased(lake: Lake, kept: Database[Any]) -> None:
    """17 as a double or a decimal is 17, and a key that an `_id` has twice is there twice: no erasure passes it by."""
    one, two = (b"a", to_raw(1)), (b"a", to_raw(2))
    ids: list[Any] = [17.0, Decimal128("18.00"), {"n": 19.0}, RawBSONDocument(raw.from_fields([one, two]))]
    for number, document_id in enumerate(ids, 60):
        event = numbered_event(number, document_id=0, operation="insert")
        event["changes"] = [{"field": "_id", "new_value": document_id}, {"field": "a", "new_value": f"secret {number}"}]
        kept.history.insert_one({**event, "document_id": document_id})
    lake.once()
    kept.history.delete_many({"_id": {"$gte": numbered_event(60)["_id"]}})
    table = LakeTable(lake.location, {})
    table.open()

    for number, asked in enumerate((17, Int64(18), {"n": 19}), 60):
        found = reconstruct(table, "shop.users", asked, None)
        assert found is not None
        assert isinstance(found.document, bytes)
        assert f"secret {number}".encode() in found.document
    for other in (16, 16.5, math.nan, {"n": 18}, "17", Decimal128("1E+6000"), -0.0):
        assert reconstruct(table, "shop.users", other, None) is None, other
    wanted = {key_of(to_raw(each)) for each in ids}
    erased = erasing.of_documents(table, "shop.users", lambda each: key_of(each) in wanted, lambda _: None)
    assert sum(map(len, erased)) == len(ids)


def test_what_is_recorded_again_after_it_expired_is_not_appended_again(lake: Lake, kept: Database[Any]) -> None:
    """The position was set back beyond the retention: what the table has kept would be counted twice."""
    lake.once()
    before = stored(kept)
    history = kept.get_collection("history", codec_options=RAW)
    some = list(history.find(sort=[("_id", -1)], limit=3))
    history.delete_many({"_id": {"$in": [each["_id"] for each in some]}})
    lake.once()
    history.insert_many(some)
    lake.once()
    assert lake.entries() == before == stored(kept)

    table = LakeTable(lake.location, {})
    position = table.open()
    assert position is not None
    table.append((), replace(position, newest=""))  # as an exporter of before wrote it
    history.delete_one({"_id": some[0]["_id"]})
    history.insert_one(some[0])
    kept.history.insert_one(numbered_event(70))
    lake.once()
    assert lake.entries() == stored(kept)


def test_a_number_that_python_refuses_does_not_stop_the_exporter(lake: Lake, kept: Database[Any]) -> None:
    """One signalling NaN in a million documents, and nothing would ever be appended again."""
    event = numbered_event(60)
    event["changes"][0]["new_value"] = Decimal128.from_bid(bytes(15) + b"\x7e")
    kept.history.insert_one(event)
    lake.once()

    (row,) = (row for row in lake.rows() if row["new_value"] == '{"$numberDecimal": "NaN"}')
    assert math.isnan(row["new_number"])
    assert lake.entries() == stored(kept)


def test_readers_of_delta_tables_read_it(lake: Lake, kept: Database[Any]) -> None:
    """DuckDB and Polars by the table's own log, pandas by Arrow."""
    lake.once()
    lake.once()
    table = DeltaTable(lake.location)
    frame = pl.read_delta(lake.location)
    arrow = table.to_pyarrow_table()  # noqa: F841 - DuckDB finds it by its name
    relation = duckdb.sql("SELECT field, count(*) FROM arrow GROUP BY field ORDER BY field")

    assert relation is not None
    assert relation.fetchall() == [("a", 50), ("b", 50)]
    assert frame.height == 100
    assert sorted(table.to_pandas()["field"].unique()) == ["a", "b"]


def test_nan_is_found_in_it_by_a_condition(lake: Lake, kept: Database[Any]) -> None:
    """A reader that believes statistics, which leave NaN out, would show it as another number, or not count it."""
    first, second = numbered_event(60), numbered_event(61)
    for event, number in ((first, 1.0), (second, math.nan)):
        assert "new_value" in event["changes"][0]
        event["changes"][0]["new_value"] = number
    kept.history.insert_one(first)
    lake.once()
    kept.history.insert_one(second)
    lake.once()
    table = LakeTable(lake.location, {})
    position = table.open()
    assert position is not None

    def check() -> None:
        for file in DeltaTable(lake.location).file_uris():
            relation = duckdb.sql(f"SELECT count(*) FILTER (isnan(new_number)), max(new_number) FROM '{file}'")
            counted = duckdb.sql(f"SELECT count(*) FROM '{file}' WHERE new_number > 1")
            assert relation is not None
            assert counted is not None
            nans, greatest = relation.fetchall()[0]
            assert counted.fetchall() == [(nans,)]
            assert (nans == 1) == (greatest is not None and math.isnan(greatest))
        assert [row["new_number"] for row in table.select(["new_number"], "new_number = 1")] == [1.0]
        assert len(table.select(["event"], "new_number > 1")) == 1

    check()
    assert table.compact(position) > 0
    check()


def test_what_is_wrong_is_said_with_what_to_do(lake: Lake, tmp_path: Path) -> None:
    """A table of something else is not written to; a store that is away is named."""
    other = tmp_path / "other"
    frame = pl.DataFrame({"a": [1]})
    frame.write_delta(str(other))
    foreign = lake.run("once", location=str(other))
    away = lake.run("status", location="s3://none/lake", store=store_at(1) | {"max_retries": "0"})
    nowhere = lake.run("status", location=str(tmp_path / "nowhere"))
    wrong = lake.run("once", "--store", "x", location="ftp://x")

    assert (foreign.returncode, "table of something else" in foreign.stderr) == (exit_codes.FATAL, True)
    assert (away.returncode, "the store does not answer" in away.stderr) == (exit_codes.UNREACHABLE, True)
    assert nowhere.returncode == exit_codes.NOT_FOUND
    assert wrong.returncode == exit_codes.USAGE
    assert "Traceback" not in foreign.stderr + away.stderr + nowhere.stderr + wrong.stderr


@contextmanager
def object_store() -> Iterator[int]:
    """An S3 store with a bucket `lake`; its port."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:

            def made() -> bool:
                try:
                    with urlopen(Request(f"http://127.0.0.1:{port}/lake", method="PUT")) as answer:
                        return bool(answer.status == HTTPStatus.OK)
                except OSError:
                    return False

            eventually(made, "an object store")
            yield port
        finally:
            server.kill()


def store_at(port: int) -> dict[str, str]:
    """How to reach an object store."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
    }


@pytest.mark.timeout(1800)
def test_an_object_store_that_is_cut_off_and_an_exporter_that_is_killed(
    kept: Database[Any], replica_set_uri: str
) -> None:
    """Whether a commit arrived is not known when the network breaks off in its middle."""
    chance = random.Random(4)
    environment = {"WATCHER_HISTORY_URI": replica_set_uri, "WATCHER_HISTORY_DATABASE": kept.name}
    with object_store() as port, Proxies([(through := free_port(), port)]) as proxies:
        lake = Lake(environment, "s3://lake/history", store_at(through))
        with Writer(kept, 4):
            for _ in range(KILLS):
                with lake.start("run", "--interval", "1") as exporter:
                    time.sleep(chance.uniform(0.5, 3))
                    proxies.cut("", silent=chance.random() < 0.3)
                    time.sleep(chance.uniform(0, 1))
                    proxies.heal()
                    time.sleep(chance.uniform(0, 3))
                    exporter.kill()
        lake.store = store_at(port)
        lake.once()
        assert lake.entries() == stored(kept)
