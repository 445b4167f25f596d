"""What watching costs the application: its write rate with and without the daemon, with and without pre-images.

One application writes as fast as it can, a hundred updates at a time, acknowledged by a majority, on the machine that
also carries the server and the daemon: the worst case, since all of them share its cores.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import processes, workloads
from benchmarks.daemon import Daemon

if TYPE_CHECKING:
    from benchmarks.figures import Figures
    from benchmarks.servers import Servers

PART = "source"
_PLAIN = "no pre-images, no daemon"


class Source:
    """This part of the benchmark.

    Args:
        servers: the servers.
        figures: are given what was measured.
    """

    def __init__(self, servers: Servers, figures: Figures) -> None:
        self._servers = servers
        self._figures = figures
        self._here, self._there = Daemon(servers), Daemon(servers, second=True)

    def measure(self, events: int, repetitions: int) -> None:
        """Measure in turns, so that whatever else the machine does falls on all alike."""
        cases = {
            _PLAIN: (False, None),
            "pre-images, no daemon": (True, None),
            "pre-images, watcher": (True, self._here),
            "pre-images, watcher, history on a second mongod": (True, self._there),
            "no pre-images, watcher": (False, self._here),
        }
        rates: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(repetitions):
            for name, (pre_images, daemon) in cases.items():
                rates[name].append(self._rate(events, daemon, pre_images=pre_images))
        plain = median(rates[_PLAIN])
        for name, measured in rates.items():
            self._figures.add(
                PART, f"{events:,} updates, as fast as one application can", name, median(measured), "writes/s",
                beside={_PLAIN: plain}, values=tuple(measured),
            )  # fmt: skip

    def _rate(self, events: int, daemon: Daemon | None, *, pre_images: bool) -> float:
        client = self._servers.client
        workload = workloads.updates(events, pre_images=pre_images)
        workload.prepare(client)
        process = None
        if daemon is not None:
            daemon.forget(self._servers.position())
            process = daemon.start(pre_images=pre_images)
            workload.load(client, 100)
            processes.wait(lambda: daemon.history.history.estimated_document_count() >= 100)
        started = time.perf_counter()
        workload.load(client)
        took = time.perf_counter() - started
        if process is not None:
            processes.stop(process)
        return events / took
