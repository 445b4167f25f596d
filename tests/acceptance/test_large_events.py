"""Events and history larger than a document may be: recorded, in order, once, and read as if they were small."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import Binary

from change_history import History
from change_history.bson.values import document_to_python
from models import UNKNOWN
from tests.support import oracle
from tests.support.daemon import ROOT, Daemon, eventually, peak_mb

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.collection import Collection
    from pymongo.database import Database

    from watcher.embedded.mongod import Mongod

MB = 1024 * 1024
LARGEST = 16 * MB
MOST_MEMORY_MB = 1024


@pytest.fixture
def server(own_server: Callable[..., Mongod]) -> Mongod:
    """A server with room for large events."""
    return own_server(cache_gb=0.5, oplog_mb=2048)


@pytest.fixture
def watched(server: Mongod, make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon, not started, of a server with a collection that keeps pre-images."""
    daemon = make_daemon(server.uri, "shop", batch_size=100)
    daemon.client["shop"].create_collection("large", changeStreamPreAndPostImages={"enabled": True})
    return daemon


def _text(letter: str, size_mb: float) -> str:
    return letter * int(size_mb * MB)


def _filled(document: dict[str, Any]) -> dict[str, Any]:
    """The document, filled up to the largest that a server stores."""
    return {**document, "fill": "f" * (LARGEST - len(bson.encode({**document, "fill": ""})))}


def _small(collection: Collection[Any], numbers: range) -> None:
    for number in numbers:
        collection.insert_one({"_id": number, "n": number})
        collection.update_one({"_id": number}, {"$inc": {"n": 1}})


def _large(collection: Collection[Any], key: str) -> None:
    """Every way to pass 16 MB: in the event, in its history, or in both."""
    collection.insert_one({"_id": f"{key} field", "text": _text("a", 9), "n": 1})
    collection.update_one({"_id": f"{key} field"}, {"$set": {"text": _text("b", 9)}, "$inc": {"n": 1}})
    collection.insert_one({"_id": f"{key} whole", "text": _text("a", 12), "n": 1})
    collection.replace_one({"_id": f"{key} whole"}, {"text": _text("b", 12), "m": 1})
    collection.insert_one(_filled({"_id": f"{key} inserted", "n": 1}))
    collection.update_one({"_id": f"{key} inserted"}, {"$inc": {"n": 1}})
    collection.insert_one(_filled({"_id": f"{key} deleted"}))
    collection.delete_one({"_id": f"{key} deleted"})
    collection.insert_one({"_id": f"{key} two values", "text": _text("a", 8)})
    collection.update_one({"_id": f"{key} two values"}, {"$set": {"text": _text("b", 7.99)}})


def _check(daemon: Daemon, database: Database[Any], events: int) -> list[dict[str, Any]]:
    """Fail unless so many events are recorded, each once, and lead to the live documents; the events, in order."""
    database.large.insert_one({"_id": "end"})
    daemon.recorded("shop.large", "end")
    query = {"namespace": "shop.large", "document_id": {"$exists": True}}
    eventually(lambda: daemon.database.history.count_documents(query) >= events + 1, "all events")
    recorded = oracle.history(daemon.database, query)
    assert len(recorded) == events + 1
    documents = {key: data for key, data in oracle.folded(recorded).items() if data is not None}
    assert documents == oracle.live(database)
    assert daemon.database.rejected.count_documents({}) == 0
    return [oracle.entry(stored) for stored in recorded]


def test_no_event_is_lost_or_stops_the_stream_for_its_size(watched: Daemon) -> None:
    """Among small events, each of them once and in order; what a refused event lacks is not told by the server."""
    shop = watched.client["shop"]
    watched.start().ready()
    _small(shop.large, range(50))
    _large(shop.large, "a")
    _small(shop.large, range(50, 100))
    found = _check(watched, shop, 100 + 10 + 100)

    expected = [number for number in range(100) for _ in ("insert", "update")]
    assert [event["document_id"] for event in found if isinstance(event["document_id"], int)] == expected
    (update,) = (e for e in found if e["document_id"] == "a field" and e["operation"] == "update")
    assert {change.get("old_value_from") for change in update["changes"]} <= {"unknown", "history"}
    (small,) = (e for e in found if e["document_id"] == 7 and e["operation"] == "update")
    assert small["changes"] == [{"field": "n", "old_value": 7, "new_value": 8}]
    (deletion,) = (e for e in found if e["document_id"] == "a deleted" and e["operation"] == "delete")
    assert [len(change["old_value"]) > 15 * MB for change in deletion["changes"]] == [False, True]
    assert watched.database.history_parts.count_documents({}) > 0
    assert peak_mb(watched) < MOST_MEMORY_MB
    assert watched.stop() == 0


def test_kills_amid_large_events_cost_nothing(watched: Daemon) -> None:
    """`kill -9` while it asks for less, while it writes parts, and before it has saved where it is."""
    shop = watched.client["shop"]
    watched.start().ready()
    position = {"token": {"$exists": True}}
    eventually(lambda: watched.database.checkpoints.count_documents(position), "a position")
    watched.kill()
    for turn in range(2):
        _small(shop.large, range(turn * 20, turn * 20 + 20))
        _large(shop.large, str(turn))
    watched.start()
    for least in (45, 49, 95):
        eventually(lambda least=least: watched.database.history.count_documents({}) >= least, f"{least} events")  # type: ignore[misc]
        watched.kill()
        watched.start()
    _check(watched, shop, 2 * (40 + 10))
    heads = watched.database.history.find({"parts": {"$exists": True}})
    assert sorted(part for head in heads for part in head["parts"]) == [
        part["_id"] for part in watched.database.history_parts.find({}, {"_id": 1}).sort("_id")
    ]
    assert watched.stop() == 0


def test_an_event_that_cannot_tell_its_values_is_recorded_as_unknown(watched: Daemon) -> None:
    """The `_id` alone takes so much of the event that nothing else can be delivered; the next events are whole."""
    shop = watched.client["shop"]
    watched.start().ready()
    key = Binary(b"k" * int(2.5 * MB))
    shop.large.insert_one({"_id": key, "text": _text("a", 7.5)})
    shop.large.insert_one({"_id": "next"})
    watched.recorded("shop.large", "next")

    (event,) = History(watched.client, watched.database.name).log("shop.large", bytes(key))
    assert event.operation == "insert"
    assert [(change.field, change.path, change.new_value) for change in event.changes] == [("", [], UNKNOWN)]
    assert watched.stop() == 0


def test_what_is_in_parts_reads_like_everything_else(watched: Daemon, server: Mongod) -> None:
    """By Python, by field, by the command: nobody needs to know that an event was large."""
    shop = watched.client["shop"]
    watched.start().ready()
    many = {f"f{number}".ljust(400, "_"): "v" * 380 for number in range(21_000)}
    last = list(many)[-1]
    shop.large.insert_one({"_id": "many", **many})
    shop.large.insert_one({"_id": "two", "x": _text("a", 8), "y": 1})
    shop.large.update_one({"_id": "two"}, {"$set": {"x": _text("b", 7.9)}})
    shop.large.replace_one({"_id": "two"}, {"z": 1})
    _check(watched, shop, 4)

    history = History(watched.client, watched.database.name)
    (event,) = history.log("shop.large", "many", field=last)
    assert event.changes[-1].new_value == many[last]
    assert not list(history.log("shop.large", "many", field="g"))
    (head,) = watched.database.history.find({"document_id": "many"})
    assert (head["change_count"], [change["field"] for change in head["changes"]]) == (21_001, [""])
    _, update, replacement = history.log("shop.large", "two", field="x")
    assert [len(str(update.changes[0].old_value)), len(str(update.changes[0].new_value))] == [8 * MB, int(7.9 * MB)]
    assert len(str(replacement.changes[0].old_value)) == int(7.9 * MB)

    settings = ["--mongodb-uri", server.uri, "--history-database", watched.database.name]
    environment = {
        f"WATCHER_{n[2:].replace('-', '_').upper()}": v for n, v in zip(settings[::2], settings[1::2], strict=True)
    }
    command = [sys.executable, "-m", "watcher", "log", "shop.large", "many", "--json"]
    printed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True).stdout
    (line,) = printed.splitlines()
    assert len(json.loads(line)["changes"]) == 21_001
    (stored,) = oracle.history(watched.database, {"document_id": "many"})
    assert document_to_python(stored)["changes"][-1] == {"field": last, "new_value": many[last]}
    assert watched.stop() == 0
