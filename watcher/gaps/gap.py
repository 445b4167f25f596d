"""Gaps: intervals whose events were lost for good. Each is written to history, and logged as an error."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern

from change_history import globs
from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.partition import share
from change_history.reconstruct.snapshots import forget
from change_history.stored.amendments import AmendmentKind, note
from change_history.stored.names import HISTORY
from change_history.stored.order import identity, position_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from watcher.leadership.fence import Fence
    from watcher.stream.batch import Lost, Position, Recorded
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)

NOT_WATCHED = "not watched"
"""Cause of a gap that is not a loss: the options excluded some collections for a while."""

_DIGEST_BYTES = 8
_MAJORITY = WriteConcern("majority")
_MILLISECONDS = 1000
_GAP = {"operation": "gap"}


class Gap(NamedTuple):
    """An interval whose events were lost for good.

    Attributes:
        token: the last good resume token, as the server gave it; it may be damaged.
        since: cluster time up to which history is complete.
        until: cluster time from which on it is complete again.
        cause: the reason, as text.
        include, exclude: the stream's options at that time.
    """

    stream: str
    token: bytes
    since: ClusterTime
    until: ClusterTime
    cause: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]


def gap_id(gap: Gap) -> bytes:
    """The `_id` of the gap's history document: it depends on the lost position only, not on the gap's end."""
    digest = blake2b(b"gap\x00" + gap.stream.encode() + b"\x00" + gap.token, digest_size=_DIGEST_BYTES).digest()
    return gap.since.prefix + digest


def document(gap: Gap, found_at: bytes) -> bytes:
    """The history document of a gap. Its place in history is the gap's beginning.

    Args:
        found_at: when the gap was found, as the payload of a BSON date.
    """
    described = [
        (b"stream", _text(gap.stream)),
        (b"from", (raw.TIMESTAMP, gap.since.payload)),
        (b"to", (raw.TIMESTAMP, gap.until.payload)),
        (b"cause", _text(gap.cause)),
        (b"include", (raw.ARRAY, raw.from_items(_text(glob) for glob in gap.include))),
        (b"exclude", (raw.ARRAY, raw.from_items(_text(glob) for glob in gap.exclude))),
    ]
    return raw.from_fields(
        [
            (b"_id", (raw.BINARY, raw.int32(16) + b"\x00" + gap_id(gap))),
            (b"operation", _text("gap")),
            (b"timestamp", (raw.DATE, found_at)),
            (b"cluster_time", (raw.TIMESTAMP, gap.since.payload)),
            (b"changes", (raw.ARRAY, raw.EMPTY_DOCUMENT)),
            (b"description", (raw.DOCUMENT, raw.from_fields(described))),
        ]
    )


def narrower(gap: RawBSONDocument, namespaces: Sequence[str]) -> bytes:
    """The history document of the same gap, of some of its collections only. The same ones give the same `_id`."""
    said, found_at = gap["description"], raw.fields(bytes(gap.raw))[b"timestamp"][1]
    some = Gap(
        said["stream"],
        bytes(gap["_id"]) + "\n".join(namespaces).encode("utf-8", "surrogateescape"),
        ClusterTime.of(said["from"]),
        ClusterTime.of(said["to"]),
        said["cause"],
        tuple(map(globs.exactly, namespaces)),
        (),
    )
    return document(some, found_at)


def _text(text: str) -> raw.Value:
    return raw.STRING, raw.string(text.encode())


class Gaps:
    """Writes gaps into history."""

    def __init__(self, database: Database[Any], fence: Fence, scope: Scope) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, write_concern=_MAJORITY)
        self._fence = fence
        self._scope = scope

    def write(self, lost: Lost, now: Position) -> None:
        """Record that all events between a lost position and `now` are missing.

        Idempotent: the same lost position is the same gap, which is then extended to the later time. To be called
        before the checkpoint moves past the gap, so that a crash cannot lose the gap itself.

        Raises:
            watcher.leadership.lease.DeposedError: the term is over; nothing was changed.
        """
        since = lost.position
        found = Gap(
            self._fence.stream,
            since.token,
            since.cluster_time,
            now.cluster_time,
            lost.cause,
            self._scope.include,
            self._scope.exclude,
        )
        found_at = (now.seconds * _MILLISECONDS).to_bytes(8, "little", signed=True)
        stored = RawBSONDocument(document(found, found_at))
        mine = {"_id": stored["_id"]}

        def write(session: ClientSession | None) -> None:
            note(self._database, AmendmentKind.GAP, [gap_id(found)], session)
            self._history.replace_one(mine, stored, upsert=True, session=session)

        self._fence.run(write)
        log.error(
            "gap: events are lost",
            since=str(since.cluster_time.timestamp),
            until=str(now.cluster_time.timestamp),
            cause=lost.cause,
        )

    def distrust(self, late: Recorded) -> None:
        """Mark gaps as not reconciled if a former leader has stored events in them after it was deposed.

        The next leader may already have reconciled history, without these events. Withdrawing the mark only weakens a
        statement, so any daemon may do it, without a term; and no backfill sets the mark again.

        Raises:
            pymongo.errors.PyMongoError: the update was not acknowledged by a majority; it is safe to repeat.
        """
        documents = [entry.document for entry in late.entries]
        times = [position_of(raw.fields(document)).cluster_time for document in documents]
        if not times:
            return
        note(
            self._database, AmendmentKind.LATE, [identity(raw.fields(document)) for document in documents]
        )  # without the note, no sealer would seal these late entries
        first, last = min(times).timestamp, max(times).timestamp
        mine = self._fence.stream
        concerned = [name for name in self._history.distinct("description.stream", _GAP) if share(mine, name)]
        around = {
            **_GAP,
            "description.stream": {"$in": concerned},
            "description.from": {"$lte": last},
            "description.to": {"$gte": first},
        }
        reconciled = {"description.level": "", "description.level_at": ""}
        note(self._database, AmendmentKind.GAP, self._history.distinct("_id", around))
        found = self._history.update_many(around, {"$set": {"description.late": True}, "$unset": reconciled})
        if found.matched_count:
            forget(self._database, documents)
            log.error("events of a gap were stored after it was recorded; the gap is not reconciled", events=len(times))
