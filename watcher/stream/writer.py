"""The third stage: history documents go into the database, each once.

The `_id` of a history document is made from its event, so writing it again is a duplicate key and nothing more:
that is what makes a redelivered event a no-op, without any transaction.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import structlog
from bson import Binary
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, WriteConcernError

from change_history.stored import chunks, exact
from change_history.stored.names import HISTORY, REJECTED
from watcher.errors import DUPLICATE_KEY, REJECT_CODES, TOO_DEEP
from watcher.events import event
from watcher.stream.batch import Entry, Rejected
from watcher.stream.large_documents import LargeDocuments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.database import Database

    from watcher.stream.batch import Recorded

log = structlog.get_logger(__name__)

MAJORITY = WriteConcern("majority")
LARGEST_DOCUMENT = chunks.LARGEST_DOCUMENT

_BY_ID = {"_id": 1}


class Writer:
    """Writes history and rejected events with majority write concern.

    Args:
        database: the history database.
        stream: name of the stream, kept with what is rejected.
    """

    def __init__(self, database: Database[Any], stream: str) -> None:
        self._history = database.get_collection(HISTORY, write_concern=MAJORITY)
        self._rejected = database.get_collection(REJECTED, write_concern=MAJORITY)
        self._large = LargeDocuments(database)
        self._stream = stream

    def write(self, recorded: Recorded) -> int:
        """Write a batch. When it returns, the whole batch is acknowledged by a majority.

        Safe to repeat after any failure.

        Returns:
            Number of events set aside as rejected.

        Raises:
            pymongo.errors.PyMongoError: the batch, or part of it, is not acknowledged.
        """
        rejected = list(recorded.rejected)
        entries = recorded.entries
        if any(len(entry.document) > LARGEST_DOCUMENT for entry in entries):
            entries = [Entry(self._large.fitted(document), data) for document, data in entries]
        if entries:
            rejected += self._insert(entries)
        for item in rejected:
            self._set_aside(item)
        return len(rejected)

    def _insert(self, entries: Sequence[Entry]) -> list[Rejected]:
        """Insert history documents; those nested too deep go into parts, and what is refused then is returned."""
        refused = self._try_to_insert(entries)
        deep = [entries[index] for index, (code, _) in refused.items() if code == TOO_DEEP]
        left = [Rejected(entries[index].event, error) for index, (code, error) in refused.items() if code != TOO_DEEP]
        if deep:
            heads = [Entry(self._large.in_parts(document), data) for document, data in deep]
            again = self._try_to_insert(heads)
            left += [Rejected(heads[index].event, error) for index, (_, error) in again.items()]
        return left

    def _try_to_insert(self, entries: Sequence[Entry]) -> dict[int, tuple[int, str]]:
        """Insert what can be inserted; what the server refused, by number: the code, and the error in words."""
        try:
            exact.insert(self._history, [entry.document for entry in entries])
        except BulkWriteError as error:
            return _refused(error)
        return {}

    def _set_aside(self, item: Rejected) -> None:
        identity, place = _place(item.event)
        document = {
            "_id": Binary(identity),
            "stream": self._stream,
            **place,
            **self._large.kept(identity, item.event),
            "error": item.error,
        }
        self._rejected.update_one(
            {"_id": document["_id"]},
            {"$setOnInsert": document, "$currentDate": {"rejected_at": True}},
            upsert=True,
        )
        log.error("event rejected", namespace=place.get("namespace"), error=item.error)


def _place(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """Identity and place of an event; one that cannot be read has no place, and is known by its bytes alone."""
    try:
        happened = event.parse(data)
    except (ValueError, KeyError, IndexError):
        return blake2b(data, digest_size=16).digest(), {}
    return happened.id, {
        "namespace": happened.namespace.decode("utf-8", "replace"),
        "cluster_time": happened.cluster_time.timestamp,
        "resume_token": Binary(happened.token),
    }


def _refused(error: BulkWriteError) -> dict[int, tuple[int, str]]:
    """What the server refused for good; an event that is there already is no error."""
    refused = {}
    for failure in error.details["writeErrors"]:
        code = failure["code"]
        if code == DUPLICATE_KEY and failure.get("keyPattern", _BY_ID) == _BY_ID:
            continue
        # Any other unique index is somebody else's, and the event is not there.
        name = "DuplicateKey" if code == DUPLICATE_KEY else REJECT_CODES.get(code)
        if name is None:
            raise error
        refused[failure["index"]] = (code, f"{name} ({code})")
    for concern in error.details["writeConcernErrors"]:
        raise WriteConcernError(concern.get("errmsg", ""), concern.get("code"), concern)
    return refused
