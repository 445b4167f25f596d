"""What is different between two moments of a collection: its documents one after the other, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.bson.values import to_python
from change_history.reconstruct import trust
from change_history.reconstruct.collection import folded, reconstruct_all
from change_history.reconstruct.entries import only_rejected, reconstruct_many, unless_rejected
from change_history.reconstruct.trust import Unknown
from change_history.stored.names import HISTORY, NAMESPACE_TIMELINE
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.bson.raw import Value
    from change_history.reconstruct.collection import CollectionState
    from change_history.reconstruct.entries import Reconstructed

_AT_ONCE = 1000
"""Most documents requested in one query; the results are streamed."""

_MOST_BYTES = 1024 * 1024
"""Bytes of ids in one query, above which no more are added."""


class Changed(NamedTuple):
    """A document that differs between two points in time, or may: history cannot tell.

    Attributes:
        before: its BSON at the first moment; None: it did not exist, or is unknown.
        after: likewise at the second.
        unknown: why one of the two is unknown; None: both are known.
    """

    raw_id: Value
    before: bytes | None
    after: bytes | None
    unknown: str | None

    @property
    def document_id(self) -> Any:
        """Its `_id`, exact (see `change_history.bson.values.to_python`)."""
        return to_python(self.raw_id)


def changed(database: Database[Any], before: CollectionState, after: CollectionState) -> Iterator[Changed]:
    """Yield the documents that differ between two moments, in the server's order of `_id`s.

    Where the collection was neither dropped nor renamed in between, only documents with an entry in between are
    reconstructed, which the index yields. Otherwise all documents are.

    Args:
        before: the collection at the first moment.
        after: the collection at the second moment, which may also be the earlier one.
    """
    if before.position > after.position:
        turned = changed(database, after, before)
        return (item._replace(before=item.after, after=item.before) for item in turned)
    if before.lineage.newest[:2] == after.lineage.newest[:2]:
        found = _between(database, before, after)
    else:
        cuts = [list(before.lineage), list(after.lineage)]
        found = (
            (document_id, one, other)
            for document_id, (one, other) in reconstruct_all(database, cuts, [before.moment, after.moment])
        )
    return (item for pair in found if (item := _changed(*pair)) is not None)


def _changed(document_id: Value, before: Reconstructed | None, after: Reconstructed | None) -> Changed | None:
    one, other = (state.document if state is not None else None for state in (before, after))
    if one == other and not isinstance(one, Unknown):
        return None
    if before is not None and after is not None and before.last == after.last:
        return None  # unknown, but nothing happened in between
    reasons = [state.reason for state in (one, other) if isinstance(state, Unknown)]
    return Changed(
        document_id,
        one if isinstance(one, bytes) else None,
        other if isinstance(other, bytes) else None,
        reasons[0] if reasons else None,
    )


def _between(
    database: Database[Any], before: CollectionState, after: CollectionState
) -> Iterator[tuple[Value, Reconstructed | None, Reconstructed | None]]:
    cuts = [list(before.lineage), list(after.lineage)]
    rejected = trust.rejected(database, sorted({incarnation.namespace for incarnation in after.lineage}))
    only = {key_of(each): each for each in rejected.documents(before.moment.just_after, after.moment)}
    with ids_between(database, before, after) as cursor:
        ids = (each for found in cursor for each in _ids_of(found))
        while some := _some(ids):
            names = {key_of(each): each for each in some}
            for key, _, (known, later) in folded(database, cuts, some):
                if later is None or (known is not None and known.last == later.last):
                    continue  # nothing happened in between
                only.pop(key, None)
                yield (
                    names[key],
                    unless_rejected(rejected, key, before.moment, known) if known is not None else None,
                    unless_rejected(rejected, key, after.moment, later),
                )
    known_before = reconstruct_many(database, before.lineage, list(only.values()), before.moment) if only else {}
    for key, document_id in only.items():
        yield (
            document_id,
            known_before.get(key),
            only_rejected(rejected, key, before.moment.just_after, after.moment),
        )


def _some(ids: Iterator[Value]) -> list[Value]:
    """Take the next ids, as many as fit in one query."""
    found: list[Value] = []
    size = 0
    while len(found) < _AT_ONCE and size < _MOST_BYTES and (one := next(ids, None)) is not None:
        found.append(one)
        size += len(one[1])
    return found


def ids_between(database: Database[Any], before: CollectionState, after: CollectionState) -> Any:
    """Open a cursor over the ids of the documents that have an entry between two moments, in their order.

    They are read from the namespace timeline index. Only these ids are sorted, on the server, which may spill to disk.
    """
    ids = {"$gte": Binary(before.position.cluster_time.first_id), "$lte": Binary(after.position.last_id)}
    stages: list[dict[str, Any]] = [
        {"$match": {"namespace": after.namespace, "_id": ids, "document_id": {"$exists": True}}},
        {"$group": {"_id": "$document_id"}},
        {"$sort": {"_id": 1}},
    ]
    history = database.get_collection(HISTORY, codec_options=RAW)
    return history.aggregate(stages, hint=dict(NAMESPACE_TIMELINE), allowDiskUse=True)


def _ids_of(group: RawBSONDocument) -> Iterator[Value]:
    """The ids that a group may stand for: MongoDB 6.0 returns MinKey as `{"": MinKey()}`, and MaxKey likewise."""
    document_id = raw.fields(bytes(group.raw))[b"_id"]
    if document_id[0] == raw.DOCUMENT:
        for key, kind, payload in raw.elements(document_id[1]):
            if not key and kind in {raw.MIN_KEY, raw.MAX_KEY}:
                yield kind, payload
    yield document_id
