"""How history is read: documents by raw `_id`s, and several small reads in one round trip.

A round trip, even to a server on the same machine, takes longer than the index look-ups it carries, so reads are
combined by `$unionWith`. A hint is possible only for the first read. Each of the others requests so few documents, in
the order of one index, that in the server's trial of plans the one by this index finishes first.
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
    """The condition on `document_id` that matches any of these documents."""
    condition = [(b"$in", (raw.ARRAY, raw.from_items(ids))), (b"$exists", (raw.BOOLEAN, b"\x01"))]
    return RawBSONDocument(raw.from_fields(condition))


_BRANCH = "_branch"
_MARK = b"\x10" + _BRANCH.encode() + b"\x00"
_NUMBER_SIZE = 5
"""Bytes of an int32 and the terminator of the document."""
_MARK_SIZE = len(_MARK) + _NUMBER_SIZE


class Read(NamedTuple):
    """One query.

    Attributes:
        fields: the projection; None: whole documents.
    """

    collection: str
    query: dict[str, Any]
    order: dict[str, int]
    limit: int
    fields: dict[str, int] | None = None


def read_together(database: Database[Any], reads: Sequence[Read], hint: dict[str, int]) -> list[list[RawBSONDocument]]:
    """Run several queries in one round trip, and return the results of each.

    Args:
        reads: the queries, at least one. Documents of the last may be of any size; those of the others get one more
            field.
        hint: the index of the first query.
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
    """The number that a branch has appended to its documents; -1 for the last branch, which appends none."""
    if document[-_MARK_SIZE:-_NUMBER_SIZE] != _MARK:
        return -1
    return int.from_bytes(document[-_NUMBER_SIZE:-1], "little")


def _stages(read: Read) -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = [{"$match": read.query}, {"$sort": read.order}, {"$limit": read.limit}]
    return stages if read.fields is None else [*stages, {"$project": read.fields}]
