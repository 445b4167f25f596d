"""Writes the backfill's entries into history, each once, and only as the leader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Binary
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, OperationFailure

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.reconstruct.snapshots import forget
from change_history.stored import chunks, exact
from change_history.stored.amendments import AmendmentKind, note
from change_history.stored.names import HISTORY
from change_history.stored.order import identity
from watcher.errors import TOO_DEEP, rejection
from watcher.stream.batch import Position, Recorded, RejectedEvent
from watcher.stream.large_documents import LargeDocuments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from watcher.leadership.fence import Fence
    from watcher.stream.pipeline import Writes

PORTION = 16 * 1024 * 1024
"""Most bytes of entries in one transaction, except for a single entry that is larger."""

_NO_POSITION = Position(b"", BEGINNING_OF_TIME)


class EntryStore:
    """Stores history entries that were not made from an event. They may be older than entries already stored.

    Args:
        writer: receives entries that the server refuses, to reject them.
    """

    def __init__(self, history: Database[Any], fence: Fence, writer: Writes) -> None:
        self._database = history
        self._history = history.get_collection(HISTORY, write_concern=WriteConcern("majority"))
        self._large = LargeDocuments(history)
        self._fence = fence
        self._writer = writer

    def store(self, documents: list[bytes]) -> None:
        """Store history documents. When it returns, a majority has acknowledged them. Idempotent.

        Raises:
            watcher.leadership.lease.DeposedError: another daemon leads; entries already stored remain valid.
        """
        for portion in _portions(documents):
            self._store([self._large.fitted(document) for document in portion])
            forget(self._database, portion)

    def _store(self, documents: list[bytes]) -> None:
        try:
            self._fence.run(lambda session: self._insert(documents, session))
        except OperationFailure as error:
            refused = {code: reason for code in _codes(error) if (reason := rejection(code)) is not None}
            if not refused:
                raise
            if len(documents) > 1:  # an aborted transaction does not show which document was refused
                for document in documents:
                    self._store([document])
                return
            (document,) = documents
            if TOO_DEEP in refused and b"parts" not in raw.fields(document):
                self._store([self._large.in_parts(document)])
                return
            reason = next(iter(refused.values()))
            self._writer.write(Recorded([], [RejectedEvent(b"", reason, document)], _NO_POSITION))

    def _insert(self, documents: list[bytes], session: ClientSession | None) -> None:
        """Insert the documents that do not exist yet: in a transaction, a duplicate key would abort it."""
        new = {_id(document): document for document in documents}
        among = {"_id": {"$in": [Binary(entry_id) for entry_id in new]}}
        for found in self._history.find(among, {"_id": 1}, session=session):
            del new[bytes(found["_id"])]
        if new:
            note(self._database, AmendmentKind.LATE, new, session)
            exact.insert(self._history, list(new.values()), session)


def _codes(error: OperationFailure) -> list[int | None]:
    failures = error.details["writeErrors"] if isinstance(error, BulkWriteError) else []
    return [error.code, *(failure["code"] for failure in failures)]


def _id(document: bytes) -> bytes:
    return identity(raw.fields(document))


def _portions(documents: Iterable[bytes]) -> Iterator[list[bytes]]:
    portion: list[bytes] = []
    size = 0
    for document in documents:
        stored = min(len(document), chunks.LARGEST_DOCUMENT)  # the rest is stored as chunks before
        if portion and size + stored > PORTION:
            yield portion
            portion, size = [], 0
        portion.append(document)
        size += stored
    if portion:
        yield portion
