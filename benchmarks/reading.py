"""What reading costs: time of commands and of the library, as ratios of runs that take turns.

A document of 10,001 events and a collection of 100,000 documents with 60,000 updates are recorded on a server of its
own. Then are compared: `watcher log` of that document into a file, `History.log` and `history.changes` of a mongoengine
document with decoding the same entries by pymongo; the short commands, by the clock on the wall, with a script that
only connects by pymongo; a collection at a point in time and the differences of two with an earlier build, if
there is one. Besides, `History.blame` of a document of 1,000 leaves and 50,001 versions that changed a tenth of them.
It takes four minutes; `--only-blame` one and a half.

Usage: python benchmarks/reading.py [--earlier PROGRAM] [--pairs N] [--only-blame]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pymongo import MongoClient, UpdateOne

from benchmarks import processes
from change_history import History
from change_history.bson.values import to_raw
from change_history.reconstruct.snapshot_maker import Snapshots
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS, DOCUMENTS, UPDATES, AT_ONCE = 10_000, 100_000, 60_000, 5_000
VERSIONS, SECTIONS, CHANGED = 50_000, 50, 5
ROUNDS = 5

BARE = "import sys; from pymongo import MongoClient; c = MongoClient(sys.argv[1]); c.admin.command('ping'); c.close()"
LIBRARY = """
import json, resource, sys
from mongoengine import DynamicDocument, IntField, connect
from pymongo import MongoClient
from change_history import History
from change_history.mongoengine import HistoryMixin

class Order(HistoryMixin, DynamicDocument):
    meta = {"collection": "orders"}
    id = IntField(primary_key=True)

uri = sys.argv[1]
client = MongoClient(uri, tz_aware=True)
connect("bench", host=uri, tz_aware=True)
history, order, asked = History(client), Order.objects.get(id=1), {"namespace": "bench.orders", "document_id": 1}
ways = {
    "plain": lambda: client.change_history.history.find(asked).sort("_id", 1),
    "log": lambda: history.log("bench.orders", 1),
    "changes": lambda: order.history.changes,
}
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
found = {name: [] for name in ways}
for _ in range(int(sys.argv[2])):
    for name, way in ways.items():
        before, number = cpu(), sum(1 for _ in way())
        found[name].append(cpu() - before)
        assert number >= 10_001, (name, number)
print(json.dumps(found))
"""


def main() -> None:
    """Measure, and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--earlier", help="the `watcher` of an earlier build, to compare with")
    arguments.add_argument("--pairs", type=int, default=2, help="runs of each side of what takes long")
    arguments.add_argument("--only-blame", action="store_true", help="only that of the document of 50,001 versions")
    options = arguments.parse_args()
    with processes.started_server(cache_gb=2, oplog_mb=2000) as (server, folder):
        if not options.only_blame:
            middle = _record(server.uri)
            _library(server.uri, folder)
            _short(server.uri, folder)
            _collection(server.uri, folder, options.earlier, options.pairs, middle)
        _blame(server.uri)


def _blame(uri: str) -> None:
    """Record a document of which most leaves still stand from the insert, and ask who set them."""
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    kept, bench = client.change_history, client.bench
    bench.create_collection("wide", changeStreamPreAndPostImages={"enabled": True})
    watcher = processes.daemon(uri, WATCHER_PRE_IMAGES="use", WATCHER_SNAPSHOTS="off")
    processes.wait(lambda: kept.checkpoints.count_documents({"token": {"$exists": True}}) == 1)
    dice = random.Random(1)
    section = {f"f{number}": number for number in range(20)}
    bench.wide.insert_one({"_id": 1, **{f"s{number}": section for number in range(SECTIONS)}})
    for _ in range(VERSIONS // AT_ONCE):
        places = [f"s{dice.randrange(CHANGED)}.f{dice.randrange(20)}" for _ in range(AT_ONCE)]
        bench.wide.bulk_write([UpdateOne({"_id": 1}, {"$set": {place: dice.random()}}) for place in places])
    asked = {"namespace": "bench.wide", "document_id": 1}
    while kept.history.count_documents(asked) <= VERSIONS:
        time.sleep(0.5)
    processes.stop(watcher)
    print("a document of 1,000 leaves and 50,001 versions, a tenth of the leaves changed, on a warm connection")
    entries = kept.get_collection("history", codec_options=RAW)
    history = History(client)
    _say("reading its entries by pymongo, undecoded", lambda: sum(1 for _ in entries.find(asked)))
    _say("History.blame, no snapshots", lambda: history.blame("bench.wide", 1))
    snapshots = Snapshots(kept)
    snapshots.make_index()
    (document,) = snapshots.long_lived("bench.wide", to_raw(1))
    print(f"  {sum(snapshots.fill(document))} snapshots")
    _say("History.blame", lambda: history.blame("bench.wide", 1))
    _say("History.blame, at version 25,000", lambda: history.blame("bench.wide", 1, VERSIONS // 2))
    client.close()


def _say(what: str, way: Callable[[], Any]) -> None:
    way()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        way()
        times.append(time.perf_counter() - began)
    print(f"  {what:42} {1000 * statistics.median(times):7.1f} ms")


def _record(uri: str) -> list[str]:
    """Record all, and tell the times before and in the middle of the updates of the collection."""
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    kept, bench = client.change_history, client.bench
    for name in ("orders", "busy", "small"):
        bench.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    watcher = processes.daemon(uri, WATCHER_PRE_IMAGES="use")
    processes.wait(lambda: kept.checkpoints.count_documents({"token": {"$exists": True}}) == 1)
    dice = random.Random(1)
    bench.orders.insert_one(_order(1))
    bench.small.insert_one(_order(1))
    bench.small.update_one({"_id": 1}, {"$set": {"status": "paid"}})
    for _ in range(EVENTS // AT_ONCE):
        bench.orders.bulk_write([UpdateOne({"_id": 1}, _update(dice)) for _ in range(AT_ONCE)])
    for start in range(0, DOCUMENTS, AT_ONCE):
        bench.busy.insert_many([_order(number) for number in range(start, start + AT_ONCE)])
    times = [_now()]
    for half in range(2):
        for _ in range(UPDATES // 2 // AT_ONCE):
            writes = [UpdateOne({"_id": dice.randrange(DOCUMENTS)}, _update(dice)) for _ in range(AT_ONCE)]
            bench.busy.bulk_write(writes, ordered=False)
        if not half:
            times.append(_now())
    written = EVENTS + DOCUMENTS + UPDATES
    until = time.monotonic() + 120
    while kept.history.estimated_document_count() < written:
        if time.monotonic() > until:
            raise SystemExit("the daemon did not record all in time")
        time.sleep(0.5)
    time.sleep(10)  # snapshots
    processes.stop(watcher)
    return times


def _now() -> str:
    time.sleep(0.1)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    time.sleep(0.1)
    return now


def _order(number: int) -> dict[str, Any]:
    return {
        "_id": number,
        "name": f"order {number}",
        "status": "new",
        "total": 12.5 + number,
        "n": 0,
        "addr": {"street": "Rua 1", "zip": f"1000-{number % 1000:03d}", "city": "Lisbon"},
        "items": [{"sku": f"s{place}", "qty": place, "price": place * 1.5} for place in range(10)],
        "placed": datetime(2026, 1, 1, tzinfo=UTC),
        "text": "x" * 300,
    }


def _update(dice: random.Random) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=dice.randrange(10**10))
    changed = {"status": dice.choice(["new", "paid", "sent"]), "addr.city": f"city {dice.randrange(1000)}", "at": at}
    return {"$set": changed, "$inc": {"n": 1}}


def _library(uri: str, folder: Path) -> None:
    said = folder / "library"
    _cpu_s([sys.executable, "-c", LIBRARY, uri, str(ROUNDS)], uri, said)
    found = {name: statistics.median(times) for name, times in json.loads(said.read_text()).items()}
    logs = [_cpu_s([*_WATCHER, "log", "bench.orders", "1"], uri, folder / "log") for _ in range(ROUNDS)]
    print(f"10,001 events of a document: decoded by pymongo in {found['plain']:.3f} s of CPU")
    _tell("watcher log, the whole process", statistics.median(logs), found["plain"], "at most 5")
    _tell("History.log", found["log"], found["plain"], "at most 2.5")
    _tell("history.changes", found["changes"], found["plain"], "at most 2.5")


def _short(uri: str, folder: Path) -> None:
    small = ["bench.small", "1"]
    commands = [["log", *small], ["show", *small], ["blame", *small], ["gaps"], ["stats"], ["log", "--help"]]
    bare: list[float] = []
    found: list[list[float]] = [[] for _ in commands]
    for _ in range(2 * ROUNDS):
        bare.append(_elapsed_s([sys.executable, "-c", BARE, uri], uri, folder / "bare"))
        for times, command in zip(found, commands, strict=True):
            times.append(_elapsed_s([*_WATCHER, *command], uri, folder / "short"))
    print(f"a script that connects by pymongo: {statistics.median(bare):.3f} s from its start to its end")
    for times, command in zip(found, commands, strict=True):
        _tell(f"watcher {' '.join(command)}", statistics.median(times), statistics.median(bare), "at most 0.7")


def _collection(uri: str, folder: Path, earlier: str | None, pairs: int, times: list[str]) -> None:
    print("100,000 documents, 60,000 updates")
    for name, command in {
        "at a point in time": ["show", "bench.busy", "--at", times[1]],
        "differences": ["diff", "bench.busy", times[0], "now"],
    }.items():
        ours: list[float] = []
        others: list[float] = []
        for _ in range(pairs):
            ours.append(_cpu_s([*_WATCHER, *command], uri, folder / "now"))
            if earlier is not None:
                others.append(_cpu_s([earlier, *command], uri, folder / "earlier"))
        if others:
            same = (folder / "now").read_bytes() == (folder / "earlier").read_bytes()
            said = "the answers are alike" if same else "the answers are not written alike"
            times_as_fast = statistics.median(others) / statistics.median(ours)
            print(
                f"  {name:34} {statistics.median(ours):7.3f} s  {times_as_fast:5.2f} times as fast (at least 3; {said})"
            )
        else:
            print(f"  {name:34} {statistics.median(ours):7.3f} s")


_WATCHER = [str(Path(sys.executable).parent / "watcher")]


def _cpu_s(command: list[str], uri: str, said: Path) -> float:
    """CPU seconds of a whole process, whose output goes into a file."""
    environment = os.environ | {"WATCHER_MONGODB_URI": uri}
    with said.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, cwd=processes.ROOT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:3])} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime


def _elapsed_s(command: list[str], uri: str, said: Path) -> float:
    begun = time.perf_counter()
    _cpu_s(command, uri, said)
    return time.perf_counter() - begun


def _tell(name: str, seconds: float, reference: float, wanted: str) -> None:
    print(f"  {name:34} {seconds:7.3f} s  ratio {seconds / reference:5.2f} ({wanted})", flush=True)


if __name__ == "__main__":
    main()
