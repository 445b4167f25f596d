"""What `History` answers with: values that programs can hold, and errors that say what was wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from change_history.reconstruct.point_in_time import NoSuchVersionError

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history import History
    from tests.support.recording import Recording


def test_what_is_told_can_be_put_into_a_set_whatever_the_values_are(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """With a document or an array among them, a set of events or changes was a `TypeError`: of some, not of all."""
    key = {"a": [1]}
    with database.client.start_session() as session, session.start_transaction():
        database.a.insert_one({"_id": key, "d": {"x": 1}, "l": [1]}, session=session)
        database.a.update_one({"_id": key}, {"$set": {"d": 1}}, session=session)
    recording.catch_up()
    events = [*history.log(namespace), *history.log(namespace)]

    assert len(set(events)) == 2
    assert len({change for event in events for change in event.changes}) == 4
    assert len({event.transaction for event in events}) == 1
    assert len({history.state(namespace, key, at) for at in (1, 2, 1)}) == 2
    assert len({history.revert(namespace, key, to=1, dry_run=True) for _ in range(2)}) == 1


@pytest.mark.parametrize("number", [2**63, -(2**70)])
def test_a_number_that_no_version_can_have_is_told_as_such(
    database: Database[Any], recording: Recording, history: History, namespace: str, number: int
) -> None:
    """The driver's `OverflowError` says nothing of versions."""
    database.a.insert_one({"_id": 1})
    recording.catch_up()

    for ask in (history.as_of, history.blame, history.diff):
        with pytest.raises(NoSuchVersionError, match="there is 1 version of it"):
            ask(namespace, 1, number)
    with pytest.raises(NoSuchVersionError, match="there is 1 version of it"):
        history.revert(namespace, 1, to=number)
