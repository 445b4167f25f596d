"""Stored erasure requests: what to erase, who requested it, when and why, and the result.

An erasure is `working` until all recorded history has been processed; so an interrupted one can be resumed. Then it is
`standing`: later events of its documents are erased too, until it is `ended`. From then on only the fact remains,
without any values. While it stands, documents are identified only by keyed digests of their `_id`s. The key is stored
in the same collection: a digest reveals nothing without the key, but it is no secret to a database administrator.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import bson
from bson import Binary, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.bson.values import document_to_python
from change_history.stored.names import ERASURES
from change_history.stored.reading import RAW
from watcher.erasure.values import Fields, Trail

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from pymongo.database import Database

WORKING, STANDING, DONE, ENDED = "working", "standing", "done", "ended"
ACTIVE = (WORKING, STANDING)

_MAJORITY = WriteConcern("majority")
_KEY = "key"
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Erasure:
    """One erasure.

    Attributes:
        id: `_id` of the erasure.
        state: `working`, `standing`, `done` (only for values, so there are no later events to erase), or `ended`.
        namespace: `db.coll` of the documents; empty: only values are erased.
        documents: `_id`s of the documents; empty once all recorded history has been processed.
        values: values to erase wherever they occur; empty likewise.
        fields: the fields to erase; empty: all.
        trail: what is kept of the events.
        said: when, by whom and why it was requested, and the result.
    """

    id: ObjectId
    state: str
    namespace: str
    documents: tuple[raw.Value, ...] = ()
    values: tuple[raw.Value, ...] = ()
    fields: tuple[str, ...] = ()
    trail: Trail = Trail.FIELDS
    said: dict[str, Any] = field(default_factory=dict)


class Erasures:
    """The erasures of a history."""

    def __init__(self, database: Database[Any]) -> None:
        self._kept = database.get_collection(ERASURES, codec_options=RAW, write_concern=_MAJORITY)
        self._plain = database.get_collection(ERASURES, write_concern=_MAJORITY)

    def key(self) -> bytes:
        """The key of the digests; created on first use. A user with only read access can read it afterwards."""
        found = self._plain.find_one({"_id": _KEY})
        if found is None:
            update = {"$setOnInsert": {"key": Binary(os.urandom(32))}}
            self._plain.update_one({"_id": _KEY}, update, upsert=True)
            found = self._plain.find_one({"_id": _KEY})
        return bytes((found or {})["key"])

    def begin(
        self,
        namespace: str,
        documents: Iterable[raw.Value],
        values: Iterable[raw.Value],
        *,
        names: Iterable[str],
        fields: Iterable[str],
        trail: Trail,
        by: str,
        reason: str | None,
    ) -> Erasure:
        """Store an erasure. When it returns, a majority has acknowledged it; only then may anything be removed.

        Args:
            names: every namespace under which events of the documents may still arrive.
        """
        key, mine = self.key(), list(documents)
        digests = [{"namespace": name, "documents": [Binary(digest(key, each)) for each in mine]} for name in names]
        head = {
            "_id": ObjectId(),
            "state": WORKING,
            "namespace": namespace,
            "trail": trail.value,
            "fields": list(fields),
            "by": by,
            "reason": reason,
            "asked_at": datetime.now(UTC),
            "targets": digests if mine else [],
        }
        work = [
            (b"documents", (raw.ARRAY, raw.from_items(mine))),
            (b"values", (raw.ARRAY, raw.from_items(list(values)))),
        ]
        contents = [*raw.fields(bson.encode(head)).items(), (b"work", (raw.DOCUMENT, raw.from_fields(work)))]
        stored = RawBSONDocument(raw.from_fields(contents))
        self._kept.insert_one(stored)
        return _read(bytes(stored.raw))

    def all(self, query: dict[str, Any] | None = None) -> list[Erasure]:
        """Every erasure, oldest first."""
        found = self._kept.find({"_id": {"$ne": _KEY}, **(query or {})}, sort=[("_id", 1)])
        return [_read(bytes(each.raw)) for each in found]

    def standing(self) -> list[ErasureInForce]:
        """The erasures in force for later events, oldest first."""
        found = self._plain.find({"state": {"$in": list(ACTIVE)}, "targets": {"$ne": []}}, sort=[("_id", 1)])
        return [
            ErasureInForce(
                each["_id"],
                each["asked_at"],
                {one["namespace"]: set(map(bytes, one["documents"])) for one in each.get("targets", ())},
                Fields(each["fields"]),
                Trail(each["trail"]),
            )
            for each in found
        ]

    def finish(self, erasure: Erasure, counts: dict[str, int]) -> None:
        """Note that all recorded history was processed, and delete the documents and values, except for the digests."""
        state = STANDING if erasure.namespace else DONE
        change = {"$set": {"state": state, "done_at": datetime.now(UTC), "counts": counts}, "$unset": {"work": 1}}
        self._plain.update_one({"_id": erasure.id}, change)

    def end(self, namespace: str, document_id: raw.Value, by: str) -> int:
        """End the erasures of a document, so that later events are recorded normally. Returns how many were ended."""
        mine = Binary(digest(self.key(), document_id))
        standing = {
            "state": STANDING,
            "namespace": namespace,
            "targets.documents": mine,
        }
        found = [each["_id"] for each in self._plain.find(standing, {"_id": 1})]
        for each in found:
            self._plain.update_one({"_id": each}, {"$pull": {"targets.$[].documents": mine}})
            left = {"_id": each, "targets.documents": {"$not": {"$elemMatch": {"$exists": True}}}}
            over = {"$set": {"state": ENDED, "ended_at": datetime.now(UTC), "ended_by": by}, "$unset": {"targets": 1}}
            self._plain.update_one(left, over)
        return len(found)


class ErasureInForce(NamedTuple):
    """An erasure in force for later events.

    Attributes:
        id: `_id` of the erasure.
        asked_at: when it was requested.
        documents: digests of the documents' `_id`s by namespace at that time.
        fields: the fields to erase; empty: all.
        trail: what is kept of the events.
    """

    id: ObjectId
    asked_at: datetime
    documents: dict[str, set[bytes]]
    fields: Fields
    trail: Trail

    def left(self, entry: bytes) -> bytes | None:
        """What is left of a history document of one of these documents; None: nothing."""
        return self.fields.left(entry, self.trail)


def _read(stored: bytes) -> Erasure:
    found = raw.fields(stored)
    said = document_to_python(stored)
    work = raw.fields(found[b"work"][1]) if b"work" in found else {}
    documents, values = (tuple(raw.items(work[name][1])) if name in work else () for name in (b"documents", b"values"))
    return Erasure(
        said["_id"],
        said["state"],
        said["namespace"],
        documents,
        values,
        tuple(said["fields"]),
        Trail(said["trail"]),
        {name: said.get(name) for name in ("by", "reason", "asked_at", "done_at", "ended_at", "counts")}
        | {"documents": sum(len(each["documents"]) for each in (said.get("targets") or [])[:1])},
    )


def digest(key: bytes, document_id: raw.Value) -> bytes:
    """The keyed digest that identifies a document; `_id`s that the server regards as equal have the same digest."""
    return blake2b(repr(_plain(key_of(document_id))).encode(), key=key, digest_size=_DIGEST_BYTES).digest()


def _plain(value: Hashable) -> Any:
    """A form in which equal keys have equal `repr`s: Python's numbers are equal across types."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, int | float | Decimal):
        try:
            return value.as_integer_ratio()
        except (OverflowError, ValueError):
            return str(float(value))
    return value
