"""Cluster time: the clock by which a deployment orders its events, and by which history is ordered.

In BSON it is a timestamp: seconds since 1970 and an increment within the second, 32 bits each. Here it is one integer
of 64 bits, which compares in the order of time. Bytes and `bson.Timestamp` are used only at the edges.
"""

from __future__ import annotations

import struct
from typing import Self

from bson import Timestamp

_BYTES = 8
_read_payload = struct.Struct("<Q").unpack
_write_payload = struct.Struct("<Q").pack
_write_prefix = struct.Struct(">Q").pack
_INCREMENT_BITS = 32
_GREATEST_HALF = 2**32 - 1
_GREATEST = 2**64 - 1


class ClusterTime(int):
    """A cluster time: seconds since 1970 (UTC) in the upper 32 bits, the increment in the lower ones."""

    __slots__ = ()

    @classmethod
    def of(cls, timestamp: Timestamp) -> Self:
        """Convert the driver's object."""
        return cls(timestamp.time << _INCREMENT_BITS | timestamp.inc)

    @classmethod
    def from_payload(cls, payload: bytes) -> Self:
        """Read the payload of a BSON timestamp, 8 bytes, little-endian.

        Raises:
            ValueError: it has another length.
        """
        try:
            return cls(_read_payload(payload)[0])
        except struct.error as error:
            raise ValueError("a cluster time has 8 bytes") from error

    @classmethod
    def from_id(cls, identity: bytes) -> Self:
        """Read the cluster time with which an `_id` of history begins: its first 8 bytes, big-endian."""
        return cls.from_bytes(identity[:_BYTES], "big")

    @classmethod
    def start_of(cls, second: int) -> Self:
        """The first cluster time of a second since 1970; the nearest there is, for a second that has none."""
        return cls(min(max(second, 0), _GREATEST_HALF) << _INCREMENT_BITS)

    @classmethod
    def end_of(cls, second: int) -> Self:
        """The last cluster time of a second since 1970; the nearest there is, for a second that has none."""
        return cls(cls.start_of(second) | _GREATEST_HALF)

    @property
    def seconds(self) -> int:
        """Seconds since 1970 (UTC)."""
        return self >> _INCREMENT_BITS

    @property
    def increment(self) -> int:
        """The increment within the second."""
        return self & _GREATEST_HALF

    @property
    def timestamp(self) -> Timestamp:
        """The driver's object."""
        return Timestamp(self.seconds, self.increment)

    @property
    def payload(self) -> bytes:
        """The payload of a BSON timestamp, 8 bytes, little-endian."""
        return _write_payload(self)

    @property
    def prefix(self) -> bytes:
        """The first 8 bytes of an `_id` of history, big-endian."""
        return _write_prefix(self)

    @property
    def first_id(self) -> bytes:
        """The least `_id`, 16 bytes, that an entry of this time can have."""
        return self.prefix + bytes(_BYTES)

    @property
    def last_id(self) -> bytes:
        """The greatest `_id`, 16 bytes, that an entry of this time can have."""
        return self.prefix + b"\xff" * _BYTES

    @property
    def just_before(self) -> ClusterTime:
        """The cluster time one tick earlier; the least one is returned as it is."""
        return ClusterTime(max(self - 1, 0))

    @property
    def just_after(self) -> ClusterTime:
        """The cluster time one tick later; the greatest one is returned as it is."""
        return ClusterTime(min(self + 1, _GREATEST))

    def __repr__(self) -> str:
        return f"ClusterTime({self.seconds}:{self.increment})"

    def __str__(self) -> str:
        return f"{self.seconds}:{self.increment}"


BEGINNING_OF_TIME = ClusterTime(0)
"""Before everything."""

END_OF_TIME = ClusterTime(_GREATEST)
"""After everything."""
