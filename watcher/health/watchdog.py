"""Telling the service manager that the daemon is ready, and that it lives; from a thread of its own.

The main thread may be waiting for a server while the daemon is put together. What is told is judged by durable
progress, not by this thread being alive.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from watcher.health import notify

if TYPE_CHECKING:
    from types import TracebackType

    from watcher.health.progress import Progress

_LOOK_EVERY_S = 0.1


class Watchdog:
    """A context manager: from entering to leaving, the service manager hears of readiness and life.

    `READY=1` is sent once, when the stream is open or another daemon is found to lead it. `WATCHDOG=1` is sent twice
    within `WatchdogSec=`, as long as the daemon is to be left running.

    Args:
        progress: what has been done.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._interval_s = notify.watchdog_interval_s()
        self._ready = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            if not self._ready and (self._progress.opened or not self._progress.leader):
                self._ready = True
                notify.notify("READY=1")
            if self._interval_s is not None:
                if self._progress.alive():
                    notify.notify("WATCHDOG=1")
            elif self._ready:
                return
            self._end.wait(self._interval_s if self._ready else _LOOK_EVERY_S)
