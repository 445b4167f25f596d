"""Who puts documents back: said in the revert's own transaction, or the outcome tells why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from change_history import ContextRefusedError, History, NotAllowedError, acting, recorded
from change_history.contexts import Acting
from change_history.query.transactions import name_of
from change_history.reader import Reader
from tests.support.actors import CONTEXTS, said
from tests.support.recording import Recording
from tests.support.servers import secured

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database


@pytest.fixture
def _renamed(database: Database[Any], recording: Recording) -> None:
    database.a.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 1}])
    database.a.update_many({}, {"$set": {"n": 2}})
    recording.catch_up()


@pytest.mark.usefixtures("_renamed")
def test_who_reverts_is_in_the_transaction_that_does_it(
    client: MongoClient[Any], database: Database[Any], history: History, namespace: str
) -> None:
    """One context document, of the same session and number as the writes."""
    with database.watch() as stream:
        found = history.revert(namespace, 1, to=1, actor="alice", reason="ticket 7", request="r-1")
        events = [stream.next(), stream.next()]

    assert found.applied
    assert found.unsaid is None
    assert said(database) == [("alice", "ticket 7", "r-1")]
    assert {event["ns"]["coll"] for event in events} == {"a", CONTEXTS}
    assert len({(bytes(event["lsid"]["id"]), event["txnNumber"]) for event in events}) == 1


@pytest.mark.usefixtures("_renamed")
def test_whoever_acts_reverts_and_a_dry_run_writes_nothing(
    database: Database[Any], history: History, namespace: str
) -> None:
    """Nor does a revert that has nothing to do, or of nobody."""
    with acting("alice"):
        history.revert(namespace, 1, to=1, dry_run=True)
        assert said(database) == []
        history.revert(namespace, 1, to=1)
        history.revert(namespace, 1, to=1)
    history.revert(namespace, 2, to=1)

    assert said(database) == [("alice", None, None)]
    assert database.a.count_documents({"n": 1}) == 2


def test_who_undoes_a_transaction_is_said_in_every_database(
    client: MongoClient[Any], database: Database[Any], recording: Recording, history: Reader
) -> None:
    """Each may have a daemon of its own."""
    database.a.insert_one({"_id": 1, "n": 1})
    with client.start_session() as session, session.start_transaction():
        database.a.update_one({"_id": 1}, {"$set": {"n": 2}}, session=session)
        database.b.insert_one({"_id": 1}, session=session)
    recording.catch_up()
    name = next(name_of(event.transaction) for event in history.log(None) if event.transaction is not None)

    history.revert_as(Acting(actor="root"))
    found = history.revert_transaction(name, actor="alice")
    (revert,) = recording.history.reverts.find()

    assert found.applied
    assert said(database) == [("alice", None, None)]
    assert revert["by"]["actor"] == "alice"


@pytest.mark.usefixtures("_renamed")
def test_without_context_documents_only_who_insists_is_refused(
    client: MongoClient[Any], database: Database[Any], recording: Recording, namespace: str
) -> None:
    """The setting is empty, or the collection takes none."""
    nowhere = Reader(client, recording.history.name, context_collection="")
    nowhere.revert_as(Acting(actor="root"))
    with pytest.raises(NotAllowedError, match="CONTEXT_COLLECTION is empty"):
        nowhere.revert(namespace, 1, to=1, actor="alice")
    assert database.a.count_documents({"n": 2}) == 2

    found = nowhere.revert(namespace, 1, to=1)
    assert found.applied
    assert "CONTEXT_COLLECTION is empty" in str(found.unsaid)

    database.create_collection(CONTEXTS, validator={"x": 1})
    validated = Reader(client, recording.history.name)
    validated.revert_as(Acting(actor="root"))
    found = validated.revert(namespace, 2, to=1)
    assert found.applied
    assert "failed validation" in str(found.unsaid)
    assert {revert["by"]["actor"] for revert in recording.history.reverts.find()} == {"root"}


def test_a_user_that_may_not_say_who_it_is_reverts_all_the_same_and_is_told(tmp_path: Path) -> None:
    """Unless somebody is named: a revert under another's name must not lose it."""
    with secured(tmp_path) as deployment:
        shop = deployment.root.shop
        shop.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
        with Recording(deployment.root, "shop") as recording:
            shop.users.insert_one({"_id": 1, "n": 1})
            shop.users.update_one({"_id": 1}, {"$set": {"n": 2}})
            recording.catch_up()
            writing = ["find", "insert", "update", "remove"]
            allowed = [
                {"resource": {"db": "shop", "collection": "users"}, "actions": writing},
                {"resource": {"db": recording.history.name, "collection": ""}, "actions": writing},
            ]
            with MongoClient[Any](deployment.user("narrow", allowed)) as narrow:
                history = Reader(narrow, recording.history.name)
                history.revert_as(Acting(actor="root"))
                with pytest.raises(NotAllowedError, match=r"needs `insert` on shop\.watcher_context"):
                    history.revert("shop.users", 1, to=1, actor="alice")
                assert shop.users.find_one() == {"_id": 1, "n": 2}
                with (
                    narrow.start_session() as session,
                    pytest.raises(ContextRefusedError, match=r"insert into shop\.watcher_context"),
                    recorded(session, actor="alice", database="shop"),
                ):
                    pass
                found = history.revert("shop.users", 1, to=1)
            assert found.applied
            assert "needs `insert` on shop.watcher_context" in str(found.unsaid)
            assert shop.users.find_one() == {"_id": 1, "n": 1}
            more = [{"resource": {"db": "shop", "collection": CONTEXTS}, "actions": ["insert"]}]
            with MongoClient[Any](deployment.user("wider", allowed + more)) as wider:
                found = History(wider, recording.history.name).revert("shop.users", 1, to=2, actor="alice", force=True)
            assert found.applied
            assert said(shop) == [("alice", None, None)]
