"""Adds actors to stored history: to events that were written before their transaction's context document was read.

A stored context is never changed, and no stored actor is removed. All updates are idempotent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from bson import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from change_history.bson import raw
from change_history.stored import actor
from change_history.stored.amendments import AmendmentKind, note
from change_history.stored.names import HISTORY
from change_history.stored.order import identity
from change_history.stored.reading import RAW
from watcher.errors import Verdict, classify, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pymongo.database import Database

    from watcher.stream.batch import Completion, Recorded
    from watcher.stream.pipeline import Writes

log = structlog.get_logger(__name__)

_MAJORITY = WriteConcern("majority")
_IN_ONE_UPDATE = 1000
_MAY_BE = b"\x03actor\x00"
NOBODY: dict[str, Any] = {"actor": {"$exists": False}}
NO_CONTEXT: dict[str, Any] = {"actor.provenance": {"$ne": actor.CONTEXT}}


class Completions:
    """Adds missing actors to stored history documents."""

    def __init__(self, database: Database[Any]) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, write_concern=_MAJORITY, codec_options=RAW)

    def of_transaction(self, completion: Completion) -> None:
        """Set the actor of a transaction's events that were stored before its first context document was read."""
        time = completion.cluster_time
        session = RawBSONDocument(
            raw.from_fields([(b"transaction.session", completion.session), (b"transaction.number", completion.number)])
        )
        query = {
            "_id": {"$gte": Binary(time.first_id), "$lte": Binary(time.last_id)},
            "$and": [session],
            **NO_CONTEXT,
        }
        earlier = [
            bytes(found["_id"])
            for found in self._history.find(query, {"resume_token": 1})
            if bytes(found["resume_token"]) < completion.token
        ]
        self.give(earlier, {"actor": RawBSONDocument(completion.actor)}, NO_CONTEXT)

    def of_duplicates(self, documents: Iterable[bytes]) -> None:
        """Set the actors of documents that were stored earlier, when their actors were not known yet.

        Args:
            documents: the same history documents as they would be stored now, with their actors.
        """
        lacking: dict[bytes, list[bytes]] = {}
        for document in documents:
            if _MAY_BE in document and (who := (fields := raw.fields(document)).get(b"actor")) is not None:
                lacking.setdefault(who[1], []).append(identity(fields))
        for stored, ids in lacking.items():
            provenance = raw.text_of(raw.fields(stored)[b"provenance"]).decode()
            only = NO_CONTEXT if provenance == actor.CONTEXT else NOBODY
            query = {"_id": {"$in": list(map(Binary, ids))}, **only}
            found = [bytes(each["_id"]) for each in self._history.find(query, {"_id": 1})]
            self.give(found, {"actor": RawBSONDocument(stored)}, only)

    def give(self, ids: Sequence[bytes], values: Mapping[str, Any], only: Mapping[str, Any]) -> None:
        """Set fields of stored history documents, after noting the amendment.

        Args:
            ids: the documents' `_id`s.
            values: the fields to set.
            only: a query that a document must match to be changed.
        """
        for some in (ids[start : start + _IN_ONE_UPDATE] for start in range(0, len(ids), _IN_ONE_UPDATE)):
            note(self._database, AmendmentKind.ACTOR, some, actors=self._given(some))
            query = {"_id": {"$in": list(map(Binary, some))}, **only}
            try:
                self._history.update_many(query, {"$set": values})
            except OperationFailure as error:
                if classify(error) is not Verdict.REJECT:
                    raise
                for each in some:
                    self._give_one(each, values, only)

    def _given(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """The actors that stored history documents have, BSON."""
        query = {"_id": {"$in": list(map(Binary, ids))}, "actor": {"$exists": True}}
        return {bytes(each["_id"]): bytes(each["actor"].raw) for each in self._history.find(query, {"actor": 1})}

    def _give_one(self, each: bytes, values: Mapping[str, Any], only: Mapping[str, Any]) -> None:
        try:
            self._history.update_one({"_id": Binary(each), **only}, {"$set": values})
        except OperationFailure as error:
            if classify(error) is not Verdict.REJECT:
                raise
            log.warning("an event is too large to be given its actor", id=each.hex(), error=name_of(error))


class CompletingWriter:
    """A writing stage that also adds actors to events of earlier batches."""

    def __init__(self, writer: Writes, completions: Completions) -> None:
        self._writer = writer
        self._completions = completions

    def write(self, recorded: Recorded) -> int:
        """Write a batch, as the writer does."""
        rejected = self._writer.write(recorded)
        for completion in recorded.completions:
            self._completions.of_transaction(completion)
        return rejected
