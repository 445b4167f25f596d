"""The order of history: by cluster time, and within one cluster time by resume token, byte by byte.

The server sorts by `_id`: its first half is the cluster time, but its second a digest, which has no order, and the
events of one transaction share a cluster time. Sorting by `resume_token` on the server would not help, since BSON
compares binary data by length first. So each run of entries with one cluster time is sorted here. An entry without a
token is not from the stream: it records a state after all events of its cluster time.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, END_OF_TIME, ClusterTime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeVar

    Stored = TypeVar("Stored", bound=Mapping[str, Any])
    Fields = dict[bytes, raw.Value]

_AFTER_ALL = b"\xff"  # no resume token begins so
_BEYOND = b"\xff\xff"


class HistoryPosition(NamedTuple):
    """The position of an entry. Positions compare as history is ordered.

    Attributes:
        token: key string of the resume token; for entries without one, greater than any.
    """

    cluster_time: ClusterTime
    token: bytes

    @property
    def following(self) -> HistoryPosition:
        """The position right after this one."""
        return HistoryPosition(self.cluster_time, self.token + b"\x00")

    @property
    def last_id(self) -> bytes:
        """The greatest `_id`, 16 bytes, that an entry before this position may have."""
        return self.cluster_time.last_id if self.token else self.cluster_time.first_id


BEGINNING = HistoryPosition(BEGINNING_OF_TIME, b"")
"""Before everything."""

END = HistoryPosition(END_OF_TIME, _BEYOND)
"""After everything."""


def after(time: ClusterTime) -> HistoryPosition:
    """The position after everything of a cluster time."""
    return HistoryPosition(time, _BEYOND)


def before(time: ClusterTime) -> HistoryPosition:
    """The position before everything of a cluster time."""
    return HistoryPosition(time, b"")


IMPORTED_ORDER_BYTES = 8
"""Bytes of an imported entry's `_id` that are its time and rank; as many follow."""


def position_of(fields: dict[bytes, raw.Value]) -> HistoryPosition:
    """The position of a stored history document, from its top-level fields.

    Raises:
        KeyError: it has no `_id`.
    """
    token = fields.get(b"resume_token")
    return position_at(identity(fields), token[1][5:] if token is not None else None)


def position_at(identity: bytes, token: bytes | None) -> HistoryPosition:
    """The position of an entry, from its `_id` and its resume token, if it has one."""
    return HistoryPosition(ClusterTime.from_id(identity), bytes(token) if token is not None else _AFTER_ALL)


def identity(fields: dict[bytes, raw.Value]) -> bytes:
    """The `_id`, 16 bytes, of a stored history document, from its top-level fields."""
    return fields[b"_id"][1][5:]


def entry_id(time: ClusterTime, operation: bytes, namespace: bytes, document_id: raw.Value) -> bytes:
    """The `_id` of an entry without an event: the same for the same document at the same cluster time."""
    named = operation + b"\x00" + namespace + b"\x00" + raw.TYPE_BYTE[document_id[0]] + document_id[1]
    return time.prefix + blake2b(named, digest_size=_DIGEST_BYTES).digest()


_DIGEST_BYTES = 8
_ID = b"\x05_id\x00\x10\x00\x00\x00\x00"
_ID_AT = 4 + len(_ID)
_OF_TIME = slice(_ID_AT, _ID_AT + 8)


def cluster_time_of(stored: Mapping[str, Any]) -> ClusterTime:
    """The cluster time in a stored event's `_id`."""
    if isinstance(stored, RawBSONDocument):  # looking up a field of it would decode them all
        data = bytes(stored.raw)
        if data.startswith(_ID, 4):
            return ClusterTime.from_id(data[_OF_TIME])
    return ClusterTime.from_id(stored["_id"])


def in_stream_order(stored: Iterable[Stored], *, newest_first: bool = False) -> Iterator[Stored]:
    """Put the events of each cluster time in the order the stream had.

    Only one cluster time's events are held in memory at once: at most a transaction.

    Args:
        stored: history documents sorted by `_id`.
        newest_first: `stored` is sorted descending, and the result is the reverse of the stream's order.
    """
    for _, run in groupby(stored, key=cluster_time_of):
        together = list(run)
        if len(together) > 1:
            together.sort(key=rank, reverse=newest_first)
        yield from together


def rank(stored: Mapping[str, Any]) -> tuple[HistoryPosition, bytes]:
    """A sort key: the position of a history document in the stream's order."""
    return position_at(stored["_id"], stored.get("resume_token")), bytes(stored["_id"])


def fields_in_order(
    stored: Iterable[Fields], *, newest_first: bool = False
) -> Iterator[tuple[HistoryPosition, Fields]]:
    """Put entries, given as top-level fields and sorted by `_id`, in the stream's order, each with its position."""
    run: list[tuple[HistoryPosition, Fields]] = []
    time: ClusterTime | None = None
    for fields in stored:
        following = ClusterTime.from_id(identity(fields))
        if following != time:
            yield from _put_in_order(run, newest_first=newest_first)
            run, time = [], following
        token = fields.get(b"resume_token")
        run.append((HistoryPosition(following, token[1][5:] if token is not None else _AFTER_ALL), fields))
    yield from _put_in_order(run, newest_first=newest_first)


def _put_in_order(
    run: list[tuple[HistoryPosition, Fields]], *, newest_first: bool
) -> list[tuple[HistoryPosition, Fields]]:
    if len(run) > 1:
        run.sort(key=lambda item: (item[0], identity(item[1])), reverse=newest_first)
    return run
