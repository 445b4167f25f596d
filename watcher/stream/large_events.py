"""Events that the server refuses to deliver: requested in smaller portions, then in a reduced form.

An event beyond 16 MB (an update with its pre-image: two documents) makes `getMore` fail with BSONObjectTooLarge, and
everything else in that batch fails with it; the cursor is gone. Measured on 6.0.5: code 10334, no error labels, from
16,793,600 bytes on (16 MB and 16 kB). So the portion is made smaller until the refused event is alone, and that one
event is asked for in the first of these forms that the server can deliver:

1. `WHOLE`, as all events are.
2. `WITHOUT_IMAGES`: its old values are unknown, its changes are known. Nothing else is needed in practice.
3. `BARE`: only the event's identity; its changes are unknown. On a server with raw update descriptions, only an `_id`
   of megabytes needs this (it is in the event three times over, and twice in its token, in hexadecimal); without them,
   also an update whose paths, spelled out, exceed 16 MB.

Then events are requested normally again. The same event gets the same form from every daemon: the first form that the
server can deliver for this event alone, whatever events surround it, and wherever reading began. There are two
exceptions: the pre-image has expired meanwhile (`WITHOUT_IMAGES` does not have it anyway), or the daemon's options or
the server have changed in between. Then the history that was recorded first stays.

An `_id` of more than three megabytes cannot be delivered at all: the token holds it in hexadecimal, and is in the event
and once more beside it. The server refuses even the bare form, or closes the connection where the event fits and the
answer does not. Such events are left out (`leave_out`) up to the present, and are a gap; all others of that time are
delivered.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from watcher.events.event import WITHOUT_VALUES

if TYPE_CHECKING:
    from bson import Timestamp

LIGHT_BYTES = 2 * 1024 * 1024
"""Target size of a batch in bytes. Every stage and queue holds batches, so they must be smaller than the 16 MB that a
server would fill by itself."""

LARGEST_ID = 3 * 1024 * 1024
"""Largest `documentKey`, in bytes, that can be delivered: its token has twice the size, and a reply holds all that five
times."""

SURELY_WHOLE = 1024 * 1024
"""Largest `documentKey`, in bytes, with which no reply is too large for its connection, unless the event itself is."""

_FEWER = 16
_AT_FIRST = 4
_MORE = 4
_VALUES = ["fullDocument", "fullDocumentBeforeChange", "rawUpdateDescription", "updateDescription"]


class Projection(IntEnum):
    """How much of an event is requested."""

    WHOLE = 0
    WITHOUT_IMAGES = 1
    BARE = 2

    @property
    def images(self) -> bool:
        """Whether pre- and post-images are requested."""
        return self is Projection.WHOLE

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Stages for the end of the stream's pipeline."""
        if self is not Projection.BARE:
            return []
        return [{"$unset": _VALUES}, {"$set": {WITHOUT_VALUES: True}}]


def leave_out(until: Timestamp) -> dict[str, Any]:
    """A pipeline stage that drops every event up to a cluster time that cannot be delivered."""
    small = {"$expr": {"$lt": [{"$bsonSize": "$documentKey"}, LARGEST_ID]}}
    return {"$match": {"$or": [{"clusterTime": {"$gt": until}}, small]}}


def only_heavy(until: Timestamp) -> dict[str, Any]:
    """A stage that passes only events up to a cluster time whose `_id` is so large that it may break a connection."""
    heavy = {"$expr": {"$gte": [{"$bsonSize": "$documentKey"}, SURELY_WHOLE]}}
    return {"$match": {"clusterTime": {"$lte": until}, **heavy}}


class Portion:
    """How many events are requested at a time, and in what form.

    Args:
        usual: the normal number.
    """

    def __init__(self, usual: int) -> None:
        self._usual = usual
        self._refused_within = 0
        self._light = _AT_FIRST  # events of any size may come
        self.size = usual
        self.projection = Projection.WHOLE

    @property
    def events(self) -> int:
        """How many events to request: a portion, or fewer if these would exceed `LIGHT_BYTES`."""
        return min(self.size, self._light)

    def weighed(self, events: int, size: int) -> None:
        """Adapt the number of events to the average size of a batch that the server has delivered.

        A batch of small events predicts little, so the number grows in steps; it shrinks at once.

        Args:
            events: number of events in the batch.
            size: their size in bytes.
        """
        if events:
            self._light = max(1, min(LIGHT_BYTES * events // size, self._light * _MORE))

    def refused(self) -> bool:
        """Reduce the portion, which the server has refused. False: it cannot be reduced further."""
        if self.size > 1:
            self._refused_within = max(self._refused_within, self.size)
            self.size = max(1, self.size // _FEWER)
        elif self.projection is not Projection.BARE:
            self.projection = Projection(self.projection + 1)
        else:
            return False
        return True

    def as_usual(self) -> None:
        """Request events normally again."""
        self._refused_within, self.size, self.projection = 0, self._usual, Projection.WHOLE

    def served(self, events: int) -> bool:
        """Count the events that the server has delivered. True: the stream must be reopened in the normal form.

        Smaller portions end when the portion that was first refused has been read completely, in whatever form.
        """
        self._refused_within -= events
        lessened = self.projection is not Projection.WHOLE and events > 0
        if lessened or (self.projection is Projection.WHOLE and self._refused_within <= 0):
            self.as_usual()
        return lessened
