"""Recorded events and changes as lazy sequences that work like a queryset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from mongoengine.base import BaseDocument

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import ABSENT
from change_history.mongoengine.change import DocumentChange, Translator
from change_history.mongoengine.classes import Classes
from change_history.mongoengine.translation import stored_field
from change_history.query.selection import Selection
from change_history.stored.chunks import whole
from change_history.stored.event import Event, to_event
from change_history.stored.order import in_stream_order
from change_history.stored.reading import as_query, history_collection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from bson import Timestamp
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument
    from pymongo.database import Database

    from change_history.reconstruct.point_in_time import Instant
    from change_history.stored.actor import Actor
    from change_history.stored.event import Change

T = TypeVar("T")
Translate: TypeAlias = "Callable[[Change, Actor | None], DocumentChange]"

_SHOWN = 20
_LARGEST_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Source:
    """The documents whose history is read, and the class that names and types it.

    Attributes:
        database: the history database.
        namespace: `database.collection`.
        model: the document class.
        codec: how the application's connection decodes.
        document_id: exact; `ABSENT`: all documents; None as `known` is false: of a document that was never saved.
    """

    database: Database[Any]
    namespace: str
    model: Any
    codec: CodecOptions[Any]
    document_id: Any = ABSENT
    saved: bool = True


def moment_of(moment: Any) -> Any:
    """A moment for the library: naive datetimes are UTC, as mongoengine takes them."""
    if isinstance(moment, datetime) and moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment


class Records(Generic[T]):
    """Recorded items, oldest first by default. They are read on use and not cached.

    Every use reads again, and so includes new records. Slices are lazy too, and made by the server.

    Every use raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """

    _size: Any
    """Aggregation expression: the number of items in one history document."""

    def __init__(
        self,
        source: Source,
        selection: Selection | None = None,
        *,
        newest_first: bool = False,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self._source = source
        self._selection = selection or Selection(source.namespace, source.document_id)
        self._newest_first = newest_first
        self._start = start
        self._stop = stop

    def all(self) -> Self:
        """The same items."""
        return self._with()

    def filter(
        self,
        *,
        field: str | None = None,
        since: Instant | None = None,
        until: Instant | None = None,
        operation: str | Sequence[str] | None = None,
        actor: Any = None,
        reason: str | None = None,
        request: Any = None,
    ) -> Self:
        """Only some items. All conditions must hold.

        Args:
            field: an attribute with everything below it: `addr.city` or `addr__city`; also a stored name.
            since: first moment, included: a datetime (a naive one is UTC) or a `bson.Timestamp`.
            until: last moment, included.
            operation: `insert`, `update`, …, or several of them.
            actor: the known actor, as `acting` or the stamp names it; a document means its `pk`.
            reason: the reason.
            request: the request that made the change.

        Raises:
            TypeError: this is a slice already.
            ValueError: a second condition on the same thing, no operation among several, no such operation, or a
                document that was never saved.
        """
        if self._start or self._stop is not None:
            raise TypeError("filter first, then take a slice")
        operations = (operation,) if isinstance(operation, str) else tuple(operation or ())
        if operation is not None and not operations:
            raise ValueError("operation names none; leave it out for all of them")
        if isinstance(actor, BaseDocument) and actor.pk is None:
            raise ValueError(f"{actor!r} was never saved, so it cannot have done anything")
        given: dict[str, Any] = {
            "field": stored_field(self._source.model, field) if field is not None else None,
            "since": moment_of(since),
            "until": moment_of(until),
            "operations": operations,
            "actor": actor.pk if isinstance(actor, BaseDocument) else actor,
            "reason": reason,
            "request": request,
        }
        given = {name: value for name, value in given.items() if value not in (None, ())}
        for name in given:
            if getattr(self._selection, name) not in (None, ()):
                raise ValueError(f"there is a condition on {name} already")
        return self._with(selection=replace(self._selection, **given))

    def order_by(self, key: str) -> Self:
        """Oldest first (`timestamp`) or newest first (`-timestamp`).

        Raises:
            TypeError: this is a slice already.
            ValueError: another key.
        """
        if self._start or self._stop is not None:
            raise TypeError("order first, then take a slice")
        if key.lstrip("+-") != "timestamp":
            raise ValueError(f"history is ordered by timestamp or -timestamp, not by {key!r}")
        return self._with(newest_first=key.startswith("-"))

    def count(self) -> int:
        """The number of items; the server counts them, except with a condition on a field."""
        total = self._total()
        return max(0, min(total, self._stop if self._stop is not None else total) - self._start)

    def first(self) -> T | None:
        """The first one, or None."""
        return next(iter(self._with(stop=self._bounded(self._start + 1))), None)

    def last(self) -> T | None:
        """The last one, or None."""
        return next(reversed(self), None)

    def __iter__(self) -> Iterator[T]:
        wanted = self._stop - self._start if self._stop is not None else None
        if not self._source.saved or wanted == 0:
            return iter(())
        return islice(self._from(self._start, wanted), wanted)

    def __reversed__(self) -> Iterator[T]:
        if self._start or self._stop is not None:
            return reversed(list(self))
        return iter(self._with(newest_first=not self._newest_first))

    def __bool__(self) -> bool:
        return self.first() is not None

    def __len__(self) -> int:
        return self.count()

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> T | Self:
        if isinstance(index, slice):
            return self._slice(index)
        at = islice(reversed(self), -index - 1, None) if index < 0 else iter(self._slice(slice(index, index + 1)))
        for item in at:
            return item
        raise IndexError(f"history has no item {index}")

    def __repr__(self) -> str:
        found = [repr(item) for item in self._with(stop=self._bounded(self._start + _SHOWN + 1))]
        if len(found) > _SHOWN:
            found[-1] = "'...(remaining elements truncated)...'"
        return f"[{', '.join(found)}]"

    def _items(self, event: Event, translated: Translate) -> Sequence[T]:
        raise NotImplementedError

    def _number(self, event: Event) -> int:
        """The number of items in an event."""
        raise NotImplementedError

    def _with(self, **changed: Any) -> Self:
        now = {"newest_first": self._newest_first, "start": self._start, "stop": self._stop}
        selection = changed.pop("selection", self._selection)
        return type(self)(self._source, selection, **(now | changed))

    def _bounded(self, stop: int) -> int:
        return stop if self._stop is None else min(stop, self._stop)

    def _slice(self, wanted: slice) -> Self:
        if wanted.step not in (None, 1):
            raise ValueError("a slice of history has no step")
        start, stop = wanted.start or 0, wanted.stop
        if start < 0 or (stop is not None and stop < 0):
            start, stop, _ = wanted.indices(self.count())
        start = self._start + start
        end = self._stop if stop is None else self._bounded(self._start + stop)
        return self._with(start=start, stop=max(start, end) if end is not None else None)

    def _query(self) -> RawBSONDocument:
        return self._selection.query()

    def _total(self) -> int:
        if not self._source.saved:
            return 0
        if self._selection.narrows:
            return sum(map(self._number, self._events(None, None)))
        stages: Any = [{"$match": self._query()}, {"$group": {"_id": None, "size": {"$sum": self._size}}}]
        found = next(iter(history_collection(self._source.database).aggregate(stages, hint=self._hint)), None)
        return int(found["size"]) if found else 0

    @property
    def _hint(self) -> Any:
        return dict(self._selection.index)

    def _from(self, start: int, wanted: int | None) -> Iterator[T]:
        """A number of items in order, from one on."""
        bound, skipped = self._seek(start) if start and not self._selection.narrows else (None, 0)
        if start and bound is None and not self._selection.narrows:
            return iter(())
        return islice(self._read(bound, wanted), start - skipped, None)

    def _read(self, bound: dict[str, Any] | None, wanted: int | None) -> Iterator[T]:
        source, selection = self._source, self._selection
        unbroken = selection == Selection(
            source.namespace, selection.document_id, None, selection.since, selection.until
        )
        classes = Classes(
            source.database,
            unbroken=unbroken and selection.document_id is not ABSENT,
            newest_first=self._newest_first,
        )
        translated = Translator(source.model, source.codec, classes.at).translated
        for event in self._events(bound, wanted):
            classes.follow(event)
            items = self._items(event, translated)
            yield from reversed(items) if self._newest_first else items

    def _events(self, bound: dict[str, Any] | None, wanted: int | None) -> Iterator[Event]:
        collection = history_collection(self._source.database)
        query = self._query() if bound is None else as_query({"$and": [self._query(), {"_id": bound}]})
        direction = -1 if self._newest_first else 1
        key, _ = self._selection.index[-1]
        with collection.find(query, sort=[(key, direction)], hint=self._selection.index) as cursor:
            # One more than wanted shows where the last cluster time ends.
            cursor.batch_size(min(wanted + 1, _LARGEST_BATCH) if wanted is not None else _LARGEST_BATCH)
            for stored in in_stream_order(cursor, newest_first=self._newest_first):
                event = to_event(whole(collection.database, stored))
                if not self._selection.narrows or self._selection.verdict(event):
                    yield event

    def _seek(self, start: int) -> tuple[dict[str, Any] | None, int]:
        """The bound on `_id`s from which to read, and the number of items before it.

        The server adds up the sizes by cluster time: within one, its order is not that of history.
        """
        direction = -1 if self._newest_first else 1
        running = {
            "sortBy": {"_id": direction},
            "output": {"end": {"$sum": "$size", "window": {"documents": ["unbounded", "current"]}}},
        }
        stages: Any = [
            {"$match": self._query()},
            {"$group": {"_id": "$cluster_time", "size": {"$sum": self._size}}},
            {"$setWindowFields": running},
            {"$match": {"end": {"$gt": start}}},
            {"$sort": {"_id": direction}},
            {"$limit": 1},
        ]
        found = next(
            iter(history_collection(self._source.database).aggregate(stages, hint=self._hint, allowDiskUse=True)), None
        )
        if found is None:
            return None, 0
        time: Timestamp = found["_id"]
        at = ClusterTime.of(time)
        bound = {"$lte": at.last_id} if self._newest_first else {"$gte": at.first_id}
        return bound, int(found["end"]) - int(found["size"])


class Events(Records[Event]):
    """Recorded events with all their changes, in the names and types of the class."""

    _size = 1

    def _number(self, event: Event) -> int:  # noqa: ARG002
        return 1

    def _items(self, event: Event, translated: Translate) -> Sequence[Event]:
        changes = tuple(translated(change, event.actor) for change in event.changes)
        return [replace(event, changes=changes)]


class Changes(Records[DocumentChange]):
    """Recorded changes; within an event in the order the server gave."""

    _size: Any = {"$ifNull": ["$change_count", {"$size": "$changes"}]}  # noqa: RUF012 - never changed

    def _number(self, event: Event) -> int:
        return len(self._selection.changes_of(event))

    def _items(self, event: Event, translated: Translate) -> Sequence[DocumentChange]:
        actor = event.actor
        return [translated(change, actor) for change in self._selection.changes_of(event)]
