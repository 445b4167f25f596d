"""How others would keep an update: their documents and their indexes, in MongoDB.

The first two are a design that was proposed for this project; the others are what known systems store, put into
MongoDB as near to their own tables as it goes. Nobody's actor is known, so none is kept.
"""

from __future__ import annotations

from datetime import UTC
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import bson
from bson import Binary, Int64, ObjectId

if TYPE_CHECKING:
    from collections.abc import Callable


class Update(NamedTuple):
    """One update of a document.

    Attributes:
        event: as the driver gives it.
        before, after: the document.
        fields: that were set, with their values.
        number: how many updates this document has had.
        place: how many updates there have been.
    """

    event: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    fields: dict[str, Any]
    number: int
    place: int


class Layout(NamedTuple):
    """One way to keep updates.

    Attributes:
        name: in the table.
        documents: what is stored of an update.
        indexes: besides that of `_id`; unique where marked.
        compressor: WiredTiger's, of the collection.
    """

    name: str
    documents: Callable[[Update], list[dict[str, Any]]]
    indexes: tuple[tuple[str, ...], ...]
    compressor: str = "snappy"
    unique: tuple[str, ...] = ()


def _proposed(update: Update) -> dict[str, Any]:
    event, time = update.event, update.event["clusterTime"]
    token = bytes.fromhex(event["_id"]["_data"])
    moment = time.time.to_bytes(4, "big") + time.inc.to_bytes(4, "big")
    return {
        "_id": Binary(moment + blake2b(token, digest_size=8).digest()),
        "t": Binary(token),
        "v": 1,
        "op": "u",
        "ns": "bench.orders",
        "k": event["documentKey"]["_id"],
        "n": Int64(update.number),
        "w": event["wallTime"],
        "ch": [{"p": name, "o": update.before.get(name), "n": value} for name, value in update.fields.items()],
        "f": list(update.fields),
        "h": Binary(blake2b(bson.encode(update.after), digest_size=16).digest()),
        "hc": Binary(blake2b(token, digest_size=32).digest()),
    }


def _short_id(update: Update) -> list[dict[str, Any]]:
    return [_proposed(update)]


def _token_id(update: Update) -> list[dict[str, Any]]:
    proposed = _proposed(update)
    del proposed["t"]
    return [{**proposed, "_id": update.event["_id"]["_data"]}]


def _row_per_field(update: Update) -> list[dict[str, Any]]:
    return [
        {
            "_id": ObjectId(),
            "namespace": "bench.orders",
            "document_id": update.event["documentKey"]["_id"],
            "field": name,
            "old_value": update.before.get(name),
            "new_value": value,
            "timestamp": update.event["wallTime"],
        }
        for name, value in update.fields.items()
    ]


def _javers(update: Update) -> list[dict[str, Any]]:
    at = update.event["wallTime"].replace(tzinfo=UTC)
    key = update.event["documentKey"]["_id"]
    return [
        {
            "_id": ObjectId(),
            "commitMetadata": {
                "author": "unknown",
                "properties": [],
                "commitDate": at.replace(tzinfo=None).isoformat(),
                "commitDateInstant": at.isoformat(),
                "id": Int64(update.place),
            },
            "globalId": {"entity": "com.example.Order", "cdoId": key},
            "state": update.after,
            "changedProperties": list(update.fields),
            "type": "UPDATE",
            "version": Int64(update.number),
            "globalId_key": f"com.example.Order/{key}",
        }
    ]


def _bemi(update: Update) -> list[dict[str, Any]]:
    at = update.event["wallTime"]
    return [
        {
            "_id": ObjectId(),
            "database": "bench",
            "schema": "public",
            "table": "orders",
            "primary_key": str(update.event["documentKey"]["_id"]),
            "operation": "UPDATE",
            "before": update.before,
            "after": update.after,
            "context": {},
            "committed_at": at,
            "queued_at": at,
            "created_at": at,
            "transaction_id": Int64(update.place),
            "position": Int64(update.place),
        }
    ]


def _ts_patch(update: Update) -> list[dict[str, Any]]:
    patch: list[dict[str, Any]] = []
    for name, value in update.fields.items():
        patch.append({"op": "test", "path": f"/{name}", "value": update.before.get(name)})
        patch.append({"op": "replace", "path": f"/{name}", "value": value})
    at = update.event["wallTime"]
    return [
        {
            "_id": ObjectId(),
            "op": "updateOne",
            "modelName": "Order",
            "collectionName": "orders",
            "collectionId": update.event["documentKey"]["_id"],
            "version": update.number,
            "patch": patch,
            "createdAt": at,
            "updatedAt": at,
            "__v": 0,
        }
    ]


LAYOUTS = (
    Layout("proposed, 16-byte _id", _short_id, (("ns", "k", "_id"), ("ns", "f", "_id")), "zstd"),
    Layout("same, token as _id, index for expiry", _token_id, (("ns", "k", "_id"), ("ns", "f", "_id"), ("w",)), "zstd"),
    Layout("one row per field", _row_per_field, (("namespace", "document_id", "_id"), ("namespace", "field", "_id"))),
    Layout(
        "JaVers",
        _javers,
        (
            ("globalId_key",),
            ("globalId.valueObject",),
            ("globalId.entity",),
            ("globalId.ownerId.entity", "globalId.ownerId.cdoId"),
            ("changedProperties",),
            ("commitMetadata.properties.key", "commitMetadata.properties.value"),
        ),
    ),
    Layout(
        "bemi, B-trees only",
        _bemi,
        (("committed_at",), ("table",), ("primary_key",), ("operation",)),
        unique=("position", "table", "schema", "database", "operation"),
    ),
    Layout("ts-patch-mongoose", _ts_patch, (("collectionId",), ("collectionName",))),
)
