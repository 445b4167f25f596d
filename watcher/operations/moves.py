"""A move of a position: from where to where, and which way. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import bson

from change_history.bson.cluster_time import ClusterTime
from change_history.bson.resume_token import token_bytes
from change_history.bson.values import CODEC
from watcher.stream.batch import Position

if TYPE_CHECKING:
    from bson import Timestamp

    from watcher.stream.checkpointer import StoredPosition

_TIMESTAMP_MARK = 0x82
_TIMESTAMP_END = 9


class Move(NamedTuple):
    """One move of a position.

    Attributes:
        stored: where the stream stands, and its count of events.
        target: where it is to stand.
    """

    stored: StoredPosition
    target: Position

    @property
    def forward(self) -> bool:
        """Whether events would be skipped."""
        origin = self.stored.position
        try:
            return token_bytes(self.target.token) > token_bytes(origin.token)
        except ValueError:  # a damaged one: what is left is its time
            return self.target.cluster_time > origin.cluster_time


def true_to_token(position: Position) -> Position:
    """A stored position with a time up to which everything has been read.

    The time stored beside the token is the server's clock when the token was given. It runs ahead of the token while a
    stream is behind, and is a tick behind the token of a stream that has just begun. So the earlier of the two counts.
    A damaged token says nothing; then the stored time has to do.
    """
    try:
        times = (position.cluster_time, _time_in(position.token))
    except ValueError:
        return position
    return position._replace(cluster_time=min(times))


def position_of(data: str | dict[str, Any]) -> Position:
    """Read a resume token: its hexadecimal text, or the whole document.

    Raises:
        ValueError: it is no resume token.
        bson.errors.BSONError: what it says has no BSON form.
    """
    document = {"_data": data.upper()} if isinstance(data, str) else data
    token = bson.encode(document, codec_options=CODEC)
    return Position(token, _time_in(token))


def time_of(position: Position) -> Timestamp:
    """The cluster time of a position."""
    return position.cluster_time.timestamp


def _time_in(token: bytes) -> ClusterTime:
    key = token_bytes(token)
    if len(key) < _TIMESTAMP_END or key[0] != _TIMESTAMP_MARK:
        raise ValueError("a resume token begins with 82 and a cluster time")
    return ClusterTime.from_id(key[1:_TIMESTAMP_END])
