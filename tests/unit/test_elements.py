"""Arrays reported as wholes are read as the elements that changed."""

from __future__ import annotations

from typing import Any

from bson import Int64
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson.values import to_raw
from change_history.diff import elements
from change_history.diff.elements import element_changes
from change_history.stored.event import Change
from change_history.stored.event_paths import path_of
from models import ABSENT, UNKNOWN


def changes(old: Any, new: Any, field: str = "a") -> list[tuple[str, Any, Any]]:
    """Field, old and new value of every element change."""
    found = element_changes(Change(field=field, old_value=old, new_value=new))
    return [(change.field, change.old_value, change.new_value) for change in found]


def test_a_pull_is_one_removed_element() -> None:
    """The server reports the whole array."""
    assert changes([1, 2, 3], [1, 3]) == [("a.1", 2, ABSENT)]


def test_a_truncation_is_the_removed_tail() -> None:
    """`truncatedArrays`, with the pre-image known."""
    assert changes([1, 2, 3], [1]) == [("a.1", 2, ABSENT), ("a.2", 3, ABSENT)]


def test_an_added_and_a_changed_element_are_told_apart() -> None:
    """Indexes are those of the array the element is in."""
    assert changes([1, 2, 3], [0, 1, 9, 3]) == [("a.0", ABSENT, 0), ("a.2", 2, 9)]


def test_a_change_of_type_alone_is_not_lost() -> None:
    """3 and Int64(3) are equal in Python."""
    found = changes([1, 3], [1, Int64(3)])

    assert [(field, type(old), type(new)) for field, old, new in found] == [("a.1", int, Int64)]


def test_subdocuments_are_matched_by_their_id_and_compared_inside() -> None:
    """A longer array and a changed quantity are not two replaced elements."""
    old = [{"_id": 1, "qty": 1}, {"_id": 2, "qty": 2}]
    new = [{"_id": 2, "qty": 5}, {"_id": 3, "qty": 3}]

    assert changes(old, new) == [
        ("a.0", {"_id": 1, "qty": 1}, ABSENT),
        ("a.0.qty", 2, 5),
        ("a.1", ABSENT, {"_id": 3, "qty": 3}),
    ]


def test_moving_one_element_to_the_front_moves_only_that_one() -> None:
    """The others stayed in order."""
    a, b, c = ({"_id": i} for i in "abc")

    assert changes([a, b, c], [c, a, b]) == [("a.0", c, c)]


def test_repeated_ids_identify_nothing() -> None:
    """Falls back to comparing in order, so nothing is swallowed."""
    twin = {"_id": 1, "n": 1}

    assert changes([twin, twin, {"_id": 2}], [twin, {"_id": 2}]) == [("a.1", twin, ABSENT)]


def test_what_is_no_array_or_unknown_is_left_alone() -> None:
    """Nothing is invented."""
    assert changes(UNKNOWN, [1]) == []
    assert changes(ABSENT, [1]) == []
    assert changes({"a": 1}, [1]) == []
    assert changes([1, 2], [3, 4]) == []


def test_big_arrays_do_not_take_the_terminal_hostage() -> None:
    """Too many comparisons: left whole, at once."""
    size = 2 * int(elements.MOST_COMPARISONS**0.5)

    assert changes([0, *range(1, size)], [0, *range(size, 2 * size)]) == []
    ids = [{"_id": i} for i in range(20_000)]
    assert len(changes(ids, ids[::-1])) == len(ids) - 1


SCALARS = st.integers(0, 3)


@given(st.lists(SCALARS, max_size=12), st.lists(SCALARS, max_size=12))
def test_the_elements_lead_from_the_old_array_to_the_new_one(old: list[int], new: list[int]) -> None:
    """Remove, then add and change at the indexes given: the result is the new array."""
    found = element_changes(Change(field="a", old_value=old, new_value=new))
    if not found:
        return
    removed = {path_of(c)[1] for c in found if c.new_value is ABSENT}
    result = [item for index, item in enumerate(old) if index not in removed]
    for change in found:
        index = path_of(change)[1]
        assert isinstance(index, int)
        if change.old_value is ABSENT:
            result.insert(index, change.new_value)
        elif change.new_value is not ABSENT:
            assert to_raw(result[index]) == to_raw(change.old_value)
            result[index] = change.new_value

    assert result == new


def test_an_element_below_a_dotted_key_keeps_its_exact_path() -> None:
    """`a.b` as one key must not become two."""
    change = Change(field="a.b", path=["a.b"], old_value=[1, 2], new_value=[1])

    (element,) = element_changes(change)

    assert element.path == ["a.b", 1]
    assert element.field == "a.b.1"
