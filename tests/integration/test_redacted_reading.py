"""Reading a history of which values are withheld: said everywhere, and never written into data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from change_history import ABSENT, History, Redacted
from change_history.bson.redacted import How
from tests.support.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

GONE = Redacted(How.DROP)


@pytest.fixture
def recording(client: MongoClient[Any], database: Database[Any]) -> Iterator[Recording]:
    """A history that withholds passwords and the codes in arrays."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    with Recording(client, database.name, redact=("*.*:password=drop", "*.*:codes.code=mask")) as found:
        yield found


@pytest.fixture
def ann(database: Database[Any], recording: Recording) -> Database[Any]:
    """A document of four versions: born, renamed, with another password, with another code."""
    database.a.insert_one({"_id": 1, "name": "Ann", "password": "one", "codes": [{"code": "AAAA1111", "n": 1}]})
    database.a.update_one({"_id": 1}, {"$set": {"name": "Ann B."}})
    database.a.update_one({"_id": 1}, {"$set": {"password": "two"}})
    database.a.update_one({"_id": 1}, {"$set": {"codes.0.code": "BBBB2222"}})
    recording.catch_up()
    return database


def test_what_was_withheld_is_told_in_every_answer(ann: Database[Any], history: History, namespace: str) -> None:
    """As what it is: neither the value, nor null, nor unknown."""
    then = history.as_of(namespace, 1, 1)
    assert then is not None
    assert (then["password"], then["name"]) == (GONE, "Ann")
    assert then["codes"][0]["code"].last == "1111"
    assert len(list(history.log(namespace, 1, field="password"))) == 2
    changed = [
        (c.field, c.old_value, c.new_value) for e in history.log(namespace, 1) for c in e.changes if e.version != 1
    ]
    assert ("password", GONE, GONE) in changed
    blamed = history.blame(namespace, 1)
    assert blamed["password"].changes[0].field == "password"
    assert [c.field for c in history.diff(namespace, 1, 1, 4)] == ["name", "codes"]
    assert list(history.log(namespace, 1, changed_to="two")) == []


@pytest.mark.parametrize("force", [False, True])
def test_a_withheld_value_is_never_written_into_data(
    ann: Database[Any],
    history: History,
    namespace: str,
    force: bool,  # noqa: FBT001
) -> None:
    """The application would have a password of 18 bytes that nobody knows."""
    live = ann.a.find_one()
    refused = history.revert(namespace, 1, to=1, force=force)
    assert not refused.applied
    (document,) = refused.documents
    assert document.refused is not None
    assert "codes, password" in document.refused
    assert "two" not in str(document.conflicts)
    assert ann.a.find_one() == live

    kept = history.revert(namespace, 1, to=1, keep_withheld=True, force=force)
    assert kept.applied
    assert kept.documents[0].withheld == ((b"codes",), (b"password",))
    assert ann.a.find_one() == {**(live or {}), "name": "Ann"}


def test_what_did_not_change_needs_no_decision(ann: Database[Any], history: History, namespace: str) -> None:
    """Putting back a name does not become harder by a password that stayed what it was."""
    one = history.revert(namespace, 1, to=1, fields=["name"])
    assert one.applied
    assert one.documents[0].withheld == ()
    assert (ann.a.find_one() or {})["name"] == "Ann"
    ann.a.update_one({"_id": 1}, {"$set": {"name": "Ann C."}})


def test_a_document_goes_back_past_changes_that_leave_the_withheld_alone(
    ann: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """As a whole, too."""
    before = ann.a.find_one()
    ann.a.update_one({"_id": 1}, {"$set": {"name": "Ann C.", "age": 3}})
    recording.catch_up()
    found = history.revert(namespace, 1, to=-2)
    assert (found.applied, found.complete) == (True, True)
    assert ann.a.find_one() == before


def test_a_deleted_document_comes_back_without_what_is_withheld_or_not_at_all(
    ann: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """Nothing is made up in its place."""
    ann.a.delete_one({"_id": 1})
    recording.catch_up()
    refused = history.undelete(namespace, 1)
    assert (refused.applied, ann.a.find_one()) == (False, None)
    assert "password" in (refused.documents[0].refused or "")
    assert history.undelete(namespace, 1, keep_withheld=True).applied
    assert ann.a.find_one() == {"_id": 1, "name": "Ann B.", "codes": [{"n": 1}]}


def test_a_transaction_is_not_undone_silently_but_for_its_secrets(
    ann: Database[Any], recording: Recording, history: History, client: MongoClient[Any]
) -> None:
    """Both sides of a dropped value look alike; that it changed is known all the same."""
    with client.start_session() as session, session.start_transaction():
        ann.a.update_one({"_id": 1}, {"$set": {"password": "three", "age": 3}}, session=session)
    recording.catch_up()
    (event,) = [e for e in history.log(f"{ann.name}.a", 1) if e.transaction is not None]
    assert event.transaction is not None
    refused = history.revert_transaction(event.transaction)
    assert not refused.applied
    assert "password" in (refused.documents[0].refused or "")
    assert history.revert_transaction(event.transaction, keep_withheld=True).applied
    live = ann.a.find_one() or {}
    assert (live["password"], live.get("age", ABSENT)) == ("three", ABSENT)
