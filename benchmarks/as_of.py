"""What a document of very many versions was at a random moment: how long `History.as_of` takes.

Source and history live on one `mongod`, started for this run. One document gets 50,000 updates of three fields, one
after the other, while `watcher run` records them and takes its snapshots. Then it is asked for at random moments, over
one warm connection, by cluster time and by wall time. Beside that stands what an answer would cost without snapshots:
reading and folding all versions.

Usage: python benchmarks/as_of.py [--versions 50000] [--moments 2000] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bson import Binary, DatetimeMS, Timestamp
from pymongo import MongoClient

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes
from change_history import History
from change_history.bson.values import to_raw
from change_history.reconstruct.snapshot_maker import Snapshots, every_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.database import Database

NAMESPACE = "bench.orders"
WARM_UP = 100
PATIENCE_S = 600


def main() -> None:
    """Run the benchmark and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--versions", type=int, default=50_000, help="updates of the document")
    arguments.add_argument("--moments", type=int, default=2000, help="random moments to ask for")
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    options = arguments.parse_args()
    with processes.started_server(cache_gb=2, oplog_mb=1024) as (server, _):
        figures = measure(server.uri, options.versions, options.moments)
    for name, value in figures.items():
        print(f"{name:>62}  {value:,.2f}" if isinstance(value, float) else f"{name:>62}  {value:,}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(uri: str, versions: int, moments: int) -> dict[str, Any]:
    """Record one document's life, then ask for it."""
    client: MongoClient[Any] = MongoClient(uri)
    kept = client.change_history
    client.bench.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    daemon = processes.daemon(uri)
    processes.wait(lambda: kept.checkpoints.count_documents({"token": {"$exists": True}}) == 1)
    client.bench.orders.insert_one(_document())
    loaded_at = time.perf_counter()
    for number in range(versions):
        client.bench.orders.update_one({"_id": 1}, {"$set": _changes(number)})
    load_s = time.perf_counter() - loaded_at
    recorded_at = _until_still(kept.history.estimated_document_count, versions)
    taken_at = _until_still(kept.snapshots.estimated_document_count, 1)
    processes.stop(daemon)
    stats = kept.command("collStats", "snapshots")
    spread = _spread(kept)
    with History(client) as history:
        busy, calm = (_asked(history, namespace, moments) for namespace in (NAMESPACE, spread))
        folded_at = time.perf_counter()
        last = None
        for last in every_state(kept, NAMESPACE, to_raw(1)):  # noqa: B007 - the last one counts
            pass
        fold_s = time.perf_counter() - folded_at
    assert last is not None
    return {
        "versions": last.entries,
        "load, updates/s": versions / load_s,
        "snapshots": stats["count"],
        "snapshots, bytes": stats["storageSize"] + stats["totalIndexSize"],
        "recorded to all snapshots taken, s": taken_at - recorded_at,
        **{f"{versions / load_s:,.0f} versions a second: {name}": took for name, took in busy.items()},
        **{f"one version a minute: {name}": took for name, took in calm.items()},
        "reading and folding all versions, ms": fold_s * 1000,
    }


def _document() -> dict[str, Any]:
    return {
        "_id": 1,
        "name": "order",
        "city": "Lisbon",
        "total": 0.5,
        "items": 0,
        "tags": ["a", "b"],
        "text": "x" * 500,
    }


def _changes(number: int) -> dict[str, Any]:
    return {"items": number, "total": number / 2, "city": f"city {number % 977}"}


def _spread(kept: Database[Any]) -> str:
    """Record the same life once more as that of another document: a version a minute, up to an hour ago."""
    namespace = "bench.calm"
    entries = list(kept.history.find({"namespace": NAMESPACE, "document_id": 1}).sort("_id", 1))
    begin = int(time.time()) - 3600 - 60 * len(entries)
    for number, entry in enumerate(entries):
        second = begin + 60 * number
        entry["_id"] = Binary(second.to_bytes(4, "big") + entry["_id"][4:])
        entry["cluster_time"] = Timestamp(second, entry["cluster_time"].inc)
        entry["timestamp"] = DatetimeMS(second * 1000 + 500)
        entry["namespace"] = namespace
    kept.history.insert_many(entries)
    snapshots = Snapshots(kept)
    for document in snapshots.long_lived(namespace):
        for _ in snapshots.fill(document):
            pass
    return namespace


def _asked(history: History, namespace: str, moments: int) -> dict[str, float]:
    """How long answers take, in milliseconds, for random moments of a document's life."""
    known = [(entry.cluster_time, entry.timestamp) for entry in history.log(namespace, 1)]
    dice = random.Random(1)
    asked = [dice.choice(known) for _ in range(moments + WARM_UP)]
    del known
    gc.collect()  # what was read to ask is not to be collected while an answer is timed
    gc.freeze()
    figures = {}
    for name, times in zip(("cluster", "wall"), zip(*asked, strict=True), strict=True):
        took = _timed(history, namespace, times)
        for percent in (50, 99):
            figures[f"as of a {name} time, p{percent}, ms"] = _percentile(took, percent)
    return figures


def _timed(history: History, namespace: str, moments: Sequence[Any]) -> list[float]:
    """Milliseconds that each answer took; the first ones warm up the connection and the server's cache."""
    took = []
    for moment in moments:
        asked_at = time.perf_counter()
        found = history.as_of(namespace, 1, moment)
        took.append((time.perf_counter() - asked_at) * 1000)
        assert found is not None
    return took[WARM_UP:]


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


def _until_still(count: Any, least: int) -> float:
    """Wait until a number is reached and has not grown for two seconds; when it last grew."""
    begun, before = time.perf_counter(), -1
    since = begun
    while (now := count()) < least or now != before or time.perf_counter() - since < 2:
        if now != before:
            before, since = now, time.perf_counter()
        if time.perf_counter() - begun > PATIENCE_S:
            raise SystemExit("waited in vain")
        time.sleep(0.1)
    return since


if __name__ == "__main__":
    main()
