"""Detects a damaged checkpoint before it is used.

A server accepts many damaged resume tokens as another position, and silently skips events. So a digest is stored with
the position, and a position that does not match it counts as lost (`WATCHER_ON_GAP`). Any other damage is left for the
operator to decide.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.resume_token import token_time
from watcher.errors import PositionRefusedError

if TYPE_CHECKING:
    from watcher.stream.batch import Position

_DIGEST_BYTES = 8
_NUMBERS = {raw.INT32, raw.INT64, raw.DOUBLE}
_KINDS = {
    b"cluster_time": ({raw.TIMESTAMP}, "a timestamp"),
    b"replica_set": ({raw.DOCUMENT}, "a document"),
    b"fingerprint": ({raw.STRING}, "a string"),
    b"options": ({raw.DOCUMENT}, "a document"),
    b"token": ({raw.DOCUMENT}, "a document"),
    b"begun": ({raw.TIMESTAMP}, "a timestamp"),
    b"events": (_NUMBERS, "a number"),
}
_OPTIONAL = {b"begun", b"events"}  # the first versions did not keep them


def digest(position: Position) -> str:
    """A digest of a position's token and cluster time, in hexadecimal."""
    return blake2b(position.cluster_time.payload + position.token, digest_size=_DIGEST_BYTES).hexdigest()


def refusal(stream: str, wrong: str) -> PositionRefusedError:
    """The error for a checkpoint that cannot be read."""
    return PositionRefusedError(
        f"The checkpoint of stream {stream!r} is damaged: {wrong}.",
        f"Put the document {{_id: {stream!r}}} of the collection `checkpoints` back from a backup (events since then "
        "are read again, none is recorded twice), or start a new stream from now on: WATCHER_STREAM=<another name>. "
        "History that is recorded already stays.",
    )


def cluster_time(reply: dict[bytes, raw.Value]) -> ClusterTime | None:
    """The latest cluster time that the replying member knows; None: the reply has none."""
    said = reply.get(b"$clusterTime")
    return ClusterTime.from_payload(raw.fields(said[1])[b"clusterTime"][1]) if said is not None else None


def refusal_of_the_future(position: Position, now: ClusterTime) -> PositionRefusedError:
    """The error for a position later than the deployment's present cluster time."""
    return PositionRefusedError(
        f"The checkpoint lies in the future: its cluster time is {position.cluster_time.timestamp}, that of the "
        f"watched deployment {now.timestamp}.",
        "Was the deployment restored from a backup? Then go on from the time of that backup: `watcher checkpoint set "
        "--at TIME --yes` (--now for the present), or start a new stream: WATCHER_STREAM=<another name>.",
    )


def refuse_unreadable(stream: str, stored: dict[bytes, raw.Value]) -> None:
    """Check that a checkpoint has every field it needs, with the right types.

    Raises:
        PositionRefusedError: fields are missing or of another type; the message names all of them.
    """
    wrong = []
    for name, (kinds, wanted) in _KINDS.items():
        if name not in stored:
            wrong += [f"`{name.decode()}` is missing"] if name not in _OPTIONAL else []
        elif stored[name][0] not in kinds:
            wrong.append(f"`{name.decode()}` is not {wanted}")
    if not wrong and b"name" not in raw.fields(stored[b"replica_set"][1]):
        wrong.append("`replica_set` has no name")
    if wrong:
        raise refusal(stream, ", ".join(wrong))


def refuse_doubtful_time(stream: str, position: Position) -> None:
    """Check that the cluster time of a damaged position is certain, so that the gap's beginning is known.

    Raises:
        PositionRefusedError: the token's cluster time is not that of the checkpoint.
    """
    if token_time(position.token) not in {None, position.cluster_time}:
        raise refusal(stream, "`token` and `cluster_time` say different times")
