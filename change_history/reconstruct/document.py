"""Reconstruct one document at a position in history, reading backwards from there.

What is usually needed is read ahead in one round trip: its last entries, its last snapshot, and what else the answer
depends on. Anything beyond that is read separately.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.equality import key_of
from change_history.reconstruct import fold, snapshots, trust
from change_history.reconstruct.entries import (
    Reconstructed,
    fields_of,
    find,
    follow,
    only_rejected,
    ordered,
    steps,
    unless_rejected,
)
from change_history.reconstruct.horizon import Horizon, horizon_of, horizon_read
from change_history.reconstruct.lineage import Boundary, boundary_of, boundary_reads, lineage_of
from change_history.reconstruct.reads import Read, is_id, read_together
from change_history.stored.names import HISTORY
from change_history.stored.order import position_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from change_history.reconstruct.lineage import Incarnation
    from change_history.stored.order import HistoryPosition

    Fields = dict[bytes, raw.Value]

_ENTRIES = 33
"""Entries to read ahead: a snapshot is due every 32 entries."""

_GAPS = 100
"""Most gaps to read ahead. If there are more, all are read separately."""


class Prefetched(NamedTuple):
    """What has been read ahead of a document up to a position.

    Attributes:
        document_id: its `_id`.
        boundary: the result of `change_history.reconstruct.last_boundary` for the position.
        entries: its last entries, newest first, as stored; some may be at the position's cluster time or after it.
        complete: whether `entries` are all there are.
        snapshot: the last one, which may also be after the position; None: there is none.
        rejected: the events that are only in `rejected` and may concern it.
        horizon: up to where its history has expired; None: nothing has, or it was not requested.
        gaps: all gaps, as stored; None: not requested, or too many.
    """

    namespace: str
    document_id: raw.Value
    boundary: Boundary | None
    entries: list[RawBSONDocument]
    complete: bool
    snapshot: snapshots.Snapshot | None
    rejected: trust.RejectedConcerns
    horizon: Horizon | None = None
    gaps: list[RawBSONDocument] | None = None

    def entry(self, event_id: bytes) -> RawBSONDocument | None:
        """The entry with this `_id`, as stored; None: it has not been read ahead."""
        return next((stored for stored in self.entries if bytes(stored.raw)[_ID] == event_id), None)

    def number(self, position: HistoryPosition) -> int | None:
        """The version number of the entry at a position; None: not all entries before it have been read."""
        if not self.complete:
            return None
        return sum(position_of(raw.fields(bytes(stored.raw))) <= position for stored in self.entries)


def read_ahead(
    database: Database[Any],
    namespace: str,
    document_id: raw.Value,
    until: HistoryPosition,
    asked: tuple[Boundary | None] | None = None,
    *,
    with_horizon: bool = False,
    with_gaps: bool = False,
) -> Prefetched:
    """Read, in one round trip, what reconstructing a document usually needs.

    Args:
        asked: the result of `change_history.reconstruct.last_boundary` for the position, if known already.
    """
    upto = {"$lte": Binary(until.last_id)}
    query = {"namespace": namespace, "document_id": is_id(document_id), "_id": upto}
    of_rejected = trust.rejected_read([namespace], document_id)
    reads = [
        of_rejected,  # first: an event moved into history meanwhile is then seen in at least one of the two
        *(boundary_reads(namespace, until) if asked is None else ()),
        *((horizon_read(namespace),) if with_horizon else ()),
        *((Read(HISTORY, {"operation": "gap"}, {"_id": 1}, _GAPS),) if with_gaps else ()),
        snapshots.latest_read(namespace, document_id, upto),
        Read(HISTORY, query, {"namespace": -1, "document_id": -1, "_id": -1}, _ENTRIES),
    ]
    rejected, *boundaries, kept, entries = read_together(database, reads, {"_id": 1})
    gaps = boundaries.pop() if with_gaps else None
    hidden = boundaries.pop() if with_horizon else []
    return Prefetched(
        namespace,
        document_id,
        asked[0] if asked is not None else boundary_of((event for found in boundaries for event in found), namespace),
        entries,
        len(entries) < _ENTRIES,
        snapshots.read(raw.fields(bytes(kept[0].raw))) if kept else None,
        trust.rejected_of(database, [namespace], of_rejected, rejected),
        horizon_of(hidden),
        gaps if gaps is not None and len(gaps) < _GAPS else None,
    )


_BATCH = 100
_ID = slice(14, 30)
"""The bytes of a 16-byte `_id` at the beginning of a BSON document."""


class ReconstructedFrom(NamedTuple):
    """A reconstructed document, and what it was reconstructed from.

    Attributes:
        reconstructed: the document; None: history has no entry of it.
        start: the snapshot that folding began with; None: none.
        entries: the entries read since `start`, newest first; without a snapshot, since the last that holds it whole.
        is_of_one_name: whether snapshot and entries are from one incarnation.
    """

    reconstructed: Reconstructed | None
    start: snapshots.Snapshot | None = None
    entries: Sequence[Fields] = ()
    is_of_one_name: bool = False


def reconstruct_one(
    database: Database[Any],
    incarnations: Iterable[Incarnation],
    document_id: raw.Value,
    *,
    from_snapshots: bool = True,
    moment: ClusterTime | None = None,
    ahead: Prefetched | None = None,
) -> ReconstructedFrom:
    """Reconstruct one document, reading backwards, no further than the last entry that holds it whole.

    Args:
        incarnations: where its entries are, newest first (`change_history.reconstruct.lineage.lineage_of`).
        from_snapshots: whether a snapshot may replace the entries before it.
        moment: cluster time up to which a missing event matters; None: the end of the newest incarnation.
        ahead: what has been read already for the newest of the incarnations.
    """
    entries: list[Fields] = []
    rejected: list[trust.RejectedConcerns] = []
    start: snapshots.Snapshot | None = None
    since = BEGINNING_OF_TIME
    for incarnation in incarnations:
        since = incarnation.since
        moment = incarnation.until.cluster_time if moment is None else moment
        # Read `rejected` first: an event moved into history meanwhile is then seen in at least one of the two.
        rejected.append(
            ahead.rejected if ahead is not None else trust.rejected(database, [incarnation.namespace], document_id)
        )
        start = _snapshot(database, incarnation, document_id, ahead) if from_snapshots else None
        found = list(
            _since_whole(_newest_first(database, incarnation, document_id, start.position if start else None, ahead))
        )
        entries += found
        ahead = None
        if start is not None or (found and _is_whole(found[-1])):
            break
    key = key_of(document_id)
    if moment is None:
        return ReconstructedFrom(None)
    if not entries and start is None:
        return ReconstructedFrom(
            next((only for each in rejected if (only := only_rejected(each, key, since, moment))), None)
        )
    known = Reconstructed(start.document, start.base, start.id, 0) if start is not None else None
    reconstructed = follow(reversed(entries), known)
    for each in rejected:
        reconstructed = unless_rejected(each, key, moment, reconstructed)
    return ReconstructedFrom(reconstructed, start, entries, len(rejected) == 1)


def _snapshot(
    database: Database[Any], incarnation: Incarnation, document_id: raw.Value, ahead: Prefetched | None
) -> snapshots.Snapshot | None:
    if ahead is None or (ahead.snapshot is not None and ahead.snapshot.position >= incarnation.until):
        return snapshots.latest(database, incarnation, document_id)
    found = ahead.snapshot
    return found if found is not None and found.position.cluster_time >= incarnation.since else None


def _newest_first(
    database: Database[Any],
    incarnation: Incarnation,
    document_id: raw.Value,
    since: HistoryPosition | None,
    ahead: Prefetched | None,
) -> Iterator[Fields]:
    bounds = incarnation if since is None else incarnation._replace(since=max(incarnation.since, since.cluster_time))
    stored = _read(database, bounds, is_id(document_id)) if ahead is None else _continued(database, bounds, ahead)
    for fields in ordered(fields_of(database, stored), incarnation.until, newest_first=True):
        if since is not None and position_of(fields) <= since:
            return
        yield fields


def _continued(database: Database[Any], incarnation: Incarnation, ahead: Prefetched) -> Iterator[RawBSONDocument]:
    """The entries of an incarnation, newest first: those read ahead, then the rest."""
    for stored in ahead.entries:
        if bytes(stored.raw)[_ID] < incarnation.since.prefix:
            return
        yield stored
    if not ahead.complete:
        yield from _read(database, incarnation, is_id(ahead.document_id), before=ahead.entries[-1]["_id"])


def _read(
    database: Database[Any], incarnation: Incarnation, condition: RawBSONDocument, before: bytes | None = None
) -> Iterator[RawBSONDocument]:
    with find(database, incarnation, condition, before).sort("_id", -1) as cursor:
        cursor.batch_size(_BATCH)
        yield from cursor


def _since_whole(newest_first: Iterable[Fields]) -> Iterator[Fields]:
    for fields in newest_first:
        yield fields
        if _is_whole(fields):
            return


def _is_whole(fields: Fields) -> bool:
    # Decoding the changes of an update takes time, and it is never whole.
    return raw.text_of(fields[b"operation"]) != b"update" and fold.tells_all(fold.read_fields(fields))


def states_of(
    database: Database[Any], namespace: str, document_id: raw.Value, entries: Iterator[Fields]
) -> Iterator[Reconstructed]:
    """Yield the document after each of its entries under one name, without using snapshots.

    Args:
        entries: at least one, oldest first.
    """
    first = next(entries)
    known = None
    if not fold.tells_all(fold.read_fields(first)):  # the document may have come from another name by a rename
        before = lineage_of(database, namespace, position_of(first))
        known = reconstruct_one(database, before, document_id, from_snapshots=False).reconstructed
    yield from steps(chain([first], entries), known)
