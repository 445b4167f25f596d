"""How history is asked: for documents by raw `_id`s, and several small reads in one round trip.

A round trip, even to a server on the same machine, takes longer than what an index answers in it: `$unionWith`.
No index can be named for any read but the first. Each of the others asks for so few documents, in the order of one
index, that the plan by this one has ended before the server, which tries several, has got anywhere with another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.values import to_raw
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.collection import Collection
    from pymongo.database import Database


def is_id(document_id: raw.Value) -> RawBSONDocument:
    """The condition on `document_id` that matches one document; a null id does not match entries without an id."""
    condition = [(b"$eq", document_id)]
    if document_id[0] in {raw.NULL, raw.UNDEFINED}:
        condition.append((b"$exists", (raw.BOOLEAN, b"\x01")))
    return RawBSONDocument(raw.from_fields(condition))


def in_ids(ids: Sequence[raw.Value]) -> RawBSONDocument:
    """The condition on `document_id` that means any of these documents."""
    condition = [(b"$in", (raw.ARRAY, raw.from_items(ids))), (b"$exists", (raw.BOOLEAN, b"\x01"))]
    return RawBSONDocument(raw.from_fields(condition))


_BRANCH = "_branch"
_MARK = b"\x10" + _BRANCH.encode() + b"\x00"
_NUMBER_SIZE = 5
"""An int32, and the end of the document."""
_MARK_SIZE = len(_MARK) + _NUMBER_SIZE


class Read(NamedTuple):
    """One read.

    Attributes:
        fields: the projection; None: whole documents.
    """

    collection: str
    query: dict[str, Any]
    order: dict[str, int]
    limit: int
    fields: dict[str, int] | None = None


def read_together(database: Database[Any], reads: Sequence[Read], hint: dict[str, int]) -> list[list[RawBSONDocument]]:
    """Read what several queries find, one after the other.

    Args:
        reads: the queries, at least one. Documents of the last may be as large as any; those of the others come with
            one more field.
        hint: the index of the first.
    """
    *others, last = [[*_stages(read)] for read in reads]
    branches = [*([*stages, {"$addFields": {_BRANCH: number}}] for number, stages in enumerate(others)), last]
    pipeline = branches[0]
    for read, stages in zip(reads[1:], branches[1:], strict=True):
        pipeline.append({"$unionWith": {"coll": read.collection, "pipeline": stages}})
    found: list[list[RawBSONDocument]] = [[] for _ in reads]
    for document in _results(database.get_collection(reads[0].collection, codec_options=RAW), pipeline, hint):
        found[_branch_of(bytes(document.raw))].append(document)
    return found


def _results(
    collection: Collection[RawBSONDocument], pipeline: list[dict[str, Any]], hint: dict[str, int]
) -> list[RawBSONDocument]:
    try:
        return list(collection.aggregate(pipeline, hint=hint))
    except UnicodeEncodeError:  # the driver refuses a name that is not UTF-8
        return list(collection.aggregate([RawBSONDocument(to_raw(stage)[1]) for stage in pipeline], hint=hint))


def _branch_of(document: bytes) -> int:
    """The number that a branch has put at the end of its documents; the last branch, -1, puts none."""
    if document[-_MARK_SIZE:-_NUMBER_SIZE] != _MARK:
        return -1
    return int.from_bytes(document[-_NUMBER_SIZE:-1], "little")


def _stages(read: Read) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = [{"$match": read.query}, {"$sort": read.order}, {"$limit": read.limit}]
    return stages if read.fields is None else [*stages, {"$project": read.fields}]
