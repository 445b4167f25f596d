"""History → document: applying what was recorded gives what the server had."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.values import to_raw
from change_history.diff.images import diff
from change_history.reconstruct import fold, skim
from change_history.reconstruct.fold import Entry
from change_history.stored.changes import Change, encode
from tests.support.generated.raw_values import values
from tests.support.handmade_events import an_event
from watcher.events import record

KEYS = st.sampled_from(["a", "b", "c", "a.b", "0", "1", "", "$x"])
VALUES = st.recursive(
    st.integers(0, 3) | st.none() | st.sampled_from(["x", 1.5]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5).map(lambda body: {"_id": 1, **body})


@given(DOCUMENTS, DOCUMENTS)
def test_the_difference_of_two_documents_leads_from_one_to_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Byte for byte, the order of keys included."""
    old, new = bson.encode(before), bson.encode(after)

    assert fold.apply(old, Entry(b"replace", *diff(old, new))) == new


@given(DOCUMENTS, DOCUMENTS)
def test_what_is_stored_of_a_replacement_folds_to_it(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Through the stored form, with and without a pre-image."""
    for image in ({}, {"fullDocumentBeforeChange": before}):
        stored = record.record(an_event("replace", fullDocument=after, **image))

        assert fold.fold(bson.encode(before), [stored]) == bson.encode(after)


@given(DOCUMENTS)
def test_an_insert_folds_to_the_document_and_a_delete_to_none(document: dict[str, Any]) -> None:
    """Whatever its keys look like."""
    inserted = record.record(an_event("insert", fullDocument=document))
    deleted = record.record(an_event("delete", fullDocumentBeforeChange=document))

    assert fold.fold(None, [inserted]) == bson.encode(document)
    assert fold.fold(None, [inserted, deleted]) is None


@given(values, st.sampled_from(["insert", "baseline"]))
def test_a_document_taken_from_its_entry_at_a_glance_is_the_one_that_folding_gives(
    value: raw.Value, operation: str
) -> None:
    """Whatever types and keys it has: dotted, empty, more than once. What says more than values is not guessed at."""
    document = value[1] if value[0] == raw.DOCUMENT else raw.from_fields([(b"_id", value), (b"v", value)])
    told = [Change((key,), None, (kind, payload)) for key, kind, payload in raw.elements(document)]
    stored = entry_of(operation, told, value)
    plain = all(key and b"." not in key for key, _, _ in raw.elements(document))

    assert skim.document_id(stored) == value
    assert fold.fold(None, [stored]) == document
    seen = skim.whole(stored)
    assert (seen is not None) == plain
    if seen is not None:
        assert seen == (IDENTITY, b"shop.users", value, document)
    for more in ({"at_end": True}, {"truncated_to": 0}, {"old_from": b"unknown"}):
        changed = entry_of(operation, [*told, Change((b"last",), None, value)._replace(**more)], value)
        assert skim.whole(changed) is None


@pytest.mark.parametrize("operation", ["update", "replace", "delete", "reconcile", "gap"])
def test_an_entry_that_does_not_tell_a_document_whole_is_never_taken_for_one(operation: str) -> None:
    """Nor is the head of one in chunks, whose values are elsewhere."""
    change = Change((b"a",), None, (raw.INT32, raw.int32(1)))
    whole = entry_of("insert", [change], raw.NULL_VALUE)
    head = raw.from_fields([*raw.fields(whole).items(), (b"parts", (raw.ARRAY, raw.from_items([])))])

    assert skim.whole(whole) is not None
    assert skim.whole(entry_of(operation, [change], raw.NULL_VALUE)) is None
    assert skim.whole(head) is None


IDENTITY = bytes(range(16))


def entry_of(operation: str, told: list[Change], document_id: raw.Value) -> bytes:
    """A history document of the namespace `shop.users`, as the daemon writes it."""
    contents = {
        b"_id": to_raw(IDENTITY),
        b"namespace": to_raw("shop.users"),
        b"document_id": document_id,
        b"operation": to_raw(operation),
        b"timestamp": (raw.DATE, bytes(8)),
        b"cluster_time": (raw.TIMESTAMP, bytes(8)),
        b"changes": (raw.ARRAY, raw.from_items((raw.DOCUMENT, encode(change)) for change in told)),
    }
    return raw.from_fields(contents.items())


@pytest.mark.parametrize(
    ("before", "delta", "after"),
    [
        ({"a": 1, "b": 2}, {"u": {"a": 3}}, {"a": 3, "b": 2}),
        ({"a": 1, "b": 2}, {"i": {"a": 3}}, {"b": 2, "a": 3}),
        ({"a": 1, "b": 2}, {"d": {"a": False}, "i": {"c": 1}}, {"b": 2, "c": 1}),
        ({"a": [1]}, {"sa": {"a": True, "u3": 9}}, {"a": [1, None, None, 9]}),
        ({"a": [1, 2, 3]}, {"sa": {"a": True, "l": 2, "u0": 7}}, {"a": [7, 2]}),
        ({"a": [{"b": [1, 2]}]}, {"sa": {"a": True, "s0": {"sb": {"a": True, "l": 0}}}}, {"a": [{"b": []}]}),
        ({"a": {"0": 1}}, {"sa": {"u": {"0": 2}}}, {"a": {"0": 2}}),
        ({"a.b": 1, "a": {"b": 1}}, {"u": {"a.b": 2}, "sa": {"d": {"b": False}}}, {"a.b": 2, "a": {}}),
    ],
    ids=["in place", "to the end", "gone and new", "past the end", "truncated", "deep", "numeric key", "dotted key"],
)
@pytest.mark.parametrize("with_image", [True, False])
def test_an_update_folds_as_the_server_applies_it(
    before: dict[str, Any], delta: dict[str, Any], after: dict[str, Any], *, with_image: bool
) -> None:
    """Also without a pre-image: old values may be unknown, the document after must not be."""
    image = {"fullDocumentBeforeChange": {"_id": 1, **before}} if with_image else {}
    stored = record.record(an_event("update", rawUpdateDescription={"$v": 2, "diff": delta}, **image))

    assert fold.fold(bson.encode({"_id": 1, **before}), [stored]) == bson.encode({"_id": 1, **after})


@pytest.mark.parametrize(
    "delta",
    [{"d": {"x": False}}, {"sx": {"u": {"a": 1}}}, {"sn": {"u": {"a": 1}}}, {"sa": {"a": True, "s5": {"u": {"b": 1}}}}],
    ids=["removal", "nested", "through a number", "beyond the array"],
)
def test_history_with_a_hole_is_an_error_and_never_a_wrong_document(delta: dict[str, Any]) -> None:
    """A change that does not fit says that something before it is missing."""
    stored = record.record(an_event("update", rawUpdateDescription={"$v": 2, "diff": delta}))

    with pytest.raises(fold.DoesNotApplyError):
        fold.fold(bson.encode({"_id": 1, "n": 1, "a": [1]}), [stored])
