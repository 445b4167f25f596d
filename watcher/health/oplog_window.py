"""Measures how far back the oplog reaches, every half minute beside the stream.

This reads only the oldest entry, which is cheap. Without the privilege (`find` on `local.oplog.rs`), or on a sharded
cluster, the window is unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from pymongo.errors import PyMongoError

from watcher.errors import name_of

if TYPE_CHECKING:
    from threading import Event

    from pymongo import MongoClient

    from watcher.health.progress import Progress

log = structlog.get_logger(__name__)

MEASURE_EVERY_S = 30.0


class OplogWindow:
    """Measures in a thread of its own. A failure is not an error: the window is then unknown."""

    def __init__(self, client: MongoClient[Any], progress: Progress, stop: Event) -> None:
        self._oplog = client.get_database("local").get_collection("oplog.rs")
        self._progress = progress
        self._stop = stop

    def run(self) -> None:
        """Measure until the daemon stops."""
        while not self._stop.is_set():
            self._progress.oplog_since = self.oldest()
            self._stop.wait(MEASURE_EVERY_S)

    def oldest(self) -> int | None:
        """Time of the oldest entry, in seconds since 1970 (UTC); None: unknown."""
        try:
            found = self._oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
        except PyMongoError as error:
            log.debug("how far back the oplog reaches is not known", error=name_of(error))
            return None
        return int(found["ts"].time) if found is not None else None
