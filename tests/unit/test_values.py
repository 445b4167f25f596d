"""Values as Python sees them: nothing is mixed up with anything else."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.values import DBPointer, Symbol, Undefined, document_to_python, to_python, to_raw
from change_history.stored.event import Change, Event, to_event
from models import ABSENT, UNKNOWN

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
TIME = bson.Timestamp(1, 2)
EVERY_TYPE = {
    "double": 3.0,
    "nan": float("nan"),
    "minus zero": -0.0,
    "string": "text\x00with nul",
    "document": {"_cls": "User", "$set": 1, "a.b": 2, "": 3, "$ref": "x", "$id": 1},
    "reversed reference": {"$id": 1, "$ref": "x"},
    "array": [1, bson.Int64(1), 1.0, None, [], {}],
    "binary": b"\x00\x01",
    "old binary": bson.Binary(b"abc", 2),
    "uuid": bson.Binary.from_uuid(uuid.UUID(int=7)),
    "user binary": bson.Binary(b"abc", 0x80),
    "object id": bson.ObjectId("65a000000000000000000001"),
    "true": True,
    "date": dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC),
    "year 0": DatetimeMS(-62_167_219_200_000),
    "year 20000": DatetimeMS(568_971_820_800_000),
    "null": None,
    "regex": bson.Regex("^a.*", "im"),
    "code": bson.Code("function () {}"),
    "code with scope": bson.Code("f", {"x": 1}),
    "int32": 3,
    "int64": bson.Int64(3),
    "timestamp": bson.Timestamp(1, 2),
    "decimal": bson.Decimal128("1.230"),
    "decimal nan": bson.Decimal128("NaN"),
    "min": bson.MinKey(),
    "max": bson.MaxKey(),
    "symbol": Symbol("sym"),
    "undefined": Undefined(),
    "pointer": DBPointer("db.coll", bson.ObjectId("65a000000000000000000002")),
    "not utf-8": "caf\udce9",
}


@pytest.mark.parametrize("name", EVERY_TYPE)
def test_no_bson_type_is_mistaken_for_another(name: str) -> None:
    """A value of each type, written, read and written again, is the same bytes and the same class."""
    value = EVERY_TYPE[name]
    written = to_raw(value)
    read = to_python(written)

    assert type(read) is type(value)
    assert to_raw(read) == written


def test_a_document_with_all_types_comes_back_byte_for_byte() -> None:
    """Also through the quicker way that documents take when the driver loses nothing."""
    for document in (EVERY_TYPE, {k: v for k, v in EVERY_TYPE.items() if k in {"int32", "date", "double"}}):
        _, data = to_raw(document)

        assert to_raw(document_to_python(data)) == (raw.DOCUMENT, data)


lost_by_the_driver = st.one_of(
    st.just(Undefined()),
    st.sampled_from(["", "a", "\x06\x00\x00\x00ab", "x" * 65535]).map(Symbol),
    st.just(DBPointer("a", bson.ObjectId(bytes(12)))),
)
looking_like_it = st.one_of(
    st.text("\x00\x01\x06\x0c\x0ea", max_size=14),
    st.sampled_from([6, 12, 14, 0x06000000, None, "five5", "eleven11111", "thirteen13131", b"\x06\x0c\x0e", {"a": 1}]),
    st.just("\x04changes\x00\x05resume_token\x00"),
)
trees = st.recursive(
    lost_by_the_driver | looking_like_it,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("a\x06\x0e$", max_size=2), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text("a\x06", max_size=1), trees, max_size=3))
def test_a_deprecated_type_is_found_under_any_key_and_beside_anything(document: dict[str, object]) -> None:
    """Under an empty key as well, last in its document, or beside lengths and numbers that look like its type byte."""
    _, data = to_raw(document)

    assert to_raw(document_to_python(data)) == (raw.DOCUMENT, data)


@given(trees, trees, st.none() | st.binary(max_size=70))
def test_an_event_keeps_the_types_of_its_id_and_of_its_values(identity: object, value: object, token: bytes) -> None:
    """Whatever stands before the changes, and whatever the token's bytes are."""
    change = {"field": "a", "old_value": value, "new_value": value}
    stored = {"_id": bytes(16), "document_id": identity, "operation": "update", "timestamp": NOW, "cluster_time": TIME}
    stored |= {"changes": [change]} | ({"resume_token": token} if token is not None else {"transaction": change})
    event = to_event(to_raw(stored)[1])

    assert to_raw(event.document_id) == to_raw(identity)
    assert [to_raw(each) for each in (event.changes[0].old_value, event.changes[0].new_value)] == [to_raw(value)] * 2


@given(st.dictionaries(st.text("ab$.", max_size=3), st.integers(-(2**31), 2**31 - 1) | st.text("xyz"), max_size=4))
def test_the_driver_and_we_agree_on_ordinary_documents(document: dict[str, object]) -> None:
    """Ours is only more exact, never different, where the driver is exact."""
    assert to_raw(document)[1] == bson.encode(document)


def test_absent_unknown_and_null_are_three_things() -> None:
    """None of them equals another, and the two missing ones are false, so `if change.old_value` stays right."""
    assert len({ABSENT, UNKNOWN, None}) == 3
    assert not ABSENT
    assert not UNKNOWN
    assert str(ABSENT) == "<absent>"
    assert str(UNKNOWN) == "<unknown>"


def test_an_event_that_was_read_cannot_be_changed_and_equals_one_that_was_made() -> None:
    """It is put together by a shorter way than its constructor."""
    change = {"field": "a", "old_value": 1, "new_value": 2}
    stored = {"_id": bytes(16), "operation": "update", "timestamp": NOW, "cluster_time": TIME, "changes": [change]}
    read = to_event(to_raw(stored)[1])
    made = Change(field="a", old_value=1, new_value=2, timestamp=NOW)

    assert read == Event(id=bytes(16), operation="update", timestamp=NOW, cluster_time=TIME, changes=(made,))
    assert type(read) is Event
    for instance, name in ((read, "operation"), (read.changes[0], "field")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(instance, name, "other")


def test_a_key_that_is_no_text_is_refused_as_the_driver_refuses_it() -> None:
    """It ended in an `AttributeError` about `encode`."""
    with pytest.raises(bson.errors.InvalidDocument, match="only string keys"):
        to_raw({"a": [{1: 2}]})
