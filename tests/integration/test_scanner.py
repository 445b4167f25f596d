"""One collection of a backfill: what happens to it in the middle, and how far the stream is meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import bson
import pytest
from bson import MaxKey, Timestamp
from bson.raw_bson import RawBSONDocument

from tests.support.backfill import history_database
from watcher.backfill.queue import BASELINE, RECONCILE, BackfillPlan
from watcher.backfill.readers import MajorityReader, now
from watcher.backfill.scanner import Scanner
from watcher.retry import Retry
from watcher.targets.namespaces import MovedError

if TYPE_CHECKING:
    from pymongo.database import Database

Make: TypeAlias = Callable[..., Scanner]


@pytest.fixture
def history(replica_set_uri: str) -> Iterator[Database[Any]]:
    """A history database with its indexes."""
    with history_database(replica_set_uri) as made:
        yield made


@pytest.fixture
def make(database: Database[Any], history: Database[Any]) -> Make:
    """A function that makes a scanner; by default the stream is always up to date."""

    def up_to_date() -> Timestamp:
        database.client.admin.command("appendOplogNote", data={})
        return now(database.client)

    def made(
        recorded: Callable[[], Timestamp | None] = up_to_date, after_store: Callable[[], object] = lambda: None
    ) -> Scanner:
        stop = threading.Event()

        def store(entries: list[bytes]) -> None:
            history.history.insert_many([RawBSONDocument(entry) for entry in entries])
            after_store()

        retry = Retry(stop, lambda _doing, _error: None, lambda _doing: None)
        return Scanner(
            client=database.client,
            history=history,
            store=store,
            recorded_until=recorded,
            nudge=lambda: None,
            retry=retry,
            stop=stop,
            redaction=None,
        )

    return made


def test_nothing_is_said_of_a_name_that_is_gone_before_the_stream_has_come_there(
    database: Database[Any], make: Make
) -> None:
    """The renaming that tells where the documents went may be yet to come: only then is it planned what to read."""
    answers: list[Timestamp | None] = [None, Timestamp(1, 1)]

    def recorded() -> Timestamp | None:
        return answers.pop(0) if answers else now(database.client)

    plan = BackfillPlan(BASELINE, now(database.client), (f"{database.name}.a", f"{database.name}.b"))
    scanner = make(recorded)
    assert list(scanner.steps(plan, as_it_is=False)) == []
    assert answers == []

    answers += [None, None]
    assert list(scanner.steps(plan.next_namespace(), as_it_is=False)) == []
    assert answers == []


def test_a_collection_that_goes_while_it_is_compared_is_not_recorded_as_emptied(
    database: Database[Any], history: Database[Any], make: Make
) -> None:
    """The server finds nothing under the name, at whatever moment, and every document would be told as deleted."""
    database.a.insert_many([{"_id": number} for number in range(10)])
    before = now(database.client)
    list(make().steps(BackfillPlan(BASELINE, before, (f"{database.name}.a",)), as_it_is=False))
    database.a.update_one({"_id": 1}, {"$set": {"n": 1}})
    plan = BackfillPlan(RECONCILE, now(database.client), (f"{database.name}.a",), since=before, closes_gaps=True)

    with pytest.raises(MovedError):
        list(make(after_store=lambda: database.a.rename("b")).steps(plan, as_it_is=False))

    assert [entry["document_id"] for entry in history.history.find({"operation": "reconcile"})] == [1]


@pytest.mark.parametrize("as_it_is", [False, True])
def test_an_id_that_has_only_changed_its_type_is_neither_gone_nor_the_same(
    as_it_is: bool,  # noqa: FBT001 - a parameter of the test
    database: Database[Any],
    history: Database[Any],
    make: Make,
) -> None:
    """3 and 3.0 are one id to the server; recorded as gone, after the new one, the document would be missing."""
    database.a.insert_many([{"_id": 3, "n": 1}, {"_id": 4, "n": 1}])
    before = now(database.client)
    list(make().steps(BackfillPlan(BASELINE, before, (f"{database.name}.a",)), as_it_is=False))
    database.a.delete_one({"_id": 3})
    database.a.insert_one({"_id": 3.0, "n": 1})
    plan = BackfillPlan(RECONCILE, now(database.client), (f"{database.name}.a",), since=before, closes_gaps=True)

    list(make().steps(plan, as_it_is=as_it_is))

    (entry,) = history.history.find({"operation": "reconcile"})
    assert repr(entry["document_id"]) == "3.0"
    assert [change["field"] for change in entry["changes"]] == ["_id", "n"]


def test_reading_again_says_nothing_twice(database: Database[Any], history: Database[Any], make: Make) -> None:
    """After a kill the last batch is read again; what is known by then has to be left alone."""
    database.create_collection("a", capped=True, size=100_000)
    database.a.insert_many([{"_id": number} for number in range(5)])
    plan = BackfillPlan(
        RECONCILE, now(database.client), (f"{database.name}.a",), since=Timestamp(1, 1), closes_gaps=True
    )

    for _ in range(2):
        list(make().steps(plan, as_it_is=False))

    assert history.history.count_documents({"operation": "reconcile"}) == 5


def test_the_greatest_id_there_is_does_not_end_the_reading(database: Database[Any]) -> None:
    """A server refuses MaxKey as a bound: a capped collection that has one was never read to its end."""
    ids = [1, "x", MaxKey()]
    database.a.insert_many([{"_id": document_id} for document_id in ids])
    reader = MajorityReader(database.client, f"{database.name}.a")
    reader.chunk = 1

    found = [bson.decode(document)["_id"] for reading in reader.documents(None) for document in reading.documents]

    assert found == ids
