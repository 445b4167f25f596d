"""What `blame` says of a place, the log of that field finds, though no event names it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from change_history.bson.values import ABSENT
from change_history.query.selection import Selection
from change_history.stored.event import to_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.collection import Collection
    from pymongo.database import Database

    from change_history.reader import Reader
    from tests.support.recording import Recording

_PULLED = {"$pull": {"l": {"k": "a"}}}
_UPDATES: dict[str, list[Any]] = {
    "an element beyond the end": [{"$set": {"l.5": 1}}],
    "far beyond the end": [{"$set": {"l.1010": 1}}],
    "beyond the end of an inner array": [{"$set": {"m.n.2.1": 5, "m.n.0.3": 4}}, {"$set": {"m.n.0.6": 4}}],
    "others are pulled out": [{"$set": {"l.2.q": 7}}, _PULLED],
    "others are pushed in": [{"$push": {"l": {"$each": [{"k": "new"}], "$position": 0}}}, {"$set": {"l.3.q": 1}}],
    "sorted": [{"$set": {"l.0.q": 7}}, {"$push": {"l": {"$each": [], "$sort": {"k": -1}}}}],
    "cut off": [{"$push": {"l": {"$each": [], "$slice": 2}}}, [{"$set": {"l": {"$slice": ["$l", 1]}}}]],
    "emptied": [{"$set": {"l": []}}, {"$set": {"l.2": 1}}, {"$unset": {"m.n": 1}}],
    "renamed": [{"$rename": {"m": "o"}}, {"$set": {"o.n.1": 3}}],
    "misleading keys": [[{"$replaceWith": {"$setField": {"field": "a.b", "input": "$$ROOT", "value": {"0": 1}}}}]],
    "an index that is a key": [{"$set": {"m.0": {"1": 2}}}, {"$set": {"m.0.1": 3}}],
    "replaced": [_PULLED, {"m": {"n": [1]}, "l": [{"k": "c"}, {"k": "b"}]}, {"$set": {"l.4": 0}}],
}


@pytest.fixture
def documents(database: Database[Any]) -> Collection[Any]:
    """A collection with a document of arrays."""
    database.a.insert_one({"_id": 1, "l": [{"k": "a"}, {"k": "b"}, {"k": "c"}], "m": {"n": [[1], [2], [3]]}})
    return database.a


def _found(history: Reader, namespace: str, field: str) -> dict[bytes, list[Any]]:
    selection = history.resolve(Selection(namespace, 1, field))
    events = map(to_event, history.stored(selection))
    return {event.id: [change.new_value for change in selection.changes_of(event)] for event in events}


def _assert_found(history: Reader, namespace: str) -> None:
    leaves = history.blame_leaves(namespace, 1)
    found: dict[str, dict[bytes, list[Any]]] = {}
    for leaf in [*leaves[:15], *leaves[-2:]]:
        parts = [str(part) for part in leaf.path]
        for field in {leaf.field, *(".".join(parts[:size]) for size in range(1, len(parts)))}:
            if field not in found:
                found[field] = _found(history, namespace, field)
            assert leaf.event.id in found[field], f"{field}: blame names an event that the log lacks"
            assert found[field][leaf.event.id], f"{field}: the event is there and shows nothing"
        if isinstance(leaf.value, int | str):
            shown = found[leaf.field][leaf.event.id]
            assert leaf.value in shown or repr(leaf.value) in repr(shown), f"{leaf.field}: another change is shown"
    last = leaves[-1]
    assert last.event.id in {event.id for event in history.log(namespace, 1, field=last.field)}


@pytest.mark.parametrize("name", _UPDATES)
def test_whoever_is_blamed_is_in_the_log_of_the_field(
    history: Reader, recording: Recording, documents: Collection[Any], namespace: str, name: str
) -> None:
    """Arrays are filled, shifted, sorted and cut without a word about the elements."""
    recording.catch_up()
    for update in _UPDATES[name]:
        if isinstance(update, list) or next(iter(update)).startswith("$"):
            documents.update_one({"_id": 1}, update)
        else:
            documents.replace_one({"_id": 1}, update)
        recording.catch_up()
        _assert_found(history, namespace)


def test_whoever_is_blamed_under_a_former_name_is_in_the_log(
    history: Reader, recording: Recording, documents: Collection[Any], database: Database[Any]
) -> None:
    """A rename takes a document's events along; the log of another document's field has none of them."""
    documents.insert_one({"_id": 2, "l": 5})
    documents.rename("later")
    database.later.update_one({"_id": 1}, {"$set": {"m.n.0": 5}})
    recording.catch_up()

    _assert_found(history, f"{database.name}.later")
    assert {event.document_id for event in history.log(f"{database.name}.later", 1, field="l")} == {1}


def test_the_nulls_that_fill_an_array_are_changes(
    history: Reader, recording: Recording, documents: Collection[Any], namespace: str
) -> None:
    """The view and an export give what is recorded, so the server's filling is recorded too."""
    documents.update_one({"_id": 1}, {"$set": {"l.5": 1}})
    documents.update_one({"_id": 1}, {"$set": {"l.7": 1, "l.9": 2}})
    recording.catch_up()

    assert [[change.field for change in event.changes] for event in history.log(namespace, 1, operation="update")] == [
        ["l.3", "l.4", "l.5"],
        ["l.6", "l.7", "l.8", "l.9"],
    ]
    (filled,) = history.log(namespace, field="l.3", operation="update")
    assert [(change.old_value, change.new_value) for change in filled.changes[:2]] == [(ABSENT, None)] * 2
    assert history.as_of(namespace, 1) == documents.find_one()


def test_what_an_array_keeps_is_not_in_the_log_of_its_cutting(
    history: Reader, recording: Recording, documents: Collection[Any], namespace: str
) -> None:
    """Without a pre-image, an element before the cut is still not one that was cut off."""
    documents.database.command("collMod", "a", changeStreamPreAndPostImages={"enabled": False})
    documents.update_one({"_id": 1}, [{"$set": {"l": {"$slice": ["$l", 1]}}}])
    recording.catch_up()

    assert not list(history.log(namespace, field="l.0", operation="update"))
    assert list(history.log(namespace, field="l.1", operation="update"))
    assert list(history.log(namespace, field="l", operation="update"))


@pytest.mark.parametrize("wrong", ["nonamespace", "", ".a", "a."])
def test_a_namespace_that_is_none_is_no_empty_answer(history: Reader, wrong: str) -> None:
    """Whoever forgets the database must not read that nothing ever happened."""
    questions: list[Callable[[], object]] = [
        lambda: history.log(wrong, 42),
        lambda: history.stats(wrong),
        lambda: history.gaps(wrong),
        lambda: history.as_of(wrong, 42),
        lambda: history.state(wrong, 42),
        lambda: history.blame(wrong, 42),
        lambda: history.diff(wrong, 42, 1, 2),
        lambda: history.collection(wrong),
        lambda: history.collection_as_of(wrong),
        lambda: history.revert(wrong, 42, to=1, dry_run=True),
        lambda: history.undelete(wrong, 42, dry_run=True),
    ]
    for question in questions:
        with pytest.raises(ValueError, match=r"no namespace; write database\.collection"):
            question()


@pytest.mark.parametrize("wrong", [datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))])
def test_a_time_beyond_the_calendar_is_refused_by_the_library(history: Reader, namespace: str, wrong: datetime) -> None:
    """At once, not from within the driver."""
    for question in (
        lambda: history.log(namespace, since=wrong),
        lambda: history.stats(namespace, until=wrong),
        lambda: history.gaps(namespace, since=wrong),
        lambda: history.as_of(namespace, 1, wrong),
        lambda: history.collection(namespace, wrong),
    ):
        with pytest.raises(ValueError, match="beyond the calendar"):
            question()
