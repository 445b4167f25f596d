"""The ledger of gaps: an interval of which events were lost stands in history, and in the log as an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern

from core import gap
from models.connection import HISTORY
from watcher.batch import timestamp

if TYPE_CHECKING:
    from pymongo.database import Database

    from watcher.batch import Lost, Position
    from watcher.scope import Scope

log = structlog.get_logger(__name__)

MAJORITY = WriteConcern("majority")
_MILLISECONDS = 1000


class Gaps:
    """Writes gaps into history.

    Args:
        database: the history database.
        stream: name of the stream.
        scope: what the stream watches.
    """

    def __init__(self, database: Database[Any], stream: str, scope: Scope) -> None:
        self._history = database.get_collection(HISTORY, write_concern=MAJORITY)
        self._stream = stream
        self._scope = scope

    def write(self, lost: Lost, now: Position) -> None:
        """Record that everything between a lost position and now is missing.

        Safe to repeat: the same lost position is the same gap, which then reaches to the later time. Called before the
        checkpoint moves past the gap, so that no crash can lose the gap itself.

        Raises:
            pymongo.errors.PyMongoError: it is not acknowledged by a majority.
        """
        since = lost.position
        found = gap.Gap(
            self._stream,
            since.token,
            since.cluster_time,
            now.cluster_time,
            lost.cause,
            self._scope.include,
            self._scope.exclude,
        )
        found_at = (now.seconds * _MILLISECONDS).to_bytes(8, "little", signed=True)
        document = RawBSONDocument(gap.document(found, found_at))
        self._history.replace_one({"_id": document["_id"]}, document, upsert=True)
        log.error(
            "gap: events are lost",
            since=str(timestamp(since.cluster_time)),
            until=str(timestamp(now.cluster_time)),
            cause=lost.cause,
        )
