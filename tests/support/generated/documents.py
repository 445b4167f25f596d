"""Documents made to be misread: one with every BSON type, and random ones, as Python objects."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any, TypeAlias

import bson
from bson.datetime_ms import DatetimeMS
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.values import to_python

if TYPE_CHECKING:
    from collections.abc import Callable


def every_type() -> bytes:
    """The document, as bytes: some of its types the driver could not write."""
    ordinary = bson.encode(
        {
            "_id": bson.ObjectId("65a000000000000000000001"),
            "double": 3.0,
            "int32": 3,
            "int64": bson.Int64(3),
            "decimal": bson.Decimal128("3.00"),
            "nan": float("nan"),
            "infinity": float("-inf"),
            "minus zero": -0.0,
            "decimal nan": bson.Decimal128("NaN"),
            "string": "text\x00with nul, ünïcödé",
            "null": None,
            "true": True,
            "date": dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC),
            "year 0": DatetimeMS(-62_167_219_200_000),
            "year 20000": DatetimeMS(568_971_820_800_000),
            "before all": DatetimeMS(-(2**63)),
            "document": {"_cls": "User.Admin", "$set": {"$inc": 1}, "a.b": 2, "a": {"b": 3}, "": 4, "0": 5},
            "reference": {"$ref": "users", "$id": 1, "$db": "shop", "more": 1},
            "reversed reference": {"$id": 1, "$ref": "users"},
            "array": [1, bson.Int64(1), 1.0, None, [], {}, [[{"_cls": "x"}]]],
            "empty": {},
            "binary": b"\x00\x01",
            "old binary": bson.Binary(b"abc", 2),
            "old uuid": bson.Binary(uuid.UUID(int=7).bytes, 3),
            "uuid": bson.Binary(uuid.UUID(int=7).bytes, 4),
            "md5": bson.Binary(bytes(16), 5),
            "user binary": bson.Binary(b"abc", 0x80),
            "object id": bson.ObjectId("65a000000000000000000002"),
            "regex": bson.Regex("^a.*b$", "imsx"),
            "code": bson.Code("function () { return 1; }"),
            "code with scope": bson.Code("f", {"x": 1}),
            "timestamp": bson.Timestamp(1, 2),
            "min": bson.MinKey(),
            "max": bson.MaxKey(),
            "_cls": "UserModel",
        }
    )
    deprecated = [
        (b"undefined", (raw.UNDEFINED, b"")),
        (b"symbol", (raw.SYMBOL, raw.string(b"sym"))),
        (b"pointer", (raw.DB_POINTER, raw.string(b"shop.users") + bytes(12))),
    ]
    return raw.from_fields([*raw.fields(ordinary).items(), *deprecated])


Draw: TypeAlias = "Callable[[st.SearchStrategy[Any]], Any]"

LONG = "p" * 60
"""Long enough that the server finds a delta of a document or array smaller than the whole."""

NUMBERS = [0, 1, 2, 3, -1, 3.0, bson.Int64(3), bson.Decimal128("3"), bson.Decimal128("3.00"), 1.5, -0.0, 0.0]
NUMBERS += [float("nan"), float("inf"), bson.Decimal128("NaN"), bson.Decimal128("-0"), bson.Int64(0), 2**31 - 1]
NUMBERS += [bson.Int64(2**63 - 1), -(2**31)]
EVERY_TYPE = [to_python(value) for value in raw.fields(every_type()).values()]
SCALARS = [1, 2, 3, 3.0, None, "s", LONG, f"{LONG}2", True, *NUMBERS, *EVERY_TYPE]
WELL_KNOWN = ["a", "b", "k", "n", "l"]
STRANGE = ["a.b", "a.0", "0", "1", "01", "-1", "", "$x", "$set", "$", ".", "a.", ".b", "a..b", "é", "_cls", "L" * 300]
KEYS = WELL_KNOWN * 2 + STRANGE
PARTS = [*WELL_KNOWN, "0", "1", "01", "-1", "x"]
ARRAYS = ["l", "d", "m", "m.0", "m.1", "d.0.v", "d.$[].v", "d.$[e].v", "m.$[]", "o.l"]
PATHS = ["n", "a", "a.b", "a.b.k", "a.0", "l", "l.0", "l.2", "l.5", "d.0", "d.0.k", "d.1.v", "d.0.v.1", "d.1.new"]
PATHS += ["m.0", "m.0.1", "m.1.0", "m.2.2", "o.0", "o.01", "o.-1", "o.1.0", "new", "new.deep.path", "0", "1.0", "d.3.k"]
PATHS += [
    "l.$",
    "d.$",
    "d.$.k",
    "d.$.v.0",
    "l.$[]",
    "d.$[].k",
    "d.$[e].k",
    "d.$[e].new",
    "l.$[f]",
    "m.$[].$[]",
    "m.$[].0",
]
PATHS += ["L" * 300, "é", "_cls", "o.a", "a.a", "o.new", "pad"]
IDS: list[Any] = [1, 2, 3, 4, "x", 1.5, None, {"a": 1, "b": {"c": 1}}, bson.ObjectId(b"o" * 12), bson.Binary(b"b", 4)]
IDS += [bson.Decimal128("7"), float("nan"), bson.MinKey(), bson.Timestamp(1, 1), True, bson.Int64(2**40), {"a.b": 1}]

scalars = st.sampled_from(SCALARS)
keys = st.sampled_from(KEYS)
flat = st.dictionaries(keys, scalars, max_size=3)
small = st.one_of(scalars, st.integers(0, 4), st.lists(scalars, max_size=3), flat)
values = st.one_of(st.integers(0, 4), scalars, st.lists(small, max_size=5), st.dictionaries(keys, small, max_size=4))
lists = st.lists(st.one_of(st.integers(0, 4), scalars), max_size=6)
ids = st.one_of(st.sampled_from(IDS[:4]), st.sampled_from(IDS))
paths = st.one_of(
    st.sampled_from(PATHS),
    st.sampled_from(PATHS),
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map(".".join),
)


@st.composite
def documents(draw: Draw) -> dict[str, Any]:
    """A document in which most of `PATHS` lead somewhere, its fields in any order."""
    usual: dict[str, Any] = {
        "n": draw(st.sampled_from(NUMBERS)),
        "a": {"b": draw(small), "0": 1, "k": draw(scalars)},
        "l": draw(lists),
        "d": [{"k": k, "v": [k, LONG, 3], "p": LONG} for k in range(draw(st.integers(0, 4)))],
        "m": [[1, 2, LONG], [draw(scalars), 3], []],
        "o": {"0": 1, "01": 2, "-1": 3, "1": {"0": 1}, "l": [1, 2, 3, LONG], draw(keys): draw(scalars)},
        "pad": LONG * 6,
        draw(keys): draw(values),
        draw(keys): draw(values),
    }
    order = list(usual)
    if draw(st.booleans()):
        order = draw(st.permutations(order))
    return {key: usual[key] for key in order[: draw(st.sampled_from([len(order), len(order), 5]))]}
