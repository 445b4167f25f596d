"""A transaction is one thing: its events are recorded all, once, in their order, and say that they belong together."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from change_history.bson.values import document_to_python
from change_history.reconstruct import fold
from tests.support import oracle
from tests.support.daemon import eventually
from tests.support.oracle import belongs_to, entries_of, last_of, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod


@pytest.fixture
def shop(database: Database[Any]) -> Database[Any]:
    """A database with two collections that keep pre-images."""
    for name in ("a", "b"):
        database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    return database


@pytest.fixture
def plain(client: MongoClient[Any], shop: Database[Any]) -> Iterator[oracle.PlainStream]:
    """What the server says, beside the daemon."""
    with oracle.PlainStream(client, shop.name) as stream:
        yield stream


def test_the_events_of_two_transactions_at_once_are_told_apart_and_stay_in_order(
    client: MongoClient[Any], shop: Database[Any], plain: oracle.PlainStream, daemon: Daemon
) -> None:
    """Written in turns, over two collections, amid writes without a transaction, one of them aborted."""
    with client.start_session() as one, client.start_session() as two, client.start_session() as undone:
        for session in (one, two, undone):
            session.start_transaction()
        for number in range(20):
            shop.a.insert_one({"_id": f"one {number}"}, session=one)
            shop.b.insert_one({"_id": f"two {number}"}, session=two)
            shop.a.insert_one({"_id": f"undone {number}"}, session=undone)
            shop.b.insert_one({"_id": f"alone {number}"})
            shop.b.update_one({"_id": f"one {number // 2}"}, {"$inc": {"n": 1}}, upsert=True, session=one)
        undone.abort_transaction()
        two.commit_transaction()
        one.commit_transaction()
        owners = {last_of(one): "one", last_of(two): "two", None: "alone"}
    entries = entries_of(settled(daemon, plain, shop))

    found: dict[str, list[str]] = {name: [] for name in owners.values()}
    for entry in entries:
        found[owners[belongs_to(entry)]].append(f"{entry['operation']} {entry['document_id']}")
    assert found["alone"] == [f"insert alone {number}" for number in range(20)]
    assert found["two"] == [f"insert two {number}" for number in range(20)]
    assert found["one"] == [
        said
        for number in range(20)
        for said in (f"insert one {number}", f"{'update' if number % 2 else 'insert'} one {number // 2}")
    ]
    in_transactions = [owner for entry in entries if (owner := owners[belongs_to(entry)]) != "alone"]
    assert in_transactions == ["two"] * 20 + ["one"] * 40, "a transaction's events are torn apart"


def test_what_became_of_one_document_within_a_transaction_folds_step_by_step(
    client: MongoClient[Any], shop: Database[Any], plain: oracle.PlainStream, daemon: Daemon
) -> None:
    """Made, updated, replaced, deleted and made again, all at one cluster time: no step may overtake another."""
    shop.a.insert_one({"_id": 2, "was": "there"})
    with client.start_session() as session, session.start_transaction():
        shop.a.insert_one({"_id": 1, "n": 0, "list": [1, 2, 3]}, session=session)
        shop.a.delete_one({"_id": 2}, session=session)
        shop.a.update_one({"_id": 1}, {"$set": {"n": 1}, "$push": {"list": 4}}, session=session)
        shop.a.update_one({"_id": 1}, [{"$set": {"list": {"$slice": ["$list", 2]}}}], session=session)
        shop.a.replace_one({"_id": 1}, {"m": {"n": 2}}, session=session)
        shop.a.insert_one({"_id": 2, "is": "back"}, session=session)
        shop.a.update_one({"_id": 1}, {"$unset": {"m.n": 1}, "$set": {"m.o": 3}}, session=session)
        shop.a.delete_one({"_id": 1}, session=session)
        shop.a.insert_one({"_id": 1, "again": True}, session=session)
        shop.a.update_one({"_id": 2}, {"$rename": {"is": "stays"}}, session=session)
    recorded = settled(daemon, plain, shop)

    states: dict[int, list[Any]] = {1: [], 2: []}
    now: dict[int, bytes | None] = {1: None, 2: None}
    for stored in recorded:
        key = oracle.entry(stored).get("document_id")
        if key is not None:
            folded = now[key] = fold.fold(now[key], [stored])
            states[key].append(document_to_python(folded) if folded is not None else None)
    assert states[1] == [
        {"_id": 1, "n": 0, "list": [1, 2, 3]},
        {"_id": 1, "n": 1, "list": [1, 2, 3, 4]},
        {"_id": 1, "n": 1, "list": [1, 2]},
        {"_id": 1, "m": {"n": 2}},
        {"_id": 1, "m": {"o": 3}},
        None,
        {"_id": 1, "again": True},
    ]
    assert states[2] == [{"_id": 2, "was": "there"}, None, {"_id": 2, "is": "back"}, {"_id": 2, "stays": "back"}]
    assert len({entry["cluster_time"] for entry in entries_of(recorded)[1:]}) == 1


def test_of_a_transaction_that_is_watched_in_part_that_part_is_whole(
    client: MongoClient[Any],
    shop: Database[Any],
    replica_set_uri: str,
    make_daemon: Callable[..., Daemon],
) -> None:
    """What is not included leaves no trace and no hole: the events of the rest still share session and number."""
    daemon = make_daemon(replica_set_uri, shop.name, include=f"{shop.name}.a").start().ready()
    with client.start_session() as session, session.start_transaction():
        for number in range(30):
            shop.a.insert_one({"_id": number}, session=session)
            shop.b.insert_one({"_id": number}, session=session)
    shop.a.insert_one({"_id": "end"})
    daemon.recorded(f"{shop.name}.a", "end")

    *entries, last = entries_of(oracle.history(daemon.database, {}))
    assert [entry["document_id"] for entry in entries] == list(range(30))
    assert {entry["namespace"] for entry in entries} == {f"{shop.name}.a"}
    assert len({belongs_to(entry) for entry in entries}) == 1
    assert belongs_to(entries[0]) is not None
    assert belongs_to(last) is None


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_transaction_that_is_committed_while_the_daemon_is_down_is_recorded_after(
    client: MongoClient[Any], shop: Database[Any], plain: oracle.PlainStream, daemon: Daemon, end: signal.Signals
) -> None:
    """It began before the daemon's position and was committed after: by its commit it belongs after the position."""
    with client.start_session() as session:
        session.start_transaction()
        shop.a.insert_one({"_id": "begun", "n": 0}, session=session)
        shop.b.insert_one({"_id": "meanwhile"})
        daemon.recorded(f"{shop.name}.b", "meanwhile")
        daemon.stop(end)
        shop.a.update_one({"_id": "begun"}, {"$set": {"n": 1}}, session=session)
        shop.b.insert_one({"_id": "down"})
        session.commit_transaction()
        mine = last_of(session)
    daemon.start()
    entries = entries_of(settled(daemon, plain, shop))

    found = [(entry["operation"], entry["document_id"], belongs_to(entry)) for entry in entries]
    assert found == [
        ("insert", "meanwhile", None),
        ("insert", "down", None),
        ("insert", "begun", mine),
        ("update", "begun", mine),
    ]


def test_a_server_killed_in_the_middle_of_a_transaction_leaves_no_trace_of_it(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """What was never committed must not be in history; what was committed before the kill must."""
    server = own_server()
    daemon = make_daemon(server.uri, "shop").start().ready()
    shop = daemon.client["shop"]
    shop.create_collection("a")
    with daemon.client.start_session() as session:
        with session.start_transaction():
            shop.a.insert_many([{"_id": f"committed {number}"} for number in range(100)], session=session)
        session.start_transaction()
        shop.a.insert_many([{"_id": f"open {number}"} for number in range(100)], session=session)
        server.kill()
        server.start()
    eventually(lambda: shop.a.insert_one({"_id": "end"}), "the server")
    daemon.recorded("shop.a", "end")

    entries = entries_of(oracle.history(daemon.database, {}))
    assert [entry["document_id"] for entry in entries] == [*(f"committed {n}" for n in range(100)), "end"]
