"""What a stream in parts costs and brings: events recorded a second, and CPU, by the number of daemons.

Small updates are written while nobody follows; then the daemons of all parts catch up at once, with the history on the
same server. Events a second only grow where there are cores to spare; the CPU an event costs is telling on any machine.

Usage: python benchmarks/partition.py [--events N] [--parts N …]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import processes, workloads
from benchmarks.servers import HISTORY, scope, servers
from config.settings import Baseline, Settings
from watcher.operations.context import StreamContext
from watcher.operations.repartition import Repartition
from watcher.targets.identity import identify

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from benchmarks.servers import Servers

_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--parts", type=int, nargs="+", default=[1, 2, 4])
    given = options.parse_args()
    print(f"{'parts':>6} {'events/s':>9} {'mongod, CPU µs/event':>21} {'daemons, CPU µs/event':>22}")
    for parts in given.parts:
        with servers() as started:
            rate, server, daemons = _measured(started, parts, given.events)
        print(f"{parts:>6} {rate:>9,.0f} {server:>21.1f} {daemons:>22.1f}")


def _measured(started: Servers, parts: int, events: int) -> tuple[float, float, float]:
    """Events a second, and microseconds of CPU an event: of the server, and of all daemons."""
    client = started.client
    workload = workloads.updates(events)
    workload.prepare(client)
    settings = Settings(baseline=Baseline.OFF)
    repartition = Repartition(StreamContext(settings, scope(), client, client[HISTORY], identify(client)))
    named: list[dict[str, str]] = [{}]
    repartition.begin(max(parts, 2))
    if parts > 1:
        named = [{"WATCHER_PARTITION": f"{number + 1}/{parts}"} for number in range(parts)]
    else:
        repartition.change(1)
    workload.load_and_more(client)
    pid = int(client.admin.command("serverStatus")["pid"])
    history = client[HISTORY].history
    running = [processes.daemon(started.uri, **given) for given in named]
    _reach(history, events // 10)  # they are warm by then
    first, begun = history.estimated_document_count(), time.perf_counter()
    server, daemons = _cpu_s(pid), sum(_cpu_s(process.pid) for process in running)
    _reach(history, events)
    took, measured = time.perf_counter() - begun, events - first
    server, daemons = _cpu_s(pid) - server, sum(_cpu_s(process.pid) for process in running) - daemons
    for process in running:
        processes.stop(process)
    return measured / took, server / measured * 1e6, daemons / measured * 1e6


def _reach(history: Collection[Any], events: int) -> None:
    while history.estimated_document_count() < events:
        time.sleep(0.02)


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    main()
