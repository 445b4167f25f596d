"""The order of history: by cluster time, and within one cluster time as the stream had it.

The server sorts by `_id`, whose first half is the cluster time and whose second is a digest, which is no order:
the events of one transaction share a cluster time. Sorting by `resume_token` on the server would not do either,
since BSON compares binary data by length before it looks at a byte. So each run of events with one cluster time
is put in order here.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from change_history.bson.cluster_time import ClusterTime

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeVar

    Stored = TypeVar("Stored", bound=Mapping[str, Any])


def cluster_time_of(stored: Mapping[str, Any]) -> ClusterTime:
    """The cluster time of a stored event as it stands in its `_id`."""
    return ClusterTime.from_id(stored["_id"])


def in_stream_order(stored: Iterable[Stored], *, newest_first: bool = False) -> Iterator[Stored]:
    """Put the events of each cluster time in the order the stream had.

    Only one cluster time's events are held in memory at once: at most a transaction.

    Args:
        stored: history documents sorted by `_id`.
        newest_first: they are sorted descending, and the order is to be the stream's reversed.

    Yields:
        The same documents.
    """
    for _, run in groupby(stored, key=cluster_time_of):
        yield from sorted(run, key=_position, reverse=newest_first)


def _position(stored: Mapping[str, Any]) -> tuple[bool, bytes, bytes]:
    # What has no token is not the stream's: a baseline or a gap tells how things were after all of that time's events.
    token = bytes(stored.get("resume_token") or b"")
    return not token, token, bytes(stored["_id"])
