"""History that replays exactly although everything is killed all the time, while the baseline is being taken too.

``WATCHER_TEST_KILLED_SECONDS`` is how long the kills go on, ``WATCHER_TEST_KILLED_SEED`` makes the same operations and
kills again (which of them meet is up to the machine).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from change_history import History
from tests.support import oracle
from tests.support.daemon import Daemon, eventually
from tests.support.generated.operations import COLLECTIONS
from tests.support.replay.killed import BULK, Load, Replay, compare_with_stream, events_after, examples
from tests.support.replay.lab import Clients

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from watcher.embedded.mongod import Mongod

SECONDS = float(os.environ.get("WATCHER_TEST_KILLED_SECONDS", "10"))
SEED = int(os.environ.get("WATCHER_TEST_KILLED_SEED") or random.SystemRandom().randrange(2**32))
THREADS = 3
EXAMPLES = 12
"""For each thread, so many sequences of operations, over and over again."""
BULK_DOCUMENTS = 20_000
END = "end"
DONE = {"token": {"$exists": True}, "survey": {"$exists": False}}
"""The checkpoint of a stream whose baseline is taken."""


def _fill(uri: str, database: Database[Any]) -> None:
    """Documents that exist before the daemon is started."""
    database.create_collection(BULK, changeStreamPreAndPostImages={"enabled": True})
    database[BULK].insert_many([{"_id": number, "n": 0, "text": "x" * 50} for number in range(BULK_DOCUMENTS)])
    for name in (*COLLECTIONS, END):
        database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    with Clients(uri, database.name, Counter()) as clients:
        for wanted in examples(EXAMPLES, SEED + THREADS):
            for operation in wanted:
                clients.run(operation)
    for name in COLLECTIONS:  # lest the daemon do it, in events before its stream is open
        database.command({"collMod": name, "changeStreamPreAndPostImages": {"enabled": True}})


def _kill_at_random(daemon: Daemon, server: Mongod, dice: random.Random) -> Counter[str]:
    """Kill the daemon, or the server, until the time is up; how often which. First the server, then the daemon."""
    kills: Counter[str] = Counter()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until or len(kills) < 2:
        assert daemon.process is not None
        assert daemon.process.poll() is None, f"the daemon ended by itself\n{daemon.log()}"
        if not kills or (kills["daemon"] and dice.random() < 0.3):
            server.kill()
            server.start()
            kills["server"] += 1
        else:
            daemon.kill()
            daemon.start()
            kills["daemon"] += 1
        time.sleep(dice.uniform(0.1, 2.0))
    return kills


@pytest.mark.timeout(0)
def test_history_made_under_kills_replays_exactly(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """`kill -9` of the daemon and of `mongod`, at random, amid random operations of several clients."""
    print(f"WATCHER_TEST_KILLED_SEED={SEED}")  # noqa: T201 - to be able to run it again
    wanted = [[each for example in examples(EXAMPLES, SEED + n) for each in example] for n in range(THREADS)]
    server = own_server(cache_gb=0.5, oplog_mb=4096)
    daemon = make_daemon(server.uri, "shop")
    shop = daemon.client.get_database("shop", codec_options=oracle.RAW)
    _fill(server.uri, daemon.client["shop"])
    with shop.watch(max_await_time_ms=1) as stream:
        stream.try_next()
        start = stream.resume_token
    daemon.start().ready()
    with Load(server.uri, "shop", wanted, BULK_DOCUMENTS, SEED) as load:
        eventually(lambda: daemon.database.history.find_one({"operation": "baseline"}), "a first entry")
        assert not daemon.database.checkpoints.count_documents(DONE), "the baseline is done before the first kill"
        kills = _kill_at_random(daemon, server, random.Random(SEED))
    print(f"kills: {dict(kills)}; {dict(load.counts)}")  # noqa: T201
    daemon.client["shop"][END].insert_one({"_id": "up"})
    daemon.recorded(f"shop.{END}", "up")  # a daemon that starts switches images on; that too is an event before the end
    eventually(lambda: daemon.database.checkpoints.count_documents(DONE), "the end of the baseline")
    daemon.client["shop"][END].insert_one({"_id": END})
    daemon.recorded(f"shop.{END}", END)

    events = events_after(shop, start, END)
    eventually(
        lambda: daemon.database.history.count_documents({"resume_token": {"$exists": True}}) >= len(events),
        "all events",
    )
    recorded = oracle.history(daemon.database, {})
    compare_with_stream(events, recorded)
    replay = Replay()
    replay.replay(recorded, {oracle.token_of(event): event for event in events})
    print(f"{len(events)} events; compared: {dict(replay.counts)}")  # noqa: T201
    live = oracle.live(shop)
    assert {key: data for key, data in replay.state.items() if data is not None} == live
    history = History(daemon.client, daemon.database.name)
    for name in COLLECTIONS:
        told = {each.data for each in history.collection(f"shop.{name}").documents()}
        assert told == {data for (namespace, _), data in live.items() if namespace == f"shop.{name}"}
    assert daemon.database.history.count_documents({"operation": "gap"}) == 0
    assert daemon.database.rejected.count_documents({}) == 0
