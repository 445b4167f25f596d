"""What one document was at a place in history, read backwards from there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.reconstruct import fold, holes, snapshots
from change_history.reconstruct.ids import is_id
from change_history.reconstruct.places import place_of
from change_history.reconstruct.states import Recalled, fields_of, find, follow, ordered, unless_rejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from change_history.reconstruct.ahead import Ahead
    from change_history.reconstruct.lives import Span
    from change_history.reconstruct.places import Place

    Fields = dict[bytes, raw.Value]

_BATCH = 100
_ID = slice(14, 30)
"""Where a document that begins with an `_id` of 16 bytes has it."""


def recall_one(
    database: Database[Any],
    spans: Iterable[Span],
    document_id: raw.Value,
    *,
    from_snapshots: bool = True,
    moment: ClusterTime | None = None,
    ahead: Ahead | None = None,
) -> Recalled | None:
    """What one document was. Read backwards: no more than the entries since the last that told it whole.

    Args:
        database: the history database.
        spans: where its entries lie, newest first (`change_history.reconstruct.lives.spans`).
        document_id: its `_id`.
        from_snapshots: whether a snapshot may stand for the entries before it.
        moment: cluster time up to which no event may be missing; that of the end of the spans.
        ahead: what has been read already for the newest of the spans.

    Returns:
        None where history has no entry of it.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    entries: list[Fields] = []
    rejected: list[holes.Rejected] = []
    start: snapshots.Start | None = None
    for span in spans:
        moment = span.until.cluster_time if moment is None else moment
        # What is rejected is looked at first: an event that is brought into history meanwhile is here or there.
        rejected.append(ahead.rejected if ahead is not None else holes.rejected(database, [span.namespace]))
        start = _snapshot(database, span, document_id, ahead) if from_snapshots else None
        found = list(_since_whole(_newest_first(database, span, document_id, start.place if start else None, ahead)))
        entries += found
        ahead = None
        if start is not None or (found and _is_whole(found[-1])):
            break
    if moment is None or (not entries and start is None):
        return None
    known = Recalled(start.document, start.base, start.id, 0) if start is not None else None
    recalled = follow(reversed(entries), known)
    for each in rejected:
        recalled = unless_rejected(each, moment, recalled)
    return recalled


def _snapshot(
    database: Database[Any], span: Span, document_id: raw.Value, ahead: Ahead | None
) -> snapshots.Start | None:
    if ahead is None or (ahead.snapshot is not None and ahead.snapshot.place >= span.until):
        return snapshots.latest(database, span, document_id)
    found = ahead.snapshot
    return found if found is not None and found.place.cluster_time >= span.since else None


def _newest_first(
    database: Database[Any], span: Span, document_id: raw.Value, since: Place | None, ahead: Ahead | None
) -> Iterator[Fields]:
    bounds = span if since is None else span._replace(since=max(span.since, since.cluster_time))
    stored = _read(database, bounds, is_id(document_id)) if ahead is None else _continued(database, bounds, ahead)
    for fields in ordered(fields_of(database, stored), span.until, newest_first=True):
        if since is not None and place_of(fields) <= since:
            return
        yield fields


def _continued(database: Database[Any], span: Span, ahead: Ahead) -> Iterator[RawBSONDocument]:
    """What has been read ahead of a span, and what is before it."""
    for stored in ahead.entries:
        if bytes(stored.raw)[_ID] < span.since.prefix:
            return
        yield stored
    if not ahead.complete:
        yield from _read(database, span, is_id(ahead.document_id), before=ahead.entries[-1]["_id"])


def _read(
    database: Database[Any], span: Span, condition: RawBSONDocument, before: bytes | None = None
) -> Iterator[RawBSONDocument]:
    with find(database, span, condition, before).sort("_id", -1) as cursor:
        cursor.batch_size(_BATCH)
        yield from cursor


def _since_whole(newest_first: Iterable[Fields]) -> Iterator[Fields]:
    for fields in newest_first:
        yield fields
        if _is_whole(fields):
            return


def _is_whole(fields: Fields) -> bool:
    # An update never is, and reading its changes takes time.
    return raw.text_of(fields[b"operation"]) != b"update" and fold.tells_all(fold.read_fields(fields))
