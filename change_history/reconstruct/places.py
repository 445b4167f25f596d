"""Places in history: an event's own, and where to cut.

History is ordered by cluster time, and within one cluster time by resume token, byte by byte. What has no token is not
the stream's: it tells how things were after all events of its cluster time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bson import Timestamp

if TYPE_CHECKING:
    from change_history.bson import raw

TIME_BYTES = 8
"""So many leading bytes of a history document's `_id` are its cluster time."""

_AFTER_ALL = b"\xff"  # no resume token begins so
_BEYOND = b"\xff\xff"


class Place(NamedTuple):
    """Where an entry stands. Places compare as history is ordered.

    Attributes:
        cluster_time: 8 bytes, big-endian, as `_id` begins.
        token: key string of the resume token; for entries without one, greater than any.
    """

    cluster_time: bytes
    token: bytes

    @property
    def following(self) -> Place:
        """The place right after this one."""
        return Place(self.cluster_time, self.token + b"\x00")

    @property
    def last_id(self) -> bytes:
        """The greatest `_id`, 16 bytes, that an entry before this place can have."""
        return self.cluster_time + (b"\xff" if self.token else b"\x00") * TIME_BYTES


BEGINNING = Place(bytes(TIME_BYTES), b"")
"""Before everything."""

END = Place(b"\xff" * TIME_BYTES, _BEYOND)
"""After everything."""


def after(moment: Timestamp | bytes) -> Place:
    """The place after everything of a cluster time.

    Args:
        moment: the cluster time, or its 8 bytes, big-endian.
    """
    return Place(moment if isinstance(moment, bytes) else sortable(moment), _BEYOND)


def before(moment: bytes) -> Place:
    """The place before everything of a cluster time, given as 8 bytes, big-endian."""
    return Place(moment, b"")


def place_of(fields: dict[bytes, raw.Value]) -> Place:
    """Where a stored history document stands, from its top-level fields.

    Raises:
        KeyError: it has no `_id`.
    """
    token = fields.get(b"resume_token")
    return place_at(identity(fields), token[1][5:] if token is not None else None)


def place_at(identity: bytes, token: bytes | None) -> Place:
    """Where an entry stands, from its `_id` and its resume token, if it has one."""
    return Place(bytes(identity)[:TIME_BYTES], bytes(token) if token is not None else _AFTER_ALL)


def identity(fields: dict[bytes, raw.Value]) -> bytes:
    """The `_id`, 16 bytes, of a stored history document, from its top-level fields."""
    return fields[b"_id"][1][5:]


def sortable(moment: Timestamp) -> bytes:
    """A cluster time as the first 8 bytes of the ids of history."""
    return moment.time.to_bytes(4, "big") + moment.inc.to_bytes(4, "big")


def moment_of(cluster_time: bytes) -> Timestamp:
    """A cluster time given as 8 bytes, big-endian: the contrary of `sortable`."""
    return Timestamp(int.from_bytes(cluster_time[:4], "big"), int.from_bytes(cluster_time[4:], "big"))
