"""What the stream has recorded between two moments: whether a document can still be what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Binary

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.reconstruct import holes, lives
from change_history.reconstruct.belief import just_before
from change_history.reconstruct.ids import in_ids
from change_history.reconstruct.places import after, sortable
from change_history.stored.names import HISTORY
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bson import Timestamp
    from pymongo.database import Database

_LAST = b"\xff" * 8


def touched(
    database: Database[Any], namespace: str, ids: Sequence[raw.Value], since: Timestamp, until: Timestamp
) -> set[raw.Value]:
    """Which documents something may have happened to after one moment and up to another.

    The stream must have been recorded up to the second. All of them, if the collection was dropped, renamed or replaced
    in between, or an event of it was rejected.

    Args:
        database: the history database.
        namespace: `db.coll`.
        ids: `_id` values.
        since: this moment itself does not count.
        until: this moment itself counts.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    first, last = sortable(since), sortable(until)
    if last <= first or not ids:
        return set()
    if turned(database, namespace, since, until) or holes.rejected(database, [namespace]).between(first, last):
        return set(ids)
    query = {
        "namespace": namespace,
        "document_id": in_ids(ids),
        "_id": {"$gt": Binary(first + _LAST), "$lte": Binary(last + _LAST)},
    }
    history = database.get_collection(HISTORY, codec_options=RAW)
    with history.find(query, {"document_id": 1, "_id": 0}, hint=lives.TIMELINE) as cursor:
        recorded = {key_of(raw.fields(bytes(found.raw))[b"document_id"]) for found in cursor}
    return {key for key in ids if key_of(key) in recorded}


def turned(database: Database[Any], namespace: str, since: Timestamp, until: Timestamp) -> bool:
    """Whether a collection was dropped, renamed or replaced after one moment and up to another.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    turn = lives.last_turn(database, namespace, after(until))
    return turn is not None and turn.id > sortable(since) + _LAST


def lost(database: Database[Any], namespace: str, since: Timestamp, until: Timestamp) -> bool:
    """Whether events of a collection may have been lost after one moment and up to another.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    first, last = sortable(since), sortable(until)
    # A stream that goes on at a moment delivers what happens at that moment.
    return last > first and any(
        hole.since < last and first < just_before(hole.until) for hole in holes.gaps(database, namespace)
    )
