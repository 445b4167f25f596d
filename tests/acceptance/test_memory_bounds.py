"""Memory stays bounded whatever comes: a huge transaction, huge documents in a row, a history server that stands still.

In CI a tenth of what `docs/operations.md` tells of; `WATCHER_TEST_FULL_SIZE=1` for all of it.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.daemon import FULL_SIZE, eventually, peak_mb

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

MB = 1024 * 1024
IN_TRANSACTION = 100_000 if FULL_SIZE else 10_000
LARGE = 60 if FULL_SIZE else 6
WHILE_IT_STANDS_STILL = 200_000 if FULL_SIZE else 20_000
MOST_MB = 150
MOST_OF_LARGE_MB = 700
PATIENCE_S = 250.0


@pytest.fixture
def server(own_server: Callable[..., Mongod]) -> Mongod:
    """A watched server with room for large transactions and documents."""
    return own_server(cache_gb=0.5, oplog_mb=4096, extra_args=("--setParameter", "transactionLifetimeLimitSeconds=600"))


def _said(daemon: Daemon, what: str) -> None:
    if FULL_SIZE:
        print(f"\n{what}: at most {peak_mb(daemon)} MB")  # noqa: T201 - for the documentation


def _all(daemon: Daemon, query: dict[str, Any], events: int) -> None:
    found = daemon.database.history
    eventually(lambda: found.count_documents(query) >= events, f"{events} events\n{daemon.log()}", PATIENCE_S)
    assert found.count_documents(query) == events


def test_a_huge_transaction_is_not_kept_in_memory(server: Mongod, make_daemon: Callable[..., Daemon]) -> None:
    """All of its events have one cluster time; they are read, recorded and written batch by batch all the same."""
    daemon = make_daemon(server.uri, "shop").start().ready()
    client = daemon.client
    client.shop.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    with client.start_session() as session, session.start_transaction():
        for start in range(0, IN_TRANSACTION, 10_000):
            documents = [{"_id": number, "text": "x" * 100} for number in range(start, start + 10_000)]
            client.shop.a.insert_many(documents, session=session)
    _all(daemon, {"operation": "insert"}, IN_TRANSACTION)

    _said(daemon, f"a transaction of {IN_TRANSACTION} events")
    assert peak_mb(daemon) < MOST_MB
    assert daemon.stop() == 0


def test_documents_of_16_mb_in_a_row_do_not_pile_up(server: Mongod, make_daemon: Callable[..., Daemon]) -> None:
    """Inserted, updated with pre-images (32 MB an event, were it whole), replaced and deleted, one after the other."""
    daemon = make_daemon(server.uri, "shop").start().ready()
    client = daemon.client
    client.shop.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    text = "x" * (16 * MB - 100)
    for number in range(LARGE):
        client.shop.a.insert_one({"_id": number, "text": text})
        client.shop.a.update_one({"_id": number}, {"$set": {"n": 1}})
        client.shop.a.replace_one({"_id": number}, {"text": "y" * (16 * MB - 100)})
        client.shop.a.delete_one({"_id": number})
    _all(daemon, {"document_id": {"$exists": True}}, 4 * LARGE)

    _said(daemon, f"{4 * LARGE} events of documents of 16 MB")
    assert peak_mb(daemon) < MOST_OF_LARGE_MB
    assert daemon.stop() == 0


def test_a_history_server_that_stands_still_stops_the_reading_not_the_memory(
    server: Mongod, own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """Frozen under load: what happens meanwhile waits in the oplog; afterwards all of it is recorded, once."""
    keeper = own_server()
    daemon = make_daemon(keeper.uri, "shop", mongodb_uri=server.uri, history_uri=keeper.uri).start().ready()
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]](server.uri) as client:
        client.shop.a.insert_one({"_id": "before"})
        daemon.recorded("shop.a", "before")
        assert keeper.pid is not None
        os.kill(keeper.pid, signal.SIGSTOP)
        try:
            for start in range(0, WHILE_IT_STANDS_STILL, 1000):
                client.shop.a.insert_many([{"_id": number, "text": "x" * 500} for number in range(start, start + 1000)])
            frozen = peak_mb(daemon)
        finally:
            os.kill(keeper.pid, signal.SIGCONT)
        _all(daemon, {"operation": "insert"}, WHILE_IT_STANDS_STILL + 1)

    _said(daemon, f"{WHILE_IT_STANDS_STILL} events while the history server stood still")
    assert frozen < MOST_MB
    assert peak_mb(daemon) < MOST_MB
    assert daemon.stop() == 0
