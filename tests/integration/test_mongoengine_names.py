"""What a mongoengine application is told, it can ask for; and what was deleted is told as it was then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import mongoengine as me
import pytest

from change_history import UnknownStateError
from change_history.mongoengine import HistoryMixin
from tests.support.mongoengine_models import connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from tests.support.recording import Recording

ALIAS = "mongoengine_names"


class Place(me.EmbeddedDocument):
    """An embedded document whose field has another name in the database."""

    town = me.StringField(db_field="t")


class Shed(me.EmbeddedDocument):
    """Stored names as those of `Barn`, attributes of other names."""

    lawn_mower = me.StringField(db_field="x")


class Barn(me.EmbeddedDocument):
    """See `Shed`."""

    tractor = me.StringField(db_field="x")


class Farm(HistoryMixin, me.Document):
    """Embedded documents of one class and of any."""

    meta: ClassVar[Any] = {"collection": "a", "db_alias": ALIAS}
    id = me.IntField(primary_key=True)
    name = me.StringField(db_field="n")
    place = me.EmbeddedDocumentField(Place, db_field="p")
    house = me.GenericEmbeddedDocumentField(db_field="h")
    houses = me.ListField(me.GenericEmbeddedDocumentField(), db_field="hs")


@pytest.fixture(autouse=True)
def _connected(database: Database[Any], recording: Recording, replica_set_uri: str) -> Iterator[None]:
    with connected(ALIAS, database, recording, replica_set_uri, [Farm]):
        yield


def test_a_name_that_history_prints_finds_its_change(database: Database[Any], recording: Recording) -> None:
    """Whoever asked for it got nothing, as if there were no such change."""
    farm = Farm(id=1, place=Place(town="a"), house=Barn(tractor="a"), houses=[Shed(lawn_mower="a")]).save()
    database.a.update_one({"_id": 1}, {"$set": {"p.t": "b", "p.zip": "1", "h.x": "b", "hs.0.x": "b", "gone.sub": 1}})
    recording.catch_up()
    changes = farm.history.changes
    told = [change for change in changes if change.db_field != "_id"]

    assert {change.field for change in told} >= {
        "place.town", "place.zip", "house.tractor", "houses.0.lawn_mower", "gone",
    }  # fmt: skip
    for change in told:
        for name in (change.field, change.db_field, change.field.replace(".", "__")):
            assert change in changes.filter(field=name), name
    assert farm.history.revert(to=1, fields=["place.zip", "house.tractor"]).applied
    assert database.a.find_one({}, {"p": 1, "h": 1, "_id": 0}) == {
        "p": {"t": "b"}, "h": {"_cls": "Barn", "x": "a"},
    }  # fmt: skip


def test_blame_and_diff_call_a_field_what_changes_call_it(database: Database[Any], recording: Recording) -> None:
    """They gave stored names where only the document says of which class an embedded one is."""
    farm = Farm(id=1, house=Barn(tractor="a"), houses=[Shed(lawn_mower="a")]).save()
    database.a.update_one({"_id": 1}, {"$set": {"h.x": "b", "hs.0.x": "b"}})
    database.a.update_one({"_id": 1}, {"$set": {"h": {"_cls": "Shed", "y": 1}}})
    recording.catch_up()

    blame = farm.history.blame(2)
    assert {"house.tractor", "houses.0.lawn_mower"} <= blame.keys()
    assert [(c.field, c.new_value) for c in farm.history.diff(1, 2) if c.field.startswith("house.")] == [
        ("house.tractor", "b")
    ]
    assert "house.tractor" in [c.field for c in farm.history.diff(2, 3)]  # it is gone; now it would be a lawn mower


def test_a_stored_name_of_an_older_class_takes_no_attribute_away(database: Database[Any], recording: Recording) -> None:
    """`blame` named the event of whichever of the two came last in the document."""
    farm = Farm(id=1, name="a").save()
    database.a.update_one({"_id": 1}, {"$set": {"name": "of an older class"}})
    recording.catch_up()

    assert farm.history.blame()["name"].operation == "insert"


@pytest.mark.parametrize("name", [5, b"Farm", ["Farm"], {"a": 1}, "Nobody"])
def test_a_class_that_no_class_can_have_is_told_as_it_is_stored(
    database: Database[Any], recording: Recording, name: Any
) -> None:
    """Whoever writes without mongoengine may store anything there; `as_of` ended in a `TypeError`."""
    stored = {"_cls": name, "t": "a"}
    database.a.insert_one({"_id": 1, "_cls": name, "n": "a", "p": stored, "h": stored})
    recording.catch_up()
    farm = Farm(id=1)

    then = farm.history.as_of(1)
    assert (type(then), then.name) == (Farm, "a")
    assert farm.history.changes[-1].new_value == stored
    assert "name" in farm.history.blame()


def test_what_was_deleted_before_anything_else_was_recorded_is_told_by_its_deletion(
    database: Database[Any], recording: Recording
) -> None:
    """One such document ended the listing of all, with an error that no caller expects."""
    database.a.insert_many([{"_id": number, "n": str(number), "p": {"t": "x"}} for number in range(3)])
    recording.catch_up()
    recording.forget()
    Farm.objects(id=0).delete()
    Farm(id=3, name="3").save().delete()
    recording.catch_up()

    found = list(Farm.history_objects.deleted())
    assert [(farm.id, farm.name) for farm in found] == [(3, "3"), (0, "0")]
    assert found[1].place.town == "x"
    database.command({"collMod": "a", "changeStreamPreAndPostImages": {"enabled": False}})
    Farm.objects(id=1).delete()
    recording.catch_up()
    with pytest.raises(UnknownStateError, match="nothing is recorded of it before"):
        list(Farm.history_objects.deleted())


def test_what_came_back_and_went_with_its_collection_is_told_as_it_was_when_it_was_deleted(
    database: Database[Any], recording: Recording
) -> None:
    """It was told as of the second life's last version but one, or not at all."""
    for number in (1, 2):
        Farm(id=number, name="first").save()
    Farm.objects(id=1).update(name="changed")
    Farm.objects.delete()
    for number in (1, 2):
        Farm(id=number, name="second").save()
    Farm.objects(id=1).update(name="third")
    database.drop_collection("a")
    recording.catch_up()

    assert {farm.id: farm.name for farm in Farm.history_objects.deleted()} == {1: "changed", 2: "first"}


def test_a_condition_that_nothing_can_meet_is_not_taken_for_none(recording: Recording) -> None:
    """Everything was told, as if somebody who was never saved had done it all, or every operation were meant."""
    farm = Farm(id=1, name="a").save()
    recording.catch_up()
    changes = farm.history.changes

    with pytest.raises(ValueError, match="never saved"):
        changes.filter(actor=Farm(name="nobody"))
    nothings: list[Any] = [(), [], ""]
    for nothing in nothings:
        with pytest.raises(ValueError, match="operation"):
            changes.filter(operation=nothing)
    assert not changes.filter(actor=farm)
    assert changes.filter(operation=["insert"]).count() == len(changes.filter(actor=None)) > 0


def test_an_index_beyond_a_slice_is_an_index_error(recording: Recording) -> None:
    """A template that asks for the third of two changes expects nothing else."""
    farm = Farm(id=1, name="a").save()
    farm.update(name="b")
    recording.catch_up()
    changes = farm.history.changes

    everything = list(changes)
    assert len({*everything, *changes}) == len(everything)
    for start, stop in ((0, 2), (1, 2), (1, None), (0, 0), (5, 7)):
        for index in range(-4, 5):
            wanted = everything[start:stop]
            if -len(wanted) <= index < len(wanted):
                assert changes[start:stop][index] == wanted[index]
                continue
            with pytest.raises(IndexError):
                changes[start:stop][index]
