"""Count what is recorded: by collection, day, document and field. The server counts.

All entries count, including baselines. Bytes are those of the history documents, as BSON, before the server compresses
them, including the chunks of large ones. Each answer is one pass over the events, and `everything` gives four answers
in one; neither side holds them in memory, since the server spills to disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pymongo.errors import OperationFailure

from change_history import server_codes
from change_history.bson.values import document_to_python
from change_history.stored.names import HISTORY, PARTS
from change_history.stored.reading import as_query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection

    from change_history.query.actors import Authors
    from change_history.query.selection import StatsQuestion

Pipeline: TypeAlias = list[dict[str, Any]]

_SUMS = {name: {"$sum": f"${name}"} for name in ("events", "changes", "bytes")}
_DOCUMENTS = {"$sum": {"$cond": [{"$eq": [{"$type": "$_id.id"}, "missing"]}, 0, 1]}}
_ABOUT = {"_id": 0, "namespace": 1, "document_id": 1, "when": {"$ifNull": ["$timestamp", "$cluster_time"]}}
_ALL = 1_000_000


class Numbers(NamedTuple):
    """What is recorded of something.

    Attributes:
        documents: the number of different documents.
        events: the number of events of documents and of collections.
        changes: the number of changed fields.
        bytes: the size of the history documents in bytes.
    """

    documents: int
    events: int
    changes: int
    bytes: int

    def plus(self, other: Numbers) -> Numbers:
        """The sum with another, which has no document in common."""
        return Numbers(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


class Everything(NamedTuple):
    """The results of the single methods of `Stats`."""

    collections: list[tuple[str, Numbers]]
    days: list[tuple[datetime, str, Numbers]]
    documents: list[tuple[str, Any, Numbers]]
    fields: list[tuple[str, str, int]]


class Stats:
    """Counts what is recorded."""

    def __init__(self, collection: Collection[RawBSONDocument], question: StatsQuestion) -> None:
        self._collection = collection
        self._question = question
        self._with_parts = collection.database.get_collection(PARTS).find_one({}, {"_id": 1}) is not None

    def everything(self, zone: str, top: int) -> Everything:
        """All counts of `by_collection`, `by_day`, `busiest_documents` and `busiest_fields`, from the same events."""
        if not self._with_parts:
            try:
                (found,) = self._rows(everything_pipeline(self._question.match(), zone, top))
            except OperationFailure as error:
                if (
                    error.code != server_codes.OBJECT_TOO_LARGE
                ):  # as one document; there are very many days of collections
                    raise
            else:
                return Everything(
                    [_of_collection(row) for row in found["collections"]],
                    [_of_day(row) for row in found["days"]],
                    [_of_document(row) for row in found["documents"]],
                    [_of_field(row) for row in found["fields"]],
                )
        return Everything(
            list(self.by_collection()),
            list(self.by_day(zone)),
            list(self.busiest_documents(top)),
            list(self.busiest_fields(top)),
        )

    def by_collection(self) -> Iterator[tuple[str, Numbers]]:
        """Each namespace with its numbers, in order; a dropped database is listed by its own name."""
        for row in self._rows(collections_pipeline(self._events())):
            yield _of_collection(row)

    def by_day(self, zone: str) -> Iterator[tuple[datetime, str, Numbers]]:
        """Each day on which something was recorded, as the moment it begins, with each namespace of it; in order.

        Args:
            zone: time zone of the days, a name or an offset that the server knows.
        """
        for row in self._rows(days_pipeline(self._events(), zone)):
            yield _of_day(row)

    def busiest_documents(self, top: int) -> Iterator[tuple[str, Any, Numbers]]:
        """The documents with the most events: namespace and id."""
        for row in self._rows(documents_pipeline(self._events(), top)):
            yield _of_document(row)

    def busiest_fields(self, top: int) -> Iterator[tuple[str, str, int]]:
        """The fields with the most changes: namespace, field as `bson.paths.pattern` writes it, changes."""
        pipeline = fields_pipeline([{"$match": self._question.match()}], top)
        for row in self._rows(pipeline):
            yield _of_field(row)

    def by_actor(self) -> Authors:
        """Events by actor, and those without one (see `change_history.query.actors`)."""
        from change_history.query import actors

        return actors.count(self._collection, self._question)

    def _events(self) -> Pipeline:
        return events_pipeline(self._question.match(), with_parts=self._with_parts)

    def _rows(self, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
        stages = [as_query(stage) for stage in pipeline]
        with self._collection.aggregate(stages, hint=dict(self._question.index), allowDiskUse=True) as cursor:
            for row in cursor:
                yield document_to_python(row)


def _of_collection(row: dict[str, Any]) -> tuple[str, Numbers]:
    return row["_id"] or "", _numbers(row)


def _of_day(row: dict[str, Any]) -> tuple[datetime, str, Numbers]:
    return row["_id"]["day"], row["_id"].get("namespace", ""), _numbers(row)


def _of_document(row: dict[str, Any]) -> tuple[str, Any, Numbers]:
    return row["_id"]["namespace"], row["_id"]["id"], _numbers(row | {"documents": 1})


def _of_field(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["_id"].get("namespace", ""), row["_id"]["field"], row["changes"]


def _numbers(row: dict[str, Any]) -> Numbers:
    return Numbers(*(int(row[name]) for name in Numbers._fields))


def events_pipeline(match: dict[str, Any], *, with_parts: bool) -> Pipeline:
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


def everything_pipeline(match: dict[str, Any], zone: str, top: int) -> Pipeline:
    """All of the following in one pass: one document with a list for each. Of history without parts."""
    selected, *counted = events_pipeline(match, with_parts=False)
    facets = {
        "collections": collections_pipeline(counted),
        "days": days_pipeline(counted, zone),
        "documents": documents_pipeline(counted, top),
        "fields": fields_pipeline([], top),
    }
    return [selected, {"$facet": facets}]


def collections_pipeline(counted: Pipeline) -> Pipeline:
    """Numbers by collection; `_id` is the namespace."""
    return [
        *counted,
        {"$group": {"_id": {"namespace": "$namespace", "id": "$document_id"}, **_SUMS}},
        {"$group": {"_id": "$_id.namespace", "documents": _DOCUMENTS, **_SUMS}},
        {"$sort": {"_id": 1}},
    ]


def days_pipeline(counted: Pipeline, zone: str) -> Pipeline:
    """Numbers by day and collection; `_id` has `day`, the moment it begins, and `namespace`."""
    day = {"$dateTrunc": {"date": "$when", "unit": "day", "timezone": zone}}
    return [
        *counted,
        {"$group": {"_id": {"day": day, "namespace": "$namespace", "id": "$document_id"}, **_SUMS}},
        {"$group": {"_id": {"day": "$_id.day", "namespace": "$_id.namespace"}, "documents": _DOCUMENTS, **_SUMS}},
        {"$sort": {"_id": 1}},
    ]


def documents_pipeline(counted: Pipeline, top: int) -> Pipeline:
    """The documents with the most events; `_id` has `namespace` and `id`."""
    return [
        *counted,
        {"$match": {"document_id": {"$exists": True}}},
        {"$group": {"_id": {"namespace": "$namespace", "id": "$document_id"}, **_SUMS}},
        {"$sort": {"events": -1, "changes": -1, "_id": 1}},
        {"$limit": top},
    ]


def fields_pipeline(selected: Pipeline, top: int) -> Pipeline:
    """The fields with the most changes; `_id` has `namespace` and `field`, without indexes."""
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
    """The path of a change as `bson.paths.pattern` writes it: by `path` if there is one, else by the rule."""
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
