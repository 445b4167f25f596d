"""Read history documents back: the codec options, and the query for one document."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument

from change_history.bson.values import CODEC, to_raw
from change_history.stored.names import HISTORY

if TYPE_CHECKING:
    from bson.codec_options import CodecOptions
    from pymongo.collection import Collection
    from pymongo.database import Database


# Accessing one field of a raw document decodes all of them: an id may be a date of the year 20000.
RAW: CodecOptions[Any] = CODEC.with_options(document_class=RawBSONDocument)
"""How stored documents are read: left as bytes."""

_size_at = struct.Struct("<i").unpack_from


def history_collection(database: Database[Any]) -> Collection[RawBSONDocument]:
    """The history collection of a database, its documents left as bytes: decoding would lose types."""
    return database.get_collection(HISTORY, codec_options=RAW)


def is_document(document_id: Any) -> dict[str, Any]:
    """The condition on `document_id` that matches one document.

    Equality is the server's, as it is for the `_id` of the watched collection: 3, `Int64(3)` and 3.0 are one id.
    A null id does not match events without an id, and an id like `{"$in": …}` is a value, not an operator.
    """
    return {"$eq": document_id, "$exists": True} if document_id is None else {"$eq": document_id}


def as_query(conditions: dict[str, Any]) -> RawBSONDocument:
    """Encode a query or a pipeline stage exactly, with the types that `bson` cannot write as well.

    Raises:
        bson.errors.InvalidDocument: a value has no BSON type.
        ValueError: a `uuid.UUID`, which could mean several values; use `bson.Binary.from_uuid`.
    """
    return RawBSONDocument(to_raw(conditions)[1])


def distinct(
    collection: Collection[RawBSONDocument], field: str, conditions: dict[str, Any] | None = None
) -> list[Any]:
    """The different values of a field, in order; null where it is missing.

    An aggregation with the plan of the command `distinct`: that one is missing from the stable API, which a client may
    have asked for (https://www.mongodb.com/docs/manual/reference/stable-api/), and answers within 16 MB.
    """
    stages = [{"$match": as_query(conditions)}] if conditions else []
    return [
        row["_id"] for row in collection.aggregate([*stages, {"$group": {"_id": f"${field}"}}, {"$sort": {"_id": 1}}])
    ]


def recorded_names(collection: Collection[RawBSONDocument]) -> list[str]:
    """The namespaces of history's entries, or of snapshots, sorted: `db.coll`, and `db` for events of a database."""
    return sorted(name for name in distinct(collection, "namespace") if name is not None)  # a gap has none


def recorded_collections(database: Database[Any]) -> list[str]:
    """The collections that history has entries of, `db.coll`, sorted."""
    return [name for name in recorded_names(history_collection(database)) if "." in name]


def require_namespace(namespace: str | None) -> None:
    """Check that a namespace is well-formed; None, which means all namespaces, is accepted.

    Raises:
        ValueError: not `database.collection`.
    """
    if namespace is not None and not all(namespace.partition(".")):
        raise ValueError(f"{namespace!r} is no namespace; write database.collection, for example shop.users")


def documents_in(batch: bytes) -> list[bytes]:
    """Split a batch from `find_raw_batches` into its documents."""
    found: list[bytes] = []
    append = found.append
    start, end = 0, len(batch)
    while start < end:
        stop = start + _size_at(batch, start)[0]
        append(batch[start:stop])
        start = stop
    return found
