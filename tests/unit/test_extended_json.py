"""`--json` loses no type."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import (
    Binary,
    Code,
    DatetimeMS,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    json_util,
)

from change_history.bson import extended_json, raw
from change_history.bson.values import DBPointer, Symbol, Undefined, document_to_python, to_raw

EVERY_TYPE = {
    "double": 3.0,
    "minus zero": -0.0,
    "nan": float("nan"),
    "infinity": float("-inf"),
    "string": 'é "\\" \n\x1b\x9b\u2028',
    "not utf-8": "a\udcff",
    "document": {"$set": 1, "a.b": 2, "_cls": "X"},
    "array": [1, [2, {}]],
    "binary": Binary(b"\x00\x01", 128),
    "uuid": Binary(b"0123456789abcdef", 4),
    "undefined": Undefined(),
    "objectid": ObjectId(b"twelve bytes"),
    "bool": True,
    "date": datetime(2024, 5, 1, 12, 0, 0, 123000, tzinfo=UTC),
    "year 20000": DatetimeMS(569_000_000_000_000),
    "year 0": DatetimeMS(-62_167_219_200_000),
    "null": None,
    "regex": Regex("a/b", "im"),
    "dbpointer": DBPointer("shop.users", ObjectId()),
    "symbol": Symbol("s"),
    "code with scope": Code("f()", {"x": Int64(1)}),
    "int32": 3,
    "timestamp": Timestamp(4_000_000_000, 2),
    "int64": Int64(3),
    "decimal": Decimal128("1.50"),
    "min": MinKey(),
    "max": MaxKey(),
    "ref": {"$ref": "users", "$id": 1},
}


def test_every_type_comes_back_from_json_as_itself() -> None:
    """Deprecated types, NaN, and dates that Python has none for, included."""
    found = extended_json.loads(extended_json.dumps(EVERY_TYPE))

    assert {key: to_raw(found[key]) for key in EVERY_TYPE} == {key: to_raw(EVERY_TYPE[key]) for key in EVERY_TYPE}


def test_the_drivers_own_reader_understands_it() -> None:
    """Scripts parse with `bson.json_util`; what it can read, it must."""
    line = extended_json.dumps(EVERY_TYPE)
    options = json_util.JSONOptions(
        json_mode=json_util.JSONMode.CANONICAL, tz_aware=True, datetime_conversion=4, document_class=dict
    )

    found = json_util.loads(line, json_options=options)

    assert found["int64"] == Int64(3)
    assert isinstance(found["int64"], Int64)
    assert found["year 20000"] == EVERY_TYPE["year 20000"]


def test_one_document_is_one_line_that_no_terminal_obeys() -> None:
    """No control character, and none of the line ends that `str.splitlines` knows."""
    line = extended_json.dumps(EVERY_TYPE)

    assert len(line.splitlines()) == 1
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in line)
    line.encode("utf-8")


def test_a_repeated_key_is_not_swallowed() -> None:
    """A server stores them; a dictionary in between would keep one."""
    one, two = (raw.INT32, raw.int32(1)), (raw.INT32, raw.int32(2))
    document = raw.from_fields([(b"a", one), (b"a", two)])

    assert extended_json.dumps_document(document) == '{"a": {"$numberInt": "1"}, "a": {"$numberInt": "2"}}'
    assert document_to_python(document) == {"a": 2}


OURS_ALONE = Symbol | Undefined | DBPointer
MORE = ["\x7f", "ünïcödé", Timestamp(2**32 - 1, 2**32 - 1), -(2**31), Int64(-(2**63)), DatetimeMS(-(2**63))]


@pytest.mark.parametrize("value", [v for v in [*EVERY_TYPE.values(), *MORE] if not isinstance(v, OURS_ALONE)], ids=repr)
def test_it_says_what_the_driver_says_where_the_driver_can(value: Any) -> None:
    """Other tools read it: what we write ourselves, to be quick, must not be a dialect."""
    options = json_util.JSONOptions(
        json_mode=json_util.JSONMode.CANONICAL, tz_aware=True, datetime_conversion=4, document_class=dict
    )

    assert json.loads(extended_json.dumps(value)) == json.loads(json_util.dumps(value, json_options=options))


@pytest.mark.parametrize(
    "document",
    [
        {"a": {"$oid": "66f2a1c0e4b0d52a3c9f1e77"}},
        {"a": [{"$numberLong": "3"}]},
        {"a": {"$date": {"$numberLong": "3"}}},
        {"a": {"$oid": "x"}},
        {"a": {"b": {"$undefined": True}}},
    ],
)
def test_a_sub_document_that_is_written_like_a_type_is_known_as_one(document: dict[str, Any]) -> None:
    """Whoever reads the JSON back would have an ObjectId where there was none."""
    assert not extended_json.reads_back(bson.encode(document))


@pytest.mark.parametrize(
    "document",
    [
        {"a": ObjectId("66f2a1c0e4b0d52a3c9f1e77"), "price": "$5", "$a": 1},
        {"a": {"$set": {"b": 1}, "$ref": "c"}},
        {"a": datetime(2024, 1, 1, tzinfo=UTC), "$": {"$x": [1, {"$y": None}]}},
    ],
)
def test_what_is_read_back_as_it_was_is_not_warned_of(document: dict[str, Any]) -> None:
    """A warning about every dollar would be read by nobody."""
    assert extended_json.reads_back(bson.encode(document))
