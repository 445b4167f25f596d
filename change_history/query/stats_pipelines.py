"""Aggregations that count what is recorded. Pure; `change_history.query.stats` runs them."""

from __future__ import annotations

from typing import Any, TypeAlias

from change_history.stored.names import HISTORY, PARTS

Pipeline: TypeAlias = list[dict[str, Any]]

_SUMS = {name: {"$sum": f"${name}"} for name in ("events", "changes", "bytes")}
_DOCUMENTS = {"$sum": {"$cond": [{"$eq": [{"$type": "$_id.id"}, "missing"]}, 0, 1]}}
_ABOUT = {"_id": 0, "namespace": 1, "document_id": 1, "when": {"$ifNull": ["$timestamp", "$cluster_time"]}}
_ALL = 1_000_000


def events(match: dict[str, Any], *, with_parts: bool) -> Pipeline:
    """One small document for each event: `namespace`, `document_id`, `when`, `events`, `changes`, `bytes`.

    Args:
        with_parts: some history documents may be in parts; each part is then one more with its `bytes` alone.
    """
    changes = {"$ifNull": ["$change_count", {"$size": {"$ifNull": ["$changes", []]}}]}
    counted = {"events": {"$literal": 1}, "changes": changes, "bytes": {"$bsonSize": "$$ROOT"}}
    found: Pipeline = [{"$match": match}, {"$project": _ABOUT | counted}]
    if with_parts:
        sizes = [{"$project": {"bytes": {"$bsonSize": "$$ROOT"}}}]
        parts = {"from": PARTS, "localField": "parts", "foreignField": "_id", "pipeline": sizes, "as": "part"}
        none = {"events": {"$literal": 0}, "changes": {"$literal": 0}}
        of_parts = [
            {"$match": {**match, "parts": {"$exists": True}}},
            {"$lookup": parts},
            {"$project": _ABOUT | none | {"bytes": {"$sum": "$part.bytes"}}},
        ]
        found.append({"$unionWith": {"coll": HISTORY, "pipeline": of_parts}})
    return found


def by_collection(counted: Pipeline) -> Pipeline:
    """Numbers by collection; `_id` is the namespace."""
    return [
        *counted,
        {"$group": {"_id": {"namespace": "$namespace", "id": "$document_id"}, **_SUMS}},
        {"$group": {"_id": "$_id.namespace", "documents": _DOCUMENTS, **_SUMS}},
        {"$sort": {"_id": 1}},
    ]


def by_day(counted: Pipeline, zone: str) -> Pipeline:
    """Numbers by day and collection; `_id` has `day`, the moment it begins, and `namespace`."""
    day = {"$dateTrunc": {"date": "$when", "unit": "day", "timezone": zone}}
    return [
        *counted,
        {"$group": {"_id": {"day": day, "namespace": "$namespace", "id": "$document_id"}, **_SUMS}},
        {"$group": {"_id": {"day": "$_id.day", "namespace": "$_id.namespace"}, "documents": _DOCUMENTS, **_SUMS}},
        {"$sort": {"_id": 1}},
    ]


def busiest_documents(counted: Pipeline, top: int) -> Pipeline:
    """The documents with the most events; `_id` has `namespace` and `id`."""
    return [
        *counted,
        {"$match": {"document_id": {"$exists": True}}},
        {"$group": {"_id": {"namespace": "$namespace", "id": "$document_id"}, **_SUMS}},
        {"$sort": {"events": -1, "changes": -1, "_id": 1}},
        {"$limit": top},
    ]


def busiest_fields(selected: Pipeline, top: int) -> Pipeline:
    """The fields with the most changes; `_id` has `namespace` and `field`, without indexes.

    Args:
        top: so many fields.
    """
    # The head of a document in parts may have one change that stands for all.
    weight = {"$cond": [{"$eq": ["$changes.path", []]}, {"$ifNull": ["$change_count", 1]}, 1]}
    written = {"namespace": "$namespace", "field": "$changes.field", "path": "$changes.path"}
    return [
        *selected,
        {"$unwind": "$changes"},
        {"$group": {"_id": written, "changes": {"$sum": weight}}},
        {"$group": {"_id": {"namespace": "$_id.namespace", "field": _pattern()}, "changes": {"$sum": "$changes"}}},
        {"$sort": {"changes": -1, "_id": 1}},
        {"$limit": top},
    ]


def _pattern() -> dict[str, Any]:
    """The path of a change as `event_paths.pattern` writes it: by `path` if there is one, else by the rule."""
    exact = _joined("$_id.path", {"$isNumber": "$$this"})
    number = {"$convert": {"input": "$$this", "to": "long", "onError": -1}}
    plain = {"$and": [{"$gte": [number, 0]}, {"$eq": [{"$toString": number}, "$$this"]}]}
    ruled = {"$let": {"vars": {"keys": {"$split": ["$_id.field", "."]}}, "in": _joined("$$keys", plain)}}
    return {"$cond": [{"$isArray": "$_id.path"}, exact, ruled]}


def _joined(keys: str, is_index: dict[str, Any]) -> dict[str, Any]:
    """The keys with dots between them and indexes as `$[]`. The first is never one."""
    key = {"$cond": [is_index, {"$literal": "$[]"}, "$$this"]}
    return {
        "$reduce": {
            "input": {"$slice": [keys, 1, _ALL]},
            "initialValue": {"$ifNull": [{"$arrayElemAt": [keys, 0]}, ""]},
            "in": {"$concat": ["$$value", ".", key]},
        }
    }
