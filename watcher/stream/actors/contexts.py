"""Context documents: an application names the actor in the same transaction as its writes.

All events of a transaction follow each other in the stream, with one cluster time, its context documents among them
where they were inserted. The first one names the actor of the whole transaction, also of the events before it; a later
one names the actor of the events that follow it. A transaction can span batches. Events that were handed on before the
first context document arrived get their actor in the stored history (`completion`) before the checkpoint passes them.
The checkpoint never stays inside a transaction whose context document was already read, so that a restarted daemon
reads that document again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.resume_token import token_bytes
from change_history.stored import actor
from watcher.stream.batch import Completion, Entry, Position

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watcher.events._fast_path import Usual
    from watcher.events.event import StreamEvent
    from watcher.stream.batch import Batch, Recorded

log = structlog.get_logger(__name__)

_LARGEST_PLACE = 8 * 1024 * 1024
"""Size in bytes above which an event may have come in fragments. Its token is then a position inside the event."""

_OUTSIDE = "a context document outside of a transaction names nobody"
_REMEDY = "insert it in the transaction that it is about: change_history.recorded does"


class Contexts:
    """Tracks the transaction of the current event, and its actor as named by context documents.

    Args:
        collection: name of the collection, in every database, that context documents are inserted into; empty: none
            are read.
    """

    def __init__(self, collection: str) -> None:
        self._suffix = b"." + collection.encode() if collection else b""
        self._said: set[str] = set()
        self._transaction: bytes | None = None
        self._time: ClusterTime | None = None
        self._who: bytes | None = None
        self._fresh = True  # no event was read yet, so the first one may be in the middle of a transaction
        self._earlier = False  # an earlier batch holds events of the transaction, or may hold some
        self._waiting: list[int] = []
        self._index: int = 0
        self._counted: int = 0

    def concern(self, happened: StreamEvent | Usual) -> bool:
        """Whether an event belongs to a collection of context documents, and so is not recorded as history."""
        return self.collect(happened.namespace) and happened.operation != b"rename"

    def collect(self, namespace: bytes) -> bool:
        """Whether a namespace is a collection of context documents."""
        suffix = self._suffix
        return bool(suffix) and namespace.endswith(suffix) and namespace.find(b".") == len(namespace) - len(suffix)

    def begin(self, batch: Batch) -> None:
        """Reset what is kept per batch. If events were lost before the batch, forget the transaction too."""
        if batch.lost is not None:
            self._transaction = self._who = None
            self._fresh = True
        if self._transaction is not None:
            self._earlier = True
        self._waiting.clear()
        self._index = self._counted = 0

    def enter(self, happened: StreamEvent | Usual, index: int, recorded: int) -> None:
        """Move to the next event; to be called for every event that is in a transaction, or directly follows one.

        Args:
            happened: the event.
            index: index of the event in the batch.
            recorded: number of history entries made from the batch so far.
        """
        transaction = happened.transaction()
        if transaction == self._transaction:
            return
        self._earlier = self._fresh and index == 0
        self._transaction, self._who = transaction, None
        self._time = happened.position.cluster_time if transaction is not None else None
        self._waiting.clear()
        self._index, self._counted = index, recorded

    def pass_by(self, happened: StreamEvent | Usual, index: int) -> None:
        """Move to the end of a batch for which no context document is known.

        Args:
            happened: the first event of the last event's transaction; the last event itself if it is in none.
            index: index of `happened` in the batch; every event before it has become history.
        """
        self.enter(happened, index, index)

    @property
    def known(self) -> bool:
        """Whether the previous event was in a transaction whose context document was read."""
        return self._who is not None

    @property
    def within(self) -> bool:
        """Whether the previous event was in a transaction."""
        return self._transaction is not None

    def read(self, data: bytes, operation: bytes, recorded: Recorded) -> None:
        """Read a context document, and set its actor on the transaction's entries that wait for it in this batch."""
        if operation != b"insert":
            return
        if self._transaction is None:
            self._say_once(_OUTSIDE, remedy=_REMEDY)
            return
        try:
            event = raw.fields(data)
            who = self._actor_of(raw.fields(event[b"fullDocument"][1]))
        except (KeyError, raw.MalformedBSON):  # such as one that was too large to be delivered with its values
            who = None
            self._say_once("a context document cannot be read")
        if who is None:
            return
        if self._who is None:
            for number in self._waiting:
                document, origin = recorded.entries[number]
                recorded.entries[number] = Entry(actor.added(actor.split(document)[0], who), origin)
                recorded.size += len(who)
            if self._earlier:
                time, token = ClusterTime.from_payload(event[b"clusterTime"][1]), token_bytes(event[b"_id"][1])
                recorded.completions.append(Completion(time, event[b"lsid"], event[b"txnNumber"], token, who))
            self._waiting.clear()
        self._who = who

    def assigned(self, recorded: Recorded, otherwise: bytes | None) -> bytes | None:
        """The actor of an event in a transaction; to be called right before its history is added to the batch.

        Args:
            recorded: the batch's history so far.
            otherwise: the actor if no context document names one; None: unknown.
        """
        if self._who is not None:
            return self._who
        self._waiting.append(len(recorded.entries))
        return otherwise

    def end(self, batch: Batch, recorded: Recorded) -> None:
        """Set `recorded.safe` to the position a restarted daemon must resume from, if earlier than the batch's end."""
        self._fresh = self._fresh and not batch.events
        if self._transaction is None or self._time is None:
            return
        if batch.position.cluster_time > self._time:  # the transaction is whole
            self._transaction = self._who = None
        elif self._who is not None:
            recorded.safe, recorded.unsafe = self._before(batch.events), len(recorded) - self._counted
            if recorded.safe is None:
                recorded.unsafe = len(recorded)

    def _before(self, events: Sequence[bytes]) -> Position | None:
        """The position right before the current transaction; None: the end of the previous batch."""
        if self._index == 0 or len(events[self._index - 1]) > _LARGEST_PLACE:
            return None
        event = raw.readable(events[self._index - 1])
        token, time = event.get(b"_id"), event.get(b"clusterTime")
        if token is None or token[0] != raw.DOCUMENT or time is None or time[0] != raw.TIMESTAMP:
            return None  # the event is damaged
        return Position(token[1], ClusterTime.from_payload(time[1]))

    def _actor_of(self, context: dict[bytes, raw.Value]) -> bytes | None:
        """The actor that a context document names, as stored BSON; None: it names none."""
        name = context.get(b"actor")
        if name is None or not actor.is_name(name):
            self._say_once("a context document names no actor that can be kept", field="actor")
            return None
        said: dict[str, raw.Value] = {}
        for field, fits in (("reason", actor.is_text), ("request", actor.is_name)):
            value = context.get(field.encode())
            if value is None or value == raw.NULL_VALUE:
                continue
            if fits(value):
                said[field] = value
            else:
                self._say_once("a field of a context document cannot be kept", field=field)
        return actor.encode(name, actor.CONTEXT, reason=said.get("reason"), request=said.get("request"))

    def _say_once(self, what: str, **facts: str) -> None:
        key = what + facts.get("field", "")
        if key not in self._said:
            self._said.add(key)
            log.warning(what, **facts)
