"""Values as Python sees them: nothing is mixed up with anything else."""

from __future__ import annotations

import datetime as dt
import uuid

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.values import DBPointer, Symbol, Undefined, document_to_python, to_python, to_raw
from models import ABSENT, UNKNOWN

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
