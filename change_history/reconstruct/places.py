"""Places in history: an event's own, and where to cut.

History is ordered by cluster time, and within one cluster time by resume token, byte by byte. What has no token is not
the stream's: it tells how things were after all events of its cluster time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from change_history.bson.cluster_time import BEGINNING_OF_TIME, END_OF_TIME, ClusterTime

if TYPE_CHECKING:
    from change_history.bson import raw

_AFTER_ALL = b"\xff"  # no resume token begins so
_BEYOND = b"\xff\xff"


class Place(NamedTuple):
    """Where an entry stands. Places compare as history is ordered.

    Attributes:
        cluster_time: that of the entry.
        token: key string of the resume token; for entries without one, greater than any.
    """

    cluster_time: ClusterTime
    token: bytes

    @property
    def following(self) -> Place:
        """The place right after this one."""
        return Place(self.cluster_time, self.token + b"\x00")

    @property
    def last_id(self) -> bytes:
        """The greatest `_id`, 16 bytes, that an entry before this place can have."""
        return self.cluster_time.last_id if self.token else self.cluster_time.first_id


BEGINNING = Place(BEGINNING_OF_TIME, b"")
"""Before everything."""

END = Place(END_OF_TIME, _BEYOND)
"""After everything."""


def after(time: ClusterTime) -> Place:
    """The place after everything of a cluster time."""
    return Place(time, _BEYOND)


def before(time: ClusterTime) -> Place:
    """The place before everything of a cluster time."""
    return Place(time, b"")


def place_of(fields: dict[bytes, raw.Value]) -> Place:
    """Where a stored history document stands, from its top-level fields.

    Raises:
        KeyError: it has no `_id`.
    """
    token = fields.get(b"resume_token")
    return place_at(identity(fields), token[1][5:] if token is not None else None)


def place_at(identity: bytes, token: bytes | None) -> Place:
    """Where an entry stands, from its `_id` and its resume token, if it has one."""
    return Place(ClusterTime.from_id(identity), bytes(token) if token is not None else _AFTER_ALL)


def identity(fields: dict[bytes, raw.Value]) -> bytes:
    """The `_id`, 16 bytes, of a stored history document, from its top-level fields."""
    return fields[b"_id"][1][5:]
