"""The second stage: turn events into history documents. An event that cannot become one is rejected, and kept whole.

Each event is parsed once, its pre-image is resolved (`watcher.stream.pre_image_cache`), and its history is a pure
function of the two (`watcher.events.record`). If there are redaction rules, they are applied before anything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from change_history.bson import redacted
from change_history.reconstruct.lineage import ENDS
from change_history.stored import actor
from watcher.events import event, fast_path
from watcher.stream.actors.contexts import Contexts
from watcher.stream.actors.stamps import Stamps
from watcher.stream.batch import Entry, Recorded, RejectedEvent, Renamed
from watcher.stream.pre_image_cache import Lacking
from watcher.stream.pre_images_from_history import document_of

if TYPE_CHECKING:
    from watcher.events._fast_path import Usual
    from watcher.events.redaction import Redaction
    from watcher.stream.batch import Batch
    from watcher.stream.pre_image_cache import PreImageCache

    Readable: TypeAlias = event.StreamEvent | Usual
    _Quiet: TypeAlias = tuple[list[Entry], dict[tuple[bytes, bytes], int], int, int]

_APPEARING = frozenset({b"create", b"rename", b"createIndexes"})
"""Operations after which a collection has to be prepared. The end of an index build is one of them: during the build,
the server refuses to alter the collection."""
_ENDING = frozenset(name.encode() for name in ENDS)
_UNREADABLE = (ValueError, KeyError, IndexError)  # those of `events` and `change_history.bson` are ValueErrors


class Recorder:
    """Turns batches of events into batches of history; what an event means is in `watcher.events.record`.

    There are three paths, and the first that applies is taken: the whole batch at once (`_quiet`), if no event affects
    another; runs of ordinary events (`fast_path.record_some`), with the documents that are cached; every other event
    individually (`_record_one`). All three write the same bytes.

    Args:
        pre_images: the documents before events that come without a pre-image; redacted by the same rules.
        contexts: reads actors from context documents; None: none are read.
        stamps: reads actors from fields of the documents; None: none are read.
        redaction: the redaction rules; None: nothing is redacted.
    """

    def __init__(
        self,
        pre_images: PreImageCache,
        contexts: Contexts | None = None,
        stamps: Stamps | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        self._pre_images = pre_images
        self._contexts = contexts or Contexts("")
        self._stamps = stamps or Stamps(())
        self._redaction = redaction
        self._batches = 0

    def record(self, batch: Batch, stored: int = 0) -> Recorded:
        """Turn the events of a batch into history documents.

        Args:
            batch: the events.
            stored: number of the last batch that a majority has acknowledged; `Recorded.number` counts them.

        Raises:
            Exception: whatever reconstructing documents from history raises.
        """
        self._batches += 1
        recorded = Recorded([], [], batch.position, lost=batch.lost, number=self._batches)
        contexts = self._contexts
        contexts.begin(batch)
        given, marked = batch.events, frozenset[int]()
        if self._redaction is not None:
            given, marked = self._redaction.batch(given)
        quiet = self._quiet(given)
        self._pre_images.begin(recorded, stored)
        if quiet is not None:
            self._fill(recorded, quiet, given, marked)
        else:
            self._record_each(given, marked, recorded)
        contexts.end(batch, recorded)
        return recorded

    def _record_each(self, given: list[bytes], marked: frozenset[int], recorded: Recorded) -> None:
        """Record runs of ordinary events with the compiled path; record every other event individually."""
        events, namespaces = self._read(given)
        documents = self._pre_images.documents
        followed = {name: self._pre_images.follows(name) for name in namespaces}
        number = 0
        while number < len(events):
            if not self._stamps and not self._contexts.within:
                entries, counts, size = fast_path.record_some(events, number, documents, followed, marked, Entry)
                recorded.extend(entries, counts, size)
                number += len(entries)
            if number < len(events):
                self._record_one(given[number], events[number], number, recorded, marked=number in marked)
            number += 1

    def _fill(self, recorded: Recorded, quiet: _Quiet, events: list[bytes], marked: frozenset[int]) -> None:
        """Add the result of `_quiet` to the batch's history."""
        entries, counts, size, begun = quiet
        recorded.extend(entries, counts, size)
        for number in marked:
            document, data = recorded.entries[number]
            recorded.entries[number] = Entry(redacted.without_mark(document), data)
        if events:
            self._contexts.pass_by(fast_path.read(events[begun]), begun)

    def _record_one(
        self, data: bytes, happened: Readable | RejectedEvent, number: int, recorded: Recorded, *, marked: bool
    ) -> None:
        """Append the history of one event of any kind, or reject it.

        Args:
            data: the event as the server sent it, BSON.
            happened: the same event, parsed.
            number: index of the event in the batch.
            recorded: the batch's history so far.
            marked: whether the event contains a redaction mark.
        """
        contexts = self._contexts
        if isinstance(happened, RejectedEvent):
            self._reject(happened, recorded)
            return
        if happened.in_transaction or contexts.within:
            contexts.enter(happened, number, len(recorded))
        if contexts.concern(happened):
            contexts.read(data, happened.operation, recorded)
            return
        try:
            history = self._history(data, happened, recorded, marked=marked)
        except _UNREADABLE as error:
            self._reject(_rejected(data, error), recorded)
            return
        recorded.add(Entry(history, data), happened.namespace, happened.operation)
        if isinstance(happened, event.StreamEvent):
            self._notice(happened, recorded)

    def _quiet(self, events: list[bytes]) -> _Quiet | None:
        """The history of a batch in which no event affects a later one, and no earlier batch affects them.

        This is true of nearly every batch. None: it is not true of this one.
        """
        if not self._pre_images.follows_none or self._stamps or self._contexts.known:
            return None
        quiet = fast_path.quiet(events, Entry)
        if quiet is None:
            return None
        _, counts, _, _ = quiet
        return None if any(self._contexts.collect(namespace) for namespace, _ in counts) else quiet

    def _history(self, data: bytes, happened: Readable, recorded: Recorded, *, marked: bool) -> bytes:
        known = None
        # The collection's events come with pre-images, so none has to be looked up or cached.
        if not self._pre_images.follows(happened.namespace):
            history = fast_path.history(happened)
        else:
            known = self._pre_images.before(happened)
            history, after = fast_path.followed(happened, known)
            self._pre_images.keep(happened, redacted.without_mark(after) if marked and after is not None else after)
        if marked:
            history = redacted.without_mark(history)
        who = self._stamps.actor_of(history, data, known) if self._stamps else None
        if happened.in_transaction:
            who = self._contexts.assigned(recorded, who)
        return history if who is None else actor.added(history, who)

    def _read(self, batch: list[bytes]) -> tuple[list[Readable | RejectedEvent], set[bytes]]:
        """Parse events, and load into the cache the pre-images that they lack.

        Returns:
            The parsed events; the namespaces of the document events among them, without those of context documents.
        """
        events: list[Readable | RejectedEvent] = []
        lacking = Lacking()
        namespaces: set[bytes] = set()
        while len(events) < len(batch):
            some, documents, lacks = fast_path.read_some(batch, len(events), self._pre_images.documents.known)
            events += some
            for apart in filter(self._contexts.collect, list(lacks)):
                del lacks[apart]
                documents = {key: value for key, value in documents.items() if key.namespace != apart}
            namespaces |= lacks.keys()
            lacking.namespaces |= {name for name in lacks if lacks[name]}
            lacking.documents |= documents
            if len(events) < len(batch):
                events.append(self._read_one(batch[len(events)], lacking))
        lacking.first = next((happened for happened in events if not isinstance(happened, RejectedEvent)), None)
        self._pre_images.recall(lacking)
        return events, namespaces

    def _read_one(self, data: bytes, lacking: Lacking) -> Readable | RejectedEvent:
        """Parse one event of any kind, and note the pre-image that it lacks."""
        try:
            happened = fast_path.read(data)
            if happened.lacks_pre_image and not self._contexts.concern(happened):
                lacking.add(happened)
        except _UNREADABLE as error:
            kept = self._redaction.rejected(data) if self._redaction is not None else data
            return _rejected(kept, error)
        return happened

    def _notice(self, happened: event.StreamEvent, recorded: Recorded) -> None:
        """Note what an event does to whole collections: that they appear, are renamed or end."""
        if happened.operation in _APPEARING:
            recorded.appeared.add(_new_name(happened).decode("utf-8", "replace"))
        if happened.operation == b"rename":
            names = (happened.namespace, _new_name(happened))
            source, target = (name.decode("utf-8", "replace") for name in names)
            recorded.renamed.append(Renamed(source, target, happened.cluster_time))
        if happened.operation in _ENDING:
            self._pre_images.end_collections({happened.namespace, _new_name(happened)})

    def _reject(self, rejected: RejectedEvent, recorded: Recorded) -> None:
        recorded.rejected.append(rejected)
        key = document_of(rejected)
        if key is None:
            self._pre_images.clear()
        else:
            self._pre_images.forget(key)


def _rejected(data: bytes, error: Exception) -> RejectedEvent:
    return RejectedEvent(data, f"{type(error).__name__}: {error}")


def _new_name(happened: event.StreamEvent) -> bytes:
    """The namespace that exists after the event: the new name for a rename, otherwise the event's own."""
    target = happened.document(b"to")
    return event.namespace_of(target) if target is not None else happened.namespace
