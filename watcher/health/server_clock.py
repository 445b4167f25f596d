"""The server's clock, between its answers and after the last one."""

from __future__ import annotations

import time


class ServerClock:
    """Goes on by our own steady clock from what the server said last. Ours may be wrong by hours; never asked."""

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._at = 0.0

    def told(self, seconds: int) -> None:
        """The server's clock says so many seconds since 1970. A member whose clock is behind does not turn it back."""
        if self._seconds is None or seconds >= self._seconds:
            self._seconds = seconds
        self._at = time.monotonic()

    def since(self, seconds: int) -> float | None:
        """Seconds that have passed since a moment of the server's clock, not below 0; None: it never said anything."""
        if self._seconds is None:
            return None
        return max(0.0, self._seconds + time.monotonic() - self._at - seconds)
