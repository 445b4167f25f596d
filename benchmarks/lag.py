"""Lag: from a write's acknowledgement to its entry in history, durable, at a steady rate; beside a bare reader's.

Four processes share one clock (`time.perf_counter`, since boot on Linux): the server's clients never wait for each
other. One writes at a steady rate and notes when each write is acknowledged by a majority; one follows the stream and
notes when each event arrives; one asks the history every two milliseconds for what is new, with majority read
concern, and notes when it is there; and the daemon. The lag of the daemon includes the two milliseconds.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import bson
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.read_concern import ReadConcern

from benchmarks import processes, reader, workloads
from benchmarks.daemon import Daemon
from benchmarks.servers import HISTORY
from watcher.stream.batch import Position

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.figures import Figures
    from benchmarks.servers import Servers

PART = "lag"
RATE = 1000
_THREADS = 8
_ASK_EVERY_S = 0.002
_WARM_UP_S = 3
_FIRST = 1_000_000  # what the first write sets
_READER = "bare change-stream reader"

Times = dict[int, float]
"""By number of the write, when something happened to it, in seconds."""


def measure(servers: Servers, figures: Figures, seconds: int) -> None:
    """Write for so long, and tell of all but the first seconds."""
    total = (seconds + _WARM_UP_S) * RATE
    workload = workloads.Workload(
        "mixed writes", total, workloads.mixed, documents=20_000 + total // 20 + 1, make=workloads.order
    )
    workload.prepare(servers.client)
    position = servers.position()
    daemon = Daemon(servers)
    daemon.forget(position)
    process = daemon.start()
    servers.client[workloads.DATABASE].warm.insert_many([{"_id": number} for number in range(100)])
    processes.wait(lambda: daemon.history.history.estimated_document_count() >= 100)
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        arrived = pool.apply_async(_arrivals, (servers.uri, servers.position(), total))
        stored = pool.apply_async(_entries, (servers.uri, total))
        time.sleep(1)  # they are there before the first write
        written = pool.apply(_write, (servers.uri, total))
        seen, kept = arrived.get(60), stored.get(60)
    processes.stop(process)
    rate = total / (max(written.values()) - min(written.values()))
    work = f"{rate:,.0f} mixed writes a second for {seconds} s"
    lags = {_READER: _lags(written, seen), "watcher": _lags(written, kept)}
    for percent in (50, 99):
        at = {name: found[min(len(found) * percent // 100, len(found) - 1)] for name, found in lags.items()}
        for name, value in at.items():
            figures.add(PART, work, f"{name}, p{percent}", value, "ms", beside={_READER: at[_READER]})


def _lags(written: Times, there: Times) -> list[float]:
    """Milliseconds, in order of size."""
    first = _WARM_UP_S * RATE
    return sorted((there[number] - when) * 1000 for number, when in written.items() if number >= first)


def _write(uri: str, total: int) -> Times:
    """Write at a steady rate; a thread that is late does not wait."""
    acknowledged: Times = {}
    begun = time.perf_counter() + 0.1

    def every(first: int) -> None:
        for number in range(first, total, _THREADS):
            time.sleep(max(0.0, begun + number / RATE - time.perf_counter()))
            orders.bulk_write([workloads.mixed(number, random.Random(number), mark=_FIRST + number)])
            acknowledged[number] = time.perf_counter()

    with MongoClient[Any](uri, w="majority") as client, ThreadPoolExecutor(_THREADS) as pool:
        orders = client[workloads.DATABASE].orders
        list(pool.map(every, range(_THREADS)))
    return acknowledged


def _arrivals(uri: str, position: Position, total: int) -> Times:
    """When each event reached a client that does nothing else; decoded afterwards."""
    batches: list[tuple[float, Any]] = []
    seen = 0
    with MongoClient[Any](uri) as client:
        for batch in reader.batches(client, Position(*position)):
            batches.append((time.perf_counter(), batch))
            seen += len(batch)
            if seen >= total:
                break
    return _by_number(batches, _of_event)


def _entries(uri: str, total: int) -> Times:
    """When each entry of history was there, as a majority has it; decoded afterwards."""
    batches: list[tuple[float, Any]] = []
    seen = 0
    with MongoClient[Any](uri) as client:
        options = bson.CodecOptions(document_class=RawBSONDocument)
        history = client[HISTORY].get_collection("history", codec_options=options, read_concern=ReadConcern("majority"))
        last = history.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        while seen < total:
            asked_at = time.perf_counter()
            among = {"_id": {"$gt": last["_id"]}} if last is not None else {}
            fields = {"operation": 1, "document_id": 1, "changes.field": 1, "changes.new_value": 1}
            found = list(history.find(among, fields, sort=[("_id", 1)]))
            if found:
                batches.append((time.perf_counter(), found))
                last, seen = found[-1], seen + len(found)
            time.sleep(max(0.0, asked_at + _ASK_EVERY_S - time.perf_counter()))
    return _by_number(batches, _of_entry)


def _by_number(batches: list[tuple[float, Any]], number_of: Callable[[dict[str, Any]], int]) -> Times:
    return {number_of(bson.decode(document.raw)) - _FIRST: when for when, batch in batches for document in batch}


def _of_event(event: dict[str, Any]) -> int:
    if event["operationType"] == "delete":
        return _FIRST + workloads.deleted_by(event["documentKey"]["_id"])
    if event["operationType"] == "update":
        diff = event["rawUpdateDescription"]["diff"]
        return int({**diff.get("u", {}), **diff.get("i", {})}["mark"])
    return int(event["fullDocument"]["mark"])


def _of_entry(entry: dict[str, Any]) -> int:
    if entry["operation"] == "delete":
        return _FIRST + workloads.deleted_by(entry["document_id"])
    return int(next(change["new_value"] for change in entry["changes"] if change["field"] == "mark"))
