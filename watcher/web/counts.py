"""Counts the events of each namespace by the index, and caches the counts.

Counting millions of events takes seconds. So a count is cached for a time proportional to its duration, and if it takes
longer than a client should wait, it continues in the background, and the response has no count yet.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pymongo
from pymongo.errors import PyMongoError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from change_history.reader import Reader
    from change_history.stored.event import Event

_FRESH_S = 2.0
_FRESH_TIMES = 20
"""A count is cached for this many times its duration."""
_AT_ONCE_S = 1.0
_BACKGROUND_S = 300.0


class NamespaceCount(NamedTuple):
    """The number of events of a namespace, and the first and last of them.

    Attributes:
        events: number of events; None: still being counted.
        first: the oldest event; None: there is none.
        last: the newest event; None: there is none.
    """

    events: int | None
    first: Event | None
    last: Event | None


class _Known(NamedTuple):
    events: int
    counted_at: float
    took: float

    def is_fresh(self, now: float) -> bool:
        return now - self.counted_at < max(_FRESH_S, _FRESH_TIMES * self.took)


class EventCounter:
    """Counts the events of namespaces, for all requests together. Safe to use from several threads."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[str, _Known] = {}
        self._ends: dict[str, tuple[float, tuple[Event | None, Event | None]]] = {}
        self._in_background: set[str] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="count")

    def of(self, namespaces: Iterable[str]) -> dict[str, NamespaceCount]:
        """Count the events of some namespaces, in about a second altogether."""
        deadline = time.monotonic() + _AT_ONCE_S
        return {name: NamespaceCount(self._events(name, deadline), *self._ends_of(name)) for name in namespaces}

    def _ends_of(self, namespace: str) -> tuple[Event | None, Event | None]:
        now, known = time.monotonic(), self._ends.get(namespace)
        if known is None or now - known[0] > _FRESH_S:
            known = self._ends[namespace] = (now, self._reader.ends(namespace))
        return known[1]

    def close(self) -> None:
        """Stop counting."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _events(self, namespace: str, deadline: float) -> int | None:
        now, known = time.monotonic(), self._known.get(namespace)
        if known is not None and known.is_fresh(now):
            return known.events
        left = deadline - now
        if left > 0:
            try:
                return self._count(namespace, left)
            except PyMongoError as error:
                if not error.timeout:
                    raise
        with self._lock:
            if namespace not in self._in_background:
                self._in_background.add(namespace)
                self._pool.submit(self._later, namespace)
        return known.events if known is not None else None

    def _later(self, namespace: str) -> None:
        try:
            self._count(namespace, _BACKGROUND_S)
        except PyMongoError:
            pass  # the next one who asks tries again
        finally:
            with self._lock:
                self._in_background.discard(namespace)

    def _count(self, namespace: str, seconds: float) -> int:
        begun = time.monotonic()
        with pymongo.timeout(seconds):
            events = self._reader.count_all(namespace)
        now = time.monotonic()
        self._known[namespace] = _Known(events, now, now - begun)
        return events
