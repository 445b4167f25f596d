"""What sealing costs, and how fast a sealed history is verified.

The same events are caught up with by turns with and without `SEAL`, on one server; the ratio is that of the medians.
Then the history is verified in this process, on one core.

Usage: python benchmarks/sealing.py [--events N] [--repetitions N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pymongo import MongoClient

from benchmarks.processes import started_server
from change_history.seals.verification import verify
from tests.support.daemon import Daemon

if TYPE_CHECKING:
    from pymongo.database import Database

DOCUMENTS = 1000
KEPT = ("history", "history_parts", "snapshots", "seals", "seal_leaves", "amendments", "rejected")


def main() -> None:
    """Measure, and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=60_000)
    arguments.add_argument("--repetitions", type=int, default=3)
    options = arguments.parse_args()
    with started_server(cache_gb=1, oplog_mb=2048) as (server, folder):
        _measure(server.uri, folder, options.events, options.repetitions)


def _measure(uri: str, folder: Path, events: int, repetitions: int) -> None:
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    history = client.kept
    started = _events(client, history, uri, folder, events)
    rates: dict[str, list[float]] = {"off": [], "on": []}
    used: dict[str, list[tuple[float, float]]] = {"off": [], "on": []}
    for number in range(repetitions):
        for seal in ("off", "on") if number % 2 else ("on", "off"):
            rate, spent = _caught_up(client, history, uri, folder, started, events, seal)
            rates[seal].append(rate)
            used[seal].append(spent)
    off, on = (statistics.median(rates[seal]) for seal in ("off", "on"))
    print(f"caught up with {events:,} events, each {repetitions} times, events/s:")
    print(f"  without seals {off:>9,.0f}   {[round(rate) for rate in rates['off']]}")
    print(f"  with seals    {on:>9,.0f}   {[round(rate) for rate in rates['on']]}   {on / off:.1%}")
    print("processor time of daemon and server, µs an event, which other work on the machine disturbs less:")
    total = {seal: statistics.median(map(sum, used[seal])) for seal in used}
    for seal, words in {"off": "without seals", "on": "with seals   "}.items():
        daemon, server = (statistics.median(each) for each in zip(*used[seal], strict=True))
        every = [round(sum(each), 1) for each in used[seal]]
        print(f"  {words} {daemon:6.2f} + {server:5.2f} = {total[seal]:5.2f}   {every}")
    print(f"  {total['off'] / total['on']:.1%}")
    if not history.seals.count_documents({}):
        _caught_up(client, history, uri, folder, started, events, "on")
    for _ in range(repetitions):
        began, cpu = time.monotonic(), time.process_time()
        report = verify(history)
        took, own = time.monotonic() - began, time.process_time() - cpu
        assert report.findings == []
        print(
            f"verified {report.entries:,} events in {took:.2f} s: {report.entries / took:,.0f} events/s, "
            f"{report.entries / own:,.0f} a second of processor time"
        )


def _events(client: MongoClient[Any], history: Database[Any], uri: str, folder: Path, events: int) -> dict[str, Any]:
    """Write the events, after the position that is given back."""
    shop = client.shop
    shop.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
    shop.users.insert_many([{"_id": number, "n": 0, "name": f"user {number}"} for number in range(DOCUMENTS)])
    with _daemon(client, uri, folder, "off") as daemon:
        daemon.ready()
        time.sleep(3)
        daemon.stop()
    position = history.checkpoints.find_one({"_id": "default"})
    assert position is not None
    for start in range(0, events, DOCUMENTS):
        for number in range(DOCUMENTS):
            shop.users.update_one({"_id": number}, {"$set": {"n": start + number + 1}})
    return dict(position)


def _caught_up(
    client: MongoClient[Any],
    history: Database[Any],
    uri: str,
    folder: Path,
    started: dict[str, Any],
    events: int,
    seal: str,
) -> tuple[float, tuple[float, float]]:
    """Events a second of one run, and µs of processor time an event, of daemon and of server."""
    for name in KEPT:
        history.drop_collection(name)
    history.checkpoints.replace_one({"_id": "default"}, started)
    server = client.admin.command("serverStatus")["pid"]
    with _daemon(client, uri, folder, seal) as daemon:
        assert daemon.process is not None
        while (first := history.history.estimated_document_count()) == 0:
            time.sleep(0.002)
        pids = daemon.process.pid, server
        began, before = time.monotonic(), [*map(_processor_s, pids)]
        while history.history.estimated_document_count() < events:
            time.sleep(0.02)
        took = time.monotonic() - began
        spent = [(_processor_s(pid) - had) / (events - first) * 1e6 for pid, had in zip(pids, before, strict=True)]
        daemon.stop()
    return (events - first) / took, (spent[0], spent[1])


def _processor_s(process: int) -> float:
    """Seconds of processor time of a process (proc(5): utime, stime)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _daemon(client: MongoClient[Any], uri: str, folder: Path, seal: str) -> Daemon:
    return Daemon(
        client,
        folder / "log",
        uri=uri,
        history_database="kept",
        include="shop.*",
        baseline="off",
        snapshots="off",
        seal=seal,
        seal_interval_s=5,
    )


if __name__ == "__main__":
    main()
