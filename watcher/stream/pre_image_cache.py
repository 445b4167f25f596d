"""Documents as they were before events that come without a pre-image, where history can be trusted.

A document is reconstructed from history (`watcher.stream.pre_images_from_history`) and then kept up to date with every
event of it, as long as there is room. Whatever history does not give is unknown.
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
"""Bytes that are kept at most."""

PATIENCE = 100
"""So many batches after its last event without a pre-image, a collection is no longer followed."""


class Reconstructs(Protocol):
    """History, as far as it may be trusted: `watcher.stream.pre_images_from_history`."""

    def begin(self, recorded: Recorded, stored: int, /) -> None:
        """Begin a batch, whose history is in flight from now on; up to the batch of the number, all is stored."""

    def learned(self) -> bool:
        """Whether more can be reconstructed than when this was last asked."""

    def documents(
        self, keys: Mapping[DocumentKey, Value], position: HistoryPosition, /
    ) -> Iterator[tuple[DocumentKey, bytes | None]]:
        """What documents of one collection were before a position; None: unknown."""


@dataclass(slots=True)
class Lacking:
    """The documents of a batch's events that come without their pre-image.

    Attributes:
        documents: their `_id`s; those that are known may be missing.
        namespaces: where they are.
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
        all_lack: no pre-images are asked for, so every collection is followed, from its first event on.
    """

    def __init__(self, history: Reconstructs, *, all_lack: bool = False) -> None:
        self._history = history
        self._all_lack = all_lack
        self.documents = Documents(ROOM)
        """Those that are known."""
        self._followed: dict[bytes, int] = {}  # collections, and the last batch with an event without its pre-image
        self._batches = 0

    def begin(self, recorded: Recorded, stored: int) -> None:
        """Begin a batch: forget what is no longer known.

        Args:
            recorded: the batch's history, to be filled.
            stored: batches up to this number are acknowledged by a majority.

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
        """Reconstruct, all at once, the documents that a batch's events lack and that are not known.

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
        """Whether the documents of a collection are kept up to date here."""
        return self._all_lack or namespace in self._followed

    @property
    def follows_none(self) -> bool:
        """Whether no document is kept up to date here, of whatever collection."""
        return not self._all_lack and not self._followed

    def before(self, event: StreamEvent | Usual) -> bytes | None:
        """The document before an event that lacks its pre-image, or None if it is unknown."""
        key = event.key()
        if key is None:
            return None
        if key not in self.documents.known:
            if not event.lacks_pre_image:
                return None
            # There was no room for it.
            self._reconstruct({key: event.document_id() or raw.NULL_VALUE}, event.position)
        return self.documents.known.get(key)

    def keep(self, event: StreamEvent | Usual, after: bytes | None) -> None:
        """Keep the document after an event; None: unknown, or there is none.

        Only documents that are known already, or appear, are kept: most never need it.
        """
        key = event.key()
        if key is not None and (key in self.documents.known or event.operation == b"insert"):
            self.documents.keep(key, after)

    def end_collections(self, names: set[bytes]) -> None:
        """Forget the documents of collections, or of all collections of a database: they are gone, or others."""
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
        """Forget every document: events were lost, or one could not be recorded, of which nobody knows what it did."""
        self.documents.clear()

    def _give_up_following(self) -> None:
        """Follow no longer what has its pre-images again: whatever is kept of it would have to be kept up to date."""
        given_up = {namespace for namespace, last in self._followed.items() if self._batches - last > PATIENCE}
        if given_up:
            self._followed = {name: last for name, last in self._followed.items() if name not in given_up}
            self.documents.forget(key for key in self.documents.known if key.namespace in given_up)

    def _reconstruct(self, keys: Mapping[DocumentKey, Value], position: HistoryPosition) -> None:
        """Reconstruct documents of one collection as they were at a position, as many as there is room for."""
        for key, document in self._history.documents(keys, position):
            if len(keys) > 1 and self.documents.size + len(document or b"") > self.documents.room:
                return
            self.documents.keep(key, document)
