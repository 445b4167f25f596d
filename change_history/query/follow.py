"""New history as it is recorded.

Asking again and again for `_id`s above the last one seen would lose events: a batch is written in no particular
order. The deployment's own change stream on the history collection loses none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history.query import gaps, timeline
from change_history.stored.chunks import whole
from change_history.stored.event import to_event
from change_history.stored.reading import as_query

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from bson import Timestamp
    from bson.raw_bson import RawBSONDocument
    from pymongo.change_stream import ChangeStream
    from pymongo.collection import Collection

    from change_history.query.selection import Selection

WAIT_MS = 500
"""How long the server holds a request for new events, and so how soon `stop` is noticed, in milliseconds."""


def follow(
    collection: Collection[RawBSONDocument],
    selection: Selection,
    *,
    stop: threading.Event,
    limit: int | None = None,
    on_unknown: Callable[[], object] = timeline.nothing,
) -> Iterator[RawBSONDocument]:
    """Read the selected history documents, then each new one as it is recorded, until told to stop.

    The stream is opened before the recorded ones are read: nothing in between is missed, nothing comes twice. Gaps in
    what is asked for come too: recorded ones in their place, a new one when it is found.

    Args:
        collection: the history collection, its documents left as bytes.
        selection: which events.
        stop: ends the iteration once it is set.
        limit: of what is recorded already, only the newest so many.
        on_unknown: see `change_history.query.timeline.read`.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, refuses, or has no change streams.
    """
    wanted = as_query({"$or": [selection.query("fullDocument."), gaps.condition("fullDocument.")]})
    conditions = [as_query({"operationType": "insert"}), wanted]
    pipeline = [as_query({"$match": condition}) for condition in conditions]
    with collection.watch(pipeline, max_await_time_ms=WAIT_MS) as stream:
        seen: set[bytes] = set()
        recorded: Iterable[RawBSONDocument] = timeline.read(collection, selection, limit=limit, on_unknown=on_unknown)
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


def _now(collection: Collection[RawBSONDocument]) -> Timestamp | None:
    """Cluster time of the deployment that keeps the history: all that was read so far was written by then."""
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
