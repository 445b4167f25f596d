"""Bringing back what was deleted, and saying what going back undoes; on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from change_history import History, UnknownStateError
from change_history.revert import goals
from change_history.revert.errors import CollectionEndedError, NothingRecordedError

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.recording import Recording

WAS = {"_id": 1, "name": "Ann", "n": 2}


@pytest.fixture
def recording(recording: Recording, database: Database[Any]) -> Recording:
    """A document was inserted, changed and deleted, too."""
    database.a.insert_one(WAS | {"n": 1})
    database.a.update_one({"_id": 1}, {"$set": {"n": 2}})
    database.a.delete_one({"_id": 1})
    recording.catch_up()
    return recording


def test_however_often_it_is_done_the_document_is_there(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """Whether the daemon has recorded the first time yet, or not; a script may be run twice."""
    assert not history.undelete(namespace, 1, dry_run=True).applied
    assert database.a.find_one() is None

    first = history.undelete(namespace, 1)
    assert (first.applied, first.complete, first.to) == (True, True, 2)
    assert database.a.find_one() == WAS
    unrecorded = history.undelete(namespace, 1)
    recording.catch_up()
    recorded = history.undelete(namespace, 1)
    seen = history.undelete(namespace, 1, seen=first.seen)
    database.a.update_one({"_id": 1}, {"$set": {"n": 3}})
    changed = history.undelete(namespace, 1)

    again = (unrecorded, recorded, seen, changed)
    assert [(one.applied, one.complete) for one in again] == [(False, True)] * 4
    assert database.a.find_one() == WAS | {"n": 3}


@pytest.mark.parametrize("recorded", [False, True])
def test_what_others_have_put_in_its_place_is_not_trampled(
    database: Database[Any],
    recording: Recording,
    history: History,
    namespace: str,
    recorded: bool,  # noqa: FBT001
) -> None:
    """Between the dry run and `--yes` the customer signed up again; also where that is recorded already."""
    shown = history.undelete(namespace, 1, dry_run=True)
    database.a.insert_one({"_id": 1, "name": "New"})
    if recorded:
        recording.catch_up()

    found = history.undelete(namespace, 1, seen=shown.seen)

    assert not found.applied
    assert not found.complete
    assert database.a.find_one() == {"_id": 1, "name": "New"}
    assert found.unseen is not None
    assert found.unseen.count == recorded
    assert history.undelete(namespace, 1).complete == recorded
    assert database.a.find_one() == {"_id": 1, "name": "New"}


def test_what_comes_back_while_history_is_asked_is_not_trampled(  # the worst moment, made to happen
    database: Database[Any], recording: Recording, history: History, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded in the middle of the call, it would count as what history says, and be overwritten."""
    find = goals.before_deletion

    def slowly(*arguments: Any) -> Any:
        found = find(*arguments)
        database.a.insert_one({"_id": 1, "name": "New"})
        recording.catch_up()
        return found

    monkeypatch.setattr(goals, "before_deletion", slowly)
    found = history.undelete(namespace, 1)

    assert (found.applied, found.complete) == (False, False)
    assert database.a.find_one() == {"_id": 1, "name": "New"}


def test_a_document_that_is_gone_and_not_said_to_be_is_a_conflict(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """Its deletion is not recorded yet: “it is there” would be a lie."""
    history.undelete(namespace, 1)
    recording.catch_up()
    database.a.delete_one({"_id": 1})

    found = history.undelete(namespace, 1)

    assert (found.applied, found.complete) == (False, False)
    assert found.lag is not None


def test_what_was_not_deleted_cannot_be_brought_back(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """Nothing is made up: not of what is unknown, nor of what went with its collection."""
    with pytest.raises(NothingRecordedError):
        history.undelete(namespace, 2)
    history.undelete(namespace, 1)
    database.a.drop()
    recording.catch_up()
    with pytest.raises(CollectionEndedError, match="went with its collection: drop"):
        history.undelete(namespace, 1)
    recording.history.history.delete_many({"operation": {"$in": ["insert", "update"]}})
    recording.history.history.delete_many({"operation": "drop"})
    with pytest.raises(UnknownStateError, match="before its deletion"):
        history.undelete(namespace, 1)


def test_a_document_deleted_before_its_collection_was_dropped_comes_back(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """As it was when it was deleted."""
    database.a.drop()
    recording.catch_up()

    assert history.undelete(namespace, 1).applied
    assert database.a.find_one() == WAS


def test_a_document_deleted_before_its_collection_was_renamed_is_not_said_to_have_gone_with_it(
    database: Database[Any], recording: Recording, history: History
) -> None:
    """The error tells the former name, under which its versions are."""
    database.a.insert_one({"_id": 2})
    database.a.rename("z")
    recording.catch_up()

    with pytest.raises(CollectionEndedError, match=rf"deleted before .* from {database.name}\.a") as refused:
        history.undelete(f"{database.name}.z", 1)

    assert (refused.value.event.operation, refused.value.event.document_id) == ("delete", 1)
    assert history.as_of(f"{database.name}.a", 1, -2) == WAS


def test_the_later_events_are_told_before_they_are_undone(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """All are counted, the newest are told; of a field only those that changed it; none that comes after `seen`."""
    database.a.insert_one({"_id": 2, "n": 0, "m": 0})
    for number in range(1, 15):
        database.a.update_one({"_id": 2}, {"$set": {"n": number} if number != 7 else {"m": 1, "n": 7}})
    recording.catch_up()

    found = history.revert(namespace, 2, to=1, dry_run=True)
    of_field = history.revert(namespace, 2, to=1, fields=["m"], dry_run=True)
    near = history.revert(namespace, 2, to=-3, dry_run=True)
    seen = history.revert(namespace, 2, to=1, seen=4, dry_run=True)

    assert found.undone is not None
    assert found.undone.count == 14
    assert [event.changes[-1].new_value for event in found.undone.events] == list(range(5, 15))
    assert of_field.undone is not None
    assert [[change.field for change in event.changes] for event in of_field.undone.events] == [["m"]]
    assert near.undone is not None
    assert [event.changes[-1].new_value for event in near.undone.events] == [13, 14]
    assert near.unseen is None
    assert seen.undone is not None
    assert seen.unseen is not None
    assert (seen.undone.count, seen.unseen.count) == (3, 11)
    assert history.revert(namespace, 2, to=-1).undone is not None
    done = history.revert(namespace, 2, to=1)
    assert done.undone is not None
    assert (done.applied, done.undone.count) == (True, 14)
