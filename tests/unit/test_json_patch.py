"""JSON Patch that other people's libraries apply."""

from __future__ import annotations

import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from change_history.bson import extended_json, raw
from change_history.bson.values import to_raw
from change_history.diff import json_patch
from change_history.diff.json_patch import Operation, between, dumps, pointer
from tests.support.generated.documents import every_type
from tests.support.generated.raw_values import pairs


def applied(old: bytes, new: bytes) -> tuple[Any, Any]:
    """The old document after the patch, by a library that knows nothing of ours, and the new one; both as JSON."""
    document, expected = (json.loads(extended_json.dumps_document(data)) for data in (old, new))
    patch = json.loads(dumps(between(old, new)))
    return jsonpatch.apply_patch(document, patch), expected


def written(document: dict[str, Any]) -> bytes:
    """The document as BSON."""
    return to_raw(document)[1]


def patch_of(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The operations, without what they leave out."""
    found = json.loads(dumps(between(written(old), written(new))))
    return [(one["op"], one.get("from"), one["path"], one.get("value")) for one in found]


@settings(max_examples=400)
@given(pairs())
def test_a_public_library_makes_the_same_document_of_it(both: tuple[bytes, bytes]) -> None:
    """Whatever the types, the keys and the places in arrays."""
    found, expected = applied(*both)

    assert found == expected


identified = st.lists(st.integers(0, 12), unique=True).map(lambda ids: [{"_id": i, "n": i % 3} for i in ids])


@settings(max_examples=400)
@given(identified, identified, st.booleans())
def test_elements_that_come_go_and_move_at_once_end_in_their_places(
    old: list[dict[str, Any]],
    new: list[dict[str, Any]],
    changed: bool,  # noqa: FBT001
) -> None:
    """Every index is as it is when the operation's turn comes, not as it was or will be."""
    new = [{**element, "n": 7} for element in new] if changed else new
    found, expected = applied(written({"a": [old]}), written({"a": [new]}))

    assert found == expected


def test_one_moved_element_is_one_move() -> None:
    """Not as many as there are elements between."""
    elements = [{"_id": number} for number in range(50)]

    assert patch_of({"a": elements}, {"a": [*elements[1:], elements[0]]}) == [("move", "/a/0", "/a/49", None)]
    assert patch_of({"a": elements}, {"a": [elements[-1], *elements[:-1]]}) == [("move", "/a/49", "/a/0", None)]


def test_a_shuffled_array_is_given_whole() -> None:
    """Finding the place of each element would take as long as the square of their number."""
    elements = [{"_id": number, "n": 1} for number in range(json_patch.MOST_MOVES + 2)]
    shuffled = [{**element, "n": 2} for element in elements[::-1]]

    (operation,) = between(written({"a": [elements]}), written({"a": [shuffled]}))
    assert operation == Operation("replace", b"/a/0", to_raw(shuffled))


def test_keys_are_escaped_as_rfc_6901_says() -> None:
    """`~` before `/`, and the empty key is a key."""
    assert pointer((b"a/b", b"m~n", b"~1", b"", 3)) == b"/a~1b/m~0n/~01//3"
    assert patch_of({"a/b": {"~1": 1}}, {"a/b": {"~1": None}}) == [("replace", None, "/a~1b/~01", None)]
    assert '"value": null' in dumps(between(written({"a": 1}), written({"a": None})))


def test_values_keep_their_types() -> None:
    """In canonical Extended JSON: 3 and 3.0 are two values."""
    assert patch_of({"a": 3}, {"a": 3.0}) == [("replace", None, "/a", {"$numberDouble": "3.0"})]


def test_what_json_cannot_say_gives_no_operation() -> None:
    """The order of keys; nothing else may be lost."""
    assert patch_of({"a": 1, "b": 2}, {"b": 2, "a": 1}) == []


@pytest.mark.parametrize("there", [True, False])
def test_a_document_that_came_or_went_is_the_whole(there: bool) -> None:  # noqa: FBT001
    """RFC 6902: the empty path is the document."""
    document = every_type()

    (operation,) = between(None, document) if there else between(document, None)
    assert operation == Operation("add" if there else "remove", b"", (raw.DOCUMENT, document) if there else None)
    if there:
        patch = json.loads(dumps([operation]))
        assert jsonpatch.apply_patch({}, patch) == json.loads(extended_json.dumps_document(document))
    assert between(None, None) == []
