"""Old values without pre-images: what history itself tells of a document, where that is sound.

A document is what its history folds to, if history tells it whole and is trusted since (`watcher.stream.past`). It is
reconstructed from the history collection, followed by what is in flight, and then kept up to date with every event of
it, as long as there is room. Whatever cannot be told is unknown.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from change_history.bson import raw
from change_history.bson.equality import key_of
from change_history.reconstruct import fold
from change_history.reconstruct.lineage import ENDS
from change_history.stored.order import HistoryPosition
from watcher.events import event
from watcher.stream.inflight import Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from change_history.bson.raw import Value
    from watcher.events.event import Event
    from watcher.stream.batch import Lost, Position, Recorded

ROOM = 32 * 1024 * 1024
"""Bytes that are kept at most."""

PATIENCE = 100
"""So many batches after its last event without a pre-image, a collection is no longer followed."""

_OVERHEAD = 300  # of one document: keys, objects
_ENDS = frozenset(name.encode() for name in ENDS)
_WITHOUT_IMAGE = frozenset({b"update", b"replace", b"delete"})


class Tells(Protocol):
    """History, as far as it may be believed. The implementation is `watcher.stream.past.Past`."""

    def documents(self, keys: Mapping[Key, Value], place: HistoryPosition, /) -> Iterator[tuple[Key, bytes | None]]:
        """What documents of one collection were before a place; None: unknown."""

    def begin(self, recorded: Recorded) -> None:
        """Keep in sight what is recorded and not stored yet."""

    def lose(self, lost: Lost, resumed: Position, /) -> None:
        """Note a hole that may not stand in history yet."""

    def stored(self, number: int) -> None:
        """Batches up to this number are acknowledged by a majority. May be called from another thread."""

    def learned(self) -> bool:
        """Whether history has come to tell more than when this was last asked."""


class Memory:
    """The documents of events that come without a pre-image. Used by the recording stage alone.

    Args:
        past: tells what is not known yet.
    """

    def __init__(self, past: Tells) -> None:
        self._past = past
        self._known: OrderedDict[Key, bytes | None] = OrderedDict()  # None: unknown
        self._size = 0
        self._blind: dict[bytes, int] = {}  # collections, and the last batch with an event without its image
        self._batches = 0

    def follows(self, events: Iterable[Event]) -> set[bytes]:
        """Collections of which it must be told every event, from these events on.

        Args:
            events: at least those of a batch that come without the pre-image that they should have.
        """
        return {*self._blind, *(happened.namespace for happened in events if without_image(happened) is not None)}

    def begin(self, recorded: Recorded, events: Sequence[Event], lost: Lost | None) -> None:
        """Make ready for a batch: recall, all at once, the documents of events that come without a pre-image.

        Args:
            recorded: the batch's history, to be filled.
            events: the batch's events, at least those of the collections that it follows.
            lost: what was lost before the first of them.

        Raises:
            Exception: whatever recalling raises.
        """
        self._past.begin(recorded)
        self._batches += 1
        self._tire()
        if lost is not None:
            self.forget_all()
            self._past.lose(lost, lost.resumed or recorded.position)
        if self._blind and self._past.learned():
            self._forget(key for key, document in self._known.items() if document is None)
        wanted: dict[bytes, dict[Key, Value]] = {}
        for happened in events:
            if (key := without_image(happened)) is not None:
                self._blind[happened.namespace] = self._batches
                if key not in self._known:
                    wanted.setdefault(happened.namespace, {})[key] = happened.document_id() or raw.NULL_VALUE
        for keys in wanted.values():
            self._recall(keys, events[0])

    def before(self, happened: Event) -> bytes | None:
        """The document before an event that has no pre-image, or None if history does not tell it."""
        key = without_image(happened)
        if key is None:
            return None
        if key not in self._known:  # there was no room for it
            self._recall({key: happened.document_id() or raw.NULL_VALUE}, happened)
        return self._known.get(key)

    def after(self, happened: Event, history: bytes) -> None:
        """Keep what is known up to date with an event.

        Raises:
            change_history.reconstruct.fold.DoesNotApplyError: the event cannot have happened to the document that
                history tells: history has a hole that it does not know of. The document is unknown from here on.
        """
        if not self._blind:
            return
        document_id = happened.document_id()
        if document_id is None:
            if happened.operation in _ENDS:
                self._forget_collections(happened)
            return
        key = Key(happened.namespace, key_of(document_id))
        if key not in self._known and not (happened.operation == b"insert" and happened.namespace in self._blind):
            return
        entry = fold.read(history)
        if event.VALUES_LEFT_OUT in happened.fields:
            self._keep(key, None)
        elif fold.tells_all(entry):
            self._keep(key, fold.apply(None, entry))
        elif (document := self._known.get(key)) is not None:
            try:
                self._keep(key, fold.apply(document, entry))
            except fold.DoesNotApplyError:
                self._keep(key, None)
                raise

    def stored(self, number: int) -> None:
        """Batches up to this number are acknowledged by a majority. May be called from another thread."""
        self._past.stored(number)

    def forget_all(self) -> None:
        """An event was lost, or could not be recorded, perhaps not even read: whatever it changed is not known."""
        self._known.clear()
        self._size = 0

    def _tire(self) -> None:
        """Follow no longer what has its pre-images again: whatever is kept of it would have to be kept up to date."""
        tired = {namespace for namespace, last in self._blind.items() if self._batches - last > PATIENCE}
        if tired:
            self._blind = {namespace: last for namespace, last in self._blind.items() if namespace not in tired}
            self._forget(key for key in self._known if key.namespace in tired)

    def _recall(self, keys: Mapping[Key, Value], first: Event) -> None:
        """Recall documents of one collection as they were before an event, as many as there is room for."""
        for key, document in self._past.documents(keys, HistoryPosition(first.cluster_time, first.token)):
            if len(keys) > 1 and self._size + len(document or b"") > ROOM:
                return
            self._keep(key, document)

    def _keep(self, key: Key, document: bytes | None) -> None:
        self._forget([key] if key in self._known else [])
        self._known[key] = document
        self._size += _weight(key, document)
        while self._size > ROOM and len(self._known) > 1:
            self._size -= _weight(*self._known.popitem(last=False))

    def _forget(self, keys: Iterable[Key]) -> None:
        for key in list(keys):
            self._size -= _weight(key, self._known.pop(key))

    def _forget_collections(self, happened: Event) -> None:
        target = happened.document(b"to")
        names = {happened.namespace, event.namespace_of(target) if target is not None else happened.namespace}
        whole_database = happened.namespace + b"."
        self._forget(key for key in self._known if key[0] in names or key[0].startswith(whole_database))


def _weight(key: Key, document: bytes | None) -> int:
    return _OVERHEAD + len(key.namespace) + len(str(key.document)) + len(document or b"")


def without_image(happened: Event) -> Key | None:
    """Which document an event is about that comes without the pre-image that it should have.

    Raises:
        change_history.bson.raw.MalformedBSON: its `_id` cannot be read.
    """
    if happened.operation not in _WITHOUT_IMAGE or happened.document(b"fullDocumentBeforeChange") is not None:
        return None
    document_id = happened.document_id()
    return Key(happened.namespace, key_of(document_id)) if document_id is not None else None
