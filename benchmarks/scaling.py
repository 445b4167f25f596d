"""Cost as work grows: more events, more collections, larger documents; and what memory the daemon takes for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import reader, workloads
from benchmarks.daemon import Daemon
from benchmarks.throughput import READER, UNIT, WATCHER

if TYPE_CHECKING:
    from benchmarks.figures import Figures
    from benchmarks.servers import Servers
    from benchmarks.workloads import Workload

PART = "scaling"
MEMORY = "memory"
MEGABYTE = 1024 * 1024


class Scaling:
    """This part of the benchmark.

    Args:
        servers: the servers.
        figures: are given what was measured.
    """

    def __init__(self, servers: Servers, figures: Figures) -> None:
        self._servers = servers
        self._figures = figures
        self._daemon = Daemon(servers)

    def events(self, most: int) -> None:
        """Ten thousand events, and ten times as many, and so on."""
        events = 10_000
        while events <= most:
            self._measure(workloads.updates(events, name=f"of {events:,} events"), f"{events:,} events")
            events *= 10

    def collections(self, events: int, most: int = 1000) -> None:
        """One collection, a hundred, a thousand."""
        for count in (1, 100, 1000):
            if count <= most:
                self._measure(workloads.updates(events, collections=count), f"{events:,} events, {count:,} collections")

    def sizes(self, budget: int) -> None:
        """Updates of three fields of documents of one kilobyte to one megabyte.

        Args:
            budget: bytes of documents that may be read for each size.
        """
        for size in (1024, 16 * 1024, 128 * 1024, MEGABYTE):
            events = min(20_000, budget // size)
            workload = workloads.updates(events, documents=max(20, min(2000, events // 10)), filler=size)
            self._measure(workload, f"{events:,} events of {size // 1024:,} KB documents")

    def _measure(self, workload: Workload, work: str) -> None:
        workload.prepare(self._servers.client)
        position = self._servers.position()
        workload.load_and_more(self._servers.client)
        limit = reader.discard(self._servers.client, position, workload.events).rate
        caught = self._daemon.catch_up(position, workload.events)
        self._figures.add(PART, work, READER, limit, UNIT)
        self._figures.add(PART, work, WATCHER, caught.run.rate, UNIT, beside={READER: limit})
        self._figures.add(MEMORY, work, "watcher, resident at the end", caught.resident_mb, "MB")
        self._figures.add(MEMORY, work, "watcher, most while catching up", caught.peak_mb, "MB")
