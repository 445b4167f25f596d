"""The intervals of one document's history: under the collection's name, its former names, and its later names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from bson import Binary

from change_history.bson.cluster_time import BEGINNING_OF_TIME, END_OF_TIME, ClusterTime
from change_history.reconstruct.lineage import Incarnation, incarnations_of, lineage_of
from change_history.reconstruct.reads import is_id
from change_history.stored.names import HISTORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from change_history.bson import raw


class NamespaceInterval(NamedTuple):
    """An interval of the history of a namespace.

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
    """The whole history of a namespace, and the intervals under other names that renames connect with it."""
    others = (each for each in joined_incarnations(database, namespace) if each.namespace != namespace)
    found = (NamespaceInterval(each.namespace, each.since, each.until.cluster_time) for each in others)
    return [NamespaceInterval(namespace), *found]


def joined_incarnations(database: Database[Any], namespace: str) -> list[Incarnation]:
    """Every incarnation of a namespace, and of other namespaces that renames connect with it.

    Former names count even if no stream watches them any more: the history under them still exists.
    """
    mine = incarnations_of(database, namespace)
    found = dict.fromkeys(mine)
    for incarnation in mine:
        for former in lineage_of(database, namespace, incarnation.until, follow=lambda _: True):
            if former.namespace != namespace:
                found[former] = None
    waiting = list(mine)
    while waiting:
        for later in _later(database, waiting.pop()):
            if later not in found and later.namespace != namespace:
                found[later] = None
                waiting.append(later)
    return list(found)


def _later(database: Database[Any], former: Incarnation) -> Iterator[Incarnation]:
    """The incarnations that renames have made from one."""
    query = {
        "namespace": former.namespace,
        "operation": "rename",
        "document_id": {"$exists": False},
        "_id": former.ids(),
    }
    for rename in database[HISTORY].find(query, {"description.to": 1}, sort=[("_id", 1)]):
        to = rename.get("description", {}).get("to", {})
        name, since = f"{to.get('db')}.{to.get('coll')}", ClusterTime.from_id(rename["_id"])
        yield from (each for each in incarnations_of(database, name) if each.since == since)
