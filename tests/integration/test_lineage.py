"""Which former names of a collection are followed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from bson import Binary, Timestamp

from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.lineage import lineage_of
from change_history.stored.order import END
from models import HistoryModel, connect, disconnect

if TYPE_CHECKING:
    from pymongo.database import Database


def _renamed(second: int, source: str, target: str) -> dict[str, Any]:
    moment = Timestamp(second, 1)
    return {
        "_id": Binary(ClusterTime.of(moment).prefix + b"\x11" * 8),
        "namespace": f"shop.{source}",
        "operation": "rename",
        "timestamp": dt.datetime.fromtimestamp(second, dt.UTC),
        "cluster_time": moment,
        "changes": [],
        "description": {"to": {"db": "shop", "coll": target}},
    }


def test_a_name_that_no_stream_watches_breaks_off_the_line(replica_set_uri: str, database: Database[Any]) -> None:
    """What was written under it is not in history: what lay there before would be told as if it were still true."""
    connect(replica_set_uri, database.name)
    HistoryModel.ensure_indexes()
    disconnect()
    database.history.insert_many([_renamed(100, "a", "between"), _renamed(200, "between", "b")])

    names = [incarnation.namespace for incarnation in lineage_of(database, "shop.b", END)]
    assert names == ["shop.b", "shop.between", "shop.a"]

    options = {"include": ["shop.*"], "exclude": ["shop.between"]}
    database.checkpoints.insert_one({"_id": "default", "options": options})
    assert [incarnation.namespace for incarnation in lineage_of(database, "shop.b", END)] == ["shop.b"]
