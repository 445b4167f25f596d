"""The daemon as a peer: `watcher run`, a process of its own, from a position to the last event of a load."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import processes
from benchmarks.run import Clock, Run
from benchmarks.servers import HISTORY, scope
from watcher.stream.checkpointer import Checkpointer
from watcher.targets.identity import identify

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from benchmarks.servers import Servers
    from watcher.stream.batch import Position

_LOOK_EVERY_S = 0.02
_PATIENCE_S = 120
_KEPT = ("history", "snapshots", "history_parts", "rejected")


class Caught(NamedTuple):
    """How the daemon caught up.

    Attributes:
        run: the events, and how long they took.
        resident_mb: at the end.
        peak_mb: the most resident memory there was.
        cpu_us: CPU of the daemon an event, in microseconds, while the clock ran.
    """

    run: Run
    resident_mb: float
    peak_mb: float
    cpu_us: float


class Daemon:
    """Runs daemons on a deployment, each from a position that it is given.

    Args:
        servers: the servers.
        second: the history goes to the second server.
        build: a checkout whose daemon it is; None: this one's.
    """

    def __init__(self, servers: Servers, *, second: bool = False, build: Path | None = None) -> None:
        self._build = build
        self._uri = servers.uri
        self._history_uri = servers.second_uri if second else None
        self.history = servers.history(second=second)[HISTORY]
        self._checkpointer = Checkpointer(self.history, "default", scope(), identify(servers.client))

    def start(self, *, pre_images: bool = True) -> subprocess.Popen[bytes]:
        """Start a daemon where its checkpoint stands.

        Args:
            pre_images: let it ask for them, and switch them on.
        """
        return processes.daemon(
            self._uri, self._history_uri, self._build, WATCHER_PRE_IMAGES="enable" if pre_images else "off"
        )

    def catch_up(self, position: Position, events: int, *, pre_images: bool = True) -> Caught:
        """Record so many events from a position on, in an empty history."""
        self.forget(position)
        history, clock = self.history.history, Clock(events)
        process = self.start(pre_images=pre_images)
        seen, since, before = 0, time.monotonic(), 0.0
        while (run := clock.at(now := history.estimated_document_count(), time.perf_counter())) is None:
            if now != seen:
                seen, since = now, time.monotonic()
            if now <= clock.unclocked:
                before = processes.cpu_s(process.pid)
            if process.poll() is not None or time.monotonic() - since > _PATIENCE_S:
                process.kill()
                raise SystemExit(f"the daemon recorded {seen:,} events and no more")
            time.sleep(_LOOK_EVERY_S)
        pid = process.pid
        cpu_us = (processes.cpu_s(pid) - before) / run.events * 1e6
        caught = Caught(run, processes.resident_mb(pid), processes.resident_mb(pid, "VmHWM"), cpu_us)
        processes.stop(process)
        if (rejected := self.history.rejected.estimated_document_count()) != 0:
            raise SystemExit(f"{rejected} events were rejected")
        return caught

    def forget(self, position: Position) -> None:
        """Empty the history, and set the checkpoint to a position."""
        for name in _KEPT:
            self.history.drop_collection(name)
        self._checkpointer.save(position, 0)
