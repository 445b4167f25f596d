"""How much is recorded: of which collections, on which days, of which documents and fields. The server counts.

Everything that is recorded counts, baselines too. Bytes are those of the history documents, as BSON, before the
server compresses them, with the parts of large ones. Each answer is one pass over the events; neither side holds them
in memory, the server spills to disk what it cannot hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson.values import document_to_python
from change_history.query import stats_pipelines
from change_history.query.selection import EVERYTHING
from change_history.reconstruct import point_in_time
from change_history.stored import operations
from change_history.stored.names import NAMESPACE_TIMELINE, PARTS
from change_history.stored.reading import as_query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection

    from change_history.query.stats_pipelines import Pipeline
    from change_history.reconstruct.point_in_time import Moment


class Numbers(NamedTuple):
    """What is recorded of something.

    Attributes:
        documents: so many different ones.
        events: of them, and of collections.
        changes: fields of events.
        bytes: of history documents.
    """

    documents: int
    events: int
    changes: int
    bytes: int

    def plus(self, other: Numbers) -> Numbers:
        """Of two things together that have no document in common."""
        return Numbers(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Question:
    """What is counted.

    Attributes:
        namespace: `database.collection`; None: all that is recorded.
        since: first moment, included (see `change_history.reconstruct.point_in_time`).
        until: last moment, included.

    Raises:
        ValueError: a time without a zone.
    """

    namespace: str | None = None
    since: Moment | None = None
    until: Moment | None = None

    def __post_init__(self) -> None:
        point_in_time.require_aware(self.since)
        point_in_time.require_aware(self.until)

    @property
    def index(self) -> list[tuple[str, int]]:
        """Key of the index that answers this."""
        return EVERYTHING if self.namespace is None else NAMESPACE_TIMELINE

    def match(self) -> dict[str, Any]:
        """The conditions for the server. A gap is no event."""
        named = {"operation": {"$ne": operations.GAP}} if self.namespace is None else {"namespace": self.namespace}
        return named | point_in_time.bounds(self.since, self.until)


class Stats:
    """Counts what is recorded.

    Every method raises `pymongo.errors.PyMongoError` if the deployment does not answer, or refuses.
    """

    def __init__(self, collection: Collection[RawBSONDocument], question: Question) -> None:
        self._collection = collection
        self._question = question
        self._with_parts = collection.database.get_collection(PARTS).find_one({}, {"_id": 1}) is not None

    def by_collection(self) -> Iterator[tuple[str, Numbers]]:
        """Each namespace with its numbers, in order; a dropped database stands under its own name."""
        for row in self._rows(stats_pipelines.by_collection(self._events())):
            yield row["_id"] or "", _numbers(row)

    def by_day(self, zone: str) -> Iterator[tuple[datetime, str, Numbers]]:
        """Each day on which something was recorded, as the moment it begins, with each namespace of it; in order.

        Args:
            zone: time zone of the days, a name or an offset that the server knows.
        """
        for row in self._rows(stats_pipelines.by_day(self._events(), zone)):
            yield row["_id"]["day"], row["_id"].get("namespace", ""), _numbers(row)

    def busiest_documents(self, top: int) -> Iterator[tuple[str, Any, Numbers]]:
        """The documents with the most events: namespace and id."""
        for row in self._rows(stats_pipelines.busiest_documents(self._events(), top)):
            yield row["_id"]["namespace"], row["_id"]["id"], _numbers(row | {"documents": 1})

    def busiest_fields(self, top: int) -> Iterator[tuple[str, str, int]]:
        """The fields with the most changes: namespace, field as `event_paths.pattern` writes it, changes."""
        pipeline = stats_pipelines.busiest_fields([{"$match": self._question.match()}], top)
        for row in self._rows(pipeline):
            yield row["_id"].get("namespace", ""), row["_id"]["field"], row["changes"]

    def _events(self) -> Pipeline:
        return stats_pipelines.events(self._question.match(), with_parts=self._with_parts)

    def _rows(self, pipeline: Pipeline) -> Iterator[dict[str, Any]]:
        stages = [as_query(stage) for stage in pipeline]
        with self._collection.aggregate(stages, hint=dict(self._question.index), allowDiskUse=True) as cursor:
            for row in cursor:
                yield document_to_python(row)


def _numbers(row: dict[str, Any]) -> Numbers:
    return Numbers(*(int(row[name]) for name in Numbers._fields))
