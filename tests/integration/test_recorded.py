"""How far history is complete: whoever believes too much of it calls a revert that ran abandoned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp

from change_history.reconstruct.trust import recorded_until

if TYPE_CHECKING:
    from pymongo.database import Database


@pytest.mark.parametrize(
    ("streams", "until"),
    [
        ({}, None),
        ({"default": 5}, 5),
        ({"default": 5, "other": 7}, 7),
        ({"default:1/2": 9, "default:2/2": 4}, 4),
        ({"default:1/2": 9, "default:2/2": 4, "other": 6}, 6),
        ({"default:1/2": 9, "default:2/2": 4, "other:1/2": 3, "other:2/2": 8}, 4),
    ],
)
def test_of_parts_the_last_counts_and_of_streams_the_first(
    database: Database[Any], streams: dict[str, int], until: int | None
) -> None:
    """Disaster: one part is ahead, and what the others have not recorded yet is taken for never having happened."""
    options = {"include": ["shop.*"], "exclude": []}
    for name, seconds in streams.items():
        database.checkpoints.insert_one(
            {"_id": name, "token": {}, "options": options, "cluster_time": Timestamp(seconds, 1)}
        )
    elsewhere = {"include": ["crm.*"], "exclude": []}
    database.checkpoints.insert_one({"_id": "crm", "token": {}, "options": elsewhere, "cluster_time": Timestamp(99, 1)})
    database.checkpoints.insert_one({"_id": "only led", "lease": {}})
    assert recorded_until(database, "shop.a") == (until and Timestamp(until, 1))
