"""The change stream on a real server: what comes is complete, in order, and has its positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson

from change_history.bson.resume_token import token_bytes
from tests.support import oracle
from tests.support.change_stream import batches_until, events_of, ids, until_insert_of
from watcher.events import event, record
from watcher.stream.large_events import LIGHT_BYTES

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.change_stream import Listen


def test_every_batch_carries_the_position_after_it(database: Database[Any], listen: Listen) -> None:
    """Empty ones as well; tokens never go back, and no batch is larger than asked for."""
    listener = listen(batch_size=7)
    batches = [listener.next_batch()]
    database.a.insert_many([{"_id": number} for number in range(50)])
    batches += batches_until(listener, until_insert_of(49))
    batches.append(listener.next_batch())

    assert ids(events_of(batches)) == list(range(50))
    assert batches[0].events == batches[-1].events == []
    assert max(len(batch.events) for batch in batches) == 7
    tokens = [token_bytes(batch.position.token) for batch in batches]
    assert tokens == sorted(tokens)
    for batch in batches:
        assert batch.position.seconds > 1_600_000_000
        if batch.events:
            last = event.parse(batch.events[-1])
            assert token_bytes(batch.position.token) >= last.token
            assert batch.position.cluster_time >= last.cluster_time  # the server may have read on


def test_going_on_from_any_batch_loses_nothing_and_doubles_nothing(database: Database[Any], listen: Listen) -> None:
    """Whatever batch was the last to be saved before a crash, also in the middle of a transaction."""
    database.create_collection("a")
    listener = listen(batch_size=5)
    first = listener.next_batch()
    database.a.insert_many([{"_id": number} for number in range(8)])
    with database.client.start_session() as session, session.start_transaction():
        database.a.insert_many([{"_id": number} for number in range(8, 20)], session=session)
    database.a.insert_one({"_id": 20})
    batches = [first, *batches_until(listener, until_insert_of(20))]
    events = events_of(batches)
    assert ids(events) == list(range(21))

    for number, batch in enumerate(batches):
        rest = events[len(events_of(batches[: number + 1])) :]
        again = listen(batch_size=3, position=batch.position)
        assert events_of(batches_until(again, until_insert_of(20))) == rest if rest else True


def test_a_collection_that_does_not_exist_yet_can_be_watched(database: Database[Any], listen: Listen) -> None:
    """Nor its database: the daemon may be there first."""
    listener = listen("{db}.later")
    listener.next_batch()
    database.other.insert_one({"_id": 0})
    database.later.insert_one({"_id": 1})

    assert ids(events_of(batches_until(listener, until_insert_of(1)))) == [1]


def test_hostile_names_are_watched_as_any_other(database: Database[Any], listen: Listen) -> None:
    """Dots, a line break, regex characters, not ASCII."""
    for number, name in enumerate(["a.b.c", "a\nb", "a+(b)|[c]^", "ünï 漢", "a\\b", "x" * 100]):
        listener = listen(f"{{db}}.{name}".replace("[c]", "[[]c]"))
        listener.next_batch()
        database["no"].insert_one({"_id": -1 - number})
        database[name].insert_one({"_id": number})
        assert ids(events_of(batches_until(listener, until_insert_of(number)))) == [number]


def test_a_transaction_beyond_one_oplog_entry_keeps_its_order(database: Database[Any], listen: Listen) -> None:
    """Over 16 MB: several entries, one commit; events of one cluster time, ordered by their tokens."""
    database.create_collection("a")
    listener = listen()
    listener.next_batch()
    with database.client.start_session() as session, session.start_transaction():
        for number in range(20):
            database.a.insert_one({"_id": number, "text": "x" * 1_000_000}, session=session)
        for number in range(19, -1, -1):
            database.a.update_one({"_id": number}, {"$set": {"n": number}}, session=session)
        database.a.insert_one({"_id": 20}, session=session)
    events = events_of(batches_until(listener, until_insert_of(20)))
    parsed = [event.parse(item) for item in events]

    assert ids(events) == list(range(21))
    updated = [bson.decode(item) for item in events if event.parse(item).operation == b"update"]
    assert [item["documentKey"]["_id"] for item in updated] == list(range(19, -1, -1))
    assert [item.token for item in parsed] == sorted(item.token for item in parsed)
    assert len({item.id for item in parsed}) == 41
    assert len({bson.encode(bson.decode(item)["lsid"]) for item in events}) == 1


def test_without_pre_images_none_are_asked_for(database: Database[Any], listen: Listen) -> None:
    """PRE_IMAGES=off spares the server reading them."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    streams = [listen(pre_images=images) for images in (True, False)]
    for listener in streams:
        listener.next_batch()
    database.a.insert_one({"_id": 0})
    database.a.delete_one({"_id": 0})
    database.a.insert_one({"_id": 1})
    found = [events_of(batches_until(listener, until_insert_of(1))) for listener in streams]

    assert [
        ["fullDocumentBeforeChange" in bson.decode(item) for item in events if b"delete" in item] for events in found
    ] == [[True], [False]]


UPDATES: list[Any] = [
    {"$set": {"n": 2}},
    {"$set": {"new": 1, "sub.new": 2}},
    {"$unset": {"n": 1, "sub.a": 1}},
    {"$set": {"list.1": "x"}},
    {"$push": {"list": 4}},
    {"$pull": {"list": 2}},
    {"$set": {"sub.0": "a key that looks like an index"}},
    {"$set": {"objects.1.k": 9}},
    [{"$set": {"list": {"$slice": ["$list", 1]}}}],
    [{"$set": {"whole": {"$literal": {"$set": 1, "a.b": 2}}}}],
    {"$rename": {"sub": "bus"}},
    {"$set": {"bus.b": None}},
]


def test_without_raw_update_descriptions_history_is_the_same(database: Database[Any], listen: Listen) -> None:
    """On a server that has none, or refuses to give them, history must say the same, byte for byte.

    They legitimately differ in `at_end` alone, the raw description's word that a field went to the end of its
    document though it had existed; none of these updates does that.
    """
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    streams = [listen(), listen()]
    streams[1]._raw_updates = False
    for listener in streams:
        listener.next_batch()
    whole = {
        "_id": 0,
        "n": 1,
        "list": [1, 2, 3],
        "sub": {"a": 1, "b": {"c": 2}, "0": 0},
        "objects": [{"k": 1}, {"k": 2}],
    }
    for number, update in enumerate(UPDATES):
        database.a.insert_one({**whole, "_id": number, "bus": {"b": 1}} if number > 10 else {**whole, "_id": number})
        assert database.a.update_one({"_id": number}, update).modified_count == 1
    database.a.insert_one({"_id": 99})
    with_raw, without = (events_of(batches_until(listener, until_insert_of(99))) for listener in streams)
    assert b"rawUpdateDescription" in b"".join(with_raw)
    assert b"rawUpdateDescription" not in b"".join(without)
    assert len(with_raw) == len(without)

    differing = [
        (bson.decode(one)["documentKey"], oracle.entry(record.record(one)), oracle.entry(record.record(other)))
        for one, other in zip(with_raw, without, strict=True)
        if record.record(one) != record.record(other)
    ]
    assert differing == []


def test_large_events_come_in_batches_that_memory_allows(database: Database[Any], listen: Listen) -> None:
    """The server alone would fill 16 MB, and a batch is held several times over; and nothing is left out for it."""
    listener = listen(batch_size=1000)
    listener.next_batch()
    for number in range(100):
        database.a.insert_one({"_id": number, "text": "x" * 131_072})
    batches = batches_until(listener, until_insert_of(99))

    assert ids(events_of(batches)) == list(range(100))
    weights = [sum(map(len, batch.events)) for batch in batches]
    assert max(weights) <= LIGHT_BYTES + 132_000  # one event more, at most
