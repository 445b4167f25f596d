"""Context documents on a real server: whoever is named there wrote everything of that transaction, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from change_history import Actor
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.values import ABSENT
from change_history.reader import Reader
from change_history.stored.names import HISTORY
from tests.support.actors import CONTEXTS, Daemon
from tests.support.handmade_events import an_event
from tests.support.servers import secured
from watcher.events import event
from watcher.gaps.rejected import RejectedEvents
from watcher.stream.actors.contexts import Contexts
from watcher.stream.batch import Batch, Position, Recorded

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history import Event

CASES = {
    "first": "alice w w w",
    "last": "w w w alice",
    "in the middle": "w w alice w w",
    "alone": "alice",
    "twice": "w alice w w bob w w",
    "twice at the end": "w w alice bob",
    "thrice": "alice w bob w w carol w",
    "nobody": "w w w",
}


class Written:
    """What a test writes, and who did it, by document."""

    def __init__(self, database: Database[Any]) -> None:
        self.database = database
        self.expected: dict[int, str | None] = {}
        database.create_collection("docs", changeStreamPreAndPostImages={"enabled": True})
        database.create_collection(CONTEXTS)

    def transaction(self, steps: str) -> None:
        """One transaction; a step is a write, `w`, or the name of who is said to write."""
        said = [step for step in steps.split() if step != "w"]
        who = said[0] if said else None
        with self.database.client.start_session() as session, session.start_transaction():
            for step in steps.split():
                if step == "w":
                    self._write(who, session)
                else:
                    who = step
                    self.database[CONTEXTS].insert_one({"actor": step, "reason": f"{step} wanted it"}, session=session)

    def alone(self) -> None:
        """A write outside of any transaction."""
        self._write(None, None)

    def _write(self, who: str | None, session: Any) -> None:
        number = len(self.expected)
        self.expected[number] = who
        self.database.docs.insert_one({"_id": number}, session=session)

    def check(self, events: list[Event]) -> None:
        """Compare with what is recorded."""
        found = {event.document_id: event.actor for event in events if event.operation == "insert"}
        expected = {
            number: Actor(id=who, provenance="context", reason=f"{who} wanted it") if who is not None else None
            for number, who in self.expected.items()
        }
        assert found == expected


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_everything_of_a_transaction_has_the_actor_that_its_context_names(
    client: MongoClient[Any], database: Database[Any], batch_size: int
) -> None:
    """Wherever the context stands, wherever a batch ends, and however often the daemon is killed amid it."""
    written = Written(database)
    with Daemon(client, database.name, batch_size) as daemon:
        for steps in CASES.values():
            written.transaction(steps)
            written.alone()
        daemon.until("all")
        written.check(daemon.events("docs"))
        namespaces = daemon.history[HISTORY].distinct("namespace")
        assert f"{database.name}.{CONTEXTS}" not in namespaces


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(2))
def test_a_daemon_that_is_killed_between_batches_still_knows_who_wrote(
    client: MongoClient[Any], database: Database[Any], batch_size: int, seed: int
) -> None:
    """Disaster: the context was in the batch before, and what follows it has no actor; or the wrong one."""
    dice = random.Random(seed)
    written = Written(database)
    with Daemon(client, database.name, batch_size) as daemon:
        for _ in range(6):
            written.transaction(dice.choice(list(CASES.values())))
            if dice.random() < 0.3:
                written.alone()
        for _ in range(20):
            amid = dice.random() < 0.2
            if not daemon.step(killed_before_completion=amid) and not amid:
                break
            if amid or dice.random() < 0.5:
                daemon.kill()
        daemon.kill()
        daemon.until("all")
        written.check(daemon.events("docs"))


def test_what_is_no_context_document_stops_nothing_and_names_nobody(
    client: MongoClient[Any], database: Database[Any]
) -> None:
    """Disaster: an application's slip ends the recording, or somebody is named who did not do it."""
    odd: list[dict[str, Any]] = [
        {},
        {"actor": None},
        {"actor": ["a"]},
        {"actor": "x" * 5000},
        {"actor": ""},
        {"actor": {"$a": 1}},
    ]
    database.create_collection("docs")
    database.create_collection(CONTEXTS)
    with Daemon(client, database.name) as daemon:
        for number, context in enumerate(odd):
            with client.start_session() as session, session.start_transaction():
                database[CONTEXTS].insert_one({**context, "_id": number}, session=session)
                database.docs.insert_one({"_id": number}, session=session)
        database[CONTEXTS].insert_one({"actor": "mallory"})  # outside of a transaction
        database.docs.insert_one({"_id": "after"})
        with client.start_session() as session, session.start_transaction():
            database[CONTEXTS].insert_one(
                {"actor": "alice", "reason": 7, "request": "x" * 5000, "more": {"a": 1}}, session=session
            )
            database.docs.insert_one({"_id": "good"}, session=session)
        database[CONTEXTS].update_one({}, {"$set": {"actor": "mallory"}})
        database[CONTEXTS].delete_many({})
        database[CONTEXTS].create_index("a")
        database[CONTEXTS].drop()
        daemon.until("all")
        found = {event.document_id: event.actor for event in daemon.events("docs")}
    assert found == {
        **dict.fromkeys([*range(len(odd)), "after"]),
        "good": Actor(id="alice", provenance="context"),
    }


def test_deletes_have_an_actor_too(client: MongoClient[Any], database: Database[Any]) -> None:
    """No stamp can say who deleted a document."""
    written = Written(database)
    database.docs.insert_many([{"_id": number} for number in range(50, 60)])
    with Daemon(client, database.name, 4) as daemon:
        with client.start_session() as session, session.start_transaction():
            database.docs.delete_many({"_id": {"$lt": 55}}, session=session)
            database[CONTEXTS].insert_one({"actor": "alice", "request": "r-1"}, session=session)
            database.docs.update_many({}, {"$set": {"a": 1}}, session=session)
            database.docs.replace_one({"_id": 58}, {"b": 1}, session=session)
        daemon.until("all")
        events = daemon.events("docs")
    del written
    assert sorted(event.operation for event in events) == ["delete"] * 5 + ["replace"] + ["update"] * 5
    assert {event.actor for event in events} == {Actor(id="alice", provenance="context", request="r-1")}


def test_a_stream_of_one_collection_or_one_partition_reads_contexts_too(
    client: MongoClient[Any], database: Database[Any]
) -> None:
    """Disaster: the context document is not among what is watched, or in another partition, so nobody is known."""
    written = Written(database)
    name = database.name
    with (
        Daemon(client, name, 3, include=["docs", "end"], partition="1/2") as one,
        Daemon(client, name, 2, include=["docs", "end"], partition="2/2") as other,
        Daemon(client, name, 2, include=["docs"], history=f"{name}_alone") as alone,
    ):
        for steps in CASES.values():
            written.transaction(steps)
        written.alone()
        last = max(written.expected)
        for daemon in (one, other, alone):
            found = daemon.history[HISTORY]
            while daemon.step() or (daemon is not one and not found.find_one({"document_id": last})):
                pass
        written.check(one.events("docs"))
        written.check(alone.events("docs"))
        assert found.count_documents({"namespace": {"$ne": f"{name}.docs"}}) == 0
        assert last in {event.document_id for event in alone.events("docs")}


def test_a_later_context_in_a_longer_transaction_is_not_given_to_what_came_before(
    client: MongoClient[Any], database: Database[Any]
) -> None:
    """A transaction of more than 16 MB is several oplog entries, and many batches."""
    database.create_collection("docs")
    database.create_collection(CONTEXTS)
    text = "x" * 1024 * 1024
    with Daemon(client, database.name, 4) as daemon:
        with client.start_session() as session, session.start_transaction():
            for number in range(40):
                database.docs.insert_one({"_id": number, "text": text}, session=session)
                if number in (10, 30):
                    database[CONTEXTS].insert_one({"actor": f"at {number}"}, session=session)
        daemon.until("all")
        found = {event.document_id: event.actor for event in daemon.events("docs")}
        assert daemon.history.amendments.find_one({"kind": "actor"})
    assert {number: actor.id if actor is not None else ABSENT for number, actor in found.items()} == {
        number: "at 10" if number <= 30 else "at 30" for number in range(40)
    }


def narrow(daemon: Daemon) -> None:
    """What an earlier version did: a stream of the collection alone, without contexts."""
    daemon.scope = replace(daemon.scope, contexts="")


@pytest.mark.parametrize("dropped", [False, True])
def test_a_position_of_a_collections_stream_stays_valid_when_the_stream_is_widened(
    client: MongoClient[Any],
    database: Database[Any],
    dropped: bool,  # noqa: FBT001
) -> None:
    """Disaster: after an update the position is refused, or events are lost; also where the stream had ended."""
    name = database.name
    database.create_collection(CONTEXTS)
    with Daemon(client, name, include=["docs"], history=f"{name}_alone") as daemon:
        wide = daemon.scope
        narrow(daemon)
        daemon.safe = None
        daemon.kill()
        daemon.step()
        database.docs.insert_one({"_id": 0})
        if dropped:
            database.docs.drop()
        wanted = "invalidate" if dropped else "insert"
        while not daemon.history[HISTORY].find_one({"operation": wanted}):
            daemon.step()
        daemon.step()
        with client.start_session() as session, session.start_transaction():
            database.docs.insert_one({"_id": 1}, session=session)
            database[CONTEXTS].insert_one({"actor": "alice"}, session=session)
        daemon.scope = wide
        daemon.kill()
        while not daemon.history[HISTORY].find_one({"document_id": 1}):
            daemon.step()
        daemon.step()
        assert [event.actor for event in daemon.events("docs")] == [None, Actor(id="alice", provenance="context")]


@pytest.mark.parametrize("killed", [False, True])
def test_a_widened_stream_that_a_dropped_database_ended_goes_on_behind_its_end(
    client: MongoClient[Any],
    database: Database[Any],
    killed: bool,  # noqa: FBT001
) -> None:
    """Disaster: it is told of its end for ever, at full speed, and nothing that is written later is recorded."""
    database.docs.insert_one({"_id": 0})
    with Daemon(client, database.name, include=["docs"], history=f"{database.name}_alone") as daemon:
        assert daemon.scope.widened
        client.drop_database(database.name)
        while not daemon.history[HISTORY].find_one({"operation": "invalidate"}):
            daemon.step()
        if killed:
            daemon.kill()
        assert [daemon.step() for _ in range(4)] == [[]] * 4
        database.docs.insert_one({"_id": 1})
        while not daemon.history[HISTORY].find_one({"document_id": 1}):
            daemon.step()
        found = [each["operation"] for each in daemon.history[HISTORY].find({}, {"operation": 1}, sort=[("_id", 1)])]
        assert found.count("invalidate") == 1
        assert found[-2:] == ["create", "insert"]


def test_whoever_may_follow_the_collection_only_does_so_and_reads_no_contexts(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Disaster: after an update the daemon ends, as its role is for one collection."""
    with secured(tmp_path_factory.mktemp("secured")) as deployment:
        shop = deployment.root.shop
        shop.create_collection("docs")
        shop.create_collection(CONTEXTS)
        only = {"resource": {"db": "shop", "collection": "docs"}, "actions": ["changeStream", "find"]}
        kept = {
            "resource": {"db": "kept", "collection": ""},
            "actions": ["find", "insert", "update", "createIndex", "dropDatabase"],
        }
        uri = deployment.user("narrow", [only, kept])
        with (
            MongoClient[dict[str, Any]](uri) as client,
            Daemon(client, "shop", include=["docs"], history="kept") as daemon,
        ):
            for number in range(2):
                with deployment.root.start_session() as session, session.start_transaction():
                    shop.docs.insert_one({"_id": number}, session=session)
                    shop[CONTEXTS].insert_one({"actor": "alice"}, session=session)
                daemon.kill()
            while not daemon.history[HISTORY].find_one({"document_id": 1}):
                daemon.step()
            assert [event.actor for event in daemon.events("docs")] == [None, None]


def test_an_event_in_chunks_has_its_actor_in_whatever_batch_the_context_comes(
    client: MongoClient[Any], database: Database[Any]
) -> None:
    """Its chunks are stored by then, and stay as they are."""
    database.create_collection("docs")
    database.create_collection(CONTEXTS)
    deep: Any = "the bottom"
    for _ in range(178):
        deep = {"a": deep}
    with Daemon(client, database.name, 1) as daemon:
        for number, first in enumerate((True, False)):
            with client.start_session() as session, session.start_transaction():
                if first:
                    database[CONTEXTS].insert_one({"actor": "alice"}, session=session)
                database.docs.insert_one({"_id": number, "deep": deep}, session=session)
                if not first:
                    database[CONTEXTS].insert_one({"actor": "alice"}, session=session)
        daemon.until("all")
        assert daemon.history.history_parts.count_documents({}) == 2
        events = list(Reader(client, daemon.history.name).log(f"{database.name}.docs"))
    alice = Actor(id="alice", provenance="context")
    documents = [event for event in events if event.operation == "insert"]
    assert [(event.actor, event.changes[1].new_value == deep) for event in documents] == [(alice, True)] * 2


def test_an_event_that_was_rejected_comes_into_history_with_its_actor(
    client: MongoClient[Any], database: Database[Any]
) -> None:
    """Nobody can tell it any more when it is tried again: its transaction is long past."""
    database.create_collection("docs")
    database.create_collection(CONTEXTS)
    with Daemon(client, database.name) as daemon:
        history = daemon.history
        history[HISTORY].create_index("document_id", unique=True, sparse=True)
        database.other.insert_one({"_id": 1})
        with client.start_session() as session, session.start_transaction():
            database[CONTEXTS].insert_one({"actor": 7, "reason": "a test"}, session=session)
            database.docs.insert_one({"_id": 1}, session=session)
        daemon.until("all")
        assert daemon.events("docs") == []
        history[HISTORY].drop_index("document_id_1")
        tried = RejectedEvents(history, None)
        assert [outcome.error for outcome in tried.retry(tried.ids())] == [None]
        (event,) = daemon.events("docs")
    assert event.actor == Actor(id=7, provenance="context", reason="a test")


def test_a_context_document_without_values_or_damaged_names_nobody() -> None:
    """It is met where it is read, and what follows is read as ever."""
    batch = Batch([], Position(b"", BEGINNING_OF_TIME))
    recorded = Recorded([], [], batch.position)
    contexts = Contexts(CONTEXTS)
    contexts.begin(batch)
    about = {"lsid": {"id": 1}, "txnNumber": 1, "ns": {"db": "shop", "coll": CONTEXTS}}
    for broken in (an_event("insert", **about), an_event("insert", fullDocument={"actor": "a"}, **about)[:-4]):
        contexts.enter(event.parse(an_event("insert", **about)), 0, len(recorded))
        contexts.read(broken, b"insert", recorded)
        assert contexts.assigned(recorded, None) is None
