"""Logs the progress: one line at the start, at the stop, and at every interval; and the same as systemd's status."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog

from watcher import clients
from watcher.events import fast_path
from watcher.health.systemd import notify

if TYPE_CHECKING:
    from watcher.health.progress import Progress
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)

_LONGEST_WAIT_S = 1.0


class Reporter:
    """Reports progress to the log, and as the status to the service manager.

    Args:
        interval_s: seconds between two log lines.
    """

    def __init__(self, progress: Progress, interval_s: float) -> None:
        self._progress = progress
        self._interval_s = interval_s
        self._next_line = time.monotonic() + interval_s
        self._events_at_line = progress.events

    def started(self, scope: Scope) -> None:
        """Log the version and the scope."""
        log.info(
            "started",
            version=version(clients.APP_NAME),
            include=",".join(scope.include),
            exclude=",".join(scope.exclude) or None,
            scope=scope.collection or scope.database or "deployment",
            fast_path=fast_path.COMPILED,
            events_recorded_before=self._progress.events,
        )

    def due_in_s(self) -> float:
        """Seconds until `report` should be called again."""
        return _LONGEST_WAIT_S

    def report(self) -> None:
        """Log a line if one is due, and update the status."""
        now = time.monotonic()
        if now >= self._next_line:
            self._line(now)

    def _line(self, now: float) -> None:
        since = self._progress.events - self._events_at_line
        elapsed = now - self._next_line + self._interval_s
        self._next_line, self._events_at_line = now + self._interval_s, self._progress.events
        lag_s = self._progress.lag_s
        facts = {"events": since, "per_second": round(since / elapsed, 1), "lag_s": lag_s}
        log.info("recording", **facts, **self._totals())
        behind = f"{lag_s} s behind" if lag_s is not None else "how far behind is not known"
        notify(f"STATUS={self._progress.events} events recorded, {behind}")

    def stopped(self) -> None:
        """Log the totals."""
        log.info("stopped", events=self._progress.session_events, **self._totals())

    def _totals(self) -> dict[str, int]:
        return {"events_total": self._progress.events, "rejected": self._progress.rejected}
