"""Stamps of a mongoengine application: every save within `acting` says who, and none says it wrongly."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import mongoengine as me
import pytest
from mongoengine import signals

from change_history import recorded
from change_history.mongoengine import acting, stamp, stamps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

ALIAS = "stamps"


class Stamped(me.Document):
    """A class whose documents are stamped."""

    meta: ClassVar[Any] = {"collection": "stamped", "db_alias": ALIAS, "allow_inheritance": True}
    name = me.StringField()
    updated_by = me.StringField(db_field="by")
    updated_at = me.DateTimeField(db_field="at")


class Heir(Stamped):
    """An heir."""

    more = me.StringField()


class Plain(me.Document):
    """A class that is not."""

    meta: ClassVar[Any] = {"collection": "plain", "db_alias": ALIAS}
    name = me.StringField()
    updated_by = me.StringField()


@pytest.fixture
def kept(replica_set_uri: str, database: Database[Any]) -> Iterator[Database[Any]]:
    """The database that the classes are connected to."""
    me.connect(db=database.name, host=replica_set_uri, alias=ALIAS, uuidRepresentation="standard")
    stamp(Stamped, field="updated_by", at="updated_at")
    yield database
    me.disconnect(ALIAS)
    Stamped._collection = Heir._collection = Plain._collection = None


def test_each_save_says_who_even_twice_in_a_row(kept: Database[Any]) -> None:
    """The server leaves out of an event what was there already; the time makes every stamp a new one."""
    kept.create_collection("stamped")
    with kept.stamped.watch() as stream, acting("alice"):
        user = Heir(name="Ada").save()
        for name in ("Ada L.", "Ada M.", "Ada N."):
            user.name = name
            user.save()
        events = [stream.next() for _ in range(4)]

    assert events[0]["fullDocument"]["by"] == "alice"
    written = [event["updateDescription"]["updatedFields"] for event in events[1:]]
    assert [set(fields) for fields in written] == [{"name", "at"}] * 3
    times = [events[0]["fullDocument"]["at"], *(fields["at"] for fields in written)]
    assert times == sorted(set(times))


def test_a_save_of_nobody_or_without_changes_writes_no_stamp(kept: Database[Any]) -> None:
    """Nobody's save is nobody's, and looking at a form is no write."""
    with acting("alice"):
        user = Stamped(name="Ada").save()
        before = kept.stamped.find_one()
        user.save()
        assert kept.stamped.find_one() == before
    user.name = "Bob"
    user.save()
    after = kept.stamped.find_one()

    assert before is not None
    assert after == before | {"name": "Bob"}


def test_the_stamp_of_a_save_that_failed_is_not_written_by_another_one(kept: Database[Any]) -> None:
    """Whoever saves the object next would do it in the name of the one whose save was refused."""
    kept.create_collection("stamped")
    with acting("carol"):
        user, new = Stamped(name="Ada").save(), Stamped(name="New")
    for document in (user, new):
        document.name = 5
        with acting("alice"), pytest.raises(me.ValidationError):
            document.save()
        document.name = "Bob"
    with kept.stamped.watch() as stream:
        user.save()
        new.save()
        user.name = "Eve"
        with acting("dave"):
            user.save()
        update, insert, later = (stream.next() for _ in range(3))

    assert set(update["updateDescription"]["updatedFields"]) == {"name"}
    assert not insert["fullDocument"].keys() & {"by", "at"}
    assert later["updateDescription"]["updatedFields"]["by"] == "dave"
    user.name, user.updated_by = 5, "zoe"
    with acting("alice"), pytest.raises(me.ValidationError):
        user.save()
    user.name = "own"
    user.save()
    assert user.updated_by == "alice", "what the application had set itself is its own affair"


def test_inserts_in_bulk_and_updates_are_stamped(kept: Database[Any]) -> None:
    """The ways that are not `save`."""
    with acting("alice"):
        Stamped.objects.insert([Stamped(name="a"), Stamped(name="b")])
    with acting("bob"):
        Stamped.objects(name="a").update(**stamps(Stamped), set__name="c")
    assert stamps(Stamped) == {}

    assert {found["name"]: found["by"] for found in kept.stamped.find()} == {"b": "alice", "c": "bob"}


def test_threads_stamp_with_their_own(kept: Database[Any]) -> None:
    """Two requests at the same time."""

    def write(name: str) -> None:
        with acting(name):
            for number in range(10):
                Stamped(name=f"{name} {number}").save()
                time.sleep(0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, ["alice", "bob", "carol", "dave"]))

    found = [(stored["name"].split()[0], stored["by"]) for stored in kept.stamped.find()]
    assert len(found) == 40
    assert all(name == by for name, by in found)


def test_who_deletes_is_said_in_a_transaction_of_the_same_connection(kept: Database[Any]) -> None:
    """A stamp goes with its document."""
    user = Stamped(name="Ada").save()
    session = me.get_connection(ALIAS).start_session()
    with acting("alice"), session, recorded(session, database=kept.name):
        Stamped._get_collection().delete_one({"_id": user.pk}, session=session)

    context = kept.watcher_context.find_one()
    assert context is not None
    assert context["actor"] == "alice"
    assert Stamped.objects.count() == 0


def test_other_classes_are_left_alone(kept: Database[Any]) -> None:
    """The signals are heard for all classes."""
    with acting("alice"):
        Plain(name="a").save()
        Plain.objects.insert([Plain(name="b")])

    assert kept.plain.count_documents({"updated_by": {"$exists": True}}) == 0


def test_what_cannot_be_stamped_is_told_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by every event being nobody's."""
    with pytest.raises(TypeError, match=r"changed_by = StringField\(\)"):
        stamp(Stamped, field="changed_by")
    with pytest.raises(TypeError, match=r"name = DateTimeField\(\)"):
        stamp(Stamped, field="updated_by", at="name")
    monkeypatch.setattr(signals, "signals_available", False)
    with pytest.raises(ImportError, match="pip install blinker"):
        stamp(Stamped, field="updated_by")
