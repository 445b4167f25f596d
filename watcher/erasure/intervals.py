"""Where the history of one document lies: under its name, under former names, and under those it was given later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson.cluster_time import BEGINNING_OF_TIME, END_OF_TIME, ClusterTime
from change_history.reconstruct.lineage import incarnations_of, lineage_of
from change_history.reconstruct.reads import is_id
from change_history.stored.names import HISTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from change_history.bson import raw


class NamespaceInterval(NamedTuple):
    """A stretch of history.

    Attributes:
        namespace: `db.coll`.
        since, until: the first and the last cluster time.
    """

    namespace: str
    since: ClusterTime = BEGINNING_OF_TIME
    until: ClusterTime = END_OF_TIME

    def of(self, document_id: raw.Value) -> dict[str, Any]:
        """The query for the entries of a document."""
        ids = {"$gte": Binary(self.since.first_id), "$lte": Binary(self.until.last_id)}
        return {"namespace": self.namespace, "document_id": is_id(document_id), "_id": ids}


def intervals_of(database: Database[Any], namespace: str) -> list[NamespaceInterval]:
    """All of a namespace, and the stretches under other names that renames have joined to it."""
    found = {NamespaceInterval(namespace): None}
    for incarnation in incarnations_of(database, namespace):
        for former in lineage_of(database, namespace, incarnation.until):
            if former.namespace != namespace:
                found[NamespaceInterval(former.namespace, former.since, former.until.cluster_time)] = None
    waiting = [NamespaceInterval(namespace)]
    while waiting:
        for later in _later(database, waiting.pop()):
            if later not in found and later.namespace != namespace:
                found[later] = None
                waiting.append(later)
    return list(found)


def _later(database: Database[Any], place: NamespaceInterval) -> Iterator[NamespaceInterval]:
    """The stretches under the names that what lies in a place was given."""
    within = {"$gte": Binary(place.since.first_id), "$lte": Binary(place.until.last_id)}
    query = {"namespace": place.namespace, "operation": "rename", "document_id": {"$exists": False}, "_id": within}
    for rename in database[HISTORY].find(query, {"description.to": 1}, sort=[("_id", 1)]):
        to = rename.get("description", {}).get("to", {})
        name, since = f"{to.get('db')}.{to.get('coll')}", ClusterTime.from_id(rename["_id"])
        for incarnation in incarnations_of(database, name):
            if incarnation.since == since:
                yield NamespaceInterval(name, since, incarnation.until.cluster_time)
