"""How far the history of a namespace is behind its deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bson import Timestamp


class Lag(NamedTuple):
    """How far history is behind.

    Attributes:
        recorded: cluster time up to which everything is recorded; None: no stream follows the namespace.
        now: cluster time of the deployment.
    """

    recorded: Timestamp | None
    now: Timestamp

    @property
    def seconds(self) -> int | None:
        """The difference. An idle daemon saves its position every ten seconds, so less says little."""
        return max(self.now.time - self.recorded.time, 0) if self.recorded is not None else None
