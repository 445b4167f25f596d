"""BSON as bytes: every type is taken apart and put together again unchanged."""

from __future__ import annotations

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import raw

ANY_VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.builds(bson.ObjectId, st.binary(min_size=12, max_size=12))
    | st.builds(bson.Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.$0_", max_size=4), inner, max_size=4),
    max_leaves=12,
)
ANY_DOCUMENT = st.dictionaries(st.text("abc.$01_", max_size=3), ANY_VALUE, max_size=5)


@given(ANY_DOCUMENT)
def test_taking_apart_and_putting_together_changes_no_byte(document: dict[str, object]) -> None:
    """Whatever a document holds, its elements written again are the same bytes."""
    data = bson.encode(document)

    assert raw.from_fields((key, (kind, payload)) for key, kind, payload in raw.elements(data)) == data


def test_every_type_of_the_specification_has_a_size() -> None:
    """One element of each BSON type, the deprecated ones too, followed by another, is found at its right length."""
    payloads = {
        raw.DOUBLE: bytes(8),
        raw.STRING: raw.string(b"text"),
        raw.DOCUMENT: raw.EMPTY_DOCUMENT,
        raw.ARRAY: raw.EMPTY_DOCUMENT,
        raw.BINARY: raw.int32(3) + b"\x80abc",
        raw.UNDEFINED: b"",
        raw.OBJECT_ID: bytes(12),
        raw.BOOLEAN: b"\x01",
        raw.DATE: bytes(8),
        raw.NULL: b"",
        raw.REGEX: b"^a\x00im\x00",
        raw.DB_POINTER: raw.string(b"a.b") + bytes(12),
        raw.CODE: raw.string(b"f()"),
        raw.SYMBOL: raw.string(b"sym"),
        raw.CODE_WITH_SCOPE: raw.int32(4 + 8 + 5) + raw.string(b"f()") + raw.EMPTY_DOCUMENT,
        raw.INT32: raw.int32(3),
        raw.TIMESTAMP: bytes(8),
        raw.INT64: bytes(8),
        raw.DECIMAL128: bytes(16),
        raw.MIN_KEY: b"",
        raw.MAX_KEY: b"",
    }
    contents = [(b"k%d" % kind, (kind, payload)) for kind, payload in payloads.items()]

    assert [(key, (kind, payload)) for key, kind, payload in raw.elements(raw.from_fields(contents))] == contents


def test_duplicate_keys_are_not_lost() -> None:
    """A server stores them, so an insert must be recorded with both."""
    data = raw.from_fields([(b"a", (raw.NULL, b"")), (b"a", (raw.BOOLEAN, b"\x01"))])

    assert [key for key, _, _ in raw.elements(data)] == [b"a", b"a"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x00\x00\x00\x02a\x00\xff\xff\xff\x7f\x00",
        b"\x08\x00\x00\x00\x99a\x00\x00",
        b"\x07\x00\x00\x00\x01a\x00",
        b"\x09\x00\x00\x00\x0bnever",
        b"\x0d\x00\x00\x00\x02a\x00\xf0\xff\xff\xff\x00\x00",
    ],
    ids=["length past the end", "unknown type", "cut off", "no end of key", "negative length"],
)
def test_malformed_bytes_are_an_error_and_no_endless_loop(data: bytes) -> None:
    """Bad bytes end in `MalformedBSON`, so that the event is rejected, not the daemon stopped."""
    with pytest.raises(raw.MalformedBSON):
        raw.elements(data)
    with pytest.raises(raw.MalformedBSON):
        raw.spans(data)


@given(ANY_DOCUMENT, st.binary(max_size=9), st.binary(max_size=9))
def test_values_are_found_where_they_lie(document: dict[str, object], before: bytes, after: bytes) -> None:
    """A reply of megabytes is not copied level by level; a place beside it would be another value."""
    data = bson.encode(document)
    around = before + data + after
    found = raw.spans(around, len(before))

    assert {key: (kind, around[start:stop]) for key, (kind, start, stop) in found.items()} == raw.fields(data)
