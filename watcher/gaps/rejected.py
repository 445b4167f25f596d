"""Retries rejected events with the present code and on the present server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import bson
from pymongo import WriteConcern

from change_history.bson import raw, redacted
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.values import CODEC
from change_history.reconstruct.snapshots import forget
from change_history.stored import actor, chunks
from change_history.stored.amendments import AmendmentKind, note
from change_history.stored.names import PARTS, REJECTED
from change_history.stored.order import identity
from change_history.stored.rejected import chunks_of, is_entry, stored_event
from watcher.events import record
from watcher.stream.batch import Entry, Position, Recorded, RejectedEvent
from watcher.stream.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bson import Binary
    from pymongo.database import Database

    from watcher.events.redaction import Redaction

_MAJORITY = WriteConcern("majority")
_NOTHING_KEPT = (
    "an earlier version kept nothing of it; `watcher checkpoint set --now` has every document compared anew, and from "
    "then on it does not matter"
)
_NO_POSITION = Position(b"", BEGINNING_OF_TIME)


class RetryOutcome(NamedTuple):
    """The result of retrying one rejected event.

    Attributes:
        error: why it remains rejected; None: it is in history now.
    """

    id: bytes
    error: str | None


class RejectedEvents:
    """Writes rejected events into history, each in its right place: history is ordered by `_id`.

    An event is removed from `rejected` only after a majority has acknowledged its history. So a kill at any moment does
    no harm: an event that is in both places is only removed from `rejected` the next time.

    Args:
        redaction: redacts values, also of events rejected before there was a rule; None: nothing is redacted.
        erased: returns a history document without its erased values; None: all of it was erased.
    """

    def __init__(
        self,
        database: Database[Any],
        redaction: Redaction | None,
        erased: Callable[[bytes], bytes | None] = lambda entry: entry,
    ) -> None:
        self._database = database
        self._erased = erased
        self._redaction = redaction
        self._rejected = database.get_collection(REJECTED, codec_options=CODEC, write_concern=_MAJORITY)
        self._parts = database.get_collection(PARTS, write_concern=_MAJORITY)
        self._writer = _Judge(database, "")

    def ids(self) -> list[Binary]:
        """All rejected events, oldest first."""
        return [item["_id"] for item in self._rejected.find({}, {"_id": 1}, sort=[("_id", 1)])]

    def retry(self, ids: Sequence[bytes]) -> Iterator[RetryOutcome]:
        """Retry events one by one. Those that no longer exist are skipped.

        Raises:
            pymongo.errors.PyMongoError: a write was not acknowledged; events already retried stay retried.
        """
        for event_id in ids:
            item = self._rejected.find_one({"_id": event_id}, {"document_id": 0})
            if item is not None:
                yield self._retry(item)

    def _retry(self, item: dict[str, Any]) -> RetryOutcome:
        error = self._try(item)
        if error is None:
            self._rejected.delete_one({"_id": item["_id"]})
            if parts := chunks_of(item):
                self._parts.delete_many({"_id": {"$in": parts}})
        elif error != item.get("error"):
            self._rejected.update_one({"_id": item["_id"]}, {"$set": {"error": error}})
        return RetryOutcome(bytes(item["_id"]), error)

    def _try(self, item: dict[str, Any]) -> str | None:
        """Why the event still cannot be stored; None: a majority has acknowledged its history."""
        try:
            data = stored_event(self._database, item)
            if not data:
                return _NOTHING_KEPT
            if is_entry(item):
                document, data = self._redaction.entry(data) if self._redaction is not None else data, b""
            else:
                data = self._redaction.rejected(data) if self._redaction is not None else data
                document = redacted.without_mark(record.record(data))
                if "actor" in item:
                    document = actor.added(document, bson.encode(item["actor"]))
        except (ValueError, KeyError, IndexError, chunks.MissingChunkError) as error:
            return f"{type(error).__name__}: {error}"
        note(self._database, AmendmentKind.LATE, [identity(raw.fields(document))])
        entry = self._erased(document)
        if entry is None:
            return None
        document, data = entry, data if entry is document else b""
        refused = self._writer.judge(Entry(document, data))
        if refused is None:
            forget(self._database, [document])  # snapshots that were made without it
        return refused


class _Judge(Writer):
    """A writer that returns why it cannot store an event, which is in `rejected` already, instead of rejecting it."""

    _verdict: str | None = None

    def judge(self, entry: Entry) -> str | None:
        """Write one history document. Returns why it was refused; None: it is stored."""
        self._verdict = None
        self.write(Recorded([entry], [], _NO_POSITION))
        return self._verdict

    def _set_aside(self, item: RejectedEvent) -> None:
        self._verdict = item.error
