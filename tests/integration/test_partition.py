"""The parts of a stream, together, deliver exactly what the whole stream does; proved on a real server."""

from __future__ import annotations

import random
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure, PyMongoError

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.resume_token import token_time
from change_history.partition import Partition
from tests.support.generated.documents import every_type
from watcher.operations.position import StreamProbe
from watcher.stream.listener import Listener
from watcher.targets.partition import holds
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.collection import Collection
    from pymongo.database import Database

NUMBERS = [
    *(
        0,
        -0.0,
        Decimal128("-0"),
        1,
        Int64(1),
        1.0,
        Decimal128("1.00"),
        1.5,
        Decimal128("1.50"),
        -1.5,
        Decimal128("-1.5"),
    ),
    *(
        2.5,
        Decimal128("2.5"),
        0.5,
        Decimal128("0.5"),
        float("nan"),
        Decimal128("NaN"),
        float("inf"),
        Decimal128("Infinity"),
    ),
    *(2.0**63, Decimal128(str(2**63)), -(2.0**63), Int64(-(2**63)), Int64(2**63 - 1), Decimal128(str(2**63 - 1))),
    *(2.0**53 + 2, Int64(2**53 + 2), 4503599627370497.5, Decimal128("4503599627370497.5"), Decimal128("9E6144")),
]
WRAPS: list[Callable[[Any], Any]] = [
    lambda value: value,
    lambda value: {"a": value},
    lambda value: {"a": {"b": [{"c": value}]}, "z": value},
    lambda value: {"a": [value], "a.b": value},
    lambda value: {"a": Code("f", {"x": value})},
    lambda value: Code("f", {"x": value}),
]
PARTS = [1, 2, 3, 5]


def _scope(database: Database[Any], part: Partition | None) -> Scope:
    return Scope((f"{database.name}.*",), (), "history", part)


def _read(
    database: Database[Any], part: Partition | None, since: Timestamp, most: int | None = None
) -> tuple[list[bytes], bytes]:
    """Events from a moment to now, or so many, and the token of where the stream stands then."""
    until = database.client.admin.command("ping")["operationTime"]
    database.client["elsewhere"]["nudge"].insert_one({})
    last = ClusterTime.of(until)
    events: list[bytes] = []
    start = StreamProbe(database.client, _scope(database, part), pre_images=True).at(since)
    with closing(Listener(database.client, _scope(database, part), 200, start, pre_images=True)) as listener:
        while True:
            batch = listener.next_batch()
            events += batch.events
            reached = token_time(batch.position.token)
            if (reached is not None and reached > last) or (most is not None and len(events) >= most):
                return events, batch.position.token


def _is_of_a_document(data: bytes) -> bool:
    return b"documentKey" in raw.fields(data)


def _ids() -> list[Any]:
    return [*NUMBERS, *({"a": number} for number in NUMBERS), MinKey(), MaxKey(), None, *range(100, 150)]


def _in_transaction(collection: Collection[Any], key: Any, chance: random.Random) -> None:
    with collection.database.client.start_session() as session, session.start_transaction():
        for number in range(chance.randrange(2, 20)):
            other = key if number % 3 else chance.choice(_ids())
            collection.update_one({"_id": other}, {"$inc": {"t": 1}}, session=session)
            collection.database["a"].insert_one({"_id": ObjectId()}, session=session)


def _of_every_type(collection: Collection[Any], _key: Any, chance: random.Random) -> None:
    """By the bare command: the driver would look at the `_id`, and cannot read every one."""
    value = chance.choice([*raw.fields(every_type()).values()])
    document = RawBSONDocument(raw.from_fields([(b"_id", value)]))
    collection.database.command({"insert": collection.name, "documents": [document]})


def _images(collection: Collection[Any], _key: Any, _chance: random.Random) -> None:
    collection.database.command({"collMod": collection.name, "changeStreamPreAndPostImages": {"enabled": True}})


OPERATIONS: list[tuple[int, Callable[[Any, Any, random.Random], Any]]] = [
    (10, _of_every_type),
    (30, lambda collection, key, _: collection.insert_one({"_id": key, "n": 0})),
    (20, lambda collection, key, chance: collection.update_one({"_id": key}, {"$set": {"n": chance.random()}})),
    (10, lambda collection, key, _: collection.delete_one({"_id": key})),
    (5, lambda collection, key, _: collection.replace_one({"_id": key}, {"r": 1}, upsert=True)),
    (14, _in_transaction),
    (3, lambda collection, _key, _chance: collection.drop()),
    (3, lambda collection, _key, chance: collection.rename(chance.choice("abc"), dropTarget=True)),
    (2, lambda collection, _key, chance: collection.aggregate([{"$out": chance.choice("abc")}])),
    (2, _images),
    (1, lambda collection, _key, _chance: collection.create_index("n")),
]


def _work(database: Database[Any], seed: int, steps: int = 500) -> None:
    """Operations of all kinds on documents whose ids are of all types; what the server refuses does not happen."""
    chance = random.Random(seed)
    weights, operations = zip(*OPERATIONS, strict=True)
    for operation in chance.choices(operations, weights, k=steps):
        with suppress(PyMongoError):
            operation(database[chance.choice("abc")], chance.choice(_ids()), chance)


def _now(client: MongoClient[Any]) -> Timestamp:
    moment: Timestamp = client.admin.command("ping")["operationTime"]
    return moment


@pytest.mark.parametrize("wrap", WRAPS)
def test_ids_that_are_one_to_the_server_are_in_one_part(database: Database[Any], wrap: Callable[[Any], Any]) -> None:
    """Disaster: 1.5 is deleted, Decimal128 1.5 inserted: two parts record one document, in whatever order."""
    parts, pairs = 61, 0
    of = {"$project": {"part": {"$indexOfArray": [[holds(Partition(i + 1, parts), "$x") for i in range(parts)], True]}}}
    for number in NUMBERS:
        with suppress(OperationFailure):
            database["ids"].insert_one({"_id": wrap(number)})
    for number in NUMBERS:
        for stored in database["ids"].find({"_id": {"$eq": wrap(number)}}):
            both = [{"x": {"$literal": stored["_id"]}}, {"x": {"$literal": wrap(number)}}]
            first, second = (found["part"] for found in database.aggregate([{"$documents": both}, of]))
            assert first == second >= 0, (stored["_id"], wrap(number))
            pairs += 1
    assert pairs >= len(NUMBERS) // 2


@pytest.mark.parametrize("seed", range(3))
def test_the_parts_together_are_the_whole_stream(database: Database[Any], seed: int) -> None:
    """Disaster: an event falls between the parts, or two of them record it, or its bytes differ by who reads it.

    Events about collections are the same bytes in every part, so whoever records them makes the same entry.
    """
    since = _now(database.client)
    _work(database, seed)
    whole, _ = _read(database, None, since)
    documents = [data for data in whole if _is_of_a_document(data)]
    others = [data for data in whole if not _is_of_a_document(data)]
    assert len(documents) > 100
    assert others
    for parts in PARTS:
        read = [_read(database, Partition(i + 1, parts), since)[0] for i in range(parts)]
        of_documents = [[data for data in part if _is_of_a_document(data)] for part in read]
        assert sorted(data for part in of_documents for data in part) == sorted(documents)
        assert all([data for data in part if not _is_of_a_document(data)] == others for part in read)
        for part in of_documents:
            mine = set(part)
            assert part == [data for data in documents if data in mine]


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 2), (2, 1)])
def test_other_parts_go_on_from_the_least_moment(database: Database[Any], before: int, after: int) -> None:
    """Disaster: the number of parts is changed, and what one of them had not read yet is read by none."""
    since = _now(database.client)
    _work(database, before)
    whole, _ = _read(database, None, since)
    some = [len(whole) // 8 + 1, len(whole) // 6 + 1, len(whole) // 20 + 1]
    stopped = [_read(database, Partition(i + 1, before), since, some[i]) for i in range(before)]
    times = [token_time(token) for _, token in stopped]
    least = min(time for time in times if time is not None)
    again = [_read(database, Partition(i + 1, after), least.timestamp)[0] for i in range(after)]
    assert {data for part, _ in stopped for data in part} | {data for part in again for data in part} == set(whole)
