"""The input of an export: events, from the first or a resume point on, or documents at a point in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import ABSENT, to_raw
from change_history.export.part_file import NotResumableError
from change_history.query.gaps import is_gap
from change_history.reconstruct.state import UnknownStateError
from change_history.stored.order import cluster_time_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bson.raw_bson import RawBSONDocument

    from change_history.bson.raw import Value
    from change_history.query.selection import Selection
    from change_history.reader import Reader
    from change_history.reconstruct.point_in_time import Instant
    from change_history.stored.event import Event


def events(history: Reader, selection: Selection, first: bytes | None = None) -> Iterator[RawBSONDocument]:
    """Read history documents, oldest first, with the gaps in order.

    Args:
        first: `_id` of the event to begin with; None: the first there is.

    Raises:
        NotResumableError: there is no such event in the answer.
    """
    if first is None:
        return history.with_gaps(selection, history.stored(selection))
    moment = ClusterTime.from_id(first).timestamp
    there = replace(selection, since=moment, until=moment)
    candidates = chain(history.stored(there), history.stored_gaps(selection.namespace, since=moment, until=moment))
    found = next((stored for stored in candidates if stored["_id"] == first), None)
    if found is None:
        raise NotResumableError("the event at which it was cut off is not in the history that is asked for")
    onwards = replace(selection, since=moment)
    return _from(found, history.with_gaps(onwards, history.stored(onwards)), selection)


class Documents(NamedTuple):
    """Documents at a point in time.

    Attributes:
        found: the `_id` of each; the document, None: unknown; and why it is unknown, None: it is known.
        gaps: the gaps that make the documents uncertain.
    """

    found: Iterator[tuple[Value, bytes | None, str | None]]
    gaps: Sequence[Event]


def documents(history: Reader, namespace: str, document_id: Any, at: Instant) -> Documents:
    """The documents of a collection at a point in time, or one of them.

    Args:
        document_id: `_id` of the one; `ABSENT`: all, in the server's order of `_id`s, read one after the other.

    Raises:
        change_history.reconstruct.state.UnknownStateError: it is unknown which documents there were.
    """
    if document_id is not ABSENT:
        state = history.state(namespace, document_id, at)
        told = state.data is not None or state.unknown is not None
        return Documents(iter([(to_raw(document_id), state.data, state.unknown)] if told else []), state.gaps)
    collection = history.collection(namespace, at)
    if collection.unknown is not None:
        raise UnknownStateError(namespace, collection.unknown)
    found = ((told.raw_id, told.data, told.unknown) for told in collection.documents())
    return Documents(found, collection.gaps)


def _from(first: RawBSONDocument, found: Iterator[RawBSONDocument], selection: Selection) -> Iterator[RawBSONDocument]:
    yield first  # also if it is not found below: a gap alone is no answer, so one after the last event is missing
    is_behind = False
    for stored in found:
        if stored["_id"] == first["_id"]:
            is_behind = True
            continue
        is_behind = is_behind or cluster_time_of(stored) > cluster_time_of(first)
        if is_behind and _is_within(stored, selection):
            yield stored


def _is_within(stored: RawBSONDocument, selection: Selection) -> bool:
    """Whether an event is in the requested window: resuming uses cluster time, the window may use wall time."""
    since, when = selection.since, stored.get("timestamp")
    return is_gap(stored) or not isinstance(since, datetime) or not isinstance(when, datetime) or when >= since
