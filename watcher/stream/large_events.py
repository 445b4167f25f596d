"""Events that the server refuses to deliver: asked for in smaller portions, then with less in them.

An event beyond 16 MB (an update with its pre-image: two documents) makes `getMore` fail with BSONObjectTooLarge, and
everything else in that batch fails with it; the cursor is gone. Measured on 6.0.5: code 10334, no error labels, from
16,793,600 bytes on (16 MB and 16 kB). So the portion is made smaller until the refused event is alone, and that one
event is asked for in the first of these forms that the server can deliver:

1. `WHOLE`, as all events are.
2. `WITHOUT_IMAGES`: its old values are unknown, what it did is told. Nothing else is needed in practice.
3. `BARE`: only what names the event; what it did is unknown. Only an `_id` of megabytes needs this on a server with raw
   update descriptions (it is in the event three times over, and twice in its token, in hexadecimal); without them, also
   an update whose paths, spelled out, pass 16 MB.

Then events are asked for as usual again. The same event gets the same form from every daemon: the form is the first
that the server can deliver of this event alone, whatever stood around it, wherever reading began. It is not so if the
pre-image has expired meanwhile, which gives `WITHOUT_IMAGES` what it lacks anyhow, or if the daemon's options or the
server have changed in between; then what was recorded first stays.

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
"""So many bytes of events are asked for at a time: a batch is held several times over, in every stage and queue, and a
server by itself would fill 16 MB."""

LARGEST_ID = 3 * 1024 * 1024
"""Bytes of a `documentKey` that can be delivered; its token has twice as many, and an answer all that five times."""

SURELY_WHOLE = 1024 * 1024
"""Bytes of a `documentKey` with which no answer is too large for its connection, as long as its event is not."""

_FEWER = 16
_AT_FIRST = 4
_MORE = 4
_VALUES = ["fullDocument", "fullDocumentBeforeChange", "rawUpdateDescription", "updateDescription"]


class Projection(IntEnum):
    """How much of an event is asked for."""

    WHOLE = 0
    WITHOUT_IMAGES = 1
    BARE = 2

    @property
    def images(self) -> bool:
        """Whether pre- and post-images are asked for."""
        return self is Projection.WHOLE

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Stages for the end of the stream's pipeline."""
        if self is not Projection.BARE:
            return []
        return [{"$unset": _VALUES}, {"$set": {WITHOUT_VALUES: True}}]


def leave_out(until: Timestamp) -> dict[str, Any]:
    """The stage that leaves out, up to a cluster time, every event that cannot be delivered."""
    small = {"$expr": {"$lt": [{"$bsonSize": "$documentKey"}, LARGEST_ID]}}
    return {"$match": {"$or": [{"clusterTime": {"$gt": until}}, small]}}


def only_heavy(until: Timestamp) -> dict[str, Any]:
    """The stage that leaves nothing, up to a cluster time, but events with an `_id` that may break a connection."""
    heavy = {"$expr": {"$gte": [{"$bsonSize": "$documentKey"}, SURELY_WHOLE]}}
    return {"$match": {"clusterTime": {"$lte": until}, **heavy}}


class Portion:
    """How many events are asked for at a time, and in what form.

    Args:
        usual: how many as a rule.
    """

    def __init__(self, usual: int) -> None:
        self._usual = usual
        self._refused_within = 0
        self._light = _AT_FIRST  # events of any size may come
        self.size = usual
        self.projection = Projection.WHOLE

    @property
    def events(self) -> int:
        """How many are to be asked for: a portion, or fewer if that would be heavy."""
        return min(self.size, self._light)

    def weighed(self, events: int, size: int) -> None:
        """The server has answered with so many events of so many bytes in all; the next will be like them.

        A batch of light ones says little of what follows, so the number grows by steps; it falls at once.
        """
        if events:
            self._light = max(1, min(LIGHT_BYTES * events // size, self._light * _MORE))

    def refused(self) -> bool:
        """The server has refused this portion: ask for less. False: there is no less."""
        if self.size > 1:
            self._refused_within = max(self._refused_within, self.size)
            self.size = max(1, self.size // _FEWER)
        elif self.projection is not Projection.BARE:
            self.projection = Projection(self.projection + 1)
        else:
            return False
        return True

    def as_usual(self) -> None:
        """Ask for events as usual again."""
        self._refused_within, self.size, self.projection = 0, self._usual, Projection.WHOLE

    def served(self, events: int) -> bool:
        """The server has delivered so many events of this portion. True: the stream is to be opened anew, as usual.

        Smaller portions end when what was refused at first has been read to its end, in whatever form.
        """
        self._refused_within -= events
        lessened = self.projection is not Projection.WHOLE and events > 0
        if lessened or (self.projection is Projection.WHOLE and self._refused_within <= 0):
            self.as_usual()
        return lessened
