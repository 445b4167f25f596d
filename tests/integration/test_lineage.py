"""Which former names of a collection are followed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Timestamp

from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.lineage import lineage_of
from change_history.reconstruct.scopes import was_watched
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


def _watching(
    include: str, *, formerly: list[tuple[str, int]] | None = None, begun: int = 100, reached: int = 400
) -> dict[str, Any]:
    """A checkpoint, with what it has covered before and up to which second."""
    before: list[dict[str, Any]] = [
        {"include": [glob], "exclude": [], "until": Timestamp(until, 1)} for glob, until in formerly or []
    ]
    options = {"include": [include], "exclude": []}
    return {
        "options": options,
        "begun": Timestamp(before[-1]["until"].time if before else begun, 1),
        "cluster_time": Timestamp(reached, 1),
        "token": {"_data": f"82{reached:08X}00000001"},
        **({"formerly": before} if before else {}),
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


@pytest.mark.parametrize(
    ("checkpoints", "followed"),
    [
        ([_watching("shop.*")], True),
        ([_watching("shop.b")], False),
        ([_watching("shop.b", formerly=[("shop.*", 300)])], True),
        ([_watching("shop.b", formerly=[("shop.b", 150), ("shop.*", 200), ("shop.b", 250)])], True),
        ([_watching("shop.*", formerly=[("shop.*", 150), ("shop.b", 200)])], False),
        ([_watching("shop.b"), _watching("shop.a")], True),
        ([_watching("shop.b"), _watching("shop.*", reached=150)], False),  # given up before, another stream instead
        ([_watching("shop.b", begun=250), _watching("shop.*", reached=150)], True),  # it has not saved its position yet
        ([_watching("shop.b", reached=150), _watching("shop.*", reached=150)], True),
        ([_watching("other.*"), _watching("shop.*", reached=150)], True),
    ],
)
def test_what_was_watched_at_the_rename_counts_not_what_is_watched_today(
    database: Database[Any], checkpoints: list[dict[str, Any]], *, followed: bool
) -> None:
    """Else documents come to life again, or all of a collection vanish, because a stream has other options today."""
    database.checkpoints.insert_many([each | {"_id": f"s{number}"} for number, each in enumerate(checkpoints)])
    assert was_watched(database, "shop.a", "shop.b", ClusterTime.of(Timestamp(200, 1))) == followed
