"""How far the events of a namespace are in history, whoever records them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import bson
from bson import Timestamp

from change_history import globs, partition
from change_history.bson.resume_token import token_time
from change_history.bson.values import CODEC
from change_history.stored.names import CHECKPOINTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo.database import Database


class Reached(NamedTuple):
    """How far a stream, or a part of one, has recorded.

    Attributes:
        checkpoint: its name.
        until: the cluster time.
    """

    checkpoint: str
    until: Timestamp


def recorded_until(database: Database[Any], namespace: str) -> Timestamp | None:
    """The cluster time up to which all events of a namespace are recorded; None: no stream follows it.

    Of several streams, the furthest counts; of the parts of one, the one that is furthest behind.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    least: dict[str, Timestamp] = {}
    for reached in _reached(database, namespace):
        stream, _ = partition.read(reached.checkpoint)
        least[stream] = min(least.get(stream, reached.until), reached.until)
    return max(least.values(), default=None)


def parts_before(database: Database[Any], moment: Timestamp, namespace: str | None = None) -> list[Reached]:
    """The parts of streams that have not recorded everything up to a moment yet, the last first.

    Args:
        database: the history database.
        moment: the cluster time.
        namespace: only of streams that cover it.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    parts = (each for each in _reached(database, namespace) if partition.read(each.checkpoint)[1] is not None)
    return sorted((each for each in parts if each.until < moment), key=lambda each: each.until)


def _reached(database: Database[Any], namespace: str | None) -> Iterator[Reached]:
    checkpoints = database.get_collection(CHECKPOINTS, codec_options=CODEC)
    wanted = {"options": 1, "cluster_time": 1, "token": 1}
    for found in checkpoints.find({"token": {"$exists": True}}, wanted):
        time, options = found.get("cluster_time"), found["options"]
        covers = namespace is None or globs.covers(options["include"], options["exclude"], namespace)
        if covers and isinstance(time, Timestamp):
            yield Reached(str(found["_id"]), min(time, _time_of(found) or time))


def _time_of(found: Mapping[str, Any]) -> Timestamp | None:
    """The time in the resume token. The one beside it is the server's clock, ahead of a stream that is behind."""
    try:
        time = token_time(bson.encode(found["token"]))
    except (TypeError, KeyError):
        return None
    return time.timestamp if time is not None else None
