"""Reading recorded events in order."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from change_history.stored.chunks import whole
from change_history.stored.event import to_event
from change_history.stored.order import in_stream_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection
    from pymongo.cursor import Cursor

    from change_history.query.selection import Selection

_LARGEST_BATCH = 1000


def nothing() -> None:
    """Nobody wants to know."""


def read(
    collection: Collection[RawBSONDocument],
    selection: Selection,
    *,
    limit: int | None = None,
    newest_first: bool = False,
    on_unknown: Callable[[], object] = nothing,
) -> Iterator[RawBSONDocument]:
    """Read the selected history documents, oldest first unless told, as they were recorded.

    Args:
        collection: the history collection, its documents left as bytes
            (`change_history.stored.reading.history_collection`).
        selection: which events.
        limit: only the newest so many; they are held in memory unless the newest come first.
        newest_first: the order.
        on_unknown: called for each event that is left out although it may belong to the answer: its values are unknown.

    Raises:
        ValueError: a negative limit.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    database = collection.database
    if limit is None:
        stored = _read(collection, selection, on_unknown, newest_first=newest_first)
    elif limit < 0:
        raise ValueError(f"limit must not be negative, it is {limit}")
    else:
        stored = islice(_read(collection, selection, on_unknown, newest_first=True, wanted=limit), limit)
        if not newest_first:
            stored = reversed(list(stored))
    return (whole(database, document) for document in stored)


def find(
    collection: Collection[RawBSONDocument], selection: Selection, *, newest_first: bool = False
) -> Cursor[RawBSONDocument]:
    """The cursor over the selected documents by `_id`, for the order within a cluster time see `read`."""
    order: Any = [(key, -1 if newest_first else 1) for key, _ in selection.index[-1:]]
    return collection.find(selection.query(), sort=order, hint=selection.index)


def _read(
    collection: Collection[RawBSONDocument],
    selection: Selection,
    on_unknown: Callable[[], object],
    *,
    newest_first: bool,
    wanted: int = _LARGEST_BATCH,
) -> Iterator[RawBSONDocument]:
    with find(collection, selection, newest_first=newest_first) as cursor:
        # One more than wanted shows where the last cluster time ends.
        cursor.batch_size(min(wanted + 1, _LARGEST_BATCH))
        for stored in in_stream_order(cursor, newest_first=newest_first):
            if not selection.narrows:
                yield stored
                continue
            belongs = selection.verdict(to_event(whole(collection.database, stored)))
            if belongs:
                yield stored
            elif belongs is None:
                on_unknown()
