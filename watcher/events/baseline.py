"""Entries of a document's state: when watching began, or when history was reconciled after a gap.

Such an entry's place in history is the cluster time of the snapshot that it was read from, before all later events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import raw
from change_history.diff.images import diff
from change_history.stored import changes
from change_history.stored.changes import HISTORY, UNKNOWN, Change
from change_history.stored.order import entry_id

if TYPE_CHECKING:
    from change_history.bson.cluster_time import ClusterTime


class SnapshotRead(NamedTuple):
    """When a snapshot read was made.

    Attributes:
        cluster_time: when the documents were read.
        read_at: the wall time of the read, as the payload of a BSON date.
    """

    cluster_time: ClusterTime
    read_at: bytes


def baseline(namespace: bytes, document: bytes, snapshot: SnapshotRead) -> bytes:
    """The history document of a document that existed when watching began.

    Raises:
        KeyError: the document has no `_id`.
    """
    whole = [Change((key,), None, (kind, payload)) for key, kind, payload in raw.elements(document)]
    return _entry(b"baseline", namespace, raw.fields(document)[b"_id"], whole, None, snapshot)


def reconcile(
    namespace: bytes, document_id: raw.Value, known: bytes | None, found: bytes | None, snapshot: SnapshotRead
) -> bytes | None:
    """The history document that reconciles history with a document's state after a gap.

    Args:
        document_id: `_id` of the document.
        known: the document before the gap, from history; None: it did not exist.
        found: the document now; None: it does not exist.
        snapshot: when it was read.

    Returns:
        The history document, whose old values are those of `known`; None: history has the same state already.
    """
    if known == found:
        return None
    order = None
    if found is None:
        before = raw.elements(known or raw.EMPTY_DOCUMENT)
        changed = [Change((key,), (kind, payload), None, HISTORY) for key, kind, payload in before]
    elif known is None:
        changed = [Change((key,), None, (kind, payload)) for key, kind, payload in raw.elements(found)]
    else:
        differing, order = diff(known, found)
        changed = [change._replace(old_from=HISTORY) for change in differing]
    return _entry(b"reconcile", namespace, document_id, changed, order, snapshot)


def replaced(namespace: bytes, document_id: raw.Value, found: bytes | None, snapshot: SnapshotRead) -> bytes:
    """The history document for a document whose state in history is unknown; its old values are unknown."""
    document = found if found is not None else raw.from_fields([(b"_id", document_id)])
    changed = [
        Change((key,), None, (kind, payload) if found is not None else None, UNKNOWN)
        for key, kind, payload in raw.elements(document)
    ]
    return _entry(b"reconcile", namespace, document_id, changed, None, snapshot)


def _entry(
    operation: bytes,
    namespace: bytes,
    document_id: raw.Value,
    changed: list[Change],
    key_order: list[bytes] | None,
    snapshot: SnapshotRead,
) -> bytes:
    identity = entry_id(snapshot.cluster_time, operation, namespace, document_id)
    contents = [
        (b"_id", (raw.BINARY, raw.int32(16) + b"\x00" + identity)),
        (b"namespace", (raw.STRING, raw.string(namespace))),
        (b"document_id", document_id),
        (b"operation", (raw.STRING, raw.string(operation))),
        (b"timestamp", (raw.DATE, snapshot.read_at)),
        (b"cluster_time", (raw.TIMESTAMP, snapshot.cluster_time.payload)),
        (b"changes", (raw.ARRAY, raw.from_items([(raw.DOCUMENT, changes.encode(change)) for change in changed]))),
    ]
    if key_order is not None:
        keys = raw.from_items([(raw.STRING, raw.string(key)) for key in key_order])
        contents.append((b"key_order", (raw.ARRAY, keys)))
    return raw.from_fields(contents)
