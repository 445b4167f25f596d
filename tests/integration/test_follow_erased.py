"""Following across an erasure: nobody is told what is not in history any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.support.erasing import MARK, erase
from tests.support.recording import Recording
from tests.support.web import Follower, Served
from watcher.erasure.values import Trail

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo import MongoClient
    from pymongo.database import Database


def test_who_comes_back_to_follow_gets_nothing_that_was_erased_meanwhile(
    client: MongoClient[Any], database: Database[Any], namespace: str, replica_set_uri: str, tmp_path: Path
) -> None:
    """The server remembers events for those who come back: not as they were when they came."""
    with (
        Recording(client, database.name) as recording,
        Served(tmp_path / "log", uri=replica_set_uri, history_database=recording.history.name) as served,
    ):
        history = recording.history
        database["a"].insert_many([{"_id": 1, "name": MARK}, {"_id": 2}])
        recording.catch_up()
        follower = Follower(served, f"?namespace={namespace}&recorded=1")
        follower.next()
        for number in range(3):
            database["a"].update_one({"_id": 2}, {"$set": {"n": number}})
            database["a"].update_one({"_id": 1}, {"$set": {"name": f"{MARK}{number}"}})
        recording.catch_up()
        ids = [follower.next()[2] for _ in range(6)]
        follower.close()
        time.sleep(1)  # as `watcher erase` does before it begins

        erase(history, namespace, [1], trail=Trail.TIMES)
        again = Follower(served, f"?namespace={namespace}", last_event_id=ids[0])
        told = [again.next() for _ in range(5)]
        again.close()
        assert [each[2] for each in told] == ids[1:]
        assert MARK not in str(told)
        by_field = Follower(served, f"?namespace={namespace}&field=n", last_event_id=ids[0])
        assert [by_field.next()[1]["document_id"] for _ in range(2)] == [2, 2]
        by_field.close()

        erase(history, namespace, [1], trail=Trail.NOTHING)
        last = Follower(served, f"?namespace={namespace}", last_event_id=ids[0])
        assert [last.next()[2] for _ in range(2)] == [ids[2], ids[4]]
        last.close()
