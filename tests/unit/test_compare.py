"""What is different between two documents: exact when applied, and what a person would call it."""

from __future__ import annotations

from typing import Any

import pytest
from bson import Int64
from hypothesis import given, settings

from change_history.bson import raw
from change_history.bson.values import ABSENT, UNKNOWN, Missing, to_python, to_raw
from change_history.diff.compare import Difference, DifferenceKind, compare
from change_history.reconstruct.fold import DoesNotApplyError
from tests.support.generated.documents import every_type
from tests.support.generated.raw_values import pairs
from tests.support.json_patch import patched

INT64_THREE = to_raw(Int64(3))


def written(document: dict[str, Any]) -> bytes:
    """The document as BSON."""
    return to_raw(document)[1]


def between(old: Any, new: Any) -> list[tuple[Any, ...]]:
    """The differences as kind, path, old and new."""
    found = compare(written({"v": old}), written({"v": new}))
    return [(str(d.kind), dotted(d.path[1:]), python(d.old), python(d.new)) for d in found]


def dotted(path: tuple[bytes | int, ...]) -> str:
    """A path to read."""
    return ".".join(str(key) if isinstance(key, int) else key.decode() for key in path)


def python(side: raw.Value | Missing) -> Any:
    """A value as Python has it."""
    return side if isinstance(side, Missing) else to_python(side)


@settings(max_examples=400)
@given(pairs())
def test_applying_the_differences_gives_the_other_document_to_the_byte(both: tuple[bytes, bytes]) -> None:
    """Every type, repeated keys, arrays with odd keys, moved elements, the order of keys."""
    old, new = both
    found = compare(old, new)

    assert patched(old, found) == new
    assert bool(found) == (old != new)
    assert patched(new, compare(new, old)) == old


@settings(max_examples=200)
@given(pairs())
def test_each_difference_tells_what_the_documents_have_there(both: tuple[bytes, bytes]) -> None:
    """A value shown at a path where no document has it would be an invention."""
    old, new = both
    for found in compare(old, new):
        assert len(found.path) == len(found.old_path) == len(found.identities)
        assert not isinstance(found.old, Missing) or found.old is ABSENT
        if found.kind in {DifferenceKind.REMOVED, DifferenceKind.CHANGED}:
            assert value_at(old, found.old_path) == found.old
        if found.kind in {DifferenceKind.ADDED, DifferenceKind.CHANGED}:
            assert value_at(new, found.path) == found.new
        for depth, identity in enumerate(found.identities):
            if identity is not None and not (found.kind == DifferenceKind.REMOVED and depth == len(found.path) - 1):
                element = value_at(new, found.path[: depth + 1])
                assert element is not None
                assert raw.fields(element[1])[b"_id"] == identity


def value_at(document: bytes, path: tuple[bytes | int, ...]) -> raw.Value | None:
    """What a document has at a path."""
    value: raw.Value | None = (raw.DOCUMENT, document)
    for key in path:
        if value is None:
            return None
        if isinstance(key, int):
            items = raw.items(value[1])
            value = items[key] if key < len(items) else None
        else:
            value = raw.fields(value[1]).get(key)
    return value


def test_only_the_leaf_that_changed_is_told() -> None:
    """Not the whole sub-document, and not the array around it."""
    old = {"address": {"city": "Bonn", "zip": 1}, "tags": [["a"], ["b"]]}
    new = {"address": {"city": "Köln", "zip": 1}, "tags": [["a"], ["c"]]}

    assert between(old, new) == [("changed", "address.city", "Bonn", "Köln"), ("changed", "tags.1.0", "b", "c")]


def test_null_absent_and_numbers_of_other_types_are_differences() -> None:
    """Equal in Python, not in BSON."""
    assert between({"a": None}, {}) == [("removed", "a", None, ABSENT)]
    assert between({}, {"a": None}) == [("added", "a", ABSENT, None)]
    assert between(3, Int64(3)) == [("changed", "", 3, Int64(3))]
    assert between(0.0, -0.0) == [("changed", "", 0.0, -0.0)]
    assert between(float("nan"), float("nan")) == []


def test_a_removed_element_does_not_make_all_others_look_changed() -> None:
    """By `_id`, and by what they are."""
    first, second, third = ({"_id": n, "qty": n} for n in range(3))

    assert between([first, second, third], [second, third]) == [("removed", "0", first, ABSENT)]
    assert between(["a", "b", "c", "d"], ["x", "b", "d"]) == [("removed", "2", "c", ABSENT), ("changed", "0", "a", "x")]
    assert between([{"n": 1}, {"n": 2}], [{"n": 1, "m": 1}, {"n": 2}]) == [("added", "0.m", ABSENT, 1)]


def test_an_element_is_known_by_its_id_wherever_it_is() -> None:
    """Moved and changed inside: both are told, of this element alone."""
    old = [{"_id": "a", "n": 1}, {"_id": "b", "n": 1}, {"_id": "c", "n": 1}]
    new = [{"_id": "c", "n": 2}, {"_id": "a", "n": 1}, {"_id": "b", "n": 1}]

    assert between(old, new) == [("moved", "0", 2, 0), ("changed", "0.n", 1, 2)]
    moved = compare(written({"v": old}), written({"v": new}))
    assert [d.identities for d in moved] == [(None, to_raw("c")), (None, to_raw("c"), None)]
    assert [d.old_path for d in moved] == [(b"v", 2), (b"v", 2, b"n")]


def test_ids_are_matched_as_the_server_compares_them() -> None:
    """3 and Int64(3) are one element whose `_id` has another type now."""
    assert between([{"_id": 3}], [{"_id": Int64(3)}]) == [("changed", "0._id", 3, Int64(3))]


@pytest.mark.parametrize("other", [{"_id": 1}, {"n": 1}, 1])
def test_ids_that_are_not_unique_on_all_elements_identify_nothing(other: Any) -> None:
    """Nothing is swallowed."""
    old, new = [{"_id": 1}, other], [other]

    assert [d.identities for d in compare(written({"v": old}), written({"v": new}))] == [(None, None)]


def test_a_new_order_of_keys_is_told_wherever_it_is() -> None:
    """A sub-document with other key order is another value to the server."""
    assert between({"a": 1, "b": 2}, {"b": 2, "a": 1}) == [("reordered", "", ["a", "b"], ["b", "a"])]
    assert between({"a": 1, "b": 2}, {"c": 3, "a": 1}) == [
        ("removed", "b", 2, ABSENT),
        ("added", "c", ABSENT, 3),
        ("reordered", "", ["a", "b"], ["c", "a"]),
    ]


def test_a_document_that_came_or_went_is_one_difference() -> None:
    """With an empty path."""
    document = every_type()

    (added,) = compare(None, document)
    (removed,) = compare(document, None)
    assert added == Difference(DifferenceKind.ADDED, (), (), ABSENT, (raw.DOCUMENT, document), ())
    assert removed == Difference(DifferenceKind.REMOVED, (), (), (raw.DOCUMENT, document), ABSENT, ())
    assert patched(None, [added]) == document
    assert patched(document, [removed]) is None
    assert compare(None, None) == []
    assert patched(None, []) is None


def test_differences_are_refused_by_any_other_document() -> None:
    """Otherwise a wrong document would be made without a word."""
    found = compare(written({"a": {"n": 1}, "l": [1, 2]}), written({"a": {"n": 2}, "l": [1]}))

    others: list[dict[str, Any]] = [
        {"a": {"n": 3}, "l": [1, 2]},
        {"a": 1, "l": [1, 2]},
        {"l": [1, 2]},
        {"a": {"n": 1}, "l": [1]},
    ]
    for other in others:
        with pytest.raises(DoesNotApplyError):
            patched(written(other), found)
    with pytest.raises(DoesNotApplyError):
        patched(None, found)
    with pytest.raises(DoesNotApplyError, match="not known"):
        patched(written({"a": 1}), [Difference(DifferenceKind.CHANGED, (b"a",), (b"a",), UNKNOWN, to_raw(1), (None,))])
