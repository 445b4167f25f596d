"""Joins the fragments of large events before anything else sees them.

A server with `$changeStreamSplitLargeEvent` (6.0.9, 7.0 and later) delivers an event beyond 16 MB as a sequence of
fragments, each with a resume token of its own and `splitEvent: {fragment, of}`; each of the event's top-level fields
is in exactly one of them. Resuming from a fragment's token would begin in the middle of an event, so a position is only
taken from the last fragment, and reading continues until the event is whole.

The joined event keeps the token of its first fragment: it is the same on every delivery, and sorts where the event
does.

Written from the server's documentation and tested with artificial fragments: no such server was available.
https://www.mongodb.com/docs/manual/reference/operator/aggregation/changeStreamSplitLargeEvent/
"""

from __future__ import annotations

from pymongo.errors import AutoReconnect

from change_history.bson import raw

SPLIT_STAGE: dict[str, dict[str, object]] = {"$changeStreamSplitLargeEvent": {}}
"""The last stage of a stream's pipeline."""

_MARK = b"\x03splitEvent\x00"
_NAME = b"splitEvent"


class BrokenFragmentsError(AutoReconnect):
    """The fragments of an event did not arrive in sequence. Transient: the stream is reopened before the event."""


class Fragments:
    """Joins the fragments of one stream's events."""

    def __init__(self) -> None:
        self._held: dict[bytes, raw.Value] = {}
        self._next = 1

    @property
    def pending(self) -> bool:
        """Whether some fragments of an event were read, but not yet all."""
        return self._next > 1

    def forget(self) -> None:
        """Drop an incomplete event: the stream is read again from before it."""
        self._held, self._next = {}, 1

    def join(self, events: list[bytes]) -> list[bytes]:
        """Take the events and fragments that the server sent next; return the whole events, in order.

        Raises:
            BrokenFragmentsError: a fragment is missing. The incomplete event is dropped.
        """
        if not self.pending and not any(_MARK in event for event in events):
            return events
        whole = []
        try:
            for event in events or [raw.EMPTY_DOCUMENT]:  # no event, though a fragment was due: an error
                joined = self._join(event)
                if joined is not None:
                    whole.append(joined)
        except BrokenFragmentsError:
            self.forget()
            raise
        return whole

    def _join(self, event: bytes) -> bytes | None:
        fields = raw.fields(event)
        mark = fields.pop(_NAME, None)
        if mark is None:
            if self.pending:
                raise BrokenFragmentsError("an event ended before its last fragment")
            return event
        said = raw.fields(mark[1])
        number, of = (int.from_bytes(said[name][1], "little") for name in (b"fragment", b"of"))
        if number != self._next:
            raise BrokenFragmentsError(f"fragment {number} of {of} came where fragment {self._next} was due")
        for name, value in fields.items():
            self._held.setdefault(name, value)
        self._next += 1
        if number < of:
            return None
        joined = raw.from_fields(self._held.items())
        self.forget()
        return joined
