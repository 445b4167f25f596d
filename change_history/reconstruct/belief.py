"""Since when history may be believed: what an old value may be derived from.

History is whole from where its stream began, but for its holes. A hole is level again from the moment at which every
document was compared with it: what is recorded later may rely on what is recorded before. What is recorded within,
or before that moment, may rely only on what was stated after the hole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from change_history.bson.cluster_time import ClusterTime


class Hole(NamedTuple):
    """An interval of which events were lost.

    Attributes:
        since: up to here history is whole.
        until: from here on it is whole again.
        level_at: the moment at which the documents were compared with history; None: they were not, or not all.
        checkpoint: name of the stream, or the part of one, that has lost it.
    """

    since: ClusterTime
    until: ClusterTime
    level_at: ClusterTime | None
    checkpoint: str = ""


def believed_since(moment: ClusterTime, begun: ClusterTime, holes: Iterable[Hole]) -> ClusterTime:
    """The cluster time from which on the history before a moment is whole.

    Args:
        moment: of what is to be derived.
        begun: since when the stream has been followed without a change of what it covers.
        holes: intervals lost since.
    """
    broken = (
        hole.until for hole in holes if hole.since < moment and (hole.level_at is None or moment <= hole.level_at)
    )
    return max((begun, *broken)).just_before
