"""Every event once and in order, whatever happens to the daemon."""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import load, oracle
from tests.support.daemon import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

OPERATIONS = 3000
KILLS = 20


def _check(daemon: Daemon, plain: oracle.PlainStream, database: Database[Any]) -> None:
    """Compare history with the plain stream, and the folded history with the live documents."""
    oracle.both_have_ended(daemon, plain, database)
    recorded = oracle.history(daemon.database, {})
    oracle.compare(plain.events, recorded)
    documents = {key: data for key, data in oracle.folded(recorded).items() if data is not None}
    assert documents == oracle.live(database)


@pytest.mark.skipif(load.MONGOSH is None, reason="no mongosh on the PATH (npm install mongosh)")
def test_history_is_the_stream_of_a_client_nobody_here_wrote(
    replica_set_uri: str, client: MongoClient[Any], database: Database[Any], daemon: Daemon, tmp_path: Path
) -> None:
    """Thousands of mixed operations by mongosh, compared event by event with a plain change stream."""
    with oracle.PlainStream(client, database.name) as plain:
        load.make_collections(database)
        assert load.mongosh_load(replica_set_uri, database.name, OPERATIONS, 7, tmp_path).wait(240) == 0
        _check(daemon, plain, database)
    assert daemon.stop() == 0


def test_no_event_is_lost_or_doubled_by_twenty_kills(
    client: MongoClient[Any], database: Database[Any], daemon: Daemon
) -> None:
    """`kill -9` at random moments during the load; after each the next daemon goes on."""
    dice = random.Random(11)
    done = threading.Event()

    def write() -> None:
        try:
            for turn in range(12):
                load.driver_load(database, OPERATIONS, turn)
        finally:
            done.set()

    with oracle.PlainStream(client, database.name) as plain:
        load.make_collections(database)
        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.3, 1.2))
            daemon.kill()
            daemon.start()
        writer.join()
        assert done.is_set()
        _check(daemon, plain, database)
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_stop_under_load_saves_its_position_and_exits_0(
    client: MongoClient[Any], database: Database[Any], daemon: Daemon, number: signal.Signals
) -> None:
    """And the next start goes on there: what was written while it was down is recorded too."""
    with oracle.PlainStream(client, database.name) as plain:
        load.make_collections(database)
        writer = threading.Thread(target=load.driver_load, args=(database, 2 * OPERATIONS))
        writer.start()
        time.sleep(0.3)
        assert daemon.stop(number) == 0
        writer.join()
        daemon.start()
        _check(daemon, plain, database)


def test_a_server_killed_under_the_daemon_costs_nothing(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """`kill -9` of the only mongod, which keeps source and history, during the load."""
    server = own_server()
    daemon = make_daemon(server.uri, "shop").start().ready()
    shop = daemon.client["shop"]
    load.make_collections(shop)
    for turn in range(3):
        load.driver_load(shop, 1000, turn)
        server.kill()
        server.start()
    shop.marker.insert_one({"_id": "end"})
    daemon.recorded("shop.marker", "end")
    eventually(
        lambda: (
            {k: v for k, v in oracle.folded(oracle.history(daemon.database, {})).items() if v is not None}
            == oracle.live(shop)
        ),
        "history level with the documents",
    )
    assert daemon.stop() == 0
