"""How far back the oplog reaches, measured every half minute beside the stream.

One document is read, the oldest: a cheap look. Whoever may not read it (`find` on `local.oplog.rs`), or watches a
sharded cluster, simply does not know.
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
    """Measures in a thread of its own; what cannot be measured is not known, and no error."""

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
        """Time of the oldest entry, in seconds since 1970; None: it cannot be known."""
        try:
            found = self._oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
        except PyMongoError as error:
            log.debug("how far back the oplog reaches is not known", error=name_of(error))
            return None
        return int(found["ts"].time) if found is not None else None
