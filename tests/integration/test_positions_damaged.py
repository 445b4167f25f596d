"""Every position damaged in every bit: what the server would take for another place is found out by ourselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import Timestamp
from pymongo.errors import OperationFailure, PyMongoError

from change_history.bson.cluster_time import ClusterTime
from tests.support.change_stream import batches_until, events_of, ids, until_insert_of
from watcher.errors import PositionRefusedError, UnusablePositionError, Verdict, classify
from watcher.stream import listener as module
from watcher.stream.batch import Position
from watcher.stream.checkpointer import Checkpointer
from watcher.stream.listener import Listener
from watcher.targets.identity import ReplicaSet
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from tests.support.change_stream import Listen
    from watcher.stream.batch import Batch

SET = ReplicaSet("rs0", "65a000000000000000000001")


@pytest.fixture
def positions(database: Database[Any], listen: Listen) -> list[Position]:
    """The position of a stream that has begun, and that of an event; behind them lie the inserts 1 to 3."""
    listener = listen("{db}.*")
    start = listener.next_batch().position
    database.a.insert_one({"_id": 0})
    batches = batches_until(listener, until_insert_of(0))
    database.a.insert_many([{"_id": number} for number in (1, 2, 3)])
    event = bson.encode(bson.decode(events_of(batches)[-1])["_id"])
    return [start, Position(event, batches[-1].position.cluster_time)]


def _flipped(position: Position) -> Iterator[Position]:
    """The position with every single bit of its token turned, and of its time."""
    token = bytes.fromhex(bson.decode(position.token)["_data"])
    for bit in range(len(token) * 8):
        changed = (int.from_bytes(token, "big") ^ 1 << bit).to_bytes(len(token), "big")
        yield Position(bson.encode({"_data": changed.hex().upper()}), position.cluster_time)
    for bit in range(64):
        yield Position(position.token, ClusterTime(position.cluster_time ^ 1 << bit))


def _cut(position: Position) -> Iterator[Position]:
    """The position with its token cut off at every digit."""
    digits = bson.decode(position.token)["_data"]
    for length in range(len(digits)):
        yield Position(bson.encode({"_data": digits[:length]}), position.cluster_time)


def test_no_damage_to_a_stored_position_is_taken_for_a_position(
    database: Database[Any], positions: list[Position]
) -> None:
    """A server passes over events without a word for some of them: 48 of the 120 bits of a position between events."""
    checkpointer = Checkpointer(database, "default", Scope((f"{database.name}.*",), (), "history"), SET)
    damaged = 0
    for position in positions:
        checkpointer.save(position, 0)
        found = checkpointer.load()
        assert found is not None
        assert found.intact
        kept: Any = database.checkpoints.find_one()
        for changed in (*_flipped(position), *_cut(position)):
            time = changed.cluster_time.timestamp
            database.checkpoints.replace_one({}, {**kept, "token": bson.decode(changed.token), "cluster_time": time})
            damaged += 1
            try:
                loaded = checkpointer.load()
            except PositionRefusedError:
                continue
            assert loaded is not None
            assert not loaded.intact

    assert damaged > 600


def test_a_position_that_is_not_what_was_saved_is_never_resumed(
    database: Database[Any], positions: list[Position]
) -> None:
    """Not even if the server would take it: it is a lost one, and a gap if gaps are to be recorded."""
    scope = Scope((f"{database.name}.*",), (), "history")
    for position in positions:
        refused = Listener(database.client, scope, 10, position, pre_images=True, intact=False)
        with pytest.raises(UnusablePositionError) as caught:
            refused.next_batch()
        assert classify(caught.value) is Verdict.POSITION_LOST
        skips = Listener(database.client, scope, 10, position, pre_images=True, intact=False, skip_what_is_lost=True)
        lost = skips.next_batch().lost
        skips.close()
        assert lost is not None
        assert (lost.position, lost.cause) == (position, "UnusablePositionError")


def test_whatever_a_server_says_of_a_damaged_token_is_no_riddle(listen: Listen, positions: list[Position]) -> None:
    """A checkpoint of an earlier version has no digest, and an operator can name any token: lost, or as told."""
    riddles: dict[str, str] = {}
    for position in positions:
        for changed in (*list(_flipped(position))[64::7], *_cut(position)):
            listener = listen("{db}.*", position=changed)
            try:
                listener._open()
            except (PyMongoError, PositionRefusedError) as error:
                judged = listener._judged(error) if isinstance(error, PyMongoError) else error
                if classify(judged) is Verdict.FATAL and not isinstance(error, PositionRefusedError):
                    riddles[str(bson.decode(changed.token))] = repr(error)
            finally:
                listener.close()

    assert riddles == {}


def test_a_position_of_the_future_is_refused_and_not_waited_for(positions: list[Position], listen: Listen) -> None:
    """The server would say nothing of all that happens until then: after a deployment was restored, for instance."""
    (start, _) = positions
    digits = bson.decode(start.token)["_data"]
    later = ClusterTime.of(Timestamp(start.seconds + 3600, start.cluster_time.increment))
    token = bson.encode({"_data": f"{digits[:2]}{later.seconds:08X}{digits[10:]}"})
    ahead = Position(token, later)
    listener = listen("{db}.*", position=ahead, skip_what_is_lost=True)

    for _ in range(module.DOUBTS - 1):
        with pytest.raises(OperationFailure) as doubted:
            listener.next_batch()
        assert classify(doubted.value) is Verdict.TRANSIENT
    with pytest.raises(PositionRefusedError) as caught:
        listener.next_batch()

    assert "future" in caught.value.problem
    assert "restored from a backup" in caught.value.remedy


def test_a_position_within_an_event_is_lost_and_no_loop(
    database: Database[Any], listen: Listen, positions: list[Position], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fragment's token, set by hand: only the rest of the event follows it, however often it is asked for."""
    (start, _) = positions
    marked = {"$addFields": {"splitEvent": {"fragment": 2, "of": 2}}}  # what a server that splits events would say
    monkeypatch.setattr(module, "SPLIT_STAGE", marked)
    listener = listen("{db}.*", position=start)
    listener._splits = True
    verdicts = []
    for _ in range(2 * module.DOUBTS):
        try:
            listener.next_batch()
        except PyMongoError as error:
            verdicts.append(classify(error))
            if verdicts[-1] is Verdict.POSITION_LOST:
                break

    assert verdicts == [Verdict.TRANSIENT] * (module.DOUBTS - 1) + [Verdict.POSITION_LOST]
    assert listener._cursor is None


def test_a_token_of_another_cluster_or_collection_is_lost(
    database: Database[Any], listen: Listen, positions: list[Position]
) -> None:
    """It has a time that is possible and names a document of a collection that never was here."""
    (_, event) = positions
    digits = bson.decode(event.token)["_data"]
    uuid_at = digits.index("5A1004") + 6
    other = Position(bson.encode({"_data": digits[:uuid_at] + "AB" * 16 + digits[uuid_at + 32 :]}), event.cluster_time)
    listener = listen("{db}.*", position=other, skip_what_is_lost=True)
    batches: list[Batch] = []
    while not batches or batches[-1].lost is None:
        try:
            batches.append(listener.next_batch())
        except PyMongoError as error:
            assert classify(error) is Verdict.TRANSIENT  # noqa: PT017 - it may be asked again before it is believed
    database.a.insert_one({"_id": "after"})
    batches += batches_until(listener, until_insert_of("after"))

    assert [batch.lost.position for batch in batches if batch.lost is not None] == [other]
    assert ids(events_of(batches))[-1:] == ["after"]
