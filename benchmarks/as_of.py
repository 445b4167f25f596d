"""What a document of very many versions was at a random moment: how long `History.as_of` takes.

Source and history live on one `mongod`, started for this run. One document gets 50,000 updates of three fields, one
after the other, while `watcher run` records them and takes its snapshots. Then it is asked for at random moments, over
one warm connection, by cluster time and by wall time. Beside that stands what an answer would cost without snapshots:
reading and folding all versions.

Usage: python benchmarks/as_of.py [--versions 50000] [--moments 2000] [--json FILE]
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

from bson.codec_options import CodecOptions
from pymongo import MongoClient

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes
from history import History
from models.values import to_raw
from recall.told import told
from watcher.embedded.mongod import Mongod

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    folder = Path(tempfile.mkdtemp(prefix="watcher-bench-"))
    try:
        with Mongod(folder / "server", processes.free_port(), cache_gb=2, oplog_mb=1024) as server:
            figures = measure(server.uri, options.versions, options.moments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, value in figures.items():
        print(f"{name:>42}  {value:,.2f}" if isinstance(value, float) else f"{name:>42}  {value:,}")
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
    aware: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
    entries = kept.get_collection("history", codec_options=aware).find(
        {"namespace": NAMESPACE, "document_id": 1}, {"cluster_time": 1, "timestamp": 1}
    )
    known = list(entries)
    dice = random.Random(1)
    asked = [dice.choice(known) for _ in range(moments + WARM_UP)]
    stats = kept.command("collStats", "snapshots")
    with History(client) as history:
        by_cluster_time = _timed(history, [entry["cluster_time"] for entry in asked])
        by_wall_time = _timed(history, [entry["timestamp"] for entry in asked])
        folded_at = time.perf_counter()
        last = None
        for last in told(kept, NAMESPACE, to_raw(1)):  # noqa: B007 - the last one counts
            pass
        fold_s = time.perf_counter() - folded_at
    assert last is not None
    return {
        "versions": last.entries,
        "load, updates/s": versions / load_s,
        "snapshots": stats["count"],
        "snapshots, bytes": stats["storageSize"] + stats["totalIndexSize"],
        "recorded to all snapshots taken, s": taken_at - recorded_at,
        "as of a cluster time, p50, ms": _percentile(by_cluster_time, 50),
        "as of a cluster time, p99, ms": _percentile(by_cluster_time, 99),
        "as of a wall time, p50, ms": _percentile(by_wall_time, 50),
        "as of a wall time, p99, ms": _percentile(by_wall_time, 99),
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


def _timed(history: History, moments: Sequence[Any]) -> list[float]:
    """Milliseconds that each answer took; the first ones warm up the connection and the server's cache."""
    took = []
    for moment in moments:
        asked_at = time.perf_counter()
        found = history.as_of(NAMESPACE, 1, moment)
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
