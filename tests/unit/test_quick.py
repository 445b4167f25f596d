"""The compiled way of taking BSON apart says what the readable one says, whatever it is given."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import extended_json, quick, raw
from change_history.stored import changes
from tests.support.generated.raw_values import pairs

if TYPE_CHECKING:
    from collections.abc import Callable

compiled = pytest.mark.skipif(quick.COMPILED is None, reason="installed without a C compiler")
FUZZED = int(os.environ.get("WATCHER_TEST_FUZZED_EVENTS", "2000"))


def said(take_apart: Callable[[bytes], Any], data: bytes) -> Any:
    """What a function says of bytes: its answer in its order, or that they are malformed."""
    try:
        found = take_apart(data)
    except raw.MalformedBSON:
        return raw.MalformedBSON
    return list(found.items()) if isinstance(found, dict) else found


def as_json(data: bytes) -> Any:
    """The document as Extended JSON in both its forms, or which error there is instead."""
    try:
        return extended_json.dumps_document(data), extended_json.readable_document(data)
    except raw.MalformedBSON:
        raise
    except Exception as error:  # noqa: BLE001 - of damaged bytes, any; it must be the same
        return type(error)


def same(data: bytes) -> None:
    """Both ways say the same of bytes."""
    for take_apart in (raw.elements, raw.fields, changes.whole_document, as_json):
        with pytest.MonkeyPatch.context() as patched:
            by_both = said(take_apart, data)
            patched.setattr(raw, "_compiled", None)
            patched.setattr(changes, "COMPILED", None)
            patched.setattr(extended_json, "COMPILED", None)
            readable = said(take_apart, data)
        if take_apart is changes.whole_document and (readable is None or by_both is None):
            continue  # one of them leaves it to those who decode the changes; see below
        assert by_both == readable, (take_apart, data)


def told(document: bytes) -> bytes:
    """The stored changes of an insert."""
    each = (changes.Change((key,), None, (kind, payload)) for key, kind, payload in raw.elements(document))
    return raw.from_items((raw.DOCUMENT, changes.encode(change)) for change in each)


@compiled
@given(pairs())
def test_a_document_is_taken_apart_alike(both: tuple[bytes, bytes]) -> None:
    """Every type, repeated keys, strange names."""
    for document in both:
        same(document)
        same(told(document))


@compiled
@pytest.mark.parametrize("seed", range(2))
def test_no_bytes_are_understood_otherwise_however_damaged(seed: int) -> None:
    """Half understood, they would be a wrong document that nobody notices; read beyond its end, no process at all."""
    dice = random.Random(seed)
    fields = [(b"_id", (raw.INT32, raw.int32(7))), (b"name", (raw.STRING, raw.string(b"anna")))]
    fields += [(b"r", (raw.REGEX, b"^a\0i\0")), (b"d", (raw.DOCUMENT, raw.from_fields(fields))), (b"n", raw.NULL_VALUE)]
    fields += [(b"b", (raw.BINARY, raw.int32(3) + b"\x80abc")), (b"l", (raw.ARRAY, raw.from_items([raw.NULL_VALUE])))]
    whole = raw.from_fields(fields)
    for data in (whole, told(whole), told(raw.from_fields(fields[:2] + fields[3:]))):
        for _ in range(FUZZED):
            damaged = bytearray(data)
            for _ in range(dice.randrange(1, 4)):
                damaged[dice.randrange(len(data))] = dice.choice([0, 1, 2, 3, 4, 5, 255, 127, dice.randrange(256)])
            same(bytes(damaged[: dice.randrange(len(data))] if dice.random() < 0.2 else damaged))


@compiled
@given(st.binary(max_size=40))
def test_what_is_no_bson_at_all_is_refused_alike(data: bytes) -> None:
    """Shorter than a length, or nothing."""
    same(data)


@compiled
@given(pairs())
def test_a_document_that_its_changes_tell_whole_is_that_document(both: tuple[bytes, bytes]) -> None:
    """An insert is read straight from its bytes; a dot in a key makes it another path."""
    for document in both:
        found = changes.whole_document(told(document))
        keys = [key for key, _, _ in raw.elements(document)]
        assert found is None or found == document
        assert found is not None or not all(key and b"." not in key for key in keys)


@compiled
def test_a_change_that_says_more_is_not_read_as_a_field() -> None:
    """What was before, or where it stands, would be lost."""
    value = (raw.INT32, raw.int32(1))
    for change in (
        changes.Change((b"a",), value, value),
        changes.Change((b"a",), None, value, changes.UNKNOWN),
        changes.Change((b"a",), None, value, at_end=True),
        changes.Change((b"a", b"b"), None, value),
        changes.Change((b"a",), value, None),
        changes.Change((), None, value),
    ):
        assert changes.whole_document(raw.from_items([(raw.DOCUMENT, changes.encode(change))])) is None
