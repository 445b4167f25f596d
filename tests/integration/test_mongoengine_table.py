"""A mongoengine application's history in the words of its classes: names, types, errors, manners."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, assert_type

import mongoengine as me
import pytest
from bson import DBRef, ObjectId
from mongoengine.context_managers import switch_collection

from change_history import ABSENT
from change_history.mongoengine import DocumentChange, HistoryMixin, PastDocumentError
from change_history.mongoengine.changes import Changes
from change_history.mongoengine.translation import locate
from tests.support.mongoengine_models import connected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo.database import Database

    from change_history import Change
    from tests.support.recording import Recording

ALIAS = "mongoengine_table"


class Colour(Enum):
    """A choice."""

    RED = "r"
    BLUE = "b"


class Dwelling(me.EmbeddedDocument):
    """An embedded document with a renamed field, and heirs."""

    meta: ClassVar[Any] = {"allow_inheritance": True}
    city = me.StringField(db_field="c")


class Abroad(Dwelling):
    """An heir."""

    country = me.StringField(db_field="l")


class Item(me.EmbeddedDocument):
    """An element of a list."""

    sku = me.StringField(db_field="s")
    price = me.DecimalField(db_field="p")


class Other(me.Document):
    """What is referred to."""

    meta: ClassVar[Any] = {"collection": "others", "db_alias": ALIAS}
    title = me.StringField()


class Person(HistoryMixin, me.Document):
    """A key of its own, heirs, and a field of every awkward class."""

    meta: ClassVar[Any] = {"collection": "a", "db_alias": ALIAS, "allow_inheritance": True}
    code = me.StringField(primary_key=True)
    name = me.StringField(db_field="n")
    price = me.DecimalField(precision=2)
    when = me.DateTimeField()
    colour = me.EnumField(Colour)
    key = me.UUIDField()
    addr = me.EmbeddedDocumentField(Dwelling)
    items = me.EmbeddedDocumentListField(Item)
    scores = me.MapField(me.EmbeddedDocumentField(Item))
    anything = me.GenericEmbeddedDocumentField(choices=[Dwelling, Item])
    other = me.ReferenceField(Other)
    lazy = me.LazyReferenceField(Other)
    others = me.ListField(me.ReferenceField(Other, dbref=True))
    whatever = me.GenericReferenceField()
    cached = me.CachedReferenceField(Other, fields=["title"])
    number = me.SequenceField(db_alias=ALIAS)
    place = me.GeoPointField()
    file = me.FileField(db_alias=ALIAS)


class Loft(me.EmbeddedDocument):
    """Stored names as those of `Cellar`, attributes of other names."""

    height = me.IntField(db_field="x")


class Cellar(me.EmbeddedDocument):
    """See `Loft`."""

    depth = me.DecimalField(db_field="x")


class House(HistoryMixin, me.Document):
    """Embedded documents of any class."""

    meta: ClassVar[Any] = {"collection": "a", "db_alias": ALIAS}
    room = me.GenericEmbeddedDocumentField()
    rooms = me.ListField(me.GenericEmbeddedDocumentField(choices=[Loft, Cellar]))


class Employee(Person):
    """An heir with a renamed field."""

    boss = me.StringField(db_field="b")


class Loose(HistoryMixin, me.DynamicDocument):
    """Fields as they come."""

    meta: ClassVar[Any] = {"collection": "b", "db_alias": ALIAS}


@pytest.fixture(autouse=True)
def _connected(database: Database[Any], recording: Recording, replica_set_uri: str) -> Iterator[None]:
    with connected(ALIAS, database, recording, replica_set_uri, [Other, Person, Employee, Loose]):
        yield


def last(recording: Recording, document: Any) -> dict[str, DocumentChange]:
    """The changes of a document's last event, by field."""
    recording.catch_up()
    return {change.field: change for change in document.history.events.last().changes}


def test_fields_are_called_as_the_class_says(recording: Recording) -> None:
    """And not by their stored names, which nobody who writes the class ever sees."""
    person = Person(code="x", name="Ada", addr=Dwelling(city="a"), items=[Item(sku="1"), Item(sku="2")]).save()
    assert set(last(recording, person)) >= {"code", "name", "addr", "items", "_cls"}
    person.addr.city = "b"
    person.items[0].sku = "3"
    person.scores = {"a": Item(sku="4")}
    person.save()
    found = last(recording, person)

    assert {change.field: change.db_field for change in found.values()} == {
        "addr.city": "addr.c",
        "items.0.sku": "items.0.s",
        "scores": "scores",
    }
    person.scores["a"].price = Decimal("2.5")
    person.save()
    ((field, change),) = last(recording, person).items()
    assert (field, change.db_field, change.new_value) == ("scores.a.price", "scores.a.p", Decimal("2.50"))
    dotted = locate(Person, ("scores", "a.b", "p"))
    assert dotted.names == ("scores", "a.b", "price")


def test_values_are_what_the_fields_make_of_them(recording: Recording) -> None:
    """With the exact stored value beside each, and not one query for a reference."""
    key, when = uuid.uuid4(), datetime(2024, 5, 1, 12)  # noqa: DTZ001 - the connection knows no zones
    other = Other(title="t").save()
    person = Person(
        code="x",
        price=Decimal("1.10"),
        when=when,
        colour=Colour.RED,
        key=key,
        addr=Abroad(city="a", country="c"),
        items=[Item(sku="1", price=Decimal("2.5"))],
        scores={"a": Item(sku="4")},
        anything=Item(sku="9"),
        other=other,
        lazy=other,
        others=[other],
        whatever=other,
        cached=other,
        place=[1.0, 2.0],
    )
    person.file.put(b"content")
    person.save()
    other.delete()  # a query for it would find nothing
    found = last(recording, person)
    values = {field: change.new_value for field, change in found.items()}

    assert values["price"] == Decimal("1.10")
    assert str(values["price"]) == "1.10"
    assert found["price"].raw_new_value == 1.1
    assert values["when"] == when
    assert values["when"] > datetime(2023, 1, 1)  # noqa: DTZ001 - as the application compares
    assert found["when"].raw_new_value.tzinfo is not None
    assert values["colour"] is Colour.RED
    assert values["key"] == key
    assert isinstance(values["addr"], Abroad)
    assert (values["addr"].city, values["addr"].country) == ("a", "c")
    assert found["addr"].raw_new_value == {"_cls": "Abroad", "c": "a", "l": "c"}
    assert values["items"] == [Item(sku="1", price=Decimal("2.5"))]
    assert values["scores"] == {"a": Item(sku="4")}
    assert values["anything"] == Item(sku="9")
    assert values["other"] == values["lazy"] == other.pk
    assert values["others"] == [DBRef("others", other.pk)]
    assert values["whatever"] == DBRef("others", other.pk)
    assert values["cached"] == DBRef("others", other.pk)
    assert values["number"] == person.number
    assert values["place"] == [1.0, 2.0]
    assert values["file"].grid_id == person.file.grid_id
    assert found["code"].old_value is ABSENT
    then = person.history.as_of(None)
    assert then.cached.title == "t"
    assert then.to_mongo() == person.to_mongo()


def test_what_does_not_fit_the_class_any_more_is_given_as_it_was_stored(recording: Recording) -> None:
    """Fields that are gone, types that changed, classes nobody knows: history outlives the class, without an error."""
    odd = {"_id": "x", "_cls": "Person", "gone": {"deep": 1}, "n": 5, "price": "cheap", "addr": {"c": "x", "zip": 1}}
    odd |= {"anything": {"_cls": "Vanished", "a": 1}, "items": [3, {"s": "1"}], "when": "tomorrow", "file": "name"}
    Person._get_collection().insert_one(odd)
    person = Person(code="x")
    found = last(recording, person)

    assert found["gone"].new_value == {"deep": 1}
    assert found["name"].new_value == 5
    assert found["price"].new_value == "cheap"
    assert found["addr"].new_value == {"c": "x", "zip": 1}
    assert found["anything"].new_value == {"_cls": "Vanished", "a": 1}
    assert found["items"].new_value == [3, Item(sku="1")]
    then = person.history.as_of(None)
    assert (then.name, then.price, then.addr, then.when) == (5, "cheap", {"c": "x", "zip": 1}, "tomorrow")
    assert person.history.raw_as_of(None) == odd
    assert recording.history.client[Person._get_db().name]["fs.files"].find_one() is None


def test_an_heirs_fields_have_their_names_also_from_the_base_class(recording: Recording) -> None:
    """`_cls` says which class it was."""
    Employee(code="x", boss="B").save()

    assert last(recording, Person(code="x"))["boss"].db_field == "b"
    then = Person(code="x").history.as_of(None)
    assert isinstance(then, Employee)
    assert then.boss == "B"


def test_a_dynamic_documents_fields_are_found(recording: Recording) -> None:
    """An embedded document in it is an object again."""
    loose = Loose(a=1, place=Dwelling(city="x"), many=[{"b": 2}]).save()
    found = last(recording, loose)

    assert found["a"].new_value == 1
    assert found["place"].new_value == Dwelling(city="x")
    assert loose.history.as_of(None).to_mongo() == loose.to_mongo()


def test_an_embedded_document_of_any_class_has_the_names_of_its_own_class(recording: Recording) -> None:
    """Where the declared classes do not say which is meant, the document's state at the event does."""
    house = House(room=Cellar(depth=1), rooms=[Loft(height=1), Cellar(depth=2)]).save()
    house.room.depth = Decimal(3)
    house.rooms[0].height = 5
    house.rooms[1].depth = Decimal(4)
    house.save()
    loose = Loose(room=Loft(height=1), plain={"x": 1}).save()
    Loose._get_collection().update_one({"_id": loose.pk}, {"$set": {"room.x": 2, "plain.x": 2}})

    assert {field: change.new_value for field, change in last(recording, house).items()} == {
        "room.depth": Decimal(3),
        "rooms.0.height": 5,
        "rooms.1.depth": Decimal(4),
    }
    assert set(last(recording, loose)) == {"room.height", "plain.x"}


def test_a_dynamic_document_that_has_a_history_of_its_own_is_told_all_the_same(recording: Recording) -> None:
    """An attribute that the mixin has cannot be set; the rest can."""
    Loose._get_collection().insert_one({"_id": (pk := ObjectId()), "history": [1], "a": 2})
    recording.catch_up()
    loose = Loose(id=pk)

    assert loose.history.as_of(None).a == 2
    assert [change.field for change in loose.history.changes] == ["id", "history", "a"]
    with pytest.raises(AttributeError, match="history_attribute"):
        setattr(loose, "history", 3)  # noqa: B010 - the type checker would refuse it


def test_a_history_of_ones_own_is_refused_when_the_class_is_defined() -> None:
    """Instead of one of the two silently taking the other's place."""
    with pytest.raises(TypeError, match="history_attribute"):
        type("Clash", (HistoryMixin, me.Document), {"history": me.ListField()})
    base = type("ClashBase", (me.Document,), {"history": me.ListField(), "meta": {"abstract": True}})
    with pytest.raises(TypeError, match="history_attribute"):
        type("ClashHeir", (HistoryMixin, base), {})

    fine: Any = type("Fine", (HistoryMixin, base), {"meta": {"history_attribute": "versions", "db_alias": ALIAS}})
    assert fine().history == []
    assert list(fine().versions.changes) == []
    assert "Fine" in repr(fine.versions_objects)


def test_an_embedded_document_with_the_mixin_is_refused_when_it_is_defined() -> None:
    """Not when somebody first asks for its history."""
    with pytest.raises(TypeError, match="embedded document"):
        type("Inner", (HistoryMixin, me.EmbeddedDocument), {})


def test_changes_have_the_manners_of_a_queryset(recording: Recording) -> None:
    """Lazy, filtered by attribute, ordered, sliced, and shown."""
    person = Person(code="x", name="0", addr=Dwelling(city="0")).save()
    for number in range(1, 5):
        person.name = str(number)
        person.addr.city = str(number)
        person.save()
    recording.catch_up()
    changes = person.history.changes

    assert {name for name in dir(changes) if not name.startswith("_")} == {
        "all", "count", "filter", "first", "last", "order_by",
    }  # fmt: skip
    names = changes.filter(field="name")
    assert [c.new_value for c in names] == ["0", "1", "2", "3", "4"]
    assert [c.new_value for c in names.order_by("-timestamp")] == ["4", "3", "2", "1", "0"]
    assert [c.new_value for c in names[1:3]] == ["1", "2"]
    assert [c.new_value for c in names.order_by("-timestamp")[:2]] == ["4", "3"]
    assert [c.field for c in changes.filter(field="addr.city")] == ["addr.city"] * 5
    assert [c.field for c in changes.filter(field="addr__city", operation="update")] == ["addr.city"] * 4
    assert names.count() == len(names) == 5
    everything = list(changes)
    assert changes.count() == len(everything)
    for start in range(len(everything) + 2):
        for stop in (start, start + 1, start + 3, None):
            assert list(changes[start:stop]) == everything[start:stop]
            assert list(changes.order_by("-timestamp")[start:stop]) == everything[::-1][start:stop]
            assert changes[start:stop].count() == len(everything[start:stop])
    assert list(changes[-2:]) == everything[-2:]
    assert list(changes[2:6][1:3]) == everything[3:5]
    assert changes.first() == everything[0]
    assert changes.last() == everything[-1]
    third = everything[-3].timestamp
    assert third is not None
    assert changes.filter(since=third).count() == len([c for c in everything if c.timestamp >= third])
    assert changes.filter(since=third.replace(tzinfo=None)).count() == changes.filter(since=third).count()
    assert repr(names[:2]) == "[<Change: name: <absent> → '0'>, <Change: name: '0' → '1'>]"
    with pytest.raises(ValueError, match="timestamp"):
        changes.order_by("name")
    with pytest.raises(TypeError, match="filter first"):
        changes[1:].filter(field="name")


def test_a_slice_within_one_transaction_keeps_the_streams_order(recording: Recording, database: Database[Any]) -> None:
    """The server's order within a cluster time is not that of history."""
    Person(code="x", name="-").save()
    with database.client.start_session() as session, session.start_transaction():
        for number in range(20):
            database.a.update_one({"_id": "x"}, {"$set": {"n": str(number)}}, session=session)
    recording.catch_up()
    changes = Person(code="x").history.changes.filter(operation="update")

    assert [c.new_value for c in changes[5:9]] == ["5", "6", "7", "8"]
    assert [c.new_value for c in changes.order_by("-timestamp")[5:9]] == ["14", "13", "12", "11"]
    assert changes[7].new_value == "7"


def test_little_is_read_for_a_little(recording: Recording, database: Database[Any]) -> None:
    """A slice far into a long history transfers its own items, not what lies before."""
    person = Person(code="x", name="-").save()
    for number in range(300):
        database.a.update_one({"_id": "x"}, {"$set": {"n": str(number)}})
    recording.catch_up()
    whole = person.history.changes.filter(operation="update")
    read: list[Any] = []
    original = Changes._items

    def counted(self: Changes, event: Any, values: Any) -> Any:
        read.append(event)
        return original(self, event, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Changes, "_items", counted)
        assert [c.new_value for c in whole[290:293]] == ["290", "291", "292"]
        assert len(read) <= 4
        assert whole[0].new_value == "0"
        assert whole.count() == 300
        assert len(read) <= 6


def test_a_switched_instance_shows_its_own_collections_history(recording: Recording) -> None:
    """And never that of another document which happens to have the same id."""
    Person(code="x", name="here").save()
    archived = Person(code="x", name="archived")
    archived.switch_collection("b")
    archived.save(force_insert=True)
    recording.catch_up()

    assert [c.new_value for c in archived.history.changes.filter(field="name")] == ["archived"]
    assert [c.new_value for c in Person(code="x").history.changes.filter(field="name")] == ["here"]
    with switch_collection(Person, "b"):
        assert [c.new_value for c in Person(code="x").history.changes.filter(field="name")] == ["archived"]


def test_dates_are_decoded_as_the_applications_connection_decodes_them(
    recording: Recording, database: Database[Any], replica_set_uri: str
) -> None:
    """A comparison with a document's own date works, with zones and without."""
    me.disconnect(ALIAS)
    Person._collection = None
    me.connect(db=database.name, host=replica_set_uri, alias=ALIAS, tz_aware=True, uuidRepresentation="standard")
    person = Person(code="x", when=datetime(2024, 5, 1, tzinfo=UTC)).save()

    assert last(recording, person)["when"].new_value == Person.objects.get().when


def test_a_change_is_serialised(recording: Recording) -> None:
    """Without a word about ABSENT, which JSON does not know."""
    person = Person(code="x", price=Decimal("1.10")).save()
    change = last(recording, person)["price"]

    assert json.loads(json.dumps(change.to_dict())) == json.loads(change.to_json())
    assert change.to_dict() == {
        "field": "price",
        "db_field": "price",
        "new_value": 1.1,
        "timestamp": change.timestamp.isoformat() if change.timestamp else None,
    }


def test_the_past_of_a_document_is_an_object_that_cannot_be_saved(recording: Recording) -> None:
    """What it was, its differences, whom its values are from, and the way back."""
    person = Person(code="x", name="Ada", addr=Dwelling(city="a")).save()
    before = person.to_mongo()
    person.name = "Eve"
    person.addr.city = "b"
    person.save()
    recording.catch_up()

    then = person.history.as_of(1)
    assert isinstance(then, Person)
    assert then.to_mongo() == before
    for write in (then.save, then.delete, lambda: then.update(set__name="x")):
        with pytest.raises(PastDocumentError):
            write()
    assert Person.objects.get().name == "Eve"
    assert [(c.field, c.old_value, c.new_value) for c in person.history.diff(1, 2)] == [
        ("name", "Ada", "Eve"),
        ("addr.city", "a", "b"),
    ]
    blame = person.history.blame()
    assert (blame["name"].operation, blame["addr.city"].operation, blame["code"].operation) == (
        "update", "update", "insert",
    )  # fmt: skip
    assert not person.history.revert(to=1, dry_run=True).applied
    assert person.history.revert(to=1, fields=["addr.city"]).applied
    person.reload()
    assert (person.name, person.addr.city) == ("Eve", "a")


def test_a_class_knows_its_deleted_documents_and_brings_them_back(recording: Recording) -> None:
    """By the class's own key, and queries in its own words."""
    Person(code="x", name="Ada").save()
    Employee(code="y", name="Eve", boss="B").save()
    recording.catch_up()
    Person.objects(code="y").delete()
    recording.catch_up()

    assert [c.new_value for c in Person.history_objects.changes.filter(field="name", operation="insert")] == [
        "Ada",
        "Eve",
    ]
    (deleted,) = Person.history_objects.deleted()
    assert isinstance(deleted, Employee)
    assert (deleted.pk, deleted.boss) == ("y", "B")
    assert Person.history_objects.undelete("y").applied
    recording.catch_up()
    assert Employee.objects.get(code="y").boss == "B"
    assert list(Person.history_objects.deleted()) == []
    assert [p.code for p in Person.history_objects.as_of(None, name="Eve")] == ["y"]
    assert [p.code for p in Employee.history_objects.as_of(None)] == ["y"]
    assert [p.code for p in Person.history_objects.as_of(None, me.Q(name="Ada") | me.Q(name="Eve"))] == ["x", "y"]


def test_a_document_never_saved_has_nothing() -> None:
    """And costs no query for "everything with id null"."""
    loose = Loose()

    assert list(loose.history.changes) == []
    assert list(loose.history.events) == []
    assert loose.history.as_of(None) is None
    assert loose.history.blame() == {}


def test_type_checkers_see_changes() -> None:
    """What this function says is checked by `make lint`."""
    changes: Iterable[Change] = Loose().history.changes

    assert_type(Loose().history.changes, Changes)
    assert_type(Loose().history.changes.filter(field="a")[1:].first(), DocumentChange | None)
    assert list(changes) == []
