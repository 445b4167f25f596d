"""What telling one document most often needs, read in one round trip.

Its last entries, its last snapshot, and what the answer depends on besides. What it needs beyond that is read as if
nothing had been read ahead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson import raw
from change_history.reconstruct import holes, lives, snapshots
from change_history.reconstruct.ids import is_id
from change_history.reconstruct.together import Read, together
from change_history.stored.names import HISTORY

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.reconstruct.places import Place

_ENTRIES = 33
"""A snapshot is due every 32 entries."""


class Ahead(NamedTuple):
    """What has been read of a document up to a place.

    Attributes:
        namespace: `db.coll`, under which it was looked for.
        document_id: its `_id`.
        turn: what `change_history.reconstruct.lives.last_turn` says of the place.
        entries: its last entries, newest first, as stored; some may lie at the cluster time of the place and after it.
        complete: whether there are no earlier ones.
        snapshot: the last one; it too may lie after the place.
        rejected: the events of the namespace that are only in `rejected`.
    """

    namespace: str
    document_id: raw.Value
    turn: lives.Turn | None
    entries: list[RawBSONDocument]
    complete: bool
    snapshot: snapshots.Start | None
    rejected: holes.Rejected


def read_ahead(
    database: Database[Any],
    namespace: str,
    document_id: raw.Value,
    until: Place,
    asked: tuple[lives.Turn | None] | None = None,
) -> Ahead:
    """Read what telling a document most often needs.

    Args:
        database: the history database.
        namespace: `db.coll`.
        document_id: its `_id`.
        until: the place.
        asked: what `change_history.reconstruct.lives.last_turn` has said of the place already.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    upto = {"$lte": Binary(until.last_id)}
    query = {"namespace": namespace, "document_id": is_id(document_id), "_id": upto}
    reads = [
        holes.rejected_read([namespace]),  # first: one that is brought into history meanwhile is here or there
        *(lives.turn_reads(namespace, until) if asked is None else ()),
        snapshots.latest_read(namespace, document_id, upto),
        Read(HISTORY, query, {"namespace": -1, "document_id": -1, "_id": -1}, _ENTRIES),
    ]
    rejected, *turns, kept, entries = together(database, reads, {"_id": 1})
    return Ahead(
        namespace,
        document_id,
        asked[0] if asked is not None else lives.turn_of((event for found in turns for event in found), namespace),
        entries,
        len(entries) < _ENTRIES,
        snapshots.read(raw.fields(bytes(kept[0].raw))) if kept else None,
        holes.Rejected(rejected),
    )
