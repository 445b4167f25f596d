"""How as-of reads: from an index, whatever is asked, and in little memory, however much there is."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.operations import IndexModel

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_raw
from change_history.reader import Reader
from tests.support.handmade_events import at, cluster, gap, inserted, of_collection, updated
from tests.support.recording import make_indexes
from watcher.events.baseline import SnapshotRead, baseline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.database import Database

TIMELINE = [("namespace", 1), ("document_id", 1), ("_id", 1)]
DOCUMENTS = 50_000
SIZE = 400
MOST_BYTES = 8_000_000


@pytest.fixture
def history(database: Database[Any], replica_set_uri: str) -> Iterator[Reader]:
    """A history with much that has nothing to do with what is asked."""
    make_indexes(database)
    database.snapshots.create_indexes([IndexModel(TIMELINE)])
    entries = [inserted(0, document_id=number) for number in range(200)]
    entries += [updated(second, document_id=number) for number in range(200) for second in range(1, 4)]
    entries += [updated(4, increment) for increment in range(1, 200)]
    entries += [of_collection("rename", 6, to="shop.people"), updated(7, namespace="shop.people"), gap(8, 9)]
    entries += [inserted(second, namespace="shop.other") for second in range(10, 12)]
    database.history.insert_many(entries)
    database.rejected.insert_one({"_id": Binary(b"x" * 16), "namespace": "shop.x", "cluster_time": cluster(1)})
    with Reader.connect(replica_set_uri, database.name) as connected:
        yield connected


QUESTIONS: dict[str, Callable[[Reader], Any]] = {
    "wall time": lambda h: h.as_of("shop.users", 1, at(3)),
    "hot second": lambda h: h.as_of("shop.users", 1, at(4)),
    "cluster time": lambda h: h.as_of("shop.users", 1, cluster(3)),
    "version": lambda h: h.state("shop.users", 1, 100),
    "last version": lambda h: h.state("shop.users", 1, -1),
    "now": lambda h: h.state("shop.users", 1),
    "under another name": lambda h: h.state("shop.people", 1),
    "never there": lambda h: h.state("shop.users", 999, at(3)),
    "not there yet": lambda h: h.state("shop.other", 1, at(3)),
    "first later": lambda h: h.first_later(h.state("shop.other", 1, at(3))),
    "arrival": lambda h: h.arrival_after("shop.people", h.state("shop.people", 1, at(3)).position),
    "collection": lambda h: list(h.collection_as_of("shop.users", at(3))),
    "collection under two names": lambda h: list(h.collection_as_of("shop.people", at(7))),
    "collection that matches": lambda h: list(h.collection_as_of("shop.users", at(3), {"n": 3})),
    "collection gaps": lambda h: h.collection("shop.people").gaps,
    "diff": lambda h: h.diff("shop.users", 1, 1, at(3)),
    "collection diff across a rename": lambda h: list(h.collection_diff("shop.people", at(3), at(7))),
    "blame": lambda h: h.blame("shop.people", 1),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_every_question_is_answered_from_an_index(
    history: Reader, database: Database[Any], question: Callable[[Reader], Any]
) -> None:
    """As the server itself says of every query that was sent: no collection scan, nothing sorted in memory."""
    for query in asked(history, database, question):
        assert "COLLSCAN" not in query.get("planSummary", ""), query
        assert not query.get("hasSortStage"), query


@pytest.mark.parametrize("question", ["wall time", "hot second", "cluster time", "under another name"])
def test_what_is_read_in_one_round_trip_is_read_from_the_index_meant_for_it(
    history: Reader, database: Database[Any], question: str
) -> None:
    """No index can be named for the branches of a union, so the server is asked which it takes for each."""
    unions = [
        query["command"]
        for query in asked(history, database, QUESTIONS[question])
        if any("$unionWith" in stage for stage in query["command"].get("pipeline", ()))
    ]
    assert unions
    for command in unions:
        known = {name: command[name] for name in ("aggregate", "pipeline", "cursor", "hint")}
        plan = list(_plans(database.command({"explain": known, "verbosity": "queryPlanner"})))
        stages = {stage["stage"] for stage in plan}
        assert stages.isdisjoint({"COLLSCAN", "SORT"}), plan
        assert {stage["indexName"] for stage in plan if "indexName" in stage} <= {
            "document_timeline",
            "collection_events",
            "_id_",  # of `rejected`, which is in its order
            "gaps",
            "namespace_1_document_id_1__id_1",
        }


def test_one_document_is_told_without_reading_others(history: Reader, database: Database[Any]) -> None:
    """And without its entries after the moment, however many there are."""
    looked_at = sum(query["docsExamined"] for query in asked(history, database, QUESTIONS["wall time"]))

    assert looked_at <= 20


def test_what_changed_in_a_window_is_found_by_the_window(history: Reader, database: Database[Any]) -> None:
    """Only the ids of the documents that have an event in it are sorted, and only these documents are read."""
    found: list[Any] = []
    queries = asked(history, database, lambda h: found.extend(h.collection_diff("shop.other", at(10), at(12))))

    assert [changed.document_id for changed in found] == [1]
    assert not any("COLLSCAN" in query.get("planSummary", "") for query in queries)
    assert sum(query["docsExamined"] for query in queries) <= 20


def test_a_large_collection_is_told_in_little_memory(database: Database[Any], replica_set_uri: str) -> None:
    """Forty megabytes of documents, brought by a rename, and chosen by a filter."""
    make_indexes(database)
    moment = SnapshotRead(ClusterTime.of(Timestamp(1_700_000_000, 1)), to_raw(at(0))[1])
    pad = "x" * SIZE
    for start in range(0, DOCUMENTS, 10_000):
        documents = [
            to_raw({"_id": number, "n": number % 100, "pad": pad})[1] for number in range(start, start + 10_000)
        ]
        database.history.insert_many([RawBSONDocument(baseline(b"shop.users", each, moment)) for each in documents])
    database.history.insert_one(of_collection("rename", 6, to="shop.people"))

    with Reader.connect(replica_set_uri, database.name) as history:
        told = history.collection_as_of("shop.people", at(9), {"n": {"$ne": 7}})
        next(told)
        tracemalloc.start()
        try:
            assert sum(1 for _ in told) == DOCUMENTS * 99 // 100 - 1
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak < MOST_BYTES


def _plans(explained: Any) -> Iterator[dict[str, Any]]:
    """The stages of every winning plan in an explanation."""
    if isinstance(explained, dict):
        if "stage" in explained:
            yield explained
        for name, value in explained.items():
            if name != "rejectedPlans":
                yield from _plans(value)
    elif isinstance(explained, list):
        for value in explained:
            yield from _plans(value)


def asked(history: Reader, database: Database[Any], question: Callable[[Reader], Any]) -> list[dict[str, Any]]:
    """What the server noted of the queries of a question."""
    database.command("profile", 2)
    try:
        question(history)
    finally:
        database.command("profile", 0)
    queries = {"op": {"$in": ["query", "command", "getmore"]}, "ns": {"$regex": f"^{database.name}\\."}}
    found = list(database.system.profile.find(queries))
    assert found
    return [query for query in found if "docsExamined" in query]
