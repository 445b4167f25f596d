"""Makes what is left of a stored document after an erasure, and the write that replaces it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from bson import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne

from change_history.bson import raw
from change_history.bson.values import to_raw
from change_history.stored.chunks import MissingChunkError
from change_history.stored.order import IMPORTED_ORDER_BYTES, identity
from change_history.stored.rejected import is_entry, stored_event

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

    from change_history.stored.rejected import Concern

_LEFT_OF_EVENT = (b"_id", b"operationType", b"clusterTime", b"wallTime", b"ns", b"documentKey")


def update_of(head: bytes, after: bytes) -> UpdateOne:
    """The update of an entry. Fields that do not change are not written, so that concurrent additions stay."""
    before, now = raw.fields(head), raw.fields(after)
    put = [(name, value) for name, value in now.items() if before.get(name) != value]
    gone = [(name, raw.NULL_VALUE) for name in before if name not in now]
    change = [(b"$set", (raw.DOCUMENT, raw.from_fields(put)))] if put else []
    change += [(b"$unset", (raw.DOCUMENT, raw.from_fields(gone)))] if gone else []
    return UpdateOne({"_id": Binary(identity(before))}, RawBSONDocument(raw.from_fields(change)))


def may_be_of(about: Concern, names: set[str]) -> bool:
    """Whether an unreadable rejected event may concern a document of these namespaces."""
    if about.document_id is not None or not about.is_vague or not names:
        return False
    return about.namespace is None or about.namespace.decode("utf-8", "surrogateescape") in names


def kept_whole(database: Database[Any], stored: RawBSONDocument) -> bytes:
    """The whole event stored in an entry of `rejected`; empty if one of its chunks is missing."""
    try:
        return stored_event(database, stored)
    except MissingChunkError:
        return b""


def telling_nothing(name: bytes) -> raw.Value:
    """A new `_id` for an imported entry with erased values: it keeps its place, but has no digest of the values."""
    return to_raw(Binary(name[:IMPORTED_ORDER_BYTES] + secrets.token_bytes(len(name) - IMPORTED_ORDER_BYTES)))


def without_event(stored: RawBSONDocument, whole: bytes, actor: RawBSONDocument | None = None) -> dict[str, Any]:
    """The update that reduces an entry of `rejected` to an event without values: the operation and its target.

    Args:
        stored: the entry.
        whole: its whole event (`kept_whole`).
        actor: what is left of its actor; None: the actor does not change.
    """
    gone = {"parts": "", "entry_parts": "", "entry": "", "event": ""}
    put: dict[str, Any] = {"erased": True, "error": "its values were erased on request"}
    if not is_entry(stored):
        put["event"] = Binary(stub(whole))
        del gone["event"]
    if actor is not None:
        put["actor"] = actor
    return {"$set": put, "$unset": gone}


def stub(event: bytes) -> bytes:
    """An event reduced to the fields that hold no values of a document."""
    found = raw.readable(event)
    return raw.from_fields([(name, found[name]) for name in _LEFT_OF_EVENT if name in found])


def under(document: bytes, another: raw.Value) -> bytes:
    """A document with another `_id`."""
    return raw.from_fields((raw.fields(document) | {b"_id": another}).items())


def put_instead(collection: Collection[RawBSONDocument], stored: RawBSONDocument, another: raw.Value) -> None:
    """Store a document under another `_id`, in a transaction."""
    renamed = under(bytes(stored.raw), another)
    with collection.database.client.start_session() as session, session.start_transaction():
        collection.delete_one({"_id": stored["_id"]}, session=session)
        collection.insert_one(RawBSONDocument(renamed), session=session)
