"""Sealing by command: what every stream has recorded up to its checkpoint, and what entered history late."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

from change_history.bson.cluster_time import ClusterTime
from change_history.stored.names import CHECKPOINTS
from watcher.sealing.sealer import Sealer

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history.seals.seal import Sealed
    from watcher.sealing.sealer import Terms


def seal_now(database: Database[Any], terms: Terms) -> Sealed | None:
    """Seal what is not sealed yet. May be done while daemons record and seal.

    Returns:
        The last seal; None: no stream has recorded anything yet.

    Raises:
        ValueError: the last seal cannot be read.
    """
    last = None
    for found in database[CHECKPOINTS].find(
        {"cluster_time": {"$exists": True}}, {"cluster_time": 1}, sort=[("_id", 1)]
    ):
        reached = ClusterTime.of(found["cluster_time"])
        sealer = Sealer(
            database,
            found["_id"],
            terms,
            lambda reached=reached: reached,  # type: ignore[misc]
            lambda write: write(None),
            Event(),
            leads=False,
        )
        sealer.begin(reached)
        last = sealer.now()
    return last
