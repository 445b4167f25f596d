"""Others write while documents are put back, and processes end in the middle: nothing is lost, nothing is half done."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from bson import Timestamp
from pymongo import MongoClient

from change_history import History
from tests.support.daemon import ROOT, eventually, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

DOCUMENTS, FIELDS = range(2), ("a", "b", "c", "d")
ENOUGH = 25
NAMESPACE = "shop.users"

KILLED = """
import os, signal, sys
from pymongo.client_session import ClientSession
from change_history import History

uri, database, namespace, when = sys.argv[1:]
commit = ClientSession.commit_transaction

def end(session):
    if when == "after":
        commit(session)
    os.kill(os.getpid(), signal.SIGKILL)

ClientSession.commit_transaction = end
History.connect(uri, database).revert(namespace, 1, to=1)
"""


class Writer(threading.Thread):
    """Increments fields of documents, once a turn, and counts what was acknowledged."""

    def __init__(self, uri: str, database: str, seed: int, turns: threading.Semaphore, stop: threading.Event) -> None:
        super().__init__()
        self._uri = uri
        self._database = database
        self._dice = random.Random(seed)
        self._turns = turns
        self._stop_now = stop
        self.made: Counter[tuple[int, str]] = Counter()

    def run(self) -> None:
        """Until told to stop."""
        with MongoClient[dict[str, Any]](self._uri) as client:
            counters = client[self._database].counters
            while not self._stop_now.is_set():
                if not self._turns.acquire(timeout=0.1):
                    continue
                key = self._dice.choice(DOCUMENTS), self._dice.choice(FIELDS)
                found = counters.update_one({"_id": key[0]}, {"$inc": {key[1]: 1}})
                assert found.modified_count == 1
                self.made[key] += 1
                time.sleep(self._dice.uniform(0, 0.006))


def test_two_writers_lose_no_increment_to_reverts(
    database: Database[Any], daemon: Daemon, replica_set_uri: str
) -> None:
    """What is there in the end, and what the reverts say that they took away, is what was counted up."""
    namespace = f"{database.name}.counters"
    for number in DOCUMENTS:
        database.counters.insert_one({"_id": number, **dict.fromkeys(FIELDS, 0)})
        daemon.recorded(namespace, number)
    dice, turns, stop = random.Random(1), threading.Semaphore(0), threading.Event()
    writers = [Writer(replica_set_uri, database.name, seed, turns, stop) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    taken: Counter[tuple[int, str]] = Counter()
    applied = conflicts = 0
    try:
        with History.connect(replica_set_uri, daemon.database.name) as history:
            while applied < ENOUGH or not conflicts:
                turns.release(dice.randrange(1, 7))  # however slow the machine, so many writes meet one revert
                number = dice.choice(DOCUMENTS)
                state = history.state(namespace, number)
                assert state.entry is not None
                assert state.version is not None
                target = max(state.version - dice.randrange(1, 30), 1)
                found = history.revert(namespace, number, to=target, seen=state.entry.cluster_time)
                conflicts += len(found.conflicts)
                applied += found.applied
                for change in found.changes if found.applied else []:
                    taken[number, change.field] += change.old_value - change.new_value
                    assert change.old_value == (state.document or {})[change.field], "a later change was taken away"
    finally:
        stop.set()
        for writer in writers:
            writer.join()

    assert applied >= ENOUGH
    assert conflicts
    made = writers[0].made + writers[1].made
    for document in database.counters.find():
        for field in FIELDS:
            key = document["_id"], field
            assert document[field] == made[key] - taken[key]
    database.counters.insert_one({"_id": "end"})
    daemon.recorded(namespace, "end")
    said = watcher(daemon, "log", namespace).stdout
    assert said.count("revert to version") == applied


def cut_off(server: Mongod, daemon: Daemon, when: str) -> dict[str, Any]:
    """End a revert by SIGKILL `before` or `after` its commit; its intent."""
    arguments = [server.uri, daemon.database.name, NAMESPACE, when]
    ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    found = daemon.database.reverts.find_one({"state": "intended"})
    assert isinstance(found, dict)
    return found


def test_a_revert_that_is_killed_is_wholly_done_or_not_at_all_and_is_told(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """Its events alone prove it; the next revert says what became of it, and does its own work."""
    # The server ends what the killed process has left open after so many seconds, 60 by default.
    server = own_server(extra_args=("--setParameter", "transactionLifetimeLimitSeconds=1"))
    daemon = make_daemon(server.uri, "shop").start().ready()
    users, reverts = daemon.client["shop"].users, daemon.database.reverts
    users.insert_one({"_id": 1, "n": 1})
    users.update_one({"_id": 1}, {"$set": {"n": 2}})
    eventually(lambda: daemon.database.history.count_documents({"document_id": 1}) == 2, "both events")

    intent = cut_off(server, daemon, "before")
    shown = watcher(daemon, "revert", NAMESPACE, "1", "--to", "1")
    assert "is not confirmed" in shown.stderr
    assert users.find_one() == {"_id": 1, "n": 2}
    long_ago = Timestamp(intent["cluster_time"].time - 3600, 1)
    reverts.update_one({}, {"$set": {"cluster_time": long_ago}})
    done = watcher(daemon, "revert", NAMESPACE, "1", "--to", "1", "--yes")
    assert done.returncode == exit_codes.OK, done.stderr
    assert "was cut off before it was committed: nothing of it was done" in done.stderr
    assert users.find_one() == {"_id": 1, "n": 1}
    assert sorted(each["state"] for each in reverts.find()) == ["abandoned", "done"]

    users.update_one({"_id": 1}, {"$set": {"n": 3}})
    eventually(lambda: daemon.database.history.count_documents({"document_id": 1}) == 4, "the revert's event")
    cut_off(server, daemon, "after")
    assert users.find_one() == {"_id": 1, "n": 1}
    eventually(lambda: daemon.database.history.count_documents({"document_id": 1}) == 5, "the next revert's")
    assert watcher(daemon, "log", NAMESPACE, "1").stdout.count("revert to version 1") == 2
    again = watcher(daemon, "revert", NAMESPACE, "1", "--to", "2", "--yes")
    assert "was done, although it was cut off before it could say so" in again.stderr
    assert sorted(each["state"] for each in reverts.find()) == ["abandoned", "done", "done", "done"]
