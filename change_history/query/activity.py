"""Count the events of collections per time slice, in bounded work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bson import Binary
from pymongo.errors import ExecutionTimeout

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import document_to_python
from change_history.query.stats import fields_pipeline
from change_history.stored.names import NAMESPACE_TIMELINE
from change_history.stored.reading import as_query

if TYPE_CHECKING:
    from datetime import datetime

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection

MOST_IN_SLICE = 100_000
"""Most events counted in a slice."""

MOST_EVENTS = 200_000
"""Most events counted by operation: the newest."""

MOST_FOR_FIELDS = 20_000
"""Most events counted by field: the newest."""


def counts(collection: Collection[RawBSONDocument], namespace: str, begin: int, width: int, slices: int) -> list[int]:
    """Count a collection's events in slices of time, from its index alone.

    Args:
        begin: the beginning of the first slice, in seconds since 1970.
        width: the length of a slice, in seconds.
        slices: the number of slices.
    """
    found = []
    for number in range(slices):
        start = begin + number * width
        ids = {
            "$gte": Binary(ClusterTime.start_of(start).first_id),
            "$lte": Binary(ClusterTime.end_of(start + width - 1).last_id),
        }
        query = as_query({"namespace": namespace, "_id": ids})
        found.append(collection.count_documents(query, hint=NAMESPACE_TIMELINE, limit=MOST_IN_SLICE))
    return found


def last(collection: Collection[RawBSONDocument], namespace: str) -> ClusterTime | None:
    """The cluster time of a collection's last event."""
    stored = collection.find_one(
        as_query({"namespace": namespace}), {"_id": 1}, sort=[("_id", -1)], hint=NAMESPACE_TIMELINE
    )
    return ClusterTime.from_id(bytes(stored["_id"])) if stored is not None else None


@dataclass(slots=True)
class Activity:
    """What happened in a collection.

    Attributes:
        slices: numbers of events by operation, keyed by the beginning of the slice.
        fields: the fields that updates and replacements changed most, without indexes.
        complete: whether all events of the window were counted; else only the newest `MOST_EVENTS`.
        in_time: whether the server finished within `most_ms`.
    """

    slices: dict[datetime, Counter[str]] = field(default_factory=dict)
    fields: list[tuple[str, int]] = field(default_factory=list)
    complete: bool = True
    in_time: bool = True


def of_collection(
    collection: Collection[RawBSONDocument], namespace: str, since: int, unit: str, *, most_ms: int
) -> Activity:
    """Count a collection's newest events by operation and slice of time, and by field.

    Args:
        since: seconds since 1970.
        unit: `hour`, `day` or `month`, in UTC.
        most_ms: the most milliseconds the server may take for each of the two queries.
    """
    found = Activity()
    query = {"namespace": namespace, "_id": {"$gte": Binary(ClusterTime.start_of(since).first_id)}}
    newest: list[dict[str, Any]] = [{"$match": query}, {"$sort": {"_id": -1}}]
    slice_ = {"$dateTrunc": {"date": {"$ifNull": ["$timestamp", "$cluster_time"]}, "unit": unit}}
    by_slice = [
        *newest,
        {"$limit": MOST_EVENTS + 1},
        {"$group": {"_id": {"slice": slice_, "operation": "$operation"}, "count": {"$sum": 1}}},
        {"$sort": {"_id": 1}},
    ]
    changing = {"$match": {"operation": {"$in": ["update", "replace"]}}}
    by_field = fields_pipeline([*newest, {"$limit": MOST_FOR_FIELDS}, changing], 12)
    try:
        for row in _rows(collection, by_slice, most_ms):
            counter = found.slices.setdefault(row["_id"]["slice"], Counter())
            counter[row["_id"]["operation"]] += row["count"]
        found.complete = sum(counter.total() for counter in found.slices.values()) <= MOST_EVENTS
        found.fields = [(row["_id"]["field"], row["changes"]) for row in _rows(collection, by_field, most_ms)]
    except ExecutionTimeout:
        found.in_time = False
    return found


def _rows(
    collection: Collection[RawBSONDocument], pipeline: list[dict[str, Any]], most_ms: int
) -> list[dict[str, Any]]:
    stages = [as_query(stage) for stage in pipeline]
    with collection.aggregate(stages, hint=dict(NAMESPACE_TIMELINE), maxTimeMS=most_ms, allowDiskUse=True) as cursor:
        return [document_to_python(row) for row in cursor]
