"""What is written of a document that was read, by what history has of it already."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import Binary, Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from tests.support import oracle
from tests.support.backfill import history_database
from watcher.backfill.entries import Entries
from watcher.backfill.queue import BASELINE, RECONCILE, BackfillPlan
from watcher.events import baseline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

AT, SINCE, UNTIL = Timestamp(10, 0), Timestamp(20, 0), Timestamp(30, 0)
"""The plan's moment, and the bounds of the reading."""

ID: raw.Value = (raw.INT32, raw.int32(1))
FOUND = bson.encode({"_id": 1, "n": 2})
OTHER = bson.encode({"_id": 1, "n": 1})

KINDS = {
    BASELINE: BackfillPlan(BASELINE, AT, ("shop.a",)),
    RECONCILE: BackfillPlan(RECONCILE, AT, ("shop.a",), since=Timestamp(5, 0), closes_gaps=True),
}


@pytest.fixture
def history(replica_set_uri: str) -> Iterator[Database[Any]]:
    """A history database with its indexes."""
    with history_database(replica_set_uri) as made:
        yield made


def _told(history: Database[Any], document: bytes, seconds: int) -> None:
    """Make history tell of a document."""
    moment = baseline.SnapshotRead(ClusterTime.start_of(seconds), bytes(8))
    history.history.insert_one(RawBSONDocument(baseline.baseline(b"shop.a", document, moment)))


def _collection_event(history: Database[Any], operation: str, seconds: int, **more: Any) -> None:
    identity = seconds.to_bytes(4, "big") + bytes(12)
    when = {"timestamp": dt.datetime.fromtimestamp(seconds, dt.UTC), "cluster_time": Timestamp(seconds, 0)}
    entry = {"_id": Binary(identity), "operation": operation, **when, **more}
    history.history.insert_one(entry)


def _written(history: Database[Any], kind: str, found: bytes | None = FOUND) -> tuple[list[tuple[str, int]], bool]:
    """Operation and second of what is written, and whether it is to be read again."""
    stated = Entries(history, KINDS[kind], None, None).about({ID: found}, SINCE, UNTIL)
    entries = [oracle.entry(entry) for entry in stated.entries]
    assert stated.later or all(entry["cluster_time"] == AT for entry in entries)
    return [(entry["operation"], entry["cluster_time"].time) for entry in entries], bool(stated.unsure)


@pytest.mark.parametrize("kind", KINDS)
def test_what_nothing_happened_to_is_told_of_the_moment_wanted(history: Database[Any], kind: str) -> None:
    """Events that are recorded, and come after that moment, apply to it."""
    _told(history, OTHER, 31)

    assert _written(history, kind) == ([(kind, 10)], False)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_to_since_is_told_of_the_moment_it_was_read(history: Database[Any], kind: str) -> None:
    """Told of an earlier one, its events would apply twice."""
    _told(history, OTHER, 15)

    assert _written(history, kind) == ([(kind, 30)], False)


@pytest.mark.parametrize("kind", KINDS)
def test_what_history_says_already_is_not_said_again(history: Database[Any], kind: str) -> None:
    """Every document inserted while a backfill is late would be there twice."""
    _told(history, FOUND, 15)

    assert _written(history, kind) == ([], False)
    assert Entries(history, KINDS[kind], None, None).about({ID: FOUND}, SINCE, UNTIL).later


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_to_while_it_was_read_is_read_again(history: Database[Any], kind: str) -> None:
    """Nobody knows whether the write is in what was read."""
    _told(history, OTHER, 25)

    assert _written(history, kind) == ([], True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", ["drop", "rename", "dropDatabase"])
def test_what_is_in_a_collection_of_the_same_name_is_not_what_it_was(
    history: Database[Any], kind: str, operation: str
) -> None:
    """The document did not exist at the moment wanted; another one did."""
    _collection_event(history, operation, 15, namespace="shop" if operation == "dropDatabase" else "shop.a")

    assert _written(history, kind) == ([(kind, 30)], False)


@pytest.mark.parametrize("kind", KINDS)
def test_across_a_gap_nothing_is_told_of_the_moment_before_it(history: Database[Any], kind: str) -> None:
    """What happened in the gap is in what was read."""
    described = {"from": Timestamp(12, 0), "to": Timestamp(14, 0), "stream": "s", "include": ["*.*"], "exclude": []}
    _collection_event(history, "gap", 12, description=described)

    assert _written(history, kind) == ([(kind, 30)], False)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_that_was_rejected_may_have_been_of_this_document(history: Database[Any], kind: str) -> None:
    """It is in what was read, and not in history."""
    history.rejected.insert_one({"namespace": "shop.a", "cluster_time": Timestamp(15, 0)})

    assert _written(history, kind) == ([(kind, 30)], False)


def test_what_is_gone_is_told_as_gone_where_history_does_not_know(history: Database[Any]) -> None:
    """Of the moment wanted, or if it was written to since, of the reading's."""
    _told(history, OTHER, 4)
    assert _written(history, RECONCILE, None) == ([("reconcile", 10)], False)

    _told(history, OTHER, 15)
    assert _written(history, RECONCILE, None) == ([("reconcile", 30)], False)
