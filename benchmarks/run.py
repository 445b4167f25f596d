"""What one peer has done: so many events in so many seconds."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

UNCLOCKED_SHARE = 10
"""The clock of every peer starts after one in so many of its events: connections, caches, compilers are warm."""


class Run(NamedTuple):
    """One run of one peer.

    Attributes:
        events: that were handled while the clock ran.
        seconds: that it ran.
    """

    events: int
    seconds: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


def middle(runs: Iterable[Run]) -> float:
    """The median rate of several runs, in events a second."""
    return median(run.rate for run in runs)


class Clock:
    """Starts after the warm-up of a peer that counts its events.

    Args:
        events: how many there will be.
    """

    def __init__(self, events: int) -> None:
        self.events = events
        self.unclocked = events // UNCLOCKED_SHARE
        self._made = time.perf_counter()
        self._since: tuple[int, float] | None = None

    def at(self, seen: int, now: float) -> Run | None:
        """Note how many events have been handled.

        Args:
            seen: events so far.
            now: seconds by `time.perf_counter`.

        Returns:
            The run, once all events are handled.
        """
        if self._since is None and seen > self.unclocked:
            self._since = seen, now
        if seen < self.events or self._since is None:
            return None
        if self._since[0] == seen:  # they came all at once
            return Run(seen, now - self._made)
        return Run(seen - self._since[0], now - self._since[1])
