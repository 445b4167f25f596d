"""Reading recorded events in order."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from models.order import in_stream_order
from models.parts import whole
from models.reading import to_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from bson.raw_bson import RawBSONDocument
    from pymongo.collection import Collection
    from pymongo.cursor import Cursor

    from history.selection import Selection

_LARGEST_BATCH = 1000


def read(
    collection: Collection[RawBSONDocument], selection: Selection, *, limit: int | None = None
) -> Iterator[RawBSONDocument]:
    """Read the selected history documents, oldest first, as they were recorded.

    Args:
        collection: the history collection, its documents left as bytes (`models.reading.history_collection`).
        selection: which events.
        limit: only the newest so many, still oldest first; they are held in memory.

    Raises:
        ValueError: a negative limit.
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    database = collection.database
    if limit is None:
        return (whole(database, stored) for stored in _read(collection, selection, newest_first=False))
    if limit < 0:
        raise ValueError(f"limit must not be negative, it is {limit}")
    newest = list(islice(_read(collection, selection, newest_first=True, wanted=limit), limit))
    return (whole(database, stored) for stored in reversed(newest))


def find(
    collection: Collection[RawBSONDocument], selection: Selection, *, newest_first: bool = False
) -> Cursor[RawBSONDocument]:
    """The cursor over the selected documents by `_id`, for the order within a cluster time see `read`."""
    order: Any = [(key, -1 if newest_first else 1) for key, _ in selection.index[-1:]]
    return collection.find(selection.query(), sort=order, hint=selection.index)


def _read(
    collection: Collection[RawBSONDocument], selection: Selection, *, newest_first: bool, wanted: int = _LARGEST_BATCH
) -> Iterator[RawBSONDocument]:
    with find(collection, selection, newest_first=newest_first) as cursor:
        # One more than wanted shows where the last cluster time ends.
        cursor.batch_size(min(wanted + 1, _LARGEST_BATCH))
        for stored in in_stream_order(cursor, newest_first=newest_first):
            if selection.field is None or selection.admits(to_event(whole(collection.database, stored))):
                yield stored
