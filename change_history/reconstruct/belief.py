"""Since when history may be believed: what an old value may be derived from.

History is whole from where its stream began, but for its holes. A hole is level again from the moment at which every
document was compared with it: what is recorded later may rely on what is recorded before. What is recorded within,
or before that moment, may rely only on what was stated after the hole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Hole(NamedTuple):
    """An interval of which events were lost. All cluster times are 8 bytes, big-endian.

    Attributes:
        since: up to here history is whole.
        until: from here on it is whole again.
        level_at: the moment at which the documents were compared with history; None: they were not, or not all.
        checkpoint: name of the stream, or the part of one, that has lost it.
    """

    since: bytes
    until: bytes
    level_at: bytes | None
    checkpoint: str = ""


def believed_since(moment: bytes, begun: bytes, holes: Iterable[Hole]) -> bytes:
    """The cluster time from which on the history before a moment is whole.

    Args:
        moment: of what is to be derived.
        begun: since when the stream has been followed without a change of what it covers.
        holes: intervals lost since.
    """
    broken = (
        hole.until for hole in holes if hole.since < moment and (hole.level_at is None or moment <= hole.level_at)
    )
    return just_before(max((begun, *broken)))


def just_before(cluster_time: bytes) -> bytes:
    """The cluster time one tick earlier: where a backfill's entries stand, before what follows."""
    return (
        (int.from_bytes(cluster_time, "big") - 1).to_bytes(len(cluster_time), "big")
        if any(cluster_time)
        else cluster_time
    )
