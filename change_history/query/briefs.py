"""Events in brief: what a list shows of each, without long values.

An event may hold two documents of 16 MB. The server removes what a list would not show, so fifty such events are read
as quickly as fifty small ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bson import Binary

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import document_to_python, to_raw
from change_history.reconstruct.reads import is_id
from change_history.stored.event import Event, to_change, to_event
from change_history.stored.names import DOCUMENT_TIMELINE
from change_history.stored.order import in_stream_order
from change_history.stored.reading import RAW, as_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection

    from change_history.stored.event import Change

MOST_CHANGES = 12
"""Most changes in a brief."""

MOST_BYTES = 2048
"""Bytes of BSON above which a value is left out."""

_MOST_KEY = 200
_MOST_DESCRIPTION = 16_384
_SMALL = 16_384


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Placeholder for a value that is too long for a brief.

    Attributes:
        size: its length, in bytes of BSON.
    """

    size: int


@dataclass(frozen=True, slots=True)
class Brief:
    """An event in brief.

    Attributes:
        event: the event, with its first changes; values that are too long are `LeftOut`, including its `_id`.
        count: the number of all its changes.
        number: its version number in its document; 0: not requested.
        size: bytes of the history document, without its chunks.
        in_parts: whether its values are stored in chunks, and so are not in the brief.
    """

    event: Event
    count: int
    number: int = 0
    size: int = 0
    in_parts: bool = False


def stages() -> list[dict[str, Any]]:
    """The stages of a pipeline that make history documents brief."""
    changes = {"$ifNull": ["$changes", []]}
    first = {"$slice": [changes, MOST_CHANGES]}
    small = {"$lte": [{"$bsonSize": "$$ROOT"}, _SMALL]}
    cut = {"$map": {"input": first, "as": "c", "in": _cut_change()}}
    fits = {"$lte": [{"$bsonSize": {"v": "$document_id"}}, MOST_BYTES]}
    told = {"$lte": [{"$bsonSize": {"v": "$description"}}, _MOST_DESCRIPTION]}
    return [
        {
            "$set": {
                "changes": {"$cond": [small, first, cut]},
                "change_count": {"$ifNull": ["$change_count", {"$size": changes}]},
                "document_id": {"$cond": [fits, "$document_id", "$$REMOVE"]},
                "_id_size": {"$cond": [fits, "$$REMOVE", {"$bsonSize": {"v": "$document_id"}}]},
                "description": {"$cond": [told, "$description", "$$REMOVE"]},
                "parts": {"$cond": [{"$isArray": "$parts"}, [], "$$REMOVE"]},
                "_size": {"$bsonSize": "$$ROOT"},
            }
        },
        {"$unset": ["key_order"]},
    ]


def _cut_change() -> dict[str, Any]:
    """The expression for a change: whole if it is short, else with those of its values that are."""
    cut: dict[str, Any] = {name: f"$$c.{name}" for name in ("old_value_from", "new_value_from", "truncated_to")}
    for side in ("old_value", "new_value"):
        fits = {"$lte": [{"$bsonSize": {"v": f"$$c.{side}"}}, MOST_BYTES]}
        cut[side] = {"$cond": [fits, f"$$c.{side}", "$$REMOVE"]}
        cut[f"_{side}_size"] = {"$cond": [fits, "$$REMOVE", {"$bsonSize": {"v": f"$$c.{side}"}}]}
    short_path = {"$lte": [{"$bsonSize": {"v": "$$c.path"}}, MOST_BYTES]}
    cut["path"] = {"$cond": [short_path, "$$c.path", "$$REMOVE"]}
    cut["field"] = {"$substrCP": ["$$c.field", 0, _MOST_KEY]}
    return {"$cond": [{"$lte": [{"$bsonSize": "$$c"}, MOST_BYTES]}, "$$c", cut]}


def to_brief(stored: RawBSONDocument) -> Brief:
    """Decode a result of `stages`."""
    fields = document_to_python(stored)
    event = to_event(stored)
    untold = event.parts is not None
    changes = tuple(_change(said, event.timestamp, untold=untold) for said in fields.get("changes", ()))
    document_id = LeftOut(int(fields["_id_size"])) if "_id_size" in fields else event.document_id
    event = replace(event, changes=changes, document_id=document_id)
    return Brief(event, int(fields.get("change_count", len(changes))), 0, int(fields.get("_size", 0)), untold)


def _change(fields: dict[str, Any], when: Any, *, untold: bool) -> Change:
    sizes = {side: fields.pop(f"_{side}_size", None) for side in ("old_value", "new_value")}
    change = to_change(fields, when, untold=untold)
    long: dict[str, Any] = {side: LeftOut(int(size)) for side, size in sizes.items() if size is not None}
    return replace(change, **long) if long else change


def read(
    collection: Collection[RawBSONDocument],
    query: dict[str, Any] | RawBSONDocument,
    index: Sequence[tuple[str, int]],
    limit: int,
    *,
    newest_first: bool = True,
    most_ms: int | None = None,
) -> list[Brief]:
    """Read events in brief, in order.

    Args:
        index: key of the index to use; it must yield the order of history.
        most_ms: the most milliseconds the server may take.
    """
    order = {"_id": -1 if newest_first else 1}
    pipeline: list[dict[str, Any]] = [{"$match": query}, {"$sort": order}, {"$limit": limit}, *stages()]
    options: dict[str, Any] = {"maxTimeMS": most_ms} if most_ms is not None else {}
    with collection.aggregate([as_query(stage) for stage in pipeline], hint=dict(index), **options) as cursor:
        return [to_brief(stored) for stored in in_stream_order(cursor, newest_first=newest_first)]


def versions(
    collection: Collection[RawBSONDocument], namespace: str, document_id: Any, first: int, limit: int, total: int
) -> list[Brief]:
    """Read the versions of a document from one number on, oldest first, each with its number.

    Reads the document timeline index, from the nearer end.

    Args:
        first: the number of the first version, counted from 1.
    """
    of_document = {"namespace": namespace, "document_id": is_id(to_raw(document_id))}
    limit = min(limit, total - first + 1)
    if limit <= 0:
        return []
    from_end = total - (first - 1) - limit
    backwards = from_end < first - 1
    found = list(
        collection.database.get_collection(collection.name, codec_options=RAW).find(
            of_document,
            {"_id": 1},
            sort=[("_id", -1 if backwards else 1)],
            skip=from_end if backwards else first - 1,
            limit=limit,
            hint=DOCUMENT_TIMELINE,
        )
    )
    ids = [bytes(each["_id"]) for each in found]
    if not ids:
        return []
    if backwards:
        ids.reverse()
    # Ids give no order within a cluster time, so the cluster times at both ends are read completely.
    bounds = {
        "$gte": Binary(ClusterTime.from_id(ids[0]).first_id),
        "$lte": Binary(ClusterTime.from_id(ids[-1]).last_id),
    }
    pipeline: list[dict[str, Any]] = [
        {"$match": of_document | {"_id": bounds}},
        {"$sort": {"_id": 1}},
        {"$limit": limit + 2 * _MOST_TOGETHER},
        *stages(),
    ]
    stages_ = [as_query(stage) for stage in pipeline]
    with collection.aggregate(stages_, hint=dict(DOCUMENT_TIMELINE)) as cursor:
        stored = list(cursor)
    before = next((at for at, each in enumerate(stored) if bytes(each["_id"]) == ids[0]), 0)
    numbered = enumerate(in_stream_order(stored), first - before)
    told = ((number, to_brief(each)) for number, each in numbered if first <= number < first + limit)
    return [replace(brief, number=number) for number, brief in told]


_MOST_TOGETHER = 1000
"""Most events of one document with one cluster time that are sorted at the ends of a page."""
