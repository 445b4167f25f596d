"""The server that the other tests share is one on which they mean something."""

from typing import Any

import pytest
from pymongo.database import Database


def test_the_shared_server_has_change_streams(database: Database[dict[str, Any]]) -> None:
    """A standalone server would make every other test fail in a riddling way."""
    with database.watch() as stream:
        inserted = database.things.insert_one({"a": 1}).inserted_id
        event = stream.next()

    assert event["operationType"] == "insert"
    assert event["documentKey"] == {"_id": inserted}


@pytest.mark.container
def test_a_replica_set_in_a_container_serves_as_well(database: Database[dict[str, Any]]) -> None:
    """The way of most developers' machines must not rot on those that take another."""
    test_the_shared_server_has_change_streams(database)
