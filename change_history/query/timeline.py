"""Read recorded events in order, and new ones as they are recorded.

Polling for `_id`s above the last one seen would lose events: a batch is written in no particular order. So the
deployment's own change stream on the history collection is used, which loses none.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson.values import ABSENT
from change_history.query import gaps
from change_history.stored.chunks import whole
from change_history.stored.event import to_event
from change_history.stored.order import in_stream_order
from change_history.stored.reading import as_query

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from bson import Timestamp
    from bson.raw_bson import RawBSONDocument
    from pymongo.change_stream import ChangeStream
    from pymongo.collection import Collection
    from pymongo.cursor import Cursor

    from change_history.query.selection import Selection

_LARGEST_BATCH = 1000


def ignore() -> None:
    """The default for `on_unknown`: do nothing."""


def read(
    collection: Collection[RawBSONDocument],
    selection: Selection,
    *,
    limit: int | None = None,
    newest_first: bool = False,
    on_unknown: Callable[[], object] = ignore,
) -> Iterator[RawBSONDocument]:
    """Read the selected history documents, oldest first by default, as they were recorded.

    Args:
        collection: the history collection, its documents left as bytes
            (`change_history.stored.reading.history_collection`).
        limit: the number of events, the newest; they are held in memory unless `newest_first`. None: all.
        on_unknown: called for each event that is left out because, with unknown values, it may or may not belong.

    Raises:
        ValueError: a negative limit.
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
    """Open a cursor over the selected documents by `_id`; for the order within a cluster time see `read`."""
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
    if selection.setters is None and selection.field is not None and selection.document_id is not ABSENT:
        from change_history.query.setters import resolve

        selection = resolve(collection.database, selection)
    with find(collection, selection, newest_first=newest_first) as cursor:
        # One more than wanted, to detect where the last cluster time ends.
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


_COMPLETED = {"operationType": "update", "updateDescription.updatedFields.actor": {"$exists": True}}
"""The condition for the update of a history document by which its actor becomes known."""

WAIT_MS = 500
"""Milliseconds that the server waits for new events, and so the delay until `stop` is noticed."""


def follow(
    collection: Collection[RawBSONDocument],
    selection: Selection,
    *,
    stop: threading.Event,
    limit: int | None = None,
    on_unknown: Callable[[], object] = ignore,
) -> Iterator[RawBSONDocument]:
    """Read the selected history documents, then each new one as it is recorded, until `stop` is set.

    The stream is opened before the recorded ones are read: nothing is missed, nothing comes twice. Gaps in the
    selection come too: recorded ones in their place, a new one when it is recorded. If the selection is by actor, an
    event also comes once its actor has become known.

    Args:
        limit: the number of already recorded events, the newest; None: all.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, refuses, or has no change streams.
    """
    wanted = as_query({"$or": [selection.query("fullDocument."), gaps.condition("fullDocument.")]})
    recorded_now: dict[str, Any] = {"operationType": "insert"}
    if selection.asked_of_actor:
        recorded_now = {"$or": [recorded_now, _COMPLETED]}
    pipeline = [as_query({"$match": condition}) for condition in (as_query(recorded_now), wanted)]
    look_up = "updateLookup" if selection.asked_of_actor else None
    with collection.watch(pipeline, full_document=look_up, max_await_time_ms=WAIT_MS) as stream:
        seen: set[bytes] = set()
        recorded: Iterable[RawBSONDocument] = read(collection, selection, limit=limit, on_unknown=on_unknown)
        if limit is not None:
            recorded = tuple(recorded)
        cut = isinstance(recorded, tuple) and len(recorded) == limit
        for stored in gaps.among(collection, selection, recorded, cut=cut):
            seen.add(stored["_id"])
            yield stored
        for stored in _new(stream, stop, seen, _now(collection)):
            if gaps.is_gap(stored):
                if gaps.concerns(stored, selection.namespace, selection.since, selection.until):
                    yield stored
                continue
            event = whole(collection.database, stored)
            belongs = not selection.narrows or selection.verdict(to_event(event))
            if belongs:
                yield event
            elif belongs is None:
                on_unknown()


class New(NamedTuple):
    """A history document read from the stream.

    Attributes:
        completed: whether it came before, and now its actor is known.
    """

    stored: RawBSONDocument
    completed: bool


def new(
    collection: Collection[RawBSONDocument], stop: threading.Event, token: Any = None
) -> Iterator[tuple[list[New] | None, Any]]:
    """Read every history document as it is recorded, and again when its actor is known, until `stop` is set.

    Args:
        token: a token from an earlier call, to continue after it; None: start now.

    Yields:
        The new documents, possibly none, each time with a token to continue after them. First None, when the stream is
        open: whatever is recorded from then on comes.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, refuses, or has no change streams.
    """
    pipeline = [as_query({"$match": {"$or": [{"operationType": "insert"}, _COMPLETED]}})]
    options: dict[str, Any] = {"resume_after": token} if token is not None else {}
    options["full_document"] = "updateLookup"
    with collection.watch(pipeline, max_await_time_ms=WAIT_MS, **options) as stream:
        yield None, stream.resume_token
        while stream.alive and not stop.is_set():
            found: list[New] = []
            change = stream.try_next()
            while change is not None:
                stored = change.get("fullDocument")
                if stored is not None:  # None if it was removed meanwhile
                    found.append(New(whole(collection.database, stored), change["operationType"] == "update"))
                change = stream.try_next() if len(found) < _LARGEST_BATCH and _has_more(stream) else None
            yield found, stream.resume_token


def _has_more(stream: ChangeStream[RawBSONDocument]) -> bool:
    """Whether more documents are buffered, so that the next read does not wait."""
    cursor = getattr(stream, "_cursor", None)
    return bool(getattr(cursor, "_data", None))


def _now(collection: Collection[RawBSONDocument]) -> Timestamp | None:
    """Cluster time of the deployment with the history: everything read so far was written by then."""
    reply: dict[str, Any] = collection.database.command("ping")
    return reply.get("operationTime")


def _new(
    stream: ChangeStream[RawBSONDocument], stop: threading.Event, seen: set[bytes], until: Timestamp | None
) -> Iterator[RawBSONDocument]:
    while stream.alive and not stop.is_set():
        change = stream.try_next()
        if change is None:
            continue
        if until is not None and change["clusterTime"] > until:
            seen.clear()  # from here on nothing can have been read before
        stored = change["fullDocument"]
        if stored["_id"] not in seen:
            yield stored
