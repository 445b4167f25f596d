"""What history lacks: events that are only in `rejected`, and intervals of which events were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from change_history import globs
from change_history.bson.cluster_time import ClusterTime
from change_history.partition import share
from change_history.reconstruct.belief import Hole
from change_history.reconstruct.together import Read
from change_history.stored.names import HISTORY, REJECTED
from change_history.stored.reading import RAW

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bson.raw_bson import RawBSONDocument
    from pymongo.cursor import Cursor
    from pymongo.database import Database

_MANY = 1000
"""More rejected events than this are not looked at one by one: then history is not relied upon at all."""


class Rejected:
    """The events of some namespaces, and those of which nobody knows what they are about, that are only in `rejected`.

    Args:
        found: what was read of them (`rejected_read`).
    """

    def __init__(self, found: Iterable[Mapping[str, Any]]) -> None:
        times = [item.get("cluster_time") for item in found]
        self._all = len(times) == _MANY or None in times
        self._times = [ClusterTime.of(time) for time in times if time is not None]

    def between(self, since: ClusterTime, until: ClusterTime) -> bool:
        """Whether one lies between two cluster times, both included."""
        return self._all or any(since <= time <= until for time in self._times)


def rejected_read(namespaces: Sequence[str]) -> Read:
    """What is to be read for `Rejected`."""
    concerned = {"$or": [{"namespace": {"$in": [*namespaces]}}, {"namespace": {"$exists": False}}]}
    return Read(REJECTED, concerned, {"_id": 1}, _MANY, {"cluster_time": 1})


def rejected(database: Database[Any], namespaces: Sequence[str]) -> Rejected:
    """Read which events of some namespaces, `db.coll` each, are only in `rejected`."""
    read = rejected_read(namespaces)
    return Rejected(database[REJECTED].find(read.query, read.fields, sort=[*read.order.items()], limit=_MANY))


def gaps(database: Database[Any], namespace: str | None = None, stream: str | None = None) -> list[Hole]:
    """The intervals of which events were lost, oldest first.

    Args:
        database: the history database.
        namespace: only those in which events of this namespace can have been lost.
        stream: only those in which events can have been lost that this checkpoint is about.
    """
    return [
        read(gap)
        for gap in find(database, hint="gaps")
        if namespace is None or concerns(gap, namespace)
        if stream is None or share(stream, gap["description"]["stream"])
    ]


def find(database: Database[Any], hint: str | None = None) -> Cursor[RawBSONDocument]:
    """The cursor over the history documents of all gaps, oldest first."""
    history = database.get_collection(HISTORY, codec_options=RAW)
    return history.find({"operation": "gap"}, sort=[("_id", 1)], hint=hint)


def read(gap: RawBSONDocument) -> Hole:
    """The interval that a gap's history document tells of."""
    said = gap["description"]
    level_at = said.get("level_at") if said.get("level") else None
    return Hole(
        ClusterTime.of(said["from"]),
        ClusterTime.of(said["to"]),
        ClusterTime.of(level_at) if level_at is not None else None,
        said["stream"],
    )


def concerns(gap: RawBSONDocument, namespace: str) -> bool:
    """Whether events of a namespace, `db.coll`, can have been lost in a gap."""
    said = gap["description"]
    return globs.covers(said["include"], said["exclude"], namespace)
