"""What goes over HTTP in the canonical form comes out as it went in, whatever values there are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, ObjectId, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import extended_json, raw
from change_history.bson.redacted import How, Redacted
from change_history.bson.values import ABSENT, UNKNOWN, Symbol, Undefined, to_raw
from change_history.http import wire
from change_history.stored.actor import Actor
from change_history.stored.event import Change, Event, Transaction
from watcher.web.api import filters

keys = st.text(max_size=6).filter(lambda text: "\0" not in text) | st.sampled_from(
    ["$oid", "$bson", "$numberInt", "a.b"]
)
leaves: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**31), 2**31 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=6)
    | st.sampled_from(
        [
            Int64(3),
            Decimal128("1.10"),
            ObjectId("66f2a1c0e4b0d52a3c9f1e77"),
            Timestamp(1, 2),
            MaxKey(),
            Symbol("s"),
            Undefined(),
            DatetimeMS(-(2**60)),
            datetime(2024, 1, 1, tzinfo=UTC),
            Binary(b"x", 128),
            Redacted(How.MASK, raw.STRING, b"1234"),
            Redacted(How.ERASED),
            "\udc80",
            "\u202e\u2028",
        ]
    )
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
sides = values | st.sampled_from([ABSENT, UNKNOWN])


def over(tree: Any) -> Any:
    """A tree as the other side reads it."""
    text = wire.dumps(tree, canonical=True)
    assert "\n" not in text
    return json.loads(text.encode())


@given(sides, sides, values)
def test_an_event_comes_over_whole(old: Any, new: Any, document_id: Any) -> None:
    """Absent, unknown, null, withheld, and every type."""
    when = datetime(2024, 5, 1, 12, 0, 0, 123000, tzinfo=UTC)
    event = Event(
        id=bytes(range(16)),
        operation="update",
        timestamp=when,
        cluster_time=Timestamp(1_700_000_000, 3),
        namespace="shop.orders",
        document_id=document_id,
        changes=(Change(field="a", old_value=old, new_value=new, timestamp=when, path=["a", 0]),),
        description={"x": new} if new not in (ABSENT, UNKNOWN) else ABSENT,
        transaction=Transaction({"id": Binary(bytes(16), 4)}, 7),
        resume_token=b"\x82\x01",
        actor=Actor(id="ann", provenance="context", request=5, reason="why"),
    )

    back = wire.event_from(over(wire.event_tree(event)))

    assert back.changes[0].path == ["a", 0]
    for one, other in ((event.document_id, back.document_id), *_sides(event, back)):
        if one in (ABSENT, UNKNOWN):
            assert one is other
        else:
            assert to_raw(one) == to_raw(other)
    assert (back.id, back.timestamp, back.cluster_time, back.actor, back.transaction, back.resume_token) == (
        event.id,
        event.timestamp,
        event.cluster_time,
        event.actor,
        event.transaction,
        event.resume_token,
    )


def number(bits: int) -> raw.Value:
    """A double of just these bits."""
    return raw.DOUBLE, bits.to_bytes(8, "little")


ONE, TWO = to_raw(1), to_raw(2)
LOST_IN_JSON: list[raw.Value] = [
    number(0x7FF8_0000_0000_1234),
    number(0xFFF8_0000_0000_0000),
    number(0x7FF0_0000_0000_0001),
    (raw.DECIMAL128, bytes(15) + b"\x7e"),
    (raw.DECIMAL128, bytes(15) + b"\xfc"),
    (raw.DECIMAL128, b"\x05" + bytes(14) + b"\x7c"),
    (raw.DECIMAL128, b"\x01" + bytes(14) + b"\x60"),
    (raw.DOCUMENT, raw.from_fields([(b"a", ONE), (b"a", TWO)])),
    (raw.DOCUMENT, raw.from_fields([(b"$bson", to_raw("AAAA"))])),
    (raw.ARRAY, raw.from_fields([(b"0", ONE), (b"7", TWO), (b"x", ONE)])),
    (raw.REGEX, b"a\x00xi\x00"),
    (raw.CODE_WITH_SCOPE, to_raw(Code("x", {"a": 1}))[1].replace(b"\x10a\x00", b"\x10$\x00")),
]


@given(
    st.sampled_from(LOST_IN_JSON)
    | st.binary(min_size=8, max_size=8).map(lambda found: (raw.DOUBLE, found))
    | st.binary(min_size=16, max_size=16).map(lambda found: (raw.DECIMAL128, found))
)
def test_a_value_that_json_would_change_comes_over_to_the_byte(value: raw.Value) -> None:
    """One NaN is not another, and of two equal keys none is lost; within documents and arrays, too."""
    document = raw.DOCUMENT, raw.from_fields([(b"v", value), (b"w", ONE)])
    array = raw.ARRAY, raw.from_items([document, value])

    for each in (value, document, array):
        assert wire.raw_from(over(wire.Value(each))) == each


def _sides(event: Event, back: Event) -> list[tuple[Any, Any]]:
    (one,), (other,) = event.changes, back.changes
    return [(one.old_value, other.old_value), (one.new_value, other.new_value), (event.description, back.description)]


@given(values)
def test_the_relaxed_form_is_json_of_one_line(value: Any) -> None:
    """So that no value ends a line, a field of a stream or a string."""
    text = wire.dumps({"value": wire.of(value)}, canonical=False)

    json.loads(text)
    assert not set(text) & {"\n", "\r", "\u2028", "\u202e", "\x7f"}


def test_what_is_withheld_says_so_in_the_relaxed_form() -> None:
    """It is no Binary that somebody stored."""
    assert extended_json.relaxed(Redacted(How.MASK, raw.STRING, b"1234").raw) == (
        '{"$redacted": {"how": "mask", "type": "string", "last": "1234"}}'
    )
    assert extended_json.relaxed(Redacted(How.ERASED).raw) == '{"$redacted": {"how": "erased"}}'


@given(st.text(max_size=30))
def test_a_filter_never_says_an_operator(text: str) -> None:
    """Whatever is written: one field, one of six comparisons of our own, one value."""
    try:
        found = filters.condition(text)
    except (ValueError, OverflowError):
        return
    ((field, (comparison,)),) = ((field, tuple(said)) for field, said in found.items())
    assert comparison in {"$eq", "$ne", "$lt", "$lte", "$gt", "$gte"}
    assert not any(part.startswith("$") for part in field.split("."))
