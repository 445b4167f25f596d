"""How fast `watcher serve` answers, and what a hundred followers cost the daemon.

One `mongod`, `watcher run` and `watcher serve`, started for this run. A document gets so many updates, some collections
a few thousand documents. Times are those of a client on the same machine, over connections that are kept open, with
the answer read to its end; requests a second are those of one document, and different ones about 200 documents of 20
versions, with the server held to one core, and clients in a process of their own. The lag is the time from before a
write until its event is in the history.

Usage: python benchmarks/web.py [--versions 50000] [--followers 100] [--seconds 10] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient, UpdateOne

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
WARM_UP = 10
ASKED = 100
LONGEST_S = 8.0
"""So long one question is asked again and again at most."""
CONNECTIONS = 16
COLLECTIONS = 12
PATIENCE_S = 600
WRITES = 300
SETTLED_S = 8
DOCUMENT = "/api/v1/collections/bench.orders/documents/1"
ORDINARY = "/api/v1/collections/bench.orders/documents/2"
ORDINARY_VERSIONS = 20
FIRST, MANY = 1000, 200
DIFFERENT = {
    "a document": "/api/v1/collections/bench.orders/documents/{}",
    "its timeline": "/api/v1/collections/bench.orders/documents/{}/events",
    "its blame": "/api/v1/collections/bench.orders/documents/{}/blame",
}
PATHS = {
    "start page": "/",
    "list of collections": "/api/v1/collections",
    "a document of 20 versions": ORDINARY,
    "its timeline": f"{ORDINARY}/events",
    "its blame": f"{ORDINARY}/blame",
    "a document": DOCUMENT,
    "a document at a random version": f"{DOCUMENT}?at={{}}",
    "timeline, the newest 100": f"{DOCUMENT}/events",
    "timeline, the newest 100 without values": f"{DOCUMENT}/events?detail=summary",
    "how many versions": f"{DOCUMENT}/versions",
    "blame": f"{DOCUMENT}/blame",
}


def main() -> None:
    """Run the benchmark and print one table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--versions", type=int, default=50_000, help="updates of the document")
    arguments.add_argument("--followers", type=int, default=100, help="clients that follow at once")
    arguments.add_argument("--seconds", type=float, default=10.0, help="how long requests are counted")
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    options = arguments.parse_args()
    with processes.started_server(cache_gb=1, oplog_mb=1024) as (server, folder):
        figures = measure(server.uri, folder, options)
    for name, value in figures.items():
        print(f"{name:>62}  {value:,.2f}" if isinstance(value, float) else f"{name:>62}  {value:,}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def measure(uri: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """All figures, in milliseconds and requests a second."""
    port = processes.free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")}
    environment |= {"WATCHER_MONGODB_URI": uri, "WATCHER_HTTP_PORT": "0", "WATCHER_SERVE_PORT": str(port)}
    figures: dict[str, float] = {}
    with MongoClient[Any](uri) as client, running(folder, environment, "run"):
        history = client.change_history.history
        wait(lambda: client.change_history.checkpoints.count_documents({"token": {"$exists": True}}))
        fill(client, options.versions)
        wait(lambda: history.estimated_document_count() >= options.versions + COLLECTIONS * 500)
        snapshots = client.change_history.snapshots
        wait(lambda: has_settled(snapshots))
        with running(folder, environment, "serve", core=0) as served:
            wait(lambda: answers(port))
            for name, path in PATHS.items():
                figures[f"{name}, ms"] = asked(port, path, options.versions)
                print(f"{name}: {figures[f'{name}, ms']:.1f} ms", file=sys.stderr, flush=True)
            load = [sys.executable, __file__, "--load", str(port), ORDINARY, str(options.seconds)]
            before = processes.cpu_s(served)
            a_second = float(subprocess.check_output(load))
            cpu = processes.cpu_s(served) - before
            figures["requests a second for one document, one core"] = a_second
            figures["the same for a second of that core, all of it"] = a_second * options.seconds / cpu
            for name, path in DIFFERENT.items():
                before = processes.cpu_s(served)
                load = [sys.executable, __file__, "--load", str(port), path, str(options.seconds)]
                a_second = float(subprocess.check_output(load))
                cpu = processes.cpu_s(served) - before
                figures[f"different questions a second, {name}"] = a_second
                figures[f"the same for a second of CPU, {name}"] = a_second * options.seconds / cpu
            figures["lag without followers, ms"] = lag(client)
            with followers(port, options.followers) as heard:
                before = processes.cpu_s(served)
                figures[f"lag with {options.followers} followers, ms"] = lag(client)
                cpu = processes.cpu_s(served) - before
                figures["CPU of the server for an event to a follower, ms"] = cpu * 1000 / WRITES / options.followers
                time.sleep(2)
            figures["share of the events that every follower got"] = min(heard) / WRITES
            figures["lag without followers, again, ms"] = lag(client)
    return figures


def fill(client: MongoClient[Any], versions: int) -> None:
    """A document of many versions, and some collections."""
    orders = client.bench.orders
    client.bench.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    items = [{"product": f"product {number}", "qty": number} for number in range(5)]
    orders.insert_one({"_id": 1, "status": "new", "items": items, "total": 1.5, "n": 0})
    for begin in range(0, versions, 1000):
        orders.bulk_write(
            [UpdateOne({"_id": 1}, {"$set": {"n": n, "status": f"s{n}"}}) for n in range(begin, begin + 1000)]
        )
    orders.insert_one({"_id": 2, "status": "new", "items": items, "total": 1.5, "n": 0})
    for number in range(ORDINARY_VERSIONS - 1):
        orders.update_one({"_id": 2}, {"$set": {"status": f"s{number}", f"items.{number % 5}.qty": number}})
    orders.insert_many(
        {"_id": number, "status": "new", "items": items, "total": 1.5, "n": 0} for number in range(FIRST, FIRST + MANY)
    )
    for number in range(ORDINARY_VERSIONS - 1):
        change = {"$set": {"status": f"s{number}", f"items.{number % 5}.qty": number}}
        orders.bulk_write([UpdateOne({"_id": each}, change) for each in range(FIRST, FIRST + MANY)])
    for number in range(COLLECTIONS):
        client.bench[f"other{number}"].insert_many([{"_id": each, "name": "x" * 50} for each in range(500)])


def asked(port: int, path: str, versions: int) -> float:
    """The median time of an answer, in milliseconds."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    times = []
    for number in range(WARM_UP + ASKED):
        begun = time.perf_counter()
        connection.request("GET", path.format(number * 7919 % versions + 1))
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 200, (path, reply.status)
        times.append(time.perf_counter() - begun)
        if sum(times) > LONGEST_S:
            break
    connection.close()
    return statistics.median(times[min(WARM_UP, len(times) - 1) :]) * 1000


def lag(client: MongoClient[Any]) -> float:
    """The median time from before a write until its event is in the history, in milliseconds."""
    history = client.change_history.history
    found = []
    with history.watch([{"$match": {"operationType": "insert", "fullDocument.namespace": "bench.lag"}}]) as stream:
        for number in range(WRITES):
            begun = time.perf_counter()
            client.bench.lag.insert_one({"n": number})
            while stream.try_next() is None:
                pass
            found.append(time.perf_counter() - begun)
            time.sleep(0.03)
    return statistics.median(found) * 1000


@contextmanager
def followers(port: int, number: int) -> Iterator[list[int]]:
    """So many clients that follow, in a process of their own; at the end, how many events each has got."""
    program = [sys.executable, __file__, "--follow", str(port), str(number)]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # all of them follow
    heard: list[int] = []
    try:
        yield heard
    finally:
        said, _ = process.communicate("", timeout=60)
        heard += map(int, said.split())


async def follow(port: int, number: int) -> list[int]:
    """Follow so many times at once until standard input ends; how many events each has got."""
    heard = [0] * number
    begun = 0

    async def one(mine: int) -> None:
        nonlocal begun
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/v1/follow?namespace=bench.lag HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while line := await reader.readline():
            heard[mine] += line.startswith(b"data:")
            begun += line.startswith(b"retry:")
            if begun == number and line.startswith(b"retry:"):
                print("all of them follow", flush=True)

    all_of_them = [asyncio.ensure_future(one(mine)) for mine in range(number)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for each in all_of_them:
        each.cancel()
    return heard


async def load(port: int, path: str, seconds: float) -> float:
    """Requests a second over some connections, each with one request at a time."""
    until, count = time.perf_counter() + seconds, 0

    async def ask() -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            asked = path.format(random.randrange(FIRST, FIRST + MANY))
            writer.write(f"GET {asked} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(size.split(b":")[1]))
            count += 1

    begun = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return count / (time.perf_counter() - begun)


@contextmanager
def running(folder: Path, environment: dict[str, str], command: str, core: int | None = None) -> Iterator[int]:
    """A command of ours, its log in the folder, held to one core if that is named; the id of its process."""
    with (folder / f"{command}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "watcher", command], env=environment, cwd=ROOT, stdout=log, stderr=log
        )
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(60)


def answers(port: int) -> bool:
    """Whether it listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def has_settled(collection: Any) -> bool:
    """Whether there is something in a collection, and nothing comes for a while."""
    before: int = collection.estimated_document_count()
    time.sleep(SETTLED_S)
    return 0 < before == int(collection.estimated_document_count())


def wait(condition: Any) -> None:
    """Wait until something is so."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--follow"]:
        print(*asyncio.run(follow(int(sys.argv[2]), int(sys.argv[3]))))
    elif sys.argv[1:2] == ["--load"]:
        print(asyncio.run(load(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))))
    else:
        main()
