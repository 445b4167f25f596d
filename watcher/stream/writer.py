"""The third stage: write history documents into the database, each once.

The `_id` of a history document is derived from its event, so writing it again only gives a duplicate key error. This
makes a redelivered event a no-op, without a transaction.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import bson
import structlog
from bson import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, OperationFailure, WriteConcernError

from change_history import server_codes
from change_history.bson import raw
from change_history.bson.resume_token import token_bytes
from change_history.stored import actor, chunks, exact
from change_history.stored.names import HISTORY, REJECTED
from change_history.stored.order import identity as identity_of
from change_history.stored.rejected import Told, told_by_entry, told_by_event
from watcher.errors import TOO_DEEP, Verdict, classify, rejection
from watcher.events import event
from watcher.stream.actors.completion import Completions
from watcher.stream.batch import Entry, RejectedEvent
from watcher.stream.large_documents import LargeDocuments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from pymongo.database import Database

    from watcher.stream.batch import Recorded

    Stored: TypeAlias = Callable[[Sequence[bytes], Sequence[bytes]], object]

log = structlog.get_logger(__name__)

MAJORITY = WriteConcern("majority")
LARGEST_DOCUMENT = chunks.LARGEST_DOCUMENT

_BY_ID = {"_id": 1}


class Writer:
    """Writes history and rejected events with majority write concern.

    Args:
        stream: name of the stream, stored with rejected events.
        on_stored: called with the history documents that a majority has just acknowledged, as they are stored, and with
            those that were stored before, perhaps with other content.
    """

    def __init__(self, database: Database[Any], stream: str, on_stored: Stored | None = None) -> None:
        self._history = database.get_collection(HISTORY, write_concern=MAJORITY)
        self._rejected = database.get_collection(REJECTED, write_concern=MAJORITY)
        self._large = LargeDocuments(database)
        self._completions = Completions(database)
        self._stream = stream
        self._on_stored = on_stored

    def write(self, recorded: Recorded) -> int:
        """Write a batch. When it returns, the whole batch is acknowledged by a majority.

        Safe to repeat after any failure.

        Returns:
            Number of rejected events.

        Raises:
            pymongo.errors.PyMongoError: the batch, or part of it, was not acknowledged.
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

    def _insert(self, entries: Sequence[Entry]) -> list[RejectedEvent]:
        """Insert history documents, those nested too deep as chunks. Returns those that the server refused."""
        refused = self._try_to_insert(entries)
        deep = [entries[index] for index, (code, _) in refused.items() if code == TOO_DEEP]
        left = [_rejected(entries[index], error) for index, (code, error) in refused.items() if code != TOO_DEEP]
        if deep:
            heads = [Entry(self._large.in_parts(document), data) for document, data in deep]
            again = self._try_to_insert(heads)
            left += [_rejected(heads[index], error) for index, (_, error) in again.items()]
        return left

    def _try_to_insert(self, entries: Sequence[Entry]) -> dict[int, tuple[int, str]]:
        """Insert history documents. Returns those that the server refused: index to error code and text.

        A document that is there already may have been stored before its actor was known; its actor is then added.
        """
        documents = [entry.document for entry in entries]
        refused: dict[int, tuple[int, str]] = {}
        again: set[int] = set()
        try:
            exact.insert(self._history, documents)
        except BulkWriteError as error:
            refused, again = _refused(error)
            self._completions.of_duplicates(documents[index] for index in sorted(again))
        if self._on_stored is not None:
            if exact.any_put(documents):
                again |= {index for index, document in enumerate(documents) if exact.is_put(document)}
            apart = again | refused.keys()
            fresh = [each for index, each in enumerate(documents) if index not in apart] if apart else documents
            self._on_stored(fresh, [documents[index] for index in again - refused.keys()])
        return refused

    def _set_aside(self, item: RejectedEvent) -> None:
        identity, told = _position(item)
        fields = [(b"stream", (raw.STRING, raw.string(self._stream.encode()))), *_fields(told)]
        fields += [*raw.fields(bson.encode(self._large.kept(identity, item))).items()]
        fields.append((b"error", (raw.STRING, raw.string(item.error.encode()))))
        if item.actor:
            fields.append((b"actor", (raw.DOCUMENT, item.actor)))
        try:
            self._keep(identity, fields)
        except OperationFailure as error:
            if classify(error) is not Verdict.REJECT:
                raise
            self._keep(identity, [field for field in fields if field[0] != b"document_id"])  # it is in the stored event
        namespace = told.namespace.decode("utf-8", "replace") if told.namespace is not None else None
        log.error("event rejected", namespace=namespace, id=identity.hex(), error=item.error)

    def _keep(self, identity: bytes, fields: list[tuple[bytes, raw.Value]]) -> None:
        """Store a document of `rejected` byte for byte: the server does not normalize values set by an update."""
        document = RawBSONDocument(raw.from_fields(fields))
        update = {"$setOnInsert": document, "$currentDate": {"rejected_at": True}}
        self._rejected.update_one({"_id": Binary(identity)}, update, upsert=True)


def _rejected(entry: Entry, error: str) -> RejectedEvent:
    if not entry.event:
        return RejectedEvent(entry.event, error, entry.document)
    return RejectedEvent(entry.event, error, actor=actor.split(entry.document)[1] or b"")


def _position(item: RejectedEvent) -> tuple[bytes, Told]:
    """Identity of a rejected item, and what is known about it. If it has no identity, a digest of its bytes serves."""
    if item.entry:
        return identity_of(raw.fields(item.entry)), told_by_entry(item.entry)
    told = told_by_event(item.event)
    try:
        return event.parse(item.event).id, told
    except (ValueError, KeyError, IndexError):
        return digest_of(item.event), told


def digest_of(event: bytes) -> bytes:
    """A digest that serves as identity for an event that has none of its own."""
    return blake2b(event, digest_size=16).digest()


def _fields(told: Told) -> Iterator[tuple[bytes, raw.Value]]:
    if told.namespace is not None:  # the driver refuses text that is not UTF-8 in what it reads of `rejected`
        text = told.namespace.decode("utf-8", "replace").encode()
        yield b"namespace", (raw.STRING, raw.string(text))
    if told.document_id is not None:
        yield b"document_id", told.document_id
    if told.operation is not None:
        yield b"operation", (raw.STRING, raw.string(told.operation.decode("utf-8", "replace").encode()))
    if told.cluster_time is not None:
        yield b"cluster_time", (raw.TIMESTAMP, told.cluster_time.payload)
    if told.resume_token is not None:
        try:
            token = token_bytes(told.resume_token)
        except ValueError:
            return
        yield b"resume_token", (raw.BINARY, raw.int32(len(token)) + b"\x00" + token)


def _refused(error: BulkWriteError) -> tuple[dict[int, tuple[int, str]], set[int]]:
    """By index: what the server refused for good, and the duplicates, which are no error."""
    refused, again = {}, set()
    for failure in error.details["writeErrors"]:
        code = failure["code"]
        if code == server_codes.DUPLICATE_KEY and failure.get("keyPattern", _BY_ID) == _BY_ID:
            again.add(failure["index"])
            continue
        # A duplicate in any other unique index, not made by us: the event is not stored.
        reason = f"DuplicateKey ({code})" if code == server_codes.DUPLICATE_KEY else rejection(code)
        if reason is None:
            raise error
        refused[failure["index"]] = (code, reason)
    for concern in error.details["writeConcernErrors"]:
        raise WriteConcernError(concern.get("errmsg", ""), concern.get("code"), concern)
    return refused, again
