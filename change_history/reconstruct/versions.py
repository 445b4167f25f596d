"""Versions of a document: its recorded entries, numbered from 1 in the order in which `watcher log NS ID` shows them.

They are counted under one name: a document that a rename brought from another collection has its earlier ones there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Binary

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.ids import is_id
from change_history.reconstruct.places import identity, place_of
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.reconstruct.places import Place

    Fields = dict[bytes, raw.Value]

_PLACE = {"_id": 1, "resume_token": 1}


class NoSuchVersionError(LookupError):
    """The document has no version of this number; the message says how many it has.

    Attributes:
        count: how many it has.
    """

    def __init__(self, number: int, count: int) -> None:
        super().__init__(_none_of(number, count))
        self.count = count


class Versions:
    """The versions of one document. All questions are answered from the index of documents' timelines.

    Args:
        database: the history database.
        namespace: `db.coll`.
        document_id: its `_id`.
    """

    def __init__(self, database: Database[Any], namespace: str, document_id: raw.Value) -> None:
        self._history = database.get_collection(HISTORY, codec_options=RAW)
        self._query: dict[str, Any] = {"namespace": namespace, "document_id": is_id(document_id)}

    def place(self, number: int) -> Place:
        """Where a version stands.

        Args:
            number: 1 is the oldest, -1 the newest.

        Raises:
            NoSuchVersionError: there is none of this number.
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        direction = 1 if number > 0 else -1
        rank = abs(number) - 1
        found = list(self._find({}, {"_id": 1}, direction, skip=rank, limit=1)) if number else []
        if not found:
            raise NoSuchVersionError(number, self.count())
        cluster_time = ClusterTime.from_id(identity(found[0]))
        same_time = list(self._find(_at(cluster_time), _PLACE, direction))
        before = rank - [identity(fields) for fields in same_time].index(identity(found[0]))
        return sorted(map(place_of, same_time), reverse=direction < 0)[rank - before]

    def number(self, place: Place) -> int:
        """Which version the entry at a place is. Raises as `count` does."""
        older = self._count({"$lt": Binary(place.cluster_time.first_id)})
        return older + sum(place_of(fields) <= place for fields in self._find(_at(place.cluster_time), _PLACE, 1))

    def count(self) -> int:
        """How many there are.

        Raises:
            pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
        """
        return self._count(None)

    def first_from(self, place: Place) -> RawBSONDocument | None:
        """The first entry at a place or after it; it may be the head of a large one. Raises as `count` does."""
        query = {**self._query, "_id": {"$gte": Binary(place.cluster_time.first_id)}}
        first: tuple[Place, RawBSONDocument] | None = None
        found: RawBSONDocument
        for found in self._history.find(query, sort=[("_id", 1)], hint=DOCUMENT_TIMELINE):
            at = place_of(raw.fields(bytes(found.raw)))
            if first is not None and at.cluster_time > first[0].cluster_time:
                break
            if at >= place and (first is None or at < first[0]):  # within a cluster time, `_id` has another order
                first = at, found
        return first[1] if first is not None else None

    def _count(self, ids: dict[str, Any] | None) -> int:
        query = {**self._query, "_id": ids} if ids is not None else self._query
        return self._history.count_documents(query, hint=DOCUMENT_TIMELINE)

    def _find(self, more: dict[str, Any], fields: dict[str, int], direction: int, **options: Any) -> Iterator[Fields]:
        found = self._history.find(
            {**self._query, **more}, fields, sort=[("_id", direction)], hint=DOCUMENT_TIMELINE, **options
        )
        return (raw.fields(bytes(stored.raw)) for stored in found)


def _at(time: ClusterTime) -> dict[str, Any]:
    return {"_id": {"$gte": Binary(time.first_id), "$lte": Binary(time.last_id)}}


def _none_of(number: int, count: int) -> str:
    if not count:
        return "no version of it is recorded"
    if not number:
        return f"versions are counted from 1 to {count}, or from -1 to -{count} from the newest"
    there_are = "there is 1 version" if count == 1 else f"there are {count} versions"
    return f"there is no version {number}: {there_are} of it"
