"""Retention beside the stream: entries removed a second, and the lag of 1,000 writes a second with and without it.

A history of many entries is there already and due. Documents are updated at a steady rate, some by each command, with
a majority; another process asks the history every five milliseconds for what is new, with majority read concern. First
nothing expires, then a rule is given and the daemon starts anew. Lag is from acknowledgement to entry; the five are in
it. Writing by single commands takes most of two cores by itself, so that it is the writer that is measured.

Usage: python benchmarks/retention.py [--entries N] [--seconds N] [--rate N] [--together N] [--only-expiring]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bson import Binary, Int64, Timestamp
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient, UpdateOne
from pymongo.read_concern import ReadConcern

from benchmarks.processes import cpu_s, started_server
from tests.support.daemon import Daemon, eventually

WRITES = 1000
_THREADS = 4
_VERSIONS = 20
_OLD_S = 40 * 86_400
_AT_ONCE = 5000
_ASK_EVERY_S = 0.005
_WARM_UP_S = 4

Times = dict[int, float]


def main() -> None:
    """Measure, and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--entries", type=int, default=600_000)
    arguments.add_argument("--seconds", type=int, default=25)
    arguments.add_argument("--rate", type=int, default=0, help="WATCHER_RETENTION_RATE; 0: its default")
    arguments.add_argument("--together", type=int, default=10, help="writes in a command")
    arguments.add_argument("--only-expiring", action="store_true", help="leave out the phase in which nothing expires")
    options = arguments.parse_args()
    with started_server(cache_gb=1, oplog_mb=2048) as (server, folder):
        assert server.pid is not None
        _measure(server.uri, server.pid, folder, options)


def _measure(uri: str, server: int, folder: Path, options: argparse.Namespace) -> None:
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    client.shop.create_collection("live", changeStreamPreAndPostImages={"enabled": True})
    client.shop.live.insert_many([{"_id": number, "n": -1, "text": "x" * 200} for number in range(1000)])
    settings: dict[str, Any] = {"include": "shop.*", "baseline": "off", "http_port": 0}
    first = Daemon(client, folder / "log", uri=uri, history_database="kept", **settings).start().ready()
    time.sleep(3)
    _fill(client, options.entries)
    if not options.only_expiring:
        _phase("nothing expires", uri, server, first, options)
    first.stop()
    settings["retention"] = "old.*=30d"
    if options.rate:
        settings["retention_rate"] = options.rate
    second = Daemon(client, folder / "log", uri=uri, history_database="kept", **settings).start()
    before = _removed(client)
    eventually(lambda: _removed(client) > before, "the first that expires", patience_s=120)
    _phase("history expires", uri, server, second, options)
    second.stop()


def _fill(client: MongoClient[Any], entries: int) -> None:
    """Entries of 40 days ago, each twentieth the first of another document."""
    then = int(time.time()) - _OLD_S
    for start in range(0, entries, _AT_ONCE):
        client.kept.history.insert_many(
            [_entry(number, then) for number in range(start, start + _AT_ONCE)], ordered=False
        )


def _entry(number: int, then: int) -> dict[str, Any]:
    second, place, version = then + number // 1000, number % 1000 + 1, number % _VERSIONS
    fields = ["_id", "n", "text"] if not version else ["n"]
    values = {"_id": number // _VERSIONS, "n": version, "text": "x" * 100}
    old = {} if not version else {"old_value": version - 1}
    position = second.to_bytes(4, "big") + place.to_bytes(4, "big")
    return {
        "_id": Binary(position + number.to_bytes(8, "big")),
        "namespace": "old.things",
        "document_id": number // _VERSIONS,
        "operation": "update" if version else "insert",
        "timestamp": DatetimeMS(second * 1000),
        "cluster_time": Timestamp(second, place),
        "changes": [{"field": field, **old, "new_value": values[field]} for field in fields],
        "resume_token": Binary(position + b"token"),
        "number": Int64(number),
    }


def _removed(client: MongoClient[Any]) -> int:
    """Documents that the server has removed since its start, whichever; to count what is left would be work for it."""
    return int(client.admin.command("serverStatus")["metrics"]["document"]["deleted"])


def _phase(name: str, uri: str, server: int, daemon: Daemon, options: argparse.Namespace) -> None:
    assert daemon.process is not None
    processes = (daemon.process.pid, server)
    total = (options.seconds + _WARM_UP_S) * WRITES
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        kept = pool.apply_async(_entries, (uri, total))
        time.sleep(1)
        written = pool.apply_async(_write, (uri, total, options.together))
        time.sleep(_WARM_UP_S)
        before, began, used = _removed(client), time.monotonic(), [cpu_s(each) for each in processes]
        acknowledged = written.get(300)
        removed, took = _removed(client) - before, time.monotonic() - began
        cores = [(cpu_s(each) - had) / took for each, had in zip(processes, used, strict=True)]
        there = kept.get(300)
    lags = sorted(
        (there[number] - when) * 1000 for number, when in acknowledged.items() if number >= _WARM_UP_S * WRITES
    )
    rate = total / (max(acknowledged.values()) - min(acknowledged.values()))
    left = client.kept.history.find_one({"namespace": "old.things", "number": {"$exists": True}}, {"_id": 1})
    done = "  (all had gone: give more --entries)" if left is None else ""
    at = {percent: lags[min(len(lags) * percent // 100, len(lags) - 1)] for percent in (50, 99)}
    print(
        f"{name:16} {rate:7,.0f} writes/s   lag p50 {at[50]:6.1f} ms   p99 {at[99]:6.1f} ms   "
        f"removed {removed / took:8,.0f} entries/s   of a core: daemon {cores[0]:.0%}, server {cores[1]:.0%}{done}",
        flush=True,
    )


def _write(uri: str, total: int, together: int) -> Times:
    acknowledged: Times = {}
    begun = time.perf_counter() + 0.1

    def every(first: int) -> None:
        for start in range(first * together, total, _THREADS * together):
            numbers = range(start, min(start + together, total))
            time.sleep(max(0.0, begun + start / WRITES - time.perf_counter()))
            live.bulk_write([UpdateOne({"_id": number % 1000}, {"$set": {"n": number}}) for number in numbers])
            acknowledged.update(dict.fromkeys(numbers, time.perf_counter()))

    with MongoClient[Any](uri, w="majority") as client, ThreadPoolExecutor(_THREADS) as pool:
        live = client.shop.live
        list(pool.map(every, range(_THREADS)))
    return acknowledged


def _entries(uri: str, total: int) -> Times:
    found: Times = {}
    with MongoClient[Any](uri) as client:
        history = client.kept.get_collection("history", read_concern=ReadConcern("majority"))
        last = history.find_one({"namespace": "shop.live"}, {"_id": 1}, sort=[("_id", -1)])
        while len(found) < total:
            asked_at = time.perf_counter()
            among = {"_id": {"$gt": last["_id"] if last is not None else Binary(bytes(16))}, "namespace": "shop.live"}
            new = list(history.find(among, {"changes": 1}, sort=[("_id", 1)], hint=[("namespace", 1), ("_id", 1)]))
            now = time.perf_counter()
            found.update(
                {change["new_value"]: now for entry in new for change in entry["changes"] if change["field"] == "n"}
            )
            last = new[-1] if new else last
            time.sleep(max(0.0, asked_at + _ASK_EVERY_S - time.perf_counter()))
    return found


if __name__ == "__main__":
    main()
