"""Events recorded a second, catching up: the daemon beside its peers, on the same events from the same position.

Peers take turns, and each figure is the median of the repetitions. A collection with pre-images gets its writes while
nobody follows. What peers write comes after those in the oplog, so everyone reads the same stretch of it.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import peers, reader, workloads
from benchmarks.daemon import Daemon
from benchmarks.peers import DATABASE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.debezium.engine import Debezium
    from benchmarks.figures import Figures
    from benchmarks.run import Run
    from benchmarks.servers import Servers
    from benchmarks.workloads import Workload
    from watcher.stream.batch import Position

    Peer = Callable[[Position, int], Run]

WATCHER, READER, DEBEZIUM = "watcher", "reader that discards", "Debezium, JSON inserted in bulk"
SECOND = "watcher, history on a second mongod"
EARLIER = "watcher, an earlier build"
PART = "throughput"
UNIT = "events/s"
_MAIN = (READER, WATCHER, DEBEZIUM, SECOND, EARLIER)
"""The peers of which the ratios are: they are repeated, and of the writes to orders there are no others."""
_SAVES = {"mongoengine, save() per event": 50, "mongoengine, bulk insert": 4, "plain pymongo loop": 2}
"""Slow peers get one in so many of the events."""


class Throughput:
    """This part of the benchmark.

    Args:
        servers: the servers.
        debezium: None: it cannot be run here.
        figures: are given what was measured.
        earlier: the checkout of an earlier build; None: it cannot be run here.
    """

    def __init__(
        self, servers: Servers, debezium: Debezium | None, figures: Figures, earlier: Path | None = None
    ) -> None:
        self._servers = servers
        self._debezium = debezium
        self._figures = figures
        here, there = Daemon(servers), Daemon(servers, second=True)
        self._pre_images = True
        self._cpu_us: dict[str, float] = {}
        self._peers: dict[str, Peer] = {
            READER: lambda position, events: reader.discard(servers.client, position, events),
            WATCHER: lambda position, events: self._daemon(WATCHER, here, position, events),
            DEBEZIUM: lambda _, events: self._debezium_run(events, (DATABASE, "debezium")),
            SECOND: lambda position, events: self._daemon(SECOND, there, position, events),
            "Debezium, JSON thrown away": lambda _, events: self._debezium_run(events, None),
            "plain pymongo loop": lambda position, events: peers.plain(servers.client, position, events),
            "mongoengine, bulk insert": lambda position, events: peers.bulk(servers.client, position, events),
            "mongoengine, save() per event": lambda position, events: peers.one_by_one(
                servers.client, position, events
            ),
        }
        if earlier is not None:
            before = Daemon(servers, build=earlier)
            self._peers[EARLIER] = lambda position, events: self._daemon(EARLIER, before, position, events)
        if debezium is None:
            self._peers = {name: peer for name, peer in self._peers.items() if not name.startswith("Debezium")}

    def small_updates(self, events: int, repetitions: int) -> None:
        """The table's main lines."""
        self._contest(workloads.updates(events), repetitions)

    def all_kinds(self, events: int, seed: int, repetitions: int) -> None:
        """The same of every other kind of writes; one that fails is told, and the others go on.

        Args:
            events: of each kind.
            seed: draws the random shapes.
            repetitions: of the peers that the ratios are of; the others are run once.
        """
        for workload in workloads.all_kinds(events, seed):
            try:
                self._contest(workload, repetitions)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - one kind must not cost all the others
                print(f"{PART}: {workload.name}: failed: {error!r}", file=sys.stderr, flush=True)

    def _daemon(self, name: str, daemon: Daemon, position: Position, events: int) -> Run:
        caught = daemon.catch_up(position, events, pre_images=self._pre_images)
        self._cpu_us[name] = caught.cpu_us
        return caught.run

    def _contest(self, workload: Workload, repetitions: int) -> None:
        self._pre_images = workload.pre_images
        position = self._load(workload)
        peers = {name: peer for name, peer in self._peers.items() if workload.make is None or name in _MAIN}
        runs: dict[str, list[Run]] = {name: [] for name in peers}
        for turn in range(repetitions):
            for name, peer in peers.items():
                if turn == 0 or name in _MAIN:
                    runs[name].append(peer(position, max(workload.all_events // _SAVES.get(name, 1), 100)))
        rates = {name: tuple(run.rate for run in of_peer) for name, of_peer in runs.items()}
        beside = {name: median(of_peer) for name, of_peer in rates.items()}
        for name, of_peer in rates.items():
            compared = {READER: beside[READER]}
            if name == WATCHER:
                compared = {other: rate for other, rate in beside.items() if other != SECOND}
            elif name != SECOND:
                compared = {WATCHER: beside[WATCHER], **compared}
            share = _SAVES.get(name, 1)
            notes = [workload.note] if workload.note else []
            notes += [f"rate of {max(workload.all_events // share, 100):,} events"] if share > 1 else []
            notes += [f"{self._cpu_us[name]:.1f} µs of its CPU an event"] if name in self._cpu_us else []
            work = f"{workload.all_events:,} {workload.name}"
            self._figures.add(
                PART, work, name, beside[name], UNIT, beside=compared, note="; ".join(notes), values=of_peer
            )

    def _load(self, workload: Workload) -> Position:
        client = self._servers.client
        workload.prepare(client)
        if self._debezium is not None:
            self._debezium.begin(self._servers.uri, lambda: client[workloads.DATABASE].marks.insert_one({}))
        position = self._servers.position()
        if workload.told:
            workload.fill(client)
        workload.load_and_more(client)
        return position

    def _debezium_run(self, events: int, target: tuple[str, str] | None) -> Run:
        if self._debezium is None:  # pragma: no cover - it is no peer then
            raise RuntimeError("there is no Debezium")
        self._servers.client.drop_database(DATABASE)
        return self._debezium.catch_up(self._servers.uri, events, events // 10, target)
