"""What the daemon has done so far: counters, position and lag, for the log, health and metrics."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watcher.batch import Recorded

STUCK_AFTER_S = 60.0
"""A daemon whose stages have done nothing for so long, not even fail and try again, is stuck."""


@dataclass
class Progress:
    """Counters shared by the stages; every method may be called from any thread.

    Attributes:
        events: events recorded, ever, as the checkpoint counts them.
        rejected: events set aside since the start.
        batches: writes since the start.
        troubles: passing errors since the start.
        by_kind: events recorded since the start by namespace and operation.
    """

    events: int = 0
    rejected: int = 0
    batches: int = 0
    troubles: int = 0
    by_kind: dict[tuple[str, str], int] = field(default_factory=dict)
    _started_with: int = 0
    _pending: int = 0
    _recorded_to: int = 0
    _server_seconds: int = 0
    _checkpointed: bool = False
    _trouble: dict[str, str] = field(default_factory=dict)
    _beat: float = field(default_factory=time.monotonic)
    _moved: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def starts_with(self, events: int) -> None:
        """Go on counting where the checkpoint stands."""
        with self._lock:
            self.events = self._started_with = events

    def listened(self, events: int, server_seconds: int) -> None:
        """The server has answered, with so many events; its clock says so many seconds since 1970."""
        with self._lock:
            self._beat = time.monotonic()
            self._server_seconds = max(self._server_seconds, server_seconds)
            if not self._pending:
                self._moved = self._beat
            self._pending += events

    def written(self, batch: Recorded, rejected: int) -> None:
        """A batch is acknowledged by a majority, so many of its events as rejected ones."""
        with self._lock:
            self._beat = self._moved = time.monotonic()
            self._pending -= len(batch)
            self._recorded_to = batch.position.seconds
            self.batches += 1
            self.rejected += rejected
            self.events += len(batch)
            for key, count in batch.counts.items():
                self.by_kind[key] = self.by_kind.get(key, 0) + count

    def checkpointed(self) -> None:
        """The checkpoint has moved."""
        with self._lock:
            self._beat = time.monotonic()
            self._checkpointed = True

    def trouble(self, doing: str, error: BaseException) -> None:
        """Something failed for a passing reason and is tried again."""
        with self._lock:
            self._beat = time.monotonic()
            self.troubles += 1
            self._trouble[doing] = type(error).__name__

    def relief(self, doing: str) -> None:
        """What had failed has succeeded."""
        with self._lock:
            self._beat = time.monotonic()
            self._trouble.pop(doing, None)

    @property
    def opened(self) -> bool:
        """Whether the stream has been opened and its position saved since the start."""
        return self._checkpointed

    @property
    def waiting(self) -> int:
        """Events that the server has told and that are not recorded yet."""
        return self._pending

    @property
    def session_events(self) -> int:
        """Events recorded since this start."""
        return self.events - self._started_with

    @property
    def lag_s(self) -> int:
        """Seconds, by the server's clock, between the newest thing it told and the newest that is recorded."""
        with self._lock:
            if not self._pending:
                return 0
            return max(0, self._server_seconds - self._recorded_to) if self._recorded_to else 0

    def alive(self) -> bool:
        """Whether any stage has moved, or failed and tried again, within `STUCK_AFTER_S`."""
        return time.monotonic() - self._beat < STUCK_AFTER_S

    def reasons_not_ready(self) -> list[str]:
        """Why nobody should rely on the history being up to date now; empty: it is."""
        reasons = []
        if not self._checkpointed:
            reasons.append("the stream is not open yet")
        with self._lock:
            reasons.extend(f"trouble {doing}, trying again: {error}" for doing, error in self._trouble.items())
        if not self.alive():
            reasons.append(f"no sign of life for {STUCK_AFTER_S:.0f} s")
        if self._pending and time.monotonic() - self._moved > STUCK_AFTER_S:
            reasons.append(f"events have waited for more than {STUCK_AFTER_S:.0f} s to be recorded")
        return reasons
