"""The ledger of gaps: an interval of which events were lost stands in history, and in the log as an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern

from change_history.bson import raw
from change_history.partition import share
from change_history.reconstruct.places import TIME_BYTES, identity
from change_history.reconstruct.snapshots import forget
from change_history.stored.names import HISTORY
from watcher.events import gap
from watcher.stream.batch import timestamp

if TYPE_CHECKING:
    from pymongo.database import Database

    from watcher.leadership.fence import Fence
    from watcher.stream.batch import Lost, Position, Recorded
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)

MAJORITY = WriteConcern("majority")
_MILLISECONDS = 1000
_GAP = {"operation": "gap"}


class Gaps:
    """Writes gaps into history.

    Args:
        database: the history database.
        fence: writes under the leader's term: what another daemon has recorded is not lost.
        scope: what the stream watches.
    """

    def __init__(self, database: Database[Any], fence: Fence, scope: Scope) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, write_concern=MAJORITY)
        self._fence = fence
        self._scope = scope

    def write(self, lost: Lost, now: Position) -> None:
        """Record that everything between a lost position and now is missing.

        Safe to repeat: the same lost position is the same gap, which then reaches to the later time. Called before the
        checkpoint moves past the gap, so that no crash can lose the gap itself.

        Raises:
            watcher.leadership.lease.DeposedError: the term is over; nothing was changed.
            pymongo.errors.PyMongoError: it is not acknowledged by a majority.
        """
        since = lost.position
        found = gap.Gap(
            self._fence.stream,
            since.token,
            since.cluster_time,
            now.cluster_time,
            lost.cause,
            self._scope.include,
            self._scope.exclude,
        )
        found_at = (now.seconds * _MILLISECONDS).to_bytes(8, "little", signed=True)
        document = RawBSONDocument(gap.document(found, found_at))
        mine = {"_id": document["_id"]}
        self._fence.run(lambda session: self._history.replace_one(mine, document, upsert=True, session=session))
        log.error(
            "gap: events are lost",
            since=str(timestamp(since.cluster_time)),
            until=str(timestamp(now.cluster_time)),
            cause=lost.cause,
        )

    def distrust(self, late: Recorded) -> None:
        """Take back that gaps are level within which a former leader has stored events after it was deposed.

        The next leader may have made history level by then, which holds for what it knew. What is said here is less
        than before, so whoever finds out may say it, under whatever term; and no survey takes it back.

        Raises:
            pymongo.errors.PyMongoError: it is not acknowledged by a majority; safe to repeat.
        """
        documents = [entry.document for entry in late.entries]
        times = [identity(raw.fields(document))[:TIME_BYTES][::-1] for document in documents]
        if not times:
            return
        first, last = (timestamp(pick(times, key=lambda payload: payload[::-1])) for pick in (min, max))
        mine = self._fence.stream
        concerned = [name for name in self._history.distinct("description.stream", _GAP) if share(mine, name)]
        around = {
            **_GAP,
            "description.stream": {"$in": concerned},
            "description.from": {"$lte": last},
            "description.to": {"$gte": first},
        }
        level = {"description.level": "", "description.level_at": ""}
        found = self._history.update_many(around, {"$set": {"description.late": True}, "$unset": level})
        if found.matched_count:
            forget(self._database, documents)
            log.error("events of a gap were stored after it was recorded; the gap is not level", events=len(times))
