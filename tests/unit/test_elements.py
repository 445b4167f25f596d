"""Arrays reported as wholes are read as the elements that changed."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

from bson import Int64, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.paths import decoded, dotted_text
from change_history.bson.values import Missing, to_python, to_raw
from change_history.diff.compare import Difference, DifferenceKind, compare, element_differences
from change_history.stored.event import Change, Event
from models import ABSENT, UNKNOWN
from tests.support.generated.raw_values import pairs
from watcher.cli.rendering import diffs
from watcher.cli.rendering.events import Renderer
from watcher.cli.rendering.lines import Drawn
from watcher.cli.rendering.terminal import PipedConsole


def differences(old: Any, new: Any, **values: Any) -> list[Difference]:
    """Of a change of a field `a` that is an array."""
    return element_differences(Change(**{"field": "a", "old_value": old, "new_value": new, **values}))


def changes(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """Field, old and new value of every difference."""
    return [(dotted_text(decoded(one.path)), python(one.old), python(one.new)) for one in differences(old, new)]


def python(side: Any) -> Any:
    """A value as Python sees it."""
    return side if isinstance(side, Missing) else to_python(side)


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

    (moved,) = differences([a, b, c], [c, a, b])
    assert (moved.kind, moved.old_path, moved.path) == (DifferenceKind.MOVED, (b"a", 2), (b"a", 0))


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
    """Too many comparisons: in pairs from the beginning, at once."""
    size = 100_000

    assert len(differences([0, *range(1, size)], [0, *range(size, 2 * size)])) == size
    ids = [{"_id": i} for i in range(20_000)]
    assert len(changes(ids, ids[::-1])) == len(ids) - 1


SCALARS = st.integers(0, 3)


@given(st.lists(SCALARS, max_size=12), st.lists(SCALARS, max_size=12))
def test_the_elements_lead_from_the_old_array_to_the_new_one(old: list[int], new: list[int]) -> None:
    """Remove, then add and change at the indexes given: the result is the new array."""
    found = differences(old, new)
    if not found:
        assert not old or not set(old) & set(new) or old == new
        return
    removed = {one.path[1] for one in found if one.kind == DifferenceKind.REMOVED}
    result = [item for index, item in enumerate(old) if index not in removed]
    for one in found:
        index = one.path[1]
        assert isinstance(index, int)
        if one.kind == DifferenceKind.ADDED:
            result.insert(index, python(one.new))
        elif one.kind == DifferenceKind.CHANGED:
            assert to_raw(result[index]) == one.old
            result[index] = python(one.new)

    assert result == new


def test_an_element_below_a_dotted_key_keeps_its_exact_path() -> None:
    """`a.b` as one key must not become two."""
    (element,) = differences([1, 2], [1], field="a.b", path=["a.b"])

    assert element.path == (b"a.b", 1)


@settings(max_examples=60)
@given(pairs())
def test_log_and_diff_show_the_same_change_of_an_array_alike(documents: tuple[bytes, bytes]) -> None:
    """By two rules, one would call moved or replaced what the other calls changed."""
    old, new = ([to_python((raw.DOCUMENT, one)), 1, 2.0] for one in documents)
    stayed = [*old, {"_id": 7, "qty": 1}], [{"_id": 7, "qty": 2}, *new]
    named = [[{"_id": n, "of": one} for n, one in enumerate(array)] for array in (old, new)]
    for before, after in (stayed, (old, new), (named[0], named[1]), (named[0], named[1][::-1])):
        by_diff = [str(line) for line in diffs.lines(compare(to_raw({"a": before})[1], to_raw({"a": after})[1]))]
        assert log_lines(before, after)[2:] == [line.replace(" a[", " [", 1) for line in by_diff]


def log_lines(old: Any, new: Any) -> list[str]:
    """What the log prints of an update of a field `a`: the event, the field, its elements."""
    out, now = io.StringIO(), datetime(2026, 1, 1, tzinfo=UTC)
    change = Change(field="a", old_value=old, new_value=new, timestamp=now)
    values: dict[str, Any] = {"id": b"", "namespace": "a.b", "cluster_time": Timestamp(1, 1)}
    Renderer(Drawn(PipedConsole(file=out))).event(Event(operation="update", timestamp=now, changes=(change,), **values))
    return [line.strip(" ") for line in out.getvalue().removesuffix("\n").split("\n")]
