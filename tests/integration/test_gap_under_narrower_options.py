"""A gap is reconciled only for the collections that were compared, whatever the options say by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Timestamp

from change_history.reconstruct import trust
from tests.support.several_daemons import SCOPE, fence, position
from watcher.backfill.plan_store import PlanStore
from watcher.backfill.queue import RECONCILE, BackfillPlan
from watcher.gaps.gap import Gaps
from watcher.stream.batch import Lost
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from pymongo.database import Database

PLAN = BackfillPlan(RECONCILE, Timestamp(40, 1), (), closes_gaps=True)
ONLY_A = Scope(("shop.a",), (), "history")
NOT_B = Scope(("shop.*",), ("shop.b",), "history")


def _known(database: Database[Any], *namespaces: str) -> None:
    """Have history know some namespaces, as if each had an entry."""
    database.history.insert_many(
        {"_id": Binary(bytes([number]) * 16), "namespace": name, "operation": "insert"}
        for number, name in enumerate(namespaces, 1)
    )


def _reconciled(database: Database[Any], namespace: str) -> list[bool]:
    """Of each gap that concerns a namespace, oldest first, whether it is reconciled."""
    return [trust.read(gap).reconciled_at is not None for gap in trust.find(database) if trust.concerns(gap, namespace)]


@pytest.mark.parametrize("narrower", [ONLY_A, NOT_B])
def test_a_collection_nobody_compared_is_not_told_as_if_it_had_been(database: Database[Any], narrower: Scope) -> None:
    """INCLUDE or EXCLUDE left it out since: what it was after the old gap would be told wrongly, and as certain."""
    mine = fence(database)
    plans = PlanStore(database, mine)
    _known(database, "shop.a", "shop.b")
    Gaps(database, mine, SCOPE).write(Lost(position(3), "wide"), position(9))
    Gaps(database, mine, narrower).write(Lost(position(20), "narrow"), position(30))

    plans.close_gaps(PLAN, narrower)
    plans.close_gaps(PLAN, narrower)
    assert sorted(_reconciled(database, "shop.b")) == [False, True]
    assert _reconciled(database, "shop.a") == [True, True]
    (still,) = (gap for gap in trust.find(database) if trust.read(gap).reconciled_at is None)
    assert list(still["description"]["include"]) == ["shop.b"]
    wide = next(iter(trust.find(database)))
    assert trust.read(still)[:2] == trust.read(wide)[:2]

    plans.close_gaps(PLAN, SCOPE)
    assert _reconciled(database, "shop.b") == [True, True]
    assert _reconciled(database, "shop.a") == [True, True]


def test_names_of_which_history_has_nothing_keep_no_gap_open(database: Database[Any]) -> None:
    """Nothing can be told of them that would be wrong; nor is a database a collection that was left out."""
    mine = fence(database)
    _known(database, "shop.a", "shop", "elsewhere.b")
    Gaps(database, mine, SCOPE).write(Lost(position(3), "wide"), position(9))

    PlanStore(database, mine).close_gaps(PLAN, ONLY_A)

    assert _reconciled(database, "shop.a") == [True]
