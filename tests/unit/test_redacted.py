"""The value that stands in place of a withheld one: told apart from every other, and telling no more than it should."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Binary, Int64
from hypothesis import given
from hypothesis import strategies as st

from change_history import ABSENT, UNKNOWN, Redacted
from change_history.bson import extended_json, raw, redacted
from change_history.bson.redacted import How
from change_history.bson.values import document_to_python, to_python, to_raw
from watcher.words.value_text import text_of

KEY = redacted.key_from("a secret nobody guesses")


def _masked(value: Any) -> Redacted:
    found = redacted.redacted(redacted.masked(to_raw(value)))
    assert found is not None
    return found


@pytest.mark.parametrize("value", [redacted.DROPPED, redacted.ERASED, redacted.masked(to_raw("x" * 20))])
def test_a_withheld_value_is_not_taken_for_null_absent_or_unknown(value: raw.Value) -> None:
    """Also within an array."""
    document = raw.from_fields([(b"a", value), (b"inner", (raw.ARRAY, raw.from_items([value])))])
    read = document_to_python(document)
    assert isinstance(read["a"], Redacted)
    assert read["inner"] == [read["a"]]
    nothing: list[Any] = [None, ABSENT, UNKNOWN]
    assert read["a"] not in nothing
    assert to_raw(read) == (raw.DOCUMENT, document)
    assert to_python(value) == read["a"]


def test_a_withheld_value_is_read_in_a_document_that_the_driver_cannot_decode_whole() -> None:
    """Undefined and `$ref` go another way."""
    document = raw.from_fields([(b"u", (raw.UNDEFINED, b"")), (b"a", redacted.DROPPED), (b"$ref", to_raw("x"))])
    assert document_to_python(document)["a"] == Redacted(How.DROP)


def test_the_driver_does_not_write_a_withheld_value_into_an_application_s_data() -> None:
    """What was read of history may be put back in good faith."""
    with pytest.raises(bson.errors.InvalidDocument):
        bson.encode({"password": Redacted(How.DROP)})


def test_extended_json_gives_back_what_was_withheld() -> None:
    """Other programs read it as a Binary."""
    for value in (redacted.DROPPED, redacted.hashed(to_raw("x"), KEY), redacted.masked(to_raw("0123456789"))):
        line = extended_json.dumps_raw(value)
        assert line == extended_json.dumps(to_python(value))
        assert to_raw(extended_json.loads(line)) == value
        assert bson.json_util.loads(line) == Binary(value[1][5:], redacted.SUBTYPE)


@pytest.mark.parametrize(
    ("value", "last"),
    [
        ("4111111111111111", "1111"),
        (Int64(4111111111111234), "1234"),
        (-12345678, "5678"),
        ("passwörd€€", "rd€€"),
        ("1234567", ""),
        (1234567, ""),
        ("", ""),
        (1.23456789012, ""),
        ([1, 2, 3, 4, 5, 6, 7, 8], ""),
        (None, ""),
    ],
)
def test_a_mask_shows_four_characters_and_only_of_a_value_that_has_twice_as_many(value: Any, last: str) -> None:
    """Four of five digits would be nearly all."""
    assert _masked(value).last == last
    assert _masked(value).type == redacted.TYPE_NAMES[to_raw(value)[0]]


def test_a_mask_of_text_that_is_not_utf_8_shows_no_more_than_sixteen_bytes() -> None:
    """A character has four bytes at most."""
    endless = raw.STRING, raw.string(b"abcdefgh" + b"\x80" * 1000)
    assert redacted.redacted(redacted.masked(endless)) == Redacted(How.MASK, raw.STRING)


@given(st.binary(), st.binary())
def test_equal_values_and_no_others_have_the_same_digest(one: bytes, other: bytes) -> None:
    """With another key it is another digest."""
    digests = [redacted.hashed(to_raw(Binary(value)), KEY) for value in (one, other)]
    assert (digests[0] == digests[1]) == (one == other)
    assert redacted.hashed(to_raw(Binary(one)), redacted.key_from("another")) != digests[0]


def test_the_types_of_hashed_values_are_told_apart_and_not_told() -> None:
    """Null or not would be half of what there is to know."""
    one, other = redacted.hashed(to_raw(3), KEY), redacted.hashed(to_raw(Int64(3)), KEY)
    assert one != other
    assert to_python(one).type is None


@pytest.mark.parametrize(
    "data",
    [
        redacted.MAGIC,
        redacted.MAGIC + b"\x00d",
        redacted.MAGIC + b"\x00d\x00more",
        redacted.MAGIC + b"\x00m\x02" + b"x" * 17,
        redacted.MAGIC + b"\x00x\x00",
        redacted.MAGIC + b"\x02d\x00",
        redacted.MAGIC + b"\x00d\x02",
    ],
)
def test_what_only_begins_like_a_withheld_value_stays_what_it_is(data: bytes) -> None:
    """Any application may write any Binary."""
    value = to_raw(Binary(data, redacted.SUBTYPE))
    assert not redacted.is_withheld(value)
    assert to_python(value) == Binary(data, redacted.SUBTYPE)
    assert document_to_python(raw.from_fields([(b"v", value)])) == {"v": Binary(data, redacted.SUBTYPE)}
    assert extended_json.loads(extended_json.dumps_raw(value)) == Binary(data, redacted.SUBTYPE)


def test_a_mark_of_change_comes_and_goes() -> None:
    """With it, two equal withheld values are not equal."""
    marked = redacted.changed(redacted.DROPPED)
    assert redacted.says_changed(marked[1])
    assert marked != redacted.DROPPED
    assert redacted.without_mark(marked[1]) == redacted.DROPPED[1]
    assert redacted.is_withheld(marked)


def test_a_terminal_says_how_a_value_was_withheld() -> None:
    """Each in its own words."""
    values = (redacted.DROPPED, redacted.ERASED, redacted.masked(to_raw("0123456789")), redacted.masked(raw.NULL_VALUE))
    shown = [text_of(to_python(value)).strip("\u2039\u203a") for value in values]
    assert shown == ["redacted", "erased", "masked …6789", "masked null"]
    assert text_of(to_python(redacted.hashed(to_raw("x"), KEY))).startswith("\u2039hash ")
