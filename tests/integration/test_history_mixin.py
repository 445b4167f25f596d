"""The classic form: a mongoengine document that knows its history."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, ClassVar

import mongoengine
import pytest
from bson import Binary, Timestamp

from change_history import mongoengine as history_of_models
from change_history.mongoengine import HistoryMixin
from models import ABSENT, ChangeModel, HistoryModel
from tests.support.recording import make_indexes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

ALIAS = "helper_c_other"
WHEN = datetime(2024, 5, 1, 12, 0, 0, 123000, tzinfo=UTC)


class UserModel(HistoryMixin, mongoengine.Document):
    """The example of the README."""

    meta: ClassVar[Any] = {"collection": "users"}
    name = mongoengine.StringField()
    email = mongoengine.StringField()


class Base(HistoryMixin, mongoengine.Document):
    """An abstract document with a key of its own on another connection."""

    meta: ClassVar[Any] = {"abstract": True, "db_alias": ALIAS}
    code = mongoengine.StringField(primary_key=True)


class Part(Base):
    """A concrete document with heirs."""

    meta: ClassVar[Any] = {"collection": "parts", "allow_inheritance": True}


class Screw(Part):
    """An heir: same collection, same history."""


class Keyed(HistoryMixin, mongoengine.Document):
    """A UUID key, stored as the connection is configured."""

    meta: ClassVar[Any] = {"collection": "keyed"}
    key = mongoengine.UUIDField(primary_key=True)


@pytest.fixture(autouse=True)
def _connected(database: Database[Any], replica_set_uri: str) -> Iterator[None]:
    """An application's own connections, made the application's own way, and the history's."""
    mongoengine.connect(db=database.name, host=replica_set_uri, uuidRepresentation="standard")
    mongoengine.connect(db="helper_c_parts", host=replica_set_uri, alias=ALIAS, uuidRepresentation="standard")
    history_of_models.connect(replica_set_uri, database.name)
    make_indexes(database)
    yield
    history_of_models.disconnect()
    mongoengine.disconnect_all()
    for model in (UserModel, Part, Screw, Keyed):
        model._collection = None


def record(history: Any, number: int, namespace: str, document_id: Any, *changes: ChangeModel) -> None:
    """Write down one event, as the daemon would; a later number has an earlier token within a second."""
    token = b"t%02d" % (99 - number)
    event = HistoryModel(
        id=(number // 10).to_bytes(8, "big") + blake2b(token, digest_size=8).digest(),
        namespace=namespace,
        document_id=document_id,
        operation="update",
        timestamp=WHEN,
        cluster_time=Timestamp(0, number // 10),
        changes=list(changes),
        resume_token=token,
    )
    history.insert_one(event.to_mongo())


def test_the_classic_example_reads_its_changes(database: Database[Any]) -> None:
    """Oldest first, with field, values and time; re-iterable, sized, indexable, and alive."""
    user = UserModel(name="Anna", email="a@x").save()
    namespace = f"{database.name}.users"
    inserted = [ChangeModel(field="name", new_value="Anna"), ChangeModel(field="email", new_value="a@x")]
    record(database.history, 10, namespace, user.id, *inserted)
    changes = user.history.changes

    assert [(c.field, c.old_value, c.new_value, c.timestamp) for c in changes] == [
        ("name", ABSENT, "Anna", WHEN),
        ("email", ABSENT, "a@x", WHEN),
    ]
    record(database.history, 20, namespace, user.id, ChangeModel(field="name", old_value="Anna", new_value=None))
    record(database.history, 30, namespace, str(user.id), ChangeModel(field="name", new_value="another document"))
    assert [c.new_value for c in changes] == ["Anna", "a@x", None]
    assert len(changes) == 3
    assert changes[2].new_value is changes[-1].new_value is None
    assert [c.field for c in changes[:2]] == ["name", "email"]
    assert [c.field for c in reversed(changes)] == ["name", "email", "name"]
    with pytest.raises(IndexError):
        changes[3]
    assert [e.operation for e in user.history.events] == ["update", "update"]


def test_a_document_never_saved_has_an_empty_history() -> None:
    """And costs no query for "everything with id null"."""
    user = UserModel(name="Anna")

    assert list(user.history.changes) == []
    assert len(user.history.changes) == len(user.history.events) == 0
    assert not user.history.changes


def test_a_transactions_changes_come_in_order(database: Database[Any]) -> None:
    """The events of one cluster time are ordered by token, not by `_id`."""
    user = UserModel(name="Anna").save()
    for number in range(9, -1, -1):
        record(database.history, number, f"{database.name}.users", user.id, ChangeModel(field="n", new_value=number))

    assert [c.new_value for c in user.history.changes] == list(range(9, -1, -1))


def test_heirs_aliases_and_own_keys_find_their_collection(database: Database[Any]) -> None:
    """The namespace is that of the class's own connection, the id what is stored."""
    record(database.history, 10, "helper_c_parts.parts", "m4", ChangeModel(field="a", new_value=1))

    assert len(Screw(code="m4").history.changes) == 1
    assert len(Part(code="m4").history.events) == 1


def test_a_uuid_key_is_sought_as_the_application_stores_it(database: Database[Any]) -> None:
    """Subtype 4 or 3 is the connection's choice; the history has what was stored."""
    key = uuid.uuid4()
    record(database.history, 10, f"{database.name}.keyed", Binary(key.bytes, 4), ChangeModel(field="a", new_value=1))

    assert len(Keyed(key=key).history.changes) == 1


def test_without_set_up_history_is_read_beside_the_data(
    database: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application called nothing of ours: the deployment of the document, the default database."""
    history_of_models.disconnect()
    monkeypatch.setattr("change_history.mongoengine.connection.DATABASE", f"{database.name}")
    user = UserModel(name="Anna").save()
    record(database.history, 10, f"{database.name}.users", user.id, ChangeModel(field="a", new_value=1))

    assert [c.new_value for c in user.history.changes] == [1]


def test_changes_say_who_made_them_and_are_asked_for_by_that(database: Database[Any]) -> None:
    """Of a document, and of the class; what nobody is known to have done is nobody's."""
    user = UserModel(name="Anna").save()
    namespace = f"{database.name}.users"
    for number, who in ((10, "alice"), (20, "bob"), (30, None), (40, user.pk)):
        record(database.history, number, namespace, user.id, ChangeModel(field="name", new_value=str(number)))
        if who is not None:
            last = database.history.find_one(sort=[("_id", -1)])
            assert last is not None
            said = {"id": who, "provenance": "context", "reason": "ticket 7"}
            database.history.update_one({"_id": last["_id"]}, {"$set": {"actor": said}})
    changes = user.history.changes

    assert [change.actor and change.actor.id for change in changes] == ["alice", "bob", None, user.pk]
    assert [change.new_value for change in changes.filter(actor="alice")] == ["10"]
    assert [change.new_value for change in changes.filter(actor=user)] == ["40"]
    assert changes.filter(actor="alice", field="name").count() == 1
    assert changes.filter(reason="ticket 7").count() == 3
    assert changes.filter(request="r").count() == 0
    assert [change.new_value for change in UserModel.history_objects.changes.filter(actor="bob")] == ["20"]
    assert UserModel.history_objects.changes.filter(reason="ticket 7")[1:].first() == changes[1]
    assert changes[0].to_dict()["actor"] == {"id": "alice", "provenance": "context", "reason": "ticket 7"}
    assert "actor" not in changes[2].to_dict()
    (event,) = user.history.events.filter(actor="alice")
    assert event.actor.provenance == "context"
    with pytest.raises(ValueError, match="actor"):
        changes.filter(actor="alice").filter(actor="bob")
