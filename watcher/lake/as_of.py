"""Reconstructs a document from a table alone; also before the horizon, where history itself has expired."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from bson import Timestamp

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.bson.values import to_raw
from change_history.reconstruct.entries import follow
from change_history.stored.order import position_of
from watcher.lake import ids
from watcher.lake.table import LakeError, quoted

if TYPE_CHECKING:
    from change_history.reconstruct.entries import Reconstructed
    from change_history.reconstruct.point_in_time import Instant
    from watcher.lake.table import LakeTable


def reconstruct(table: LakeTable, namespace: str, document_id: Any, at: Instant | None) -> Reconstructed | None:
    """Reconstruct a document; None: the table has no entry of it up to then.

    Only entries under this namespace are used, not those from before a rename.

    Args:
        at: an aware wall time or a cluster time, inclusive; None: the end of the table.

    Raises:
        LakeError: there is no table.
        watcher.lake.table.StoreError: the store does not reply.
    """
    if not table.exists:
        raise LakeError(f"there is no table in {table.uri}; `watcher lake once --to {table.uri}` makes one.")
    raw_id = to_raw(document_id)
    wanted = key_of(raw_id)
    among = ids.texts(table, namespace, lambda each: key_of(each) == wanted, ids.may_equal(raw_id))
    if not among:
        return None
    conditions = [
        "ordinal = 0 AND entry IS NOT NULL",
        f"namespace = {quoted(namespace)}",
        f"document_id IN ({', '.join(map(quoted, among))})",
        *_until(at),
    ]
    found = [raw.fields(row["entry"]) for row in table.select(["entry"], " AND ".join(conditions))]
    return follow(sorted(found, key=position_of)) if found else None


def _until(at: Instant | None) -> list[str]:
    if at is None:
        return []
    if isinstance(at, Timestamp):
        return [f"event <= X'{ClusterTime.of(at).last_id.hex()}'"]
    moment = at.astimezone(UTC)
    written = moment.isoformat(timespec="milliseconds")
    return [f"day <= '{moment.date()}'", f"timestamp <= TIMESTAMP '{written}'"]
