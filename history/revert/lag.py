"""How far the history of a namespace is behind its deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Timestamp

from core import globs
from models.connection import CHECKPOINTS
from models.values import CODEC

if TYPE_CHECKING:
    from pymongo.database import Database


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


def recorded(database: Database[Any], namespace: str) -> Timestamp | None:
    """The cluster time up to which the events of a namespace are recorded; None: no stream follows it.

    Raises:
        pymongo.errors.PyMongoError: the deployment does not answer, or refuses.
    """
    checkpoints = database.get_collection(CHECKPOINTS, codec_options=CODEC)
    found = checkpoints.find({"token": {"$exists": True}}, {"options": 1, "cluster_time": 1})
    times = [
        stream["cluster_time"]
        for stream in found
        if isinstance(stream.get("cluster_time"), Timestamp)
        if globs.covers(stream["options"]["include"], stream["options"]["exclude"], namespace)
    ]
    return max(times, default=None)
