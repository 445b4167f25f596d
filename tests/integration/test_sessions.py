"""Database users, told by the sessions of their writes: right, or unknown."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from change_history import Actor
from change_history.bson import raw
from tests.support.actors import CONTEXTS, Daemon
from tests.support.servers import PASSWORD, Secured
from watcher.stream.actors.completion import Completions
from watcher.stream.actors.sessions import REACHED, Sessions
from watcher.stream.actors.users import Users, digest_of
from watcher.stream.batch import SharedProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

NAME = "shop"
WRITER: list[Any] = [{"role": "readWrite", "db": NAME}]


@pytest.fixture
def users(deployment: Secured) -> Iterator[dict[str, MongoClient[Any]]]:
    """Clients of `alice` and `bob` of `admin`, and of another `alice`, of `shop`."""
    root = deployment.root
    clients = {}
    for name, database in (("alice", "admin"), ("bob", "admin"), ("alice", NAME)):
        root[database].command("createUser", name, pwd=PASSWORD, roles=WRITER)
        uri = deployment.uri(name).replace("authSource=admin", f"authSource={database}")
        clients[f"{name}@{database}"] = MongoClient[dict[str, Any]](uri)
    yield clients
    for name, client in clients.items():
        client.close()
        user, _, database = name.partition("@")
        if root[database].command("usersInfo", user)["users"]:
            root[database].command("dropUser", user)
    root.drop_database(NAME)


class Told:
    """A daemon, and beside it what looks up the users."""

    def __init__(self, root: MongoClient[Any], daemon: Daemon) -> None:
        self.daemon = daemon
        self.root = root
        self.name = daemon.watched
        self.shared = SharedProgress()
        self.sessions = self.anew()

    def anew(self) -> Sessions:
        """As after a start."""
        history = self.daemon.history
        self.sessions = Sessions(
            self.root,
            history,
            "test",
            self.daemon.scope,
            Users(self.root, history),
            Completions(history),
            self.shared,
            lambda: False,
            threading.Event(),
        )
        return self.sessions

    def catch_up(self, mark: str) -> dict[Any, tuple[Any, Any] | None]:
        """Record everything and look up its users; who wrote, by operation and document."""
        self.daemon.until(mark)
        self.root[self.name].end.insert_one({"_id": f"after {mark}"})  # only what lies before the position is looked at
        while self.daemon.step():
            pass
        self.shared.recorded = self.daemon.safe
        while self.sessions.step():
            pass
        return {
            (event.operation, event.document_id): (event.actor.provenance, event.actor.id) if event.actor else None
            for event in self.daemon.events("docs")
        }


@pytest.fixture
def told(deployment: Secured) -> Iterator[Told]:
    """They, from now on."""
    deployment.root[NAME].create_collection("docs")
    deployment.root[NAME].create_collection(CONTEXTS)
    with Daemon(deployment.root, NAME, fields=["by"]) as daemon:
        yield Told(deployment.root, daemon)


def test_whoever_wrote_is_named_and_what_has_no_session_is_not(told: Told, users: dict[str, MongoClient[Any]]) -> None:
    """Retryable writes by the oplog, transactions by the event; the same name of another database is another user."""
    for number, (name, client) in enumerate(users.items()):
        docs = client[NAME].docs
        docs.insert_many([{"_id": f"{number} {place}"} for place in range(4)])
        docs.update_one({"_id": f"{number} 0"}, {"$set": {"a": 1}})
        docs.replace_one({"_id": f"{number} 1"}, {"b": 1})
        docs.find_one_and_delete({"_id": f"{number} 2"})
        docs.update_many({"_id": f"{number} 3"}, {"$set": {"many": name}})
        docs.insert_one({"_id": f"{number} stamped", "by": "somebody"})
        with client.start_session() as session, session.start_transaction():
            docs.delete_one({"_id": f"{number} 3"}, session=session)
        with client.start_session() as session, session.start_transaction():
            docs.insert_one({"_id": f"{number} said"}, session=session)
            client[NAME][CONTEXTS].insert_one({"actor": "said"}, session=session)
    found = told.catch_up("all")
    for number, name in enumerate(users):
        mine = ("session", name)
        assert {key: who for key, who in found.items() if str(key[1]).startswith(f"{number} ")} == {
            **{("insert", f"{number} {place}"): mine for place in range(4)},
            ("update", f"{number} 0"): mine,
            ("replace", f"{number} 1"): mine,
            ("delete", f"{number} 2"): mine,
            ("update", f"{number} 3"): None,  # of many documents: the oplog has no session
            ("delete", f"{number} 3"): mine,
            ("insert", f"{number} stamped"): ("stamp", "somebody"),
            ("insert", f"{number} said"): ("context", "said"),
        }
    events = {event.document_id: event.actor for event in told.daemon.events("docs") if event.operation == "insert"}
    assert events["1 said"] == Actor(id="said", provenance="context", database_user="bob@admin")
    assert events["1 stamped"] == Actor(id="somebody", provenance="stamp", database_user="bob@admin")
    assert events["1 0"] == Actor(id="bob@admin", provenance="session", database_user="bob@admin")


def test_a_user_who_is_dropped_is_still_named_once_he_was_known(
    told: Told, users: dict[str, MongoClient[Any]], deployment: Secured
) -> None:
    """Disaster: who left the company cannot be named any more. A user nobody ever knew is unknown, not another."""
    users["bob@admin"][NAME].docs.insert_one({"_id": 1})
    told.catch_up("first")
    users["bob@admin"][NAME].docs.insert_one({"_id": 2})
    deployment.root.admin.command("dropUser", "bob")
    deployment.root.admin.command("createUser", "brief", pwd=PASSWORD, roles=WRITER)
    with MongoClient[dict[str, Any]](deployment.uri("brief")) as brief:
        brief[NAME].docs.insert_one({"_id": 3})
    deployment.root.admin.command("dropUser", "brief")
    deployment.root[NAME].command("createUser", "bob", pwd=PASSWORD, roles=WRITER)  # another, of the same name
    told.anew()
    found = told.catch_up("second")
    deployment.root[NAME].command("dropUser", "bob")
    assert found == {
        ("insert", 1): ("session", "bob@admin"),
        ("insert", 2): ("session", "bob@admin"),
        ("insert", 3): None,
    }


def test_a_restart_goes_on_where_it_was_and_changes_nothing_that_is_told(
    told: Told, users: dict[str, MongoClient[Any]]
) -> None:
    """An oplog that was cut meanwhile takes nothing away."""
    told.daemon.history.checkpoints.insert_one({"_id": "test"})
    users["bob@admin"][NAME].docs.insert_one({"_id": 1})
    before = told.catch_up("first")
    kept = told.daemon.history.checkpoints.find_one({"_id": "test"})
    assert kept is not None
    assert len(kept[REACHED]) == 16
    told.anew()
    users["alice@shop"][NAME].docs.insert_one({"_id": 2})
    assert told.catch_up("second") == before | {("insert", 2): ("session", "alice@shop")}
    told.daemon.history.history.update_many({}, {"$unset": {"actor": ""}})
    told.anew()
    assert set(told.catch_up("third").values()) == {None}  # they lie behind


def test_without_the_privileges_what_can_be_told_is_told_and_the_stream_goes_on(
    told: Told, users: dict[str, MongoClient[Any]], deployment: Secured
) -> None:
    """Disaster: the daemon ends for want of a privilege that it can do without."""
    users["bob@admin"][NAME].docs.insert_one({"_id": 1})
    with users["bob@admin"].start_session() as session, session.start_transaction():
        users["bob@admin"][NAME].docs.insert_one({"_id": 2}, session=session)
    users["alice@admin"][NAME].docs.insert_one({"_id": 3})
    Users(deployment.root, told.daemon.history).refresh()
    uri = deployment.user("poor", [{"resource": {"db": NAME, "collection": ""}, "actions": ["find"]}])
    with MongoClient[dict[str, Any]](uri) as poor:
        told.sessions = Sessions(
            poor,
            told.daemon.history,
            "test",
            told.daemon.scope,
            Users(poor, told.daemon.history),
            Completions(told.daemon.history),
            told.shared,
            lambda: False,
            threading.Event(),
        )
        told.daemon.until("a")
        told.shared.recorded = None
        assert not told.sessions.step()
        told.sessions._reached = bytes(16)
        found = told.catch_up("all")
    deployment.root.admin.command("dropUser", "poor")
    assert found == {("insert", 1): None, ("insert", 2): ("session", "bob@admin"), ("insert", 3): None}


def test_an_entry_of_the_oplog_that_is_not_the_events_own_names_nobody() -> None:
    """Another document, another operation, another collection, or two entries: unknown."""
    from watcher.stream.actors.sessions import _digest_of, _Lacking

    def fields(**values: Any) -> dict[bytes, raw.Value]:
        return {name.encode(): value for name, value in values.items()}

    def text(value: str) -> raw.Value:
        return raw.STRING, raw.string(value.encode())

    def entry(op: str, namespace: str, number: int, where: str = "o") -> dict[bytes, raw.Value]:
        uid = raw.int32(32) + b"\x00" + digest_of("bob@admin")
        return fields(
            op=text(op),
            ns=text(namespace),
            lsid=(raw.DOCUMENT, raw.from_fields([(b"uid", (raw.BINARY, uid))])),
            **{where: (raw.DOCUMENT, raw.from_fields([(b"_id", (raw.INT32, raw.int32(number)))]))},
        )

    event = _Lacking(
        bytes(16),
        has_actor=False,
        fields=fields(operation=text("insert"), namespace=text("shop.a"), document_id=(raw.INT32, raw.int32(1))),
    )
    assert _digest_of(event, [entry("i", "shop.a", 1)]) == digest_of("bob@admin")
    for others in (
        [],
        [entry("i", "shop.a", 2)],
        [entry("i", "shop.b", 1)],
        [entry("d", "shop.a", 1)],
        [entry("u", "shop.a", 1, "o2")],
        [entry("i", "shop.a", 1), entry("i", "shop.a", 1)],
    ):
        assert _digest_of(event, others) is None


def test_where_nobody_logs_in_nobody_is_named(client: MongoClient[Any], database: Database[Any]) -> None:
    """Every session has the same digest there, that of nothing, also of writes that carry one."""
    with Daemon(client, database.name) as daemon:
        told = Told(client, daemon)
        database.docs.insert_one({"_id": 1})
        with client.start_session() as session, session.start_transaction():
            database.docs.insert_one({"_id": 2}, session=session)
        found = told.catch_up("all")
    assert found == {("insert", 1): None, ("insert", 2): None}


def test_each_partition_tells_the_users_of_its_own_documents(
    deployment: Secured, users: dict[str, MongoClient[Any]]
) -> None:
    """What another one has not completed yet is left alone: a context document may be on its way to it."""
    deployment.root[NAME].create_collection("docs")
    with (
        Daemon(deployment.root, NAME, partition="1/2") as one,
        Daemon(deployment.root, NAME, partition="2/2") as other,
    ):
        users["bob@admin"][NAME].docs.insert_many([{"_id": number} for number in range(20)])
        deployment.root[NAME].end.insert_one({"_id": "end"})
        for daemon in (one, other):
            while daemon.step():
                pass
        counts = []
        for daemon in (one, other):
            told = Told(deployment.root, daemon)
            told.shared.recorded = daemon.safe
            while told.sessions.step():
                pass
            counts.append(sum(event.actor is not None for event in daemon.events("docs")))
    assert 0 < counts[0] < 20
    assert counts[1] == 20
