"""Events recorded per second, beside a client that reads the same stream and throws it away.

Source and history live on one `mongod`, started for this run. A collection with pre-images gets small updates (three
fields each) while nobody follows; then each reader in turn catches up with the same events from the same position:

    reader    getMore with the daemon's own stream options and batch size, the answer dropped undecoded
    daemon    `watcher run`, a process of its own, from its checkpoint to the last event acknowledged by a majority

Usage: python benchmarks/throughput.py [--events 200000] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bson import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, UpdateOne

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes
from watcher.embedded.mongod import Mongod
from watcher.listener import Listener
from watcher.scope import Scope

if TYPE_CHECKING:
    from watcher.batch import Position

DOCUMENTS = 20_000
LOAD_BATCH = 1000
BATCH_SIZE = 1000


def main() -> None:
    """Run the benchmark and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=200_000, help="updates to catch up with")
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    options = arguments.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="watcher-bench-"))
    try:
        with Mongod(folder / "server", processes.free_port(), cache_gb=2, oplog_mb=4096) as server:
            figures = measure(server.uri, options.events)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in figures.items():
        print(f"{name:>32}  {value:,.2f}" if isinstance(value, float) else f"{name:>32}  {value:,}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(uri: str, events: int) -> dict[str, Any]:
    """Load once, then read and record the same events."""
    client: MongoClient[Any] = MongoClient(uri)
    client.bench.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    client.bench.orders.insert_many(_document(number) for number in range(DOCUMENTS))
    position = _position(client)
    daemon = processes.daemon(uri)  # makes the checkpoint
    processes.wait(lambda: client.change_history.checkpoints.count_documents({"token": {"$exists": True}}) == 1)
    processes.stop(daemon)
    loaded_at = time.perf_counter()
    _load(client, events)
    load_s = time.perf_counter() - loaded_at
    reader_s = min(_discard(client, position, events) for _ in range(2))
    before = client.change_history.history.estimated_document_count()
    daemon = processes.daemon(uri)
    started = time.perf_counter()
    halfway = 0
    first_s = 0.0
    while (done := client.change_history.history.estimated_document_count() - before) < events:
        if done and not first_s:
            first_s = time.perf_counter() - started
        if not halfway and done > events // 4:
            halfway = _rss_mb(daemon.pid)
        if daemon.poll() is not None:
            raise SystemExit("the daemon ended")
        time.sleep(0.05)
    daemon_s = time.perf_counter() - started - first_s
    resident = _rss_mb(daemon.pid)
    processes.stop(daemon)
    stats = client.change_history.command("collStats", "history")
    reader, recorder = events / reader_s, events / daemon_s
    return {
        "events": events,
        "load, writes/s": events / load_s,
        "reader that discards, events/s": reader,
        "daemon, events/s": recorder,
        "daemon / reader": recorder / reader,
        "daemon, start to first event, s": first_s,
        "resident at a quarter, MB": halfway,
        "resident at the end, MB": resident,
        "history, bytes/event": (stats["storageSize"] + stats["totalIndexSize"]) / stats["count"],
        "BSON, bytes/event": float(stats["avgObjSize"]),
    }


def _document(number: int) -> dict[str, Any]:
    return {
        "_id": number,
        "name": f"customer {number}",
        "email": f"c{number}@example.com",
        "city": "Lisbon",
        "total": 0.5,
        "items": 0,
        "tags": ["a", "b"],
    }


def _load(client: MongoClient[Any], events: int) -> None:
    dice = random.Random(1)
    for start in range(0, events, LOAD_BATCH):
        client.bench.orders.bulk_write(
            [
                UpdateOne(
                    {"_id": dice.randrange(DOCUMENTS)},
                    {"$set": {"items": number, "total": dice.random(), "city": f"city {number % 977}"}},
                )
                for number in range(start, min(start + LOAD_BATCH, events))
            ],
            ordered=False,
        )


def _position(client: MongoClient[Any]) -> Position:
    listener = Listener(client, _scope(), BATCH_SIZE, None, pre_images=True)
    position = listener.next_batch().position
    listener.close()
    return position


def _discard(client: MongoClient[Any], position: Position, events: int) -> float:
    """Read the stream with the daemon's options and look at nothing but the number of events."""
    options = {
        "allChangesForCluster": True,
        "showExpandedEvents": True,
        "showRawUpdateDescription": True,
        "fullDocumentBeforeChange": "whenAvailable",
        "startAfter": RawBSONDocument(position.token),
    }
    command = {
        "aggregate": 1,
        "pipeline": [{"$changeStream": options}, {"$match": _scope().match()}],
        "cursor": {"batchSize": BATCH_SIZE},
    }
    raw: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
    seen, started = 0, time.perf_counter()
    with client.start_session(causal_consistency=False) as session:
        reply = client.admin.command(command, session=session, codec_options=raw)
        cursor, batch = reply["cursor"]["id"], "firstBatch"
        while True:
            seen += len(reply["cursor"][batch])
            if seen >= events:
                break
            more = {"getMore": cursor, "collection": "$cmd.aggregate", "batchSize": BATCH_SIZE, "maxTimeMS": 500}
            reply, batch = client.admin.command(more, session=session, codec_options=raw), "nextBatch"
        client.admin.command({"killCursors": "$cmd.aggregate", "cursors": [cursor]}, session=session)
    return time.perf_counter() - started


def _scope() -> Scope:
    return Scope(("*.*",), (), "change_history")


def _rss_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) // 1024


if __name__ == "__main__":
    main()
