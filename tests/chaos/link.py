"""One connection through the proxy: two ends, and what comes in at the one goes out at the other."""

from __future__ import annotations

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 1 << 20
"""A peer that reads slowly holds back the other side from so many bytes on."""
_GREETING = 2000


class Fate(Enum):
    """What becomes of data."""

    PASSES = "passes"
    IS_SWALLOWED = "is swallowed"
    ENDS = "ends the connection"


class _End(asyncio.Protocol):
    """One end of a connection."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self._early = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(_MOST)
        if self._link.ended:  # meanwhile
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._link.passes(self, data):
            return
        if self.other is None or self.other.transport is None:
            self._early += data
        else:
            self.other.transport.write(data)

    def join(self, other: _End) -> None:
        """Hand on what came before the other end was there, and from now on everything."""
        self.other = other
        if self._early and other.transport is not None:
            other.transport.write(bytes(self._early))
        self._early.clear()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._link.end()


class Link:
    """One connection.

    Args:
        fate: decides what becomes of the data of a connection.
        forget: is told of its end.
    """

    def __init__(self, fate: Callable[[Link], Fate], forget: Callable[[Link], None]) -> None:
        self._fate, self._forget = fate, forget
        self._greeting = b""
        self.near, self.far = _End(self), _End(self)
        self.ended = False

    def is_of(self, application: bytes) -> bool:
        """Whether the application named itself so when it connected."""
        return application in self._greeting

    def passes(self, end: _End, data: bytes) -> bool:
        """Whether data may go on. The first of them are the handshake."""
        if not self._greeting and end is self.near:
            self._greeting = data[:_GREETING]
        fate = self._fate(self)
        if fate is Fate.ENDS:
            self.end()
        return fate is Fate.PASSES

    def join(self) -> None:
        """Both ends are there."""
        self.near.join(self.far)
        self.far.join(self.near)

    def end(self) -> None:
        """Close both ends, at once, and be forgotten."""
        if not self.ended:
            self.ended = True
            self._forget(self)
            self.abort()

    def abort(self) -> None:
        """Drop whatever connection there is."""
        for end in (self.near, self.far):
            if end.transport is not None:
                end.transport.abort()
