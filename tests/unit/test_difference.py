"""A difference as an event would have recorded it: folding it must give the other state."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings

from change_history.bson import raw
from change_history.bson.values import ABSENT, Missing, to_raw
from change_history.diff.images import changes, read
from change_history.reconstruct import fold
from change_history.stored.changes import decode
from tests.support.generated.raw_values import versions

if TYPE_CHECKING:
    from change_history.stored.event import Change


def written(document: dict[str, Any]) -> bytes:
    """The document as BSON."""
    return to_raw(document)[1]


def _stored(change: Change) -> dict[str, Any]:
    given = {field.name: getattr(change, field.name) for field in fields(change)}
    told = {name: value for name, value in given.items() if not isinstance(value, Missing)}
    return {name: value for name, value in told.items() if value is not None or name in ("old_value", "new_value")}


def folded(before: bytes, found: list[Change]) -> bytes | None:
    """The document after changes, as an update would have made them."""
    decoded = [decode(to_raw(_stored(change))[1]) for change in found]
    return fold.apply(before, fold.Entry(b"update", decoded, None))


@settings(max_examples=60)
@given(versions())
def test_the_changes_lead_from_one_state_to_the_other_to_the_byte(documents: list[bytes]) -> None:
    """Through the stored form and back, in both directions, whatever was done to the order of fields."""
    one, other = documents[0], documents[-1]
    for before, after in ((one, other), (other, one)):
        found = read(changes(before, after))

        assert folded(before, found) == after
        assert bool(found) == (before != after)


def test_fields_that_stand_elsewhere_are_changes_too() -> None:
    """A list of changes has no room for an order beside it, and the order of fields is part of a document."""
    found = read(changes(written({"_id": 1, "a": 1, "b": 2, "c": 3}), written({"_id": 1, "b": 5, "x": 0, "a": 1})))

    assert [(c.field, c.old_value, c.new_value, c.at_end) for c in found[-2:]] == [
        ("x", found[-2].old_value, 0, None),
        ("a", 1, 1, True),
    ]
    assert {c.field for c in found} == {"b", "c", "x", "a"}


def test_an_id_of_another_type_is_no_whole_document_that_loses_its_order() -> None:
    """Deleted, and inserted again as 1.0 for 1."""
    before, after = written({"_id": 1, "a": 1, "b": 2}), written({"_id": 1.0, "b": 2, "a": 1})

    assert folded(before, read(changes(before, after))) == after


def test_what_is_only_on_one_side_is_told_field_by_field() -> None:
    """As an insert and a delete are."""
    document = written({"_id": 1, "a": None})

    assert [(c.field, c.new_value) for c in read(changes(None, document))] == [("_id", 1), ("a", None)]
    assert [(c.field, c.old_value) for c in read(changes(document, None))] == [("_id", 1), ("a", None)]
    assert changes(None, None) == []


def test_a_document_that_has_a_key_twice_is_told_with_both() -> None:
    """Told by its last value alone it would be another document, and one that is the same would have changed."""
    twice = raw.from_fields([(b"_id", number(1)), (b"a", number(1)), (b"b", number(0)), (b"a", number(2))])
    other = written({"_id": 1, "b": 0, "a": 1, "c": 3})

    assert changes(twice, twice) == []
    assert [(c.field, c.new_value) for c in read(changes(None, twice))] == [("_id", 1), ("a", 1), ("b", 0), ("a", 2)]
    assert [(c.field, c.old_value) for c in read(changes(twice, None))] == [("_id", 1), ("a", 1), ("b", 0), ("a", 2)]
    told = [(c.field, c.new_value) for c in read(changes(other, twice))]
    assert told == [("c", ABSENT), ("_id", 1), ("a", 1), ("b", 0), ("a", 2)]


def number(value: int) -> raw.Value:
    """A BSON integer."""
    return raw.INT32, raw.int32(value)
