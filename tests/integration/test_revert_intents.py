"""What the server refuses, and what is written down of reverts; on a real server."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp
from pymongo.errors import OperationFailure

from change_history.revert import intents
from change_history.revert.intents import Reverts

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history.reader import Reader
    from tests.support.recording import Recording


def test_what_the_server_refuses_is_told_and_nothing_is_left_behind(
    database: Database[Any], recording: Recording, history: Reader, namespace: str
) -> None:
    """A unique index and a validator that came later: no retry helps, and no intent stays."""
    database.a.insert_many([{"_id": 1, "n": 1, "email": "x"}, {"_id": 2, "n": "old"}])
    database.a.update_one({"_id": 1}, {"$set": {"email": "y"}})
    database.a.update_one({"_id": 2}, {"$set": {"n": 2}})
    recording.catch_up()
    database.a.insert_one({"_id": 3, "n": 3, "email": "x"})
    database.a.create_index("email", unique=True)
    database.command("collMod", "a", validator={"n": {"$type": "int"}})

    taken, invalid = (history.revert(namespace, number, to=1) for number in (1, 2))

    assert "duplicate key" in str(taken.documents[0].refused)
    assert "failed validation" in str(invalid.documents[0].refused)
    assert not taken.applied
    assert not invalid.applied
    assert recording.history.reverts.count_documents({}) == 0
    assert history.unsettled_reverts() == []


def test_a_failed_write_of_the_intent_leaves_the_documents_alone(
    database: Database[Any], recording: Recording, history: Reader, namespace: str
) -> None:
    """Otherwise a revert would be in the history that nobody can tell from another write."""
    database.a.insert_one({"_id": 1, "n": 1})
    database.a.update_one({"_id": 1}, {"$set": {"n": 2}})
    recording.catch_up()
    recording.history.create_collection("reverts", validator={"no": "chance"})

    with pytest.raises(OperationFailure):
        history.revert(namespace, 1, to=1)
    assert database.a.find_one() == {"_id": 1, "n": 2}


def test_an_intent_without_a_commit_is_told_until_it_is_settled(
    database: Database[Any], recording: Recording, history: Reader, namespace: str
) -> None:
    """What became of it is read from the history: done, never done, or not to be told yet."""
    database.a.insert_one({"_id": 1, "n": 1})
    database.a.update_one({"_id": 1}, {"$set": {"n": 2}})
    recording.catch_up()
    history.revert(namespace, 1, to=1)
    reverts = recording.history.reverts
    (done,) = reverts.find()
    reverts.update_one({}, {"$set": {"state": "intended"}})
    reverts.insert_one({**done, "_id": b"n" * 24, "state": "intended"})
    assert [found.state for found in history.unsettled_reverts()] == ["intended", "intended"]

    recording.catch_up()
    later = Timestamp(done["cluster_time"].time + intents.LIFETIME_S + 1, 0)
    options = {"include": ["*.*"], "exclude": []}
    recording.history.checkpoints.insert_one({"_id": "x", "token": {}, "cluster_time": later, "options": options})
    assert {bytes(found.revert.id): found.state for found in history.settle_reverts()} == {
        done["_id"]: "done",
        b"n" * 24: "abandoned",
    }
    assert history.unsettled_reverts() == []


def test_a_revert_is_still_told_as_one_when_it_is_long_ago(
    database: Database[Any], recording: Recording, history: Reader, namespace: str
) -> None:
    """The log said so for a minute, and then never again."""
    database.a.insert_one({"_id": 1, "n": 1})
    database.a.update_one({"_id": 1}, {"$set": {"n": 2}})
    recording.catch_up()
    assert history.revert(namespace, 1, to=1).applied
    recording.catch_up()
    *_, before, event = history.log(namespace, 1)

    later = Reverts(recording.history)
    later._read_at += timedelta(hours=1)  # as if it were read in an hour

    assert later.of(event) is not None
    assert later.of(before) is None
