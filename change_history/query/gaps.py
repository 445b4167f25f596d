"""Gaps: intervals in which events were lost for good, as history documents with the operation `gap`.

A gap has no namespace: it lost events of everything that the stream watched. So it is part of the answer about every
namespace that the stream covers, whatever the other conditions.
"""

from __future__ import annotations

from heapq import merge
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Timestamp

from change_history import globs
from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct import point_in_time
from change_history.stored import operations
from change_history.stored.event import to_event
from change_history.stored.order import cluster_time_of
from change_history.stored.reading import as_query, require_namespace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection
    from pymongo.cursor import Cursor

    from change_history.query.selection import Selection
    from change_history.reconstruct.point_in_time import Instant
    from change_history.stored.event import Event

OPERATION = operations.GAP


class View(NamedTuple):
    """A gap, read from its history document.

    Attributes:
        since: cluster time up to which history is complete.
        until: cluster time from which it is complete again.
        cause: why the events were lost.
        include: globs of what was watched.
        exclude: globs of what was excluded from that.
    """

    stream: str
    since: Timestamp
    until: Timestamp
    cause: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]


def view(gap: Event) -> View:
    """Read a gap.

    Raises:
        KeyError: the event is no gap.
    """
    said = gap.description
    return View(
        str(said["stream"]),
        said["from"],
        said["to"],
        str(said["cause"]),
        tuple(said["include"]),
        tuple(said["exclude"]),
    )


def find(
    collection: Collection[RawBSONDocument],
    since: Instant | None = None,
    until: Instant | None = None,
    *,
    newest_first: bool = False,
) -> Cursor[RawBSONDocument]:
    """Open a cursor over all gaps that overlap a window, in order, by the index `gaps`.

    Args:
        since: first moment of the window; to the second where it is a wall time.
        until: last moment of the window; likewise.
    """
    conditions = condition()
    if until is not None:
        conditions["_id"] = point_in_time.id_bounds(None, _latest(until))
    if since is not None:
        conditions["description.to"] = {"$gte": _earliest(since)}
    return collection.find(as_query(conditions), sort=[("_id", -1 if newest_first else 1)])


def read(
    collection: Collection[RawBSONDocument],
    namespace: str | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    *,
    newest_first: bool = False,
) -> Iterator[RawBSONDocument]:
    """Read the gaps that overlap a window, oldest first by default; with a namespace, only those that cover it.

    Raises:
        ValueError: a datetime without a time zone.
    """
    require_namespace(namespace)
    point_in_time.require_aware(since)
    point_in_time.require_aware(until)
    found = find(collection, since, until, newest_first=newest_first)
    return (gap for gap in found if concerns(gap, namespace, since, until))


def among(
    collection: Collection[RawBSONDocument],
    selection: Selection,
    events: Iterable[RawBSONDocument],
    *,
    cut: bool = False,
    newest_first: bool = False,
) -> Iterator[RawBSONDocument]:
    """Merge the gaps that an answer reaches across into its events, in the order of time.

    Without events there is no output, for the answer has no positions. A transaction is committed at one moment, so
    only a gap at that moment matters.

    Args:
        events: the answer, oldest first unless `newest_first`.
        cut: older events were left out, so only gaps that reach to the oldest of these matter. They are held in memory.
        newest_first: the order of the events, and of the gaps among them.
    """
    rest = iter(events)
    first = next(rest, None)
    if first is None:
        return
    since, until = selection.since, selection.until
    if selection.transaction is not None:
        since = until = first["cluster_time"]
    elif cut:
        held = [first, *rest]
        since, rest = held[-1 if newest_first else 0]["cluster_time"], iter(held[1:])
    gaps = read(collection, selection.namespace, since, until, newest_first=newest_first)
    found = chain([first], rest)
    # A gap begins after all events of its cluster time, so the events come first.
    in_turn = (gaps, found) if newest_first else (found, gaps)
    yield from merge(*in_turn, key=cluster_time_of, reverse=newest_first)


def condition(below: str = "") -> dict[str, Any]:
    """The condition that a history document is a gap.

    Args:
        below: path of the history document, with a closing dot, where it is inside another one.
    """
    return {f"{below}operation": OPERATION}


def is_gap(stored: RawBSONDocument) -> bool:
    """Whether a history document is a gap."""
    return bool(stored["operation"] == OPERATION)


def concerns(stored: RawBSONDocument, namespace: str | None, since: Instant | None, until: Instant | None) -> bool:
    """Whether a gap overlaps a window, and covers the namespace, if given."""
    gap = view(to_event(stored))
    if (since is not None and gap.until < _earliest(since)) or (until is not None and gap.since > _latest(until)):
        return False
    return namespace is None or concerns_namespace(gap, namespace)


def is_operation(operation: str) -> bool:
    """Whether an event of this operation is a gap."""
    return operation == OPERATION


def concerns_namespace(gap: View, namespace: str) -> bool:
    """Whether events of a namespace can have been lost in a gap."""
    return globs.covers(gap.include, gap.exclude, namespace)


def _earliest(moment: Instant) -> Timestamp:
    return moment if isinstance(moment, Timestamp) else ClusterTime.start_of(int(moment.timestamp() // 1)).timestamp


def _latest(moment: Instant) -> Timestamp:
    return moment if isinstance(moment, Timestamp) else ClusterTime.end_of(int(moment.timestamp() // 1)).timestamp
