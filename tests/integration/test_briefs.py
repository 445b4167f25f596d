"""Pages of a document's versions, and searches without an index, on a real server: nothing twice, nothing left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Int64

from change_history.query import backwards, briefs
from change_history.reader import Reader
from tests.support.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient
    from pymongo.database import Database


@pytest.fixture
def told(client: MongoClient[Any], database: Database[Any], replica_set_uri: str) -> Iterator[tuple[str, Reader]]:
    """A document that transactions wrote to several times each, beside another."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    with Recording(client, database.name) as recording:
        database.a.insert_many(
            [{"_id": 1, "n": 0, "big": "x" * 5000}, {"_id": 2, "deep": [{"in": {"here": "needle"}}]}]
        )
        for number in range(12):
            with client.start_session() as session, session.start_transaction():
                for step in range(1 + number % 5):
                    database.a.update_one({"_id": 1}, {"$set": {"n": f"{number}.{step}"}}, session=session)
        database.a.insert_one({"_id": 3, "short": Int64(7), "long": "z" * 20_000})
        database.a.update_one({"_id": 1}, {"$set": {"big": "y" * 5000}})
        recording.catch_up()
        with Reader.connect(replica_set_uri, recording.history.name) as reader:
            yield f"{database.name}.a", reader


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_no_version_is_lost_or_doubled_where_a_page_ends_within_a_transaction(
    told: tuple[str, Reader], size: int
) -> None:
    """The events of a transaction have another order than their ids."""
    namespace, reader = told
    events = list(reader.log(namespace, 1))
    total = reader.count(namespace, 1)
    assert total == len(events)
    for first in range(1, total + 1, size):
        page = briefs.versions(reader.collection_of_history, namespace, 1, first, size, total)
        assert [brief.number for brief in page] == list(range(first, min(first + size, total + 1)))
        for brief in page:
            assert brief.event.id == events[brief.number - 1].id
            assert reader.version_of(brief.event) == brief.number


def test_a_long_value_is_left_out_and_its_length_is_told(told: tuple[str, Reader]) -> None:
    """Short ones stay exact, whatever stands beside them."""
    namespace, reader = told
    total = reader.count(namespace, 1)
    first, *_, last = briefs.versions(reader.collection_of_history, namespace, 1, 1, total, total)
    assert first.event.changes[1].new_value == 0
    assert first.event.changes[2].new_value == "x" * 5000
    assert last.count == 1
    (change,) = last.event.changes
    assert change.new_value == "y" * 5000
    large = briefs.versions(reader.collection_of_history, namespace, 3, 1, 1, 1)[0].event.changes
    assert [change.field for change in large] == ["_id", "short", "long"]
    assert large[1].new_value == Int64(7)
    assert large[2].new_value == briefs.LeftOut(20_000 + 13)


def test_a_value_is_found_however_deep_and_the_search_says_how_far_it_came(told: tuple[str, Reader]) -> None:
    """In little time it comes less far, and can go on."""
    namespace, reader = told
    collection = reader.collection_of_history
    found = backwards.mentions(collection, [namespace], ["needle"], limit=5, seconds=30)
    assert [brief.event.document_id for brief in found.briefs] == [2]
    assert found.reached is None
    seen: list[bytes] = []
    before = None
    for _ in range(200):
        some = backwards.mentions(collection, [namespace], ["3.0", "11.0", 0], limit=1, seconds=30, before=before)
        seen += [bytes(brief.event.id) for brief in some.briefs]
        if some.reached is None:
            break
        before = some.reached
    wanted = {"3.0", "11.0", 0}
    expected = [
        bytes(event.id)
        for event in reader.log(namespace, 1, reverse=True)
        if any({change.old_value, change.new_value} & wanted for change in event.changes)
    ]
    assert seen == expected
