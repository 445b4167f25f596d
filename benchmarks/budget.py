"""Where the time of an event goes: CPU of the server and of Python, stage by stage, in microseconds an event.

Each stage does alone, and after the others, what it does in the daemon, so a figure is what the work costs, not how
long it waits. With the history on the watched deployment, all of them share the machine.

Usage: python benchmarks/budget.py [--events N]
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import workloads
from benchmarks.processes import cpu_s
from benchmarks.servers import BATCH_SIZE, scope, servers
from models import HistoryModel
from watcher import garbage
from watcher.composition import make_collection
from watcher.events import fast_path, record
from watcher.stream.listener import Listener
from watcher.stream.pre_image_cache import PreImageCache
from watcher.stream.recorder import Recorder
from watcher.stream.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.servers import Servers
    from change_history.bson.raw import Value
    from change_history.stored.order import HistoryPosition
    from watcher.events.event import DocumentKey
    from watcher.stream.batch import Batch, Recorded

HISTORY = "bench_budget"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=40_000)
    events = options.parse_args().events
    garbage.search_less()
    with servers() as started:
        workload = workloads.updates(events)
        workload.prepare(started.client)
        position = started.position()
        workload.load(started.client)
        listener = Listener(started.client, scope(), BATCH_SIZE, position, pre_images=True)
        batches: list[Batch] = []
        with _measured("listen: the server reads, the driver receives, batches are cut", started, events):
            while sum(len(batch.events) for batch in batches) < events:
                batches.append(listener.next_batch())
        listener.close()
        way = "the fast path" if fast_path.COMPILED else "not compiled"
        recorder = Recorder(PreImageCache(_NoHistory()))
        with _measured(f"record: the event becomes history ({way})", started, events):
            recorded = [recorder.record(batch) for batch in batches]
        with _measured("record: the same without the fast path", started, events):
            for batch in batches:
                for data in batch.events:
                    record.record(data)
        writer = Writer(_history(started), "budget")
        with _measured("write: the driver sends, the server stores with all indexes", started, events):
            for target in recorded:
                writer.write(target)


class _NoHistory:
    """A history that is never asked: every event has its pre-image."""

    def documents(
        self, keys: Mapping[DocumentKey, Value], _place: HistoryPosition
    ) -> Iterator[tuple[DocumentKey, bytes | None]]:
        """Every document is unknown."""
        yield from dict.fromkeys(keys).items()

    def begin(self, recorded: Recorded, _stored: int) -> None:
        """Nothing is kept in sight."""

    def learned(self) -> bool:
        """There are no news."""
        return False


def _history(started: Servers) -> Any:
    """An empty history with its indexes."""
    started.client.drop_database(HISTORY)
    database = started.client[HISTORY]
    make_collection(database)
    for index in HistoryModel._meta["indexes"]:  # noqa: SLF001 - mongoengine has no other way to them
        partial = {name: value for name, value in index.items() if name == "partialFilterExpression"}
        keys = [("_id" if key == "id" else key, 1) for key in index["fields"]]
        database.history.create_index(keys, name=index["name"], **partial)
    return database


@contextmanager
def _measured(stage: str, started: Servers, events: int) -> Iterator[None]:
    pid = int(started.client.admin.command("serverStatus")["pid"])
    server, python, clock = cpu_s(pid), time.process_time(), time.perf_counter()
    yield
    spent = (time.process_time() - python, cpu_s(pid) - server, time.perf_counter() - clock)
    own, servers_own, took = (seconds / events * 1e6 for seconds in spent)
    print(f"{stage:64} Python {own:5.1f}  mongod {servers_own:5.1f}  took {took:5.1f} µs")


if __name__ == "__main__":
    main()
