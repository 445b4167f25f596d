"""Of which class an embedded document was at each event: told from event to event as it is told from each state."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

import mongoengine as me
import pytest
from pymongo.errors import WriteError

from change_history.mongoengine import HistoryMixin, changes, classes
from change_history.reconstruct.state import Reconstruction
from tests.support.mongoengine_models import connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from tests.support.recording import Recording

ALIAS = "mongoengine_classes"


class Attic(me.EmbeddedDocument):
    """Stored names as those of `Vault`, attributes of other names."""

    height = me.IntField(db_field="x")
    hatch = me.GenericEmbeddedDocumentField(db_field="h")


class Vault(me.EmbeddedDocument):
    """See `Attic`."""

    depth = me.IntField(db_field="x")
    door = me.GenericEmbeddedDocumentField(db_field="h")


class Keep(HistoryMixin, me.DynamicDocument):
    """Embedded documents of any class, anywhere."""

    meta: ClassVar[Any] = {"collection": "b", "db_alias": ALIAS}
    id = me.IntField(primary_key=True)


@pytest.fixture(autouse=True)
def _connected(database: Database[Any], recording: Recording, replica_set_uri: str) -> Iterator[None]:
    with connected(ALIAS, database, recording, replica_set_uri, [Keep]):
        yield


def room(dice: random.Random, depth: int = 1) -> Any:
    """An embedded document of either class, of none, or something else."""
    name = dice.choice(["Attic", "Vault", "Nobody", None])
    found: dict[str, Any] = {"_cls": name} if name is not None else {}
    found["x"] = dice.randrange(9)
    if depth:
        found["h"] = room(dice, depth - 1)
    return dice.choice([found, found, found, 7]) if depth else found


def update(dice: random.Random) -> dict[str, Any]:
    """One update, of a part, a whole, a class alone, or an array."""
    number = dice.randrange(100)
    return dice.choice(
        [
            {"$set": {"room.x": number}},
            {"$set": {"room.x": number}},
            {"$set": {"room.h.x": number}},
            {"$set": {"rooms.0.x": number}},
            {"$set": {"rooms.1.h.x": number, "n": number}},
            {"$set": {"room._cls": dice.choice(["Attic", "Vault"])}},
            {"$unset": {"room._cls": ""}},
            {"$set": {"room": room(dice)}},
            {"$set": {"room.h": room(dice, 0), "room.x": number}},
            {"$unset": {"room": ""}},
            {"$push": {"rooms": room(dice)}},
            {"$push": {"rooms": {"$each": [room(dice)], "$position": 0}}},
            {"$push": {"rooms": {"$each": [], "$slice": 1}}},
            {"$pop": {"rooms": -1}},
            {"$set": {"n": number}},
        ]
    )


def edit(database: Database[Any], dice: random.Random) -> None:
    """Let a document be changed, replaced, deleted, and its collection be dropped or another one take its name."""
    kind = dice.randrange(40)
    if kind == 0:
        database.b.replace_one({"_id": 1}, {"room": room(dice), "rooms": [room(dice)]}, upsert=True)
    elif kind == 1:
        database.b.delete_one({"_id": 1})
    elif kind == 2:
        database.drop_collection("b")
    elif kind == 3:
        database.a.replace_one({"_id": 1}, {"room": room(dice), "rooms": [room(dice), room(dice)]}, upsert=True)
        database.a.rename("b", dropTarget=True)
    else:
        try:
            database.b.update_one({"_id": 1}, update(dice), upsert=dice.random() < 0.3)
        except WriteError:
            return  # there is something else


def by_state(monkeypatch: pytest.MonkeyPatch, records: Any) -> list[Any]:
    """The same items, each class told from the state of the document."""

    class Apart(classes.Classes):
        def __init__(self, database: Database[Any], **_: Any) -> None:
            super().__init__(database, unbroken=False, newest_first=False)

    with monkeypatch.context() as patched:
        patched.setattr(changes, "Classes", Apart)
        return list(records)


@pytest.mark.parametrize("seed", range(3))
def test_a_class_is_the_one_that_the_state_tells(
    database: Database[Any], recording: Recording, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """An attribute of another class would be a change that never was."""
    dice = random.Random(seed)
    database.b.insert_one({"_id": 1, "room": room(dice), "rooms": [room(dice), room(dice)]})
    for _ in range(150):
        edit(database, dice)
    recording.catch_up()
    found = Keep(id=1).history.changes

    told = list(found)
    assert told == by_state(monkeypatch, found)
    assert list(found.order_by("-timestamp")) == by_state(monkeypatch, found.order_by("-timestamp"))
    assert list(found[-20:]) == told[-20:]
    assert [one.field for one in found.filter(operation="update")] == [
        one.field for one in by_state(monkeypatch, found.filter(operation="update"))
    ]
    assert {one.field for one in told} & {"room.height", "room.depth", "rooms.0.height", "rooms.0.depth"}


def test_a_state_is_reconstructed_once_for_many_changes_of_a_part(
    database: Database[Any], recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for each change made the changes of a long history take minutes."""
    database.b.insert_one({"_id": 1, "room": {"_cls": "Attic", "x": 0}, "plain": {"x": 0}})
    for number in range(50):
        database.b.update_one({"_id": 1}, {"$set": {"room.x": number, "plain.x": number, "n": number}})
    recording.catch_up()
    asked: list[Any] = []

    class Counted(Reconstruction):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            asked.append(arguments)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(classes, "Reconstruction", Counted)
    found = [change.field for change in Keep(id=1).history.changes]
    assert found.count("room.height") == found.count("plain.x") >= 49
    assert len(asked) == 1
