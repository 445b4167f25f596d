"""Snapshots: whole states of long-lived documents, so that only the entries since then need folding.

A snapshot is redundant: it can be deleted, and made again from history. An entry that is stored late, before others
that are there already, makes the snapshots after it wrong; the code that stores it deletes them (`forget`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary
from pymongo import DeleteMany, WriteConcern

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.fold import PARTIAL
from change_history.reconstruct.reads import Read, in_ids, is_id
from change_history.stored.names import DOCUMENT_TIMELINE, SNAPSHOTS
from change_history.stored.order import HistoryPosition, identity, position_of
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo.database import Database

    from change_history.reconstruct.lineage import Incarnation

TIMELINE_NAME = "document_timeline"

_MAJORITY = WriteConcern("majority")


class Snapshot(NamedTuple):
    """A document after one of its entries.

    Attributes:
        document: its bytes.
        base: `_id` of the entry that last held it whole, 16 bytes.
        id: `_id` of the entry, 16 bytes.
        position: that of the entry.
        since: `_id` of the entry of the snapshot before, 16 bytes; empty: what changed since then is not recorded.
        changed: the dotted paths that the entries since then have changed, sorted, with a NUL between two.
    """

    document: bytes
    base: bytes
    id: bytes
    position: HistoryPosition
    since: bytes = b""
    changed: bytes = b""


def latest(database: Database[Any], incarnation: Incarnation, document_id: raw.Value) -> Snapshot | None:
    """The last snapshot of a document within an incarnation; None: there is none."""
    query = latest_read(incarnation.namespace, document_id, incarnation.ids()).query
    snapshots = database.get_collection(SNAPSHOTS, codec_options=RAW)
    for newest in snapshots.find(query, sort=[("_id", -1)], hint=DOCUMENT_TIMELINE, limit=1):
        start = read(raw.fields(bytes(newest.raw)))
        if start is None or start.position < incarnation.until:
            return start
        # It is at the incarnation's last cluster time, but after its end; within a cluster time, ids have no order.
        for stored in snapshots.find(query, sort=[("_id", -1)], hint=DOCUMENT_TIMELINE):
            start = read(raw.fields(bytes(stored.raw)))
            if start is not None and start.position < incarnation.until:
                return start
    return None


def latest_read(namespace: str, document_id: raw.Value, ids: dict[str, Any]) -> Read:
    """The read of the last snapshot of a document within a range of ids."""
    query = {"namespace": namespace, "document_id": is_id(document_id), "_id": ids, "document": {"$exists": True}}
    return Read(SNAPSHOTS, query, {"namespace": -1, "document_id": -1, "_id": -1}, 1)


def read(fields: dict[bytes, raw.Value]) -> Snapshot | None:
    """Decode a stored snapshot, given as its top-level fields; None: it is only a claim, without a state yet."""
    if b"document" not in fields:
        return None
    since, changed = changed_since(fields) or (b"", b"")
    return Snapshot(
        fields[b"document"][1], fields[b"base"][1][5:], identity(fields), position_of(fields), since, changed
    )


def changed_since(fields: dict[bytes, raw.Value]) -> tuple[bytes, bytes] | None:
    """`since` and `changed` of a stored snapshot, given as its top-level fields; None: it does not have them."""
    if b"since" not in fields or b"changed" not in fields:
        return None
    return fields[b"since"][1][5:], fields[b"changed"][1][5:]


MOST_CHANGED = 16 * 1024
"""Bytes of the changed paths that a snapshot holds, at most."""


def changed_by(entries: Iterable[dict[bytes, raw.Value]]) -> bytes | None:
    """The dotted paths that entries of a document change, sorted and joined by NUL as in a snapshot.

    Args:
        entries: stored history documents, as their top-level fields.

    Returns:
        None: they are too many, or an entry may hold the document whole, or have ended it.
    """
    paths: set[bytes] = set()
    for fields in entries:
        if raw.text_of(fields[b"operation"]) not in PARTIAL or b"changes" not in fields:
            return None
        paths.update(raw.text_of(raw.fields(change)[b"field"]) for _, change in raw.items(fields[b"changes"][1]))
    told = b"\0".join(sorted(paths))
    return told if paths and b"_id" not in paths and len(told) <= MOST_CHANGED else None


def written(
    entry: dict[bytes, raw.Value], document: bytes, base: bytes, changed: tuple[bytes, bytes] | None = None
) -> bytes:
    """Encode a snapshot as `models.SnapshotModel` would.

    Args:
        entry: top-level fields of the entry that the snapshot follows.
    """
    contents = [(name, entry[name]) for name in (b"_id", b"namespace", b"document_id")]
    contents.append((b"base", raw.binary(base)))
    if b"resume_token" in entry:
        contents.append((b"resume_token", entry[b"resume_token"]))
    if changed is not None:
        contents += [(b"since", raw.binary(changed[0])), (b"changed", raw.binary(changed[1]))]
    return raw.from_fields([*contents, (b"document", (raw.DOCUMENT, document))])


def forget(database: Database[Any], late: Iterable[bytes]) -> None:
    """Delete the snapshots that entries stored late have made wrong. Call it once the entries are stored.

    Args:
        late: the entries, as stored history documents. One that is about no document may concern any.

    Raises:
        pymongo.errors.PyMongoError: it is not acknowledged by a majority; safe to repeat.
    """
    documents: dict[tuple[bytes, ClusterTime], list[raw.Value]] = {}
    everything: list[ClusterTime] = []
    for entry in late:
        fields = raw.fields(entry)
        time = ClusterTime.from_id(identity(fields))
        if b"document_id" in fields:
            documents.setdefault((raw.text_of(fields[b"namespace"]), time), []).append(fields[b"document_id"])
        else:
            everything.append(time)
    wrong: list[dict[str, Any]] = [
        {
            "namespace": namespace.decode("utf-8", "surrogateescape"),
            "document_id": in_ids(ids),
            "_id": _from(time),
        }
        for (namespace, time), ids in documents.items()
    ]
    if everything:
        wrong.append({"_id": _from(min(everything))})
    if wrong:
        database.get_collection(SNAPSHOTS, write_concern=_MAJORITY).bulk_write([DeleteMany(query) for query in wrong])


def forget_since(database: Database[Any], time: ClusterTime) -> None:
    """Delete every snapshot from a cluster time on."""
    database.get_collection(SNAPSHOTS, write_concern=_MAJORITY).delete_many({"_id": _from(time)})


def _from(time: ClusterTime) -> dict[str, Any]:
    return {"$gte": Binary(time.first_id)}
