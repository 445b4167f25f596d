"""The documents before events that come without a pre-image, as far as history can be trusted.

A document is reconstructed from history (`watcher.stream.pre_images_from_history`) and then kept up to date with every
event, as long as there is room. A document that cannot be reconstructed is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from change_history.bson import raw
from watcher.events.documents import Documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from change_history.bson.raw import Value
    from change_history.stored.order import HistoryPosition
    from watcher.events._fast_path import Usual
    from watcher.events.event import DocumentKey, StreamEvent
    from watcher.stream.batch import Recorded

ROOM = 32 * 1024 * 1024
"""Most bytes of documents in the cache."""

PATIENCE = 100
"""Batches after a collection's last event without a pre-image, after which it is no longer followed."""


class Reconstructs(Protocol):
    """History, as far as it may be trusted: `watcher.stream.pre_images_from_history`."""

    def begin(self, recorded: Recorded, stored: int, /) -> None:
        """Begin a batch, whose history is in flight from now on; all batches up to the number `stored` are stored."""

    def learned(self) -> bool:
        """Whether more can be reconstructed than at the last call."""

    def documents(
        self, keys: Mapping[DocumentKey, Value], position: HistoryPosition, /
    ) -> Iterator[tuple[DocumentKey, bytes | None]]:
        """The documents of one collection as they were before a position; None: unknown."""


@dataclass(slots=True)
class Lacking:
    """The documents of a batch whose events come without a pre-image.

    Attributes:
        documents: their `_id`s; documents that are cached may be missing.
        namespaces: their collections.
        first: the first event of the batch.
    """

    documents: dict[DocumentKey, Value] = field(default_factory=dict)
    namespaces: set[bytes] = field(default_factory=set)
    first: StreamEvent | Usual | None = None

    def add(self, event: StreamEvent | Usual) -> None:
        """Note an event that lacks its pre-image.

        Raises:
            change_history.bson.raw.MalformedBSON: its `_id` cannot be read.
        """
        if (key := event.key()) is not None:
            self.documents[key] = event.document_id() or raw.NULL_VALUE
            self.namespaces.add(key.namespace)


class PreImageCache:
    """The documents of events that come without a pre-image.

    Args:
        history: reconstructs what is not known yet.
        all_lack: no pre-images are requested, so every collection is followed from its first event on.
    """

    def __init__(self, history: Reconstructs, *, all_lack: bool = False) -> None:
        self._history = history
        self._all_lack = all_lack
        self.documents = Documents(ROOM)
        """The cached documents."""
        self._followed: dict[bytes, int] = {}  # collection to the last batch that had an event without its pre-image
        self._batches = 0

    def begin(self, recorded: Recorded, stored: int) -> None:
        """Begin a batch: forget documents that are no longer certain.

        Args:
            recorded: the batch's history, still empty.
            stored: number of the last batch that a majority has acknowledged.

        Raises:
            Exception: whatever reading history raises.
        """
        self._history.begin(recorded, stored)
        self._batches += 1
        self._give_up_following()
        if recorded.lost is not None:
            self.clear()
        if (self._followed or self._all_lack) and self._history.learned():
            self.documents.forget(key for key, document in self.documents.known.items() if document is None)

    def recall(self, lacking: Lacking) -> None:
        """Reconstruct, in one query per collection, the documents that a batch's events lack and that are not cached.

        Raises:
            Exception: whatever reading history raises.
        """
        for namespace in lacking.namespaces:
            self._followed[namespace] = self._batches
        wanted: dict[bytes, dict[DocumentKey, Value]] = {}
        for key, document_id in lacking.documents.items():
            if key not in self.documents.known:
                wanted.setdefault(key.namespace, {})[key] = document_id
        if lacking.first is not None:
            for keys in wanted.values():
                self._reconstruct(keys, lacking.first.position)

    def follows(self, namespace: bytes) -> bool:
        """Whether a collection's documents are cached and kept up to date."""
        return self._all_lack or namespace in self._followed

    @property
    def follows_none(self) -> bool:
        """Whether no collection is followed."""
        return not self._all_lack and not self._followed

    def before(self, event: StreamEvent | Usual) -> bytes | None:
        """The document before an event that lacks its pre-image, or None if it is unknown."""
        key = event.key()
        if key is None:
            return None
        if key not in self.documents.known:
            if not event.lacks_pre_image:
                return None
            # There was no room for it in the cache.
            self._reconstruct({key: event.document_id() or raw.NULL_VALUE}, event.position)
        return self.documents.known.get(key)

    def keep(self, event: StreamEvent | Usual, after: bytes | None) -> None:
        """Cache the document after an event; None: unknown, or deleted.

        Only documents that are cached already, or are inserted, are kept: most are never needed.
        """
        key = event.key()
        if key is not None and (key in self.documents.known or event.operation == b"insert"):
            self.documents.keep(key, after)

    def end_collections(self, names: set[bytes]) -> None:
        """Forget the documents of collections, or of whole databases, that were dropped, renamed or replaced."""
        if self.documents.known:
            self.documents.forget(
                key
                for key in self.documents.known
                if key.namespace in names or key.namespace.partition(b".")[0] in names
            )

    def forget(self, key: DocumentKey) -> None:
        """Forget a document: an event of it could not be recorded."""
        if key in self.documents.known:
            self.documents.forget([key])

    def clear(self) -> None:
        """Forget every document: events were lost, or one was rejected whose effect is unknown."""
        self.documents.clear()

    def _give_up_following(self) -> None:
        """Stop following collections whose events have pre-images again, as following costs work for every event."""
        given_up = {namespace for namespace, last in self._followed.items() if self._batches - last > PATIENCE}
        if given_up:
            self._followed = {name: last for name, last in self._followed.items() if name not in given_up}
            self.documents.forget(key for key in self.documents.known if key.namespace in given_up)

    def _reconstruct(self, keys: Mapping[DocumentKey, Value], position: HistoryPosition) -> None:
        """Reconstruct documents of one collection as of a position, as many as there is room for."""
        for key, document in self._history.documents(keys, position):
            if len(keys) > 1 and self.documents.size + len(document or b"") > self.documents.room:
                return
            self.documents.keep(key, document)
