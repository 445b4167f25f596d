"""Old values without pre-images: what history itself tells of a document, where that is sound.

A document's state is what its history folds to, if history has it whole and without a hole: no gap that has not been
reconciled, no drop since. It is recalled from the history collection, once everything read before is stored there, and
then kept up to date with every event of the document, as long as there is room.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from core import event, fold
from watcher.recollection import Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from core.event import Event
    from models.raw import Value

    Documents = dict[Value, bytes | Unknown | None]

ROOM = 32 * 1024 * 1024
"""Bytes of documents that are kept at most."""

_ENDS = frozenset({b"drop", b"dropDatabase", b"rename"})
_WITHOUT_IMAGE = frozenset({b"update", b"replace", b"delete"})


class Memory:
    """The documents of events that come without a pre-image.

    Args:
        recall: tells documents of a namespace by their ids, from history. Called only when everything that was
            recorded before is stored.
    """

    def __init__(self, recall: Callable[[str, list[Value]], Documents]) -> None:
        self._recall = recall
        self._known: OrderedDict[tuple[bytes, Value], bytes | None] = OrderedDict()
        self._awaited: dict[tuple[bytes, Value], None] = {}
        self._size = 0

    def prepare(self, events: Iterable[Event]) -> None:
        """Recall, all at once, the documents of those events that lack a pre-image and are not known yet.

        Of those that history does not tell, the events to come may: an insert among them begins a document anew.
        """
        self._make_room()
        self._awaited = dict.fromkeys(key for happened in events if (key := _key_if_blind(happened)) is not None)
        wanted: dict[bytes, list[Value]] = {}
        for namespace, document_id in self._awaited:
            if (namespace, document_id) not in self._known:
                wanted.setdefault(namespace, []).append(document_id)
        for namespace, ids in wanted.items():
            for document_id, document in self._recall(namespace.decode("utf-8", "replace"), ids).items():
                if not isinstance(document, Unknown):
                    self._keep((namespace, document_id), document)

    def before(self, happened: Event) -> bytes | None:
        """The document before an event that has no pre-image, or None if history does not tell it."""
        key = _key_if_blind(happened)
        return self._known.get(key) if key is not None else None

    def after(self, happened: Event, history: bytes) -> None:
        """Keep a known document up to date with an event of its own; forget those that a collection's end has ended.

        Raises:
            DoesNotApplyError: the event cannot have happened to the document as it is remembered; it is forgotten.
        """
        if not self._known and not self._awaited:
            return
        document_id = happened.document_id()
        if document_id is None:
            if happened.operation in _ENDS:
                self._forget_collections(happened)
            return
        key = happened.namespace, document_id
        if key not in self._known and key not in self._awaited:
            return
        entry = fold.read(history)
        try:
            if key in self._known or fold.tells_all(entry):
                self._keep(key, fold.apply(self._known.get(key), entry))
        except fold.DoesNotApplyError:
            self._forget(key)
            raise

    def forget_all(self) -> None:
        """An event could not be recorded, perhaps not even read: whatever it changed is not known any more."""
        self._known.clear()
        self._awaited.clear()
        self._size = 0

    def _keep(self, key: tuple[bytes, Value], document: bytes | None) -> None:
        self._forget(key)
        self._known[key] = document
        self._size += len(document or b"")

    def _forget(self, key: tuple[bytes, Value]) -> None:
        if key in self._known:
            self._size -= len(self._known.pop(key) or b"")

    def _forget_collections(self, happened: Event) -> None:
        target = happened.document(b"to")
        names = {happened.namespace, event.namespace_of(target) if target is not None else happened.namespace}
        whole_database = happened.namespace + b"."
        for key in [key for key in self._known if key[0] in names or key[0].startswith(whole_database)]:
            self._forget(key)

    def _make_room(self) -> None:
        while self._size > ROOM:
            _, document = self._known.popitem(last=False)
            self._size -= len(document or b"")


def _key_if_blind(happened: Event) -> tuple[bytes, Value] | None:
    """Which document an event without the pre-image that it should have is about."""
    if happened.operation not in _WITHOUT_IMAGE or happened.document(b"fullDocumentBeforeChange") is not None:
        return None
    document_id = happened.document_id()
    return (happened.namespace, document_id) if document_id is not None else None
