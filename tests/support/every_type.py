"""One document with every BSON type, and with keys that software stumbles over."""

from __future__ import annotations

import datetime as dt
import uuid

import bson
from bson.datetime_ms import DatetimeMS

from change_history.bson import raw


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
