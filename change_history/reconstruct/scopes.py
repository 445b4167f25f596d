"""What the streams have covered, and when: whether history has the events of a name up to a rename.

A checkpoint records what its stream covers. Where an operator has changed that, its `formerly` records what the stream
covered up to which cluster time: watching a namespace today does not make up for events not recorded then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history import globs, partition
from change_history.bson.values import CODEC
from change_history.reconstruct.trust import recorded_to
from change_history.stored.names import CHECKPOINTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bson import Timestamp
    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime


class _Scope(NamedTuple):
    """What a stream covered at a moment.

    Attributes:
        recorded: whether it is known to have recorded that moment.
    """

    include: Sequence[str]
    exclude: Sequence[str]
    recorded: bool

    def covers(self, namespace: str) -> bool:
        return globs.covers(self.include, self.exclude, namespace)


def was_watched(database: Database[Any], source: str, target: str, moment: ClusterTime) -> bool:
    """Whether history has, under the former name, the documents that a rename moved to another.

    A stream that has recorded the rename and covered only the new name has recorded the documents anew; it takes
    precedence over another that covered the former name once. True if no stream's coverage is known.

    Args:
        moment: cluster time of the rename.
    """
    at = moment.timestamp
    kept = database.get_collection(CHECKPOINTS, codec_options=CODEC).find(
        {"options": {"$exists": True}}, {"options": 1, "formerly": 1, "begun": 1, "cluster_time": 1, "token": 1}
    )
    scopes = [_scope(checkpoint, at) for checkpoint in kept]
    witnesses = [each for each in scopes if each.recorded and (each.covers(source) or each.covers(target))]
    asked = witnesses or scopes
    return not asked or any(each.covers(source) for each in asked)


def left_off(database: Database[Any], checkpoint: str, namespace: str) -> Timestamp | None:
    """The cluster time up to which a stream covered a namespace that it no longer covers.

    Args:
        checkpoint: name of the stream's checkpoint.

    Returns:
        None: not known, or another stream covers it now.
    """
    kept = database.get_collection(CHECKPOINTS, codec_options=CODEC)
    stream, _ = partition.read(checkpoint)
    until = None
    for found in kept.find({"options": {"$exists": True}}, {"options": 1, "formerly": 1}):
        if found["_id"] == checkpoint:
            before = (each for each in _formerly(found) if globs.covers(each["include"], each["exclude"], namespace))
            until = max((each["until"] for each in before), default=None)
        elif partition.read(str(found["_id"]))[0] != stream:
            said = found["options"]
            if globs.covers(said["include"], said["exclude"], namespace):
                return None
    return until


def former(found: Mapping[str, Any], until: Timestamp) -> dict[str, Any]:
    """Make the item of a checkpoint's `formerly` for the options that it had.

    Args:
        found: the former options.
        until: cluster time up to which they held.
    """
    return {"include": found["include"], "exclude": found["exclude"], "until": until}


def _scope(checkpoint: Mapping[str, Any], at: Timestamp) -> _Scope:
    said = next((each for each in _formerly(checkpoint) if at <= each["until"]), None)
    if said is not None:
        return _Scope(said["include"], said["exclude"], recorded=True)
    options, reached, begun = checkpoint["options"], recorded_to(checkpoint), checkpoint.get("begun")
    recorded = reached is not None and at <= reached and (begun is None or begun <= at)
    return _Scope(options["include"], options["exclude"], recorded)


def _formerly(checkpoint: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from sorted(checkpoint.get("formerly", ()), key=lambda each: each["until"])
