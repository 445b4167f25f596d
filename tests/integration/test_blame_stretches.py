"""Blame of long histories, of which snapshots tell what may be passed over: it names whom reading everything names."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary

from change_history import History
from change_history.blame import backwards, leaves, recorded
from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.snapshot_maker import SPACING, Snapshots
from change_history.reconstruct.state import Reconstruction
from change_history.stored.names import HISTORY, SNAPSHOTS
from tests.support.recording import Recording, fill, stored, with_snapshots
from watcher.retention.claim import Claim
from watcher.retention.expiry import Expiry, Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

LONG = 12 * SPACING


@pytest.fixture
def recording(client: MongoClient[Any], database: Database[Any]) -> Iterator[Recording]:
    """A history of the test's own database, and room for snapshots."""
    with with_snapshots(client, database.name, Recording) as found:
        yield found


def document() -> dict[str, Any]:
    """Few of its leaves are changed often, some now and then, most never."""
    often = {f"often{number}": number for number in range(4)}
    rarely = {f"r{number}": {"x": number, "y": {"z": None}} for number in range(12)}
    items = [{"_id": number, "qty": number, "price": {"net": number}} for number in range(6)]
    return {"_id": 1, **often, **rarely, "items": items, "list": [1, 2, 3], "never": {f"n{n}": n for n in range(40)}}


def change(database: Database[Any], dice: random.Random, session: ClientSession | None = None) -> None:
    """Change the document, mostly what is changed often."""
    number, value = dice.randrange(12), dice.choice([dice.randrange(3), str(dice.random()), None])
    rare: list[Any] = [
        {"$set": {f"r{number}.x": value}},
        {"$set": {f"r{number}.y.z": value, f"often{number % 4}": value}},
        {"$set": {f"r{number}.y": {"z": value, "w": 1}}},
        {"$set": {f"r{number}": {"x": value, "y": {"z": 1}}}},
        {"$unset": {f"r{number}.new": 1}, "$inc": {"turned": 1}},
        {"$set": {f"r{number}.new": value}},
        {"$set": {f"items.{number % 6}.qty": value}},
        {"$set": {f"items.{number % 6}.price.net": value}},
        {"$push": {"list": str(value)}},
        {"$set": {f"list.{number % 3}": str(value)}},
        {"$rename": {f"r{number}.x": f"r{number}.renamed"}},
        [{"$set": {f"r{number}.x": value, "turn": {"$toString": "$turn"}}}],
    ]
    usual = {"$set": {f"often{dice.randrange(4)}": value}, "$inc": {"turn_": 1}}
    database.a.update_one({"_id": 1}, dice.choice(rare) if dice.random() < 0.05 else usual, session=session)


def live(database: Database[Any], client: MongoClient[Any], dice: random.Random) -> str:
    """Let a document live long, at times many events at one cluster time; its namespace."""
    database.a.insert_one(document())
    for number in range(LONG):
        if number % (3 * SPACING) == SPACING:
            with client.start_session() as session, session.start_transaction():
                for _ in range(2 * SPACING):
                    change(database, dice, session)
        change(database, dice)
    return f"{database.name}.a"


def agree(history: History, namespace: str, at: Any = None) -> bool:
    """Fail unless blame at a point in time is what reading all gives; whether it was told without."""
    found = Reconstruction(history._database, namespace, 1, at)
    data = found.known()
    assert data is not None
    assert found.reconstructed is not None
    expected = recorded._from_the_oldest(history._database, found, data)
    assert [leaf.event.id for leaf in recorded.leaves(history._database, found)] == expected
    paths = [(path, value) for path, value, _ in leaves.leaves(data, 0)]
    try:
        return recorded._from_the_newest(history._database, found, found.reconstructed, paths) == expected
    except backwards.NeedsAllError:
        return False


@pytest.mark.parametrize("seed", range(2))
def test_with_what_snapshots_tell_it_names_the_same_events(
    recording: Recording, database: Database[Any], client: MongoClient[Any], seed: int
) -> None:
    """At any version, though most entries are never read; with snapshots of earlier builds among them, too."""
    dice = random.Random(seed)
    namespace = live(database, client, dice)
    recording.catch_up()
    assert fill(recording.history, namespace, 1) >= 12
    snapshots = stored(recording.history)
    assert sum(bool(snapshot.changed) for snapshot in snapshots) >= 11
    history = History(client, recording.history.name)
    assert sum(agree(history, namespace, at) for at in [-1, *dice.sample(range(1, LONG), 12)]) > 9

    for snapshot in dice.sample(snapshots, 4):
        recording.history[SNAPSHOTS].update_one({"_id": Binary(snapshot.id)}, {"$unset": {"since": 1, "changed": 1}})
    for snapshot in dice.sample(snapshots, 2):
        recording.history[SNAPSHOTS].delete_one({"_id": Binary(snapshot.id)})
    assert sum(agree(history, namespace, at) for at in [-1, *dice.sample(range(1, LONG), 6)]) > 4


def test_what_a_transaction_sets_between_two_snapshots_is_not_passed_over(
    recording: Recording, database: Database[Any], client: MongoClient[Any]
) -> None:
    """All its entries have one cluster time, so the stretches before and behind them meet there."""
    database.a.insert_one(document())
    for number in range(2 * SPACING):
        database.a.update_one({"_id": 1}, {"$set": {"often0": number}})
    with client.start_session() as session, session.start_transaction():
        for number in range(4 * SPACING):
            field = f"never.n{number % 40}" if SPACING < number < 3 * SPACING else "often1"
            database.a.update_one({"_id": 1}, {"$set": {field: str(number)}}, session=session)
    for number in range(3 * SPACING):
        database.a.update_one({"_id": 1}, {"$set": {"often2": number}})
    recording.catch_up()
    namespace = f"{database.name}.a"
    fill(recording.history, namespace, 1)
    snapshots = stored(recording.history)
    within = [one for one in snapshots if one.since and ClusterTime.from_id(one.since) == ClusterTime.from_id(one.id)]
    assert within
    for number in range(len(within) + 1):
        assert agree(History(client, recording.history.name), namespace)
        recording.history[SNAPSHOTS].delete_many({"_id": {"$in": [Binary(one.id) for one in within[: number + 1]]}})


def test_what_no_snapshot_tells_to_have_changed_is_not_read(
    recording: Recording, database: Database[Any], client: MongoClient[Any]
) -> None:
    """Else a document of fifty thousand versions would be read whole for a leaf that stands from its insert."""
    database.a.insert_one(document())
    for number in range(LONG):
        database.a.update_one({"_id": 1}, {"$set": {"often1": number}})
    recording.catch_up()
    namespace = f"{database.name}.a"
    fill(recording.history, namespace, 1)
    before = History(client, recording.history.name).blame(namespace, 1)
    entries = [each["_id"] for each in recording.history[HISTORY].find({"document_id": 1}).sort("_id", 1)]
    gone = recording.history[HISTORY].delete_many({"_id": {"$in": entries[2 * SPACING : -3 * SPACING]}})

    assert gone.deleted_count > 5 * SPACING
    assert History(client, recording.history.name).blame(namespace, 1) == before


def test_the_base_of_what_has_expired_is_not_passed_over(
    recording: Recording, database: Database[Any], client: MongoClient[Any]
) -> None:
    """No snapshot tells of it, and everything that was set before the horizon is its from then on."""
    dice = random.Random(3)
    namespace = live(database, client, dice)
    recording.catch_up()
    fill(recording.history, namespace, 1)
    history = History(client, recording.history.name)
    ids = [each["_id"] for each in recording.history[HISTORY].find({"document_id": 1}, {"_id": 1}).sort("_id", 1)]
    for share in (3, 2):
        at = ClusterTime.from_id(bytes(ids[len(ids) // share]))
        with Claim(recording.history, namespace) as claim:
            sum(Expiry(recording.history, claim, Pace(10**9, lambda _: False)).run(at))
        assert agree(history, namespace)
        assert {event.operation for event in history.blame(namespace, 1).values()} >= {"baseline"}
    kept = [snapshot for snapshot in stored(recording.history) if snapshot.changed]
    assert ClusterTime.from_id(kept[0].since) <= at  # the stretch in which the base lies is told as it was


def test_paths_that_a_snapshot_tells_wrongly_are_found(
    recording: Recording, database: Database[Any], client: MongoClient[Any]
) -> None:
    """Blame would pass over the event that set a field, and nobody would know."""
    namespace = live(database, client, random.Random(4))
    recording.catch_up()
    fill(recording.history, namespace, 1)
    snapshots = Snapshots(recording.history)
    (of_one,) = snapshots.documents(namespace)
    assert list(snapshots.verify(of_one)) == []
    wrong = [snapshot for snapshot in stored(recording.history) if snapshot.changed][2]
    recording.history[SNAPSHOTS].update_one({"_id": Binary(wrong.id)}, {"$set": {"changed": Binary(b"often1")}})

    (found,) = snapshots.verify(of_one)

    assert (found.snapshot, found.said) == (wrong.id, "other paths were changed since the one before")
