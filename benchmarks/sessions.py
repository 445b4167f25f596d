"""What naming database users costs: events recorded a second, catching up, with `ACTOR_SESSIONS` on and off, in turns.

Three users have written to a deployment with authentication. Then it is measured how long it takes until each event has
its user. `python -m benchmarks.sessions [EVENTS] [REPETITIONS]`
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient, UpdateOne

from benchmarks import processes
from benchmarks.run import Clock, Run
from benchmarks.servers import BATCH_SIZE, scope
from tests.support.servers import PASSWORD, Secured, secured
from watcher.stream.checkpointer import Checkpointer
from watcher.stream.listener import Listener
from watcher.targets.identity import identify

if TYPE_CHECKING:
    import subprocess

USERS = ("orders", "billing", "ops")
DOCUMENTS = 1000


def main(events: int, repetitions: int) -> None:
    """Measure, and print a line for each way."""
    with tempfile.TemporaryDirectory(prefix="watcher-bench-") as folder, secured(Path(folder)) as deployment:
        root = deployment.root
        root.shop.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
        root.shop.users.insert_many([{"_id": n, "n": 0, "text": "x" * 400} for n in range(DOCUMENTS)])
        listener = Listener(root, scope(), BATCH_SIZE, None, pre_images=True)
        position = listener.next_batch().position
        listener.close()
        for number, name in enumerate(USERS):
            load(deployment, name, events // len(USERS), number)
        events = events // len(USERS) * len(USERS)
        rates: dict[str, list[float]] = {"off": [], "on": []}
        for _ in range(repetitions):
            for way, found in rates.items():
                for kept in ("history", "snapshots", "actors_known", "amendments"):
                    root.change_history.drop_collection(kept)
                root.change_history.checkpoints.delete_many({})
                Checkpointer(root.change_history, "default", scope(), identify(root)).save(position, 0)
                process = processes.daemon(
                    deployment.uri("root"), WATCHER_ACTOR_SESSIONS=way, WATCHER_INCLUDE="*.*", WATCHER_SNAPSHOTS="off"
                )
                run = recorded(process, root.change_history.history, events)
                found.append(run.rate)
                if way == "on":
                    began = time.perf_counter()
                    processes.wait(lambda: named(root.change_history.history) >= events)
                    print(f"all have their user {time.perf_counter() - began:.1f} s after all are recorded")
                processes.stop(process)
        for way, found in rates.items():
            print(f"sessions {way}: {median(found):,.0f} events/s of {[round(rate) for rate in found]}")
        print(f"on / off: {median(rates['on']) / median(rates['off']):.2f}")


def load(deployment: Secured, name: str, events: int, number: int) -> None:
    """So many retryable updates by a user of its own."""
    deployment.root.admin.command("createUser", name, pwd=PASSWORD, roles=[{"role": "readWrite", "db": "shop"}])
    with MongoClient[dict[str, Any]](deployment.uri(name)) as client:
        for start in range(0, events, 100):
            some = range(start, min(start + 100, events))
            writes = [UpdateOne({"_id": n % DOCUMENTS}, {"$set": {"n": n * len(USERS) + number + 1}}) for n in some]
            client.shop.users.bulk_write(writes, ordered=False)


def recorded(process: subprocess.Popen[bytes], history: Any, events: int) -> Run:
    """Wait until so many events are recorded; how fast that was."""
    clock = Clock(events)
    while (run := clock.at(history.estimated_document_count(), time.perf_counter())) is None:
        if process.poll() is not None:
            raise SystemExit(f"the daemon ended with {process.returncode}")
        time.sleep(0.02)
    return run


def named(history: Any) -> int:
    """How many events have their user."""
    return int(history.count_documents({"actor.id": {"$gt": ""}}, hint="actor_id"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60_000, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
