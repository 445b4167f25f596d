"""What going back undoes: the recorded events of a document after the moment that it goes back to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from change_history.bson import raw
from change_history.bson.values import to_raw
from change_history.query import fields, timeline
from change_history.query.selection import Selection
from change_history.reconstruct.point_in_time import Versions
from change_history.stored.event import to_event
from change_history.stored.order import position_of
from change_history.stored.reading import history_collection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymongo.database import Database

    from change_history.stored.event import Event
    from change_history.stored.order import HistoryPosition

MOST_TOLD = 10
"""So many of them are told."""


@dataclass(frozen=True, slots=True)
class Later:
    """Recorded events of one document, under the name that it was asked for by.

    Attributes:
        count: how many there are.
        events: the newest of them, `MOST_TOLD` at most, oldest first; where fields are asked for, with only their
            changes.
    """

    count: int = 0
    events: tuple[Event, ...] = ()


def between(
    database: Database[Any],
    namespace: str,
    document_id: Any,
    since: HistoryPosition,
    until: HistoryPosition,
    *,
    names: Sequence[str] = (),
) -> Later:
    """The recorded events of a document within a stretch of history.

    Args:
        database: the history database.
        namespace: `db.coll`.
        document_id: its `_id`, any BSON type.
        since: what stands before this place is left out.
        until: what stands at this place or after it, too.
        names: only events with changes of these fields, as MongoDB writes them; none: all. All are read then.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    if until <= since:
        return Later()
    found = _newest_first(database, Selection(namespace, document_id), since, until)
    if names:
        count, newest = 0, []
        for event in found:
            concerned = tuple([change for name in names for change in fields.changes_of(event, name)])
            if concerned:
                count += 1
                newest += [replace(event, changes=concerned)] if count <= MOST_TOLD else []
    else:
        newest = list(islice(found, MOST_TOLD))
        versions = Versions(database, namespace, to_raw(document_id))
        full = len(newest) == MOST_TOLD
        count = versions.number(until) - versions.number(since) if full else len(newest)
    return Later(count, tuple(reversed(newest)))


def _newest_first(
    database: Database[Any], selection: Selection, since: HistoryPosition, until: HistoryPosition
) -> Iterator[Event]:
    collection = history_collection(database)
    first, last = since.cluster_time.timestamp, until.cluster_time.timestamp
    bounded = Selection(selection.namespace, selection.document_id, since=first, until=last)
    for stored in timeline.read(collection, bounded, newest_first=True):
        if since <= position_of(raw.fields(bytes(stored.raw))) < until:
            yield to_event(stored)
