"""The start page: streams with their progress, gaps, the busiest collections, and the search."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from change_history.query import activity
from change_history.stored.names import CHECKPOINTS
from watcher.web.pages import event_rows, links, rejected
from watcher.web.pages.page_request import Page
from watcher.words import times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from change_history.reader import Reader
    from watcher.web.pages.page_request import Answer, PageRequest

SLICES = 24
WIDTH_S = 3600
MOST_COLLECTIONS = 60
_MOST_GAPS = 5
_MOST_REJECTED = 20
_FRESH_S = 30.0
_WAIT_S = 0.06
_MOST_COUNTED = 200


@dataclass(frozen=True, slots=True)
class Busy:
    """The recent activity of a collection."""

    namespace: str
    counts: Sequence[int]
    last: datetime | None

    @property
    def total(self) -> int:
        """Number of events of the last day."""
        return sum(self.counts)


class CollectionActivity:
    """The activity of the collections, counted in the background at most every half minute, for all visitors.

    A page waits a moment for the first count only; later it shows the last one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Busy] | None = None
        self._counted_at = 0.0
        self._thread: threading.Thread | None = None

    def read(self, reader: Reader) -> dict[str, Busy] | None:
        """The last counts by namespace; None: the first count has not ended."""
        with self._lock:
            stale = time.monotonic() - self._counted_at > _FRESH_S
            if stale and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._count, args=(reader,), name="counts", daemon=True)
                self._thread.start()
            thread, known = self._thread, self._found
        if known is None and thread is not None:
            thread.join(_WAIT_S)
            known = self._found
        return known

    def _count(self, reader: Reader) -> None:
        begin = (int(time.time()) // WIDTH_S - SLICES + 1) * WIDTH_S
        collection = reader.collection_of_history
        found: dict[str, Busy] = {}
        try:
            for namespace in reader.namespaces()[:_MOST_COUNTED]:
                last = activity.last(collection, namespace)
                recent = last is not None and last.seconds >= begin
                counted = activity.counts(collection, namespace, begin, WIDTH_S, SLICES) if recent else [0] * SLICES
                when = datetime.fromtimestamp(last.seconds, UTC) if last is not None else None
                found[namespace] = Busy(namespace, counted, when)
        except PyMongoError:
            return
        finally:
            self._counted_at = time.monotonic()
        self._found = found


@dataclass(frozen=True, slots=True)
class Stream:
    """A change stream, and its progress."""

    name: str
    until: datetime | None
    lag: str | None
    late: bool
    events: int
    watched: str
    led: str | None
    since: datetime | None


_LATE_S = 60


def page(request: PageRequest, counts: CollectionActivity) -> Answer:
    """The start page."""
    busy = counts.read(request.reader)
    names = request.history.namespaces()
    known = [busy[name] for name in names if name in busy] if busy is not None else []
    known.sort(key=lambda each: (-each.total, -(each.last.timestamp() if each.last else 0), each.namespace))
    rest = [name for name in names if busy is None or name not in busy]
    found = [event_rows.gap_of(each) for each in islice(request.history.gaps(), _MOST_GAPS * 20)]
    shown = {
        "streams": _streams(request),
        "busy": known[:MOST_COLLECTIONS],
        "others": [each.namespace for each in known[MOST_COLLECTIONS:]] + rest,
        "counting": busy is None,
        "gaps": list(reversed(found))[:_MOST_GAPS],
        "gap_count": len(found),
        "rejected": len(rejected.found(request, _MOST_REJECTED)),
        "rejected_more": _MOST_REJECTED,
        "namespaces": names,
        "live": links.address("live"),
    }
    return Page("start.html", shown)


def _streams(request: PageRequest) -> list[Stream]:
    """The streams and their progress; with their names only for visitors who may read everything."""
    if not request.history.reads_everything:
        return []
    found = []
    now = datetime.now(UTC)
    stored: Any = request.reader.database_of_history[CHECKPOINTS].find({}, limit=100)
    for each in stored:
        until = event_rows.moment(each["cluster_time"]) if each.get("cluster_time") is not None else None
        behind = (now - until).total_seconds() if until is not None else None
        options = each.get("options")
        include, exclude = (options.get(name) if hasattr(options, "get") else None for name in ("include", "exclude"))
        lease = each.get("lease") or {}
        led = lease.get("host") if lease.get("owner") is not None else None
        found.append(
            Stream(
                str(each["_id"]),
                until,
                times.span(max(behind, 0)) if behind is not None else None,
                behind is None or behind > _LATE_S,
                int(each.get("events") or 0),
                _globs(include) + (f" but not {_globs(exclude)}" if exclude else ""),
                str(led) if led is not None else None,
                event_rows.moment(each["begun"]) if each.get("begun") is not None else None,
            )
        )
    return sorted(found, key=lambda each: each.name)


def _globs(found: Any) -> str:
    if isinstance(found, str):
        return found
    return ", ".join(map(str, found)) if found else "*.*"
