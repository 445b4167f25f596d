"""Transactions of many megabytes or thousands of events are recorded whole, also when the daemon is killed amid one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support import oracle
from tests.support.daemon import eventually
from tests.support.oracle import belongs_to, entries_of, last_of, oplog_entries, settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

MB = 1024 * 1024
MANY = 3000


@pytest.fixture
def roomy(own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon, not started, of a server with room for large transactions, and two collections with pre-images."""
    server = own_server(cache_gb=0.5)
    daemon = make_daemon(server.uri, "shop", batch_size=2)
    for name in ("a", "b"):
        daemon.client["shop"].create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    return daemon


def test_a_transaction_larger_than_one_oplog_entry_is_recorded_whole(roomy: Daemon) -> None:
    """24 MB in one transaction, which the server keeps in several oplog entries of 16 MB at most."""
    daemon, client, shop = roomy.start().ready(), roomy.client, roomy.client["shop"]
    with oracle.PlainStream(client, "shop") as plain:
        with client.start_session() as session:
            with session.start_transaction():
                for number in range(24):
                    shop.a.insert_one({"_id": number, "text": "x" * MB, "n": 0}, session=session)
                    shop.b.insert_one({"_id": number}, session=session)
                shop.b.update_many({}, {"$inc": {"n": 1}}, session=session)
                shop.a.update_one({"_id": 0}, {"$inc": {"n": 1}}, session=session)
                shop.a.delete_one({"_id": 0}, session=session)
            assert len(oplog_entries(client, session)) > 1
            mine = last_of(session)
        entries = entries_of(settled(daemon, plain, shop))

    assert {belongs_to(entry) for entry in entries} == {mine}
    assert len({entry["cluster_time"] for entry in entries}) == 1
    assert [(entry["operation"], entry["document_id"]) for entry in entries] == [
        *[("insert", number) for number in range(24) for _ in "ab"],
        *[("update", number) for number in range(24)],
        ("update", 0),
        ("delete", 0),
    ]
    assert daemon.database.rejected.count_documents({}) == 0


def _write_many(client: MongoClient[Any], shop: Database[Any]) -> tuple[bytes, int]:
    """3,000 events in one transaction of more than 16 MB; its session and number."""
    with client.start_session() as session:
        with session.start_transaction():
            for start in range(0, MANY // 3, 100):
                batch = range(start, start + 100)
                shop.a.insert_many([{"_id": n, "n": 0, "text": "x" * 17_000} for n in batch], session=session)
                shop.a.update_many({"_id": {"$gte": start}}, {"$inc": {"n": 1}}, session=session)
                shop.b.insert_many([{"_id": n} for n in batch], session=session)
        assert len(oplog_entries(client, session)) > 1
        return last_of(session)


def test_kills_in_the_middle_of_recording_a_transaction_cost_nothing(roomy: Daemon) -> None:
    """`kill -9` amid 3,000 events of one cluster time: also with the position within them, where reading goes on."""
    daemon, client, shop = roomy.start().ready(), roomy.client, roomy.client["shop"]
    daemon.kill()
    within = {"transaction": {"$exists": True}}

    def position() -> dict[str, Any]:
        checkpoint = daemon.database.checkpoints.find_one()
        assert checkpoint is not None
        return {**within, "resume_token": bytes.fromhex(checkpoint["token"]["_data"])}

    def recorded(query: dict[str, Any], least: int = 1) -> bool:
        return daemon.database.history.count_documents(query) >= least

    with oracle.PlainStream(client, "shop") as plain:
        mine = _write_many(client, shop)
        for least in (1, 400):
            daemon.start()
            eventually(lambda least=least: recorded(within, least), f"{least} events")  # type: ignore[misc]
            if least > 1:
                eventually(lambda: recorded(position()), "a position within the transaction")
            daemon.kill()
            assert not recorded(within, MANY), "the kill did not come in the middle"
        assert recorded(position())
        daemon.start()
        entries = entries_of(settled(daemon, plain, shop))

    assert len(entries) == MANY
    assert {belongs_to(entry) for entry in entries} == {mine}
