"""How a stream is split, where its parts stand, and whether it can be split in another way. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watcher.errors import FatalError

if TYPE_CHECKING:
    from change_history.reconstruct.trust import Gap
    from watcher.stream.batch import Position
    from watcher.stream.checkpointer import StoredPosition


class CannotSplitError(FatalError):
    """The stream cannot be divided so."""


class Division(NamedTuple):
    """What a stream is split into, and how far it is.

    Attributes:
        positions: by the names of the checkpoints, where they stand; None: it has not begun.
        gaps: what was lost of it.
    """

    positions: dict[str, StoredPosition | None]
    gaps: tuple[Gap, ...]

    @property
    def begun(self) -> dict[str, StoredPosition]:
        """The positions that there are."""
        return {name: stored for name, stored in self.positions.items() if stored is not None}

    @property
    def since(self) -> Position | None:
        """Up to where all parts have read; None: none has."""
        return min(
            (each.position for each in self.begun.values()), key=lambda position: position.cluster_time, default=None
        )

    @property
    def open_gaps(self) -> int:
        """Of how many gaps history is not level again."""
        return sum(gap.level_at is None for gap in self.gaps)


def refuse_what_cannot_be(stream: str, division: Division, parts: int) -> None:
    """See whether a stream can be split into so many parts.

    Raises:
        CannotSplitError: it cannot; says what has to be done before.
    """
    if len(division.positions) == parts:
        raise CannotSplitError(f"Stream {stream!r} is divided so already.", "`watcher partition` shows its parts.")
    if missing := [name for name in division.positions if name not in division.begun]:
        raise CannotSplitError(
            f"{', '.join(missing)} of stream {stream!r} has no position.",
            "Start its daemon, so that it makes one, and try again.",
        )
    if doubtful := [name for name, stored in division.begun.items() if not stored.intact]:
        raise CannotSplitError(
            f"The position of {', '.join(doubtful)} is not what was saved.",
            "Start its daemon, which records the gap, as WATCHER_ON_GAP says; then try again.",
        )
    # What a gap has passed over must not come after it has been made good: its entries tell differences.
    for name, stored in division.begun.items():
        for gap in division.gaps:
            if gap.checkpoint in division.positions and stored.position.cluster_time < gap.until:
                raise CannotSplitError(
                    f"{name} has not come yet to where {gap.checkpoint} goes on after its gap.",
                    f"Start the daemon of {name} until it is past that (`watcher partition` says), and try again.",
                )
