"""A document whose `_id` a replacement writes anew as an equal number, which MongoDB allows: still one document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Int64

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history.reader import Reader
    from tests.support.recording import Recording


@pytest.mark.parametrize("new_id", [1.0, Int64(1), Decimal128("1.00")])
def test_a_document_is_not_torn_in_two_by_a_replacement_with_an_equal_id(
    database: Database[Any], recording: Recording, history: Reader, new_id: Any
) -> None:
    """The event names the document by its old `_id`, those after it by the new one."""
    things, namespace = database["things"], f"{database.name}.things"
    things.insert_one({"_id": 1, "n": 0, "kept": True})
    things.replace_one({"_id": 1}, {"_id": new_id, "n": 1, "kept": True})
    things.update_one({"_id": 1}, {"$set": {"n": 2}})
    recording.catch_up()

    for asked in (1, new_id):
        events = list(history.log(namespace, asked))
        assert [event.operation for event in events] == ["insert", "replace", "update"]
        now = history.as_of(namespace, asked, None)
        assert repr(now) == repr(things.find_one())
        blamed = history.blame(namespace, asked)
        assert {field: found.id for field, found in blamed.items() if field != "_id"} == {
            "n": events[2].id,
            "kept": events[0].id,
        }
    assert history.as_of(namespace, new_id, events[0].cluster_time) == {"_id": 1, "n": 0, "kept": True}
