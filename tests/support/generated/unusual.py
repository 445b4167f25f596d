"""Documents that no driver builds by default, as raw BSON: repeated keys, great depth, odd ids and arrays."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import bson
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random
    from typing import Any

DEEPEST = 180
"""Levels of nesting that the server accepts in a document that is inserted."""

_LETTERS = ["a", "b", "c", "a", "0", "1", "-1", "01", "", "$x", "a.b", "_cls", "é", "x" * 200]


def document(elements: Sequence[bytes]) -> bytes:
    """A document of encoded elements, each with its type and key."""
    body = b"".join(elements)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def element(key: str, value: Any) -> bytes:
    """An element as the driver would encode it; bytes are taken for an encoded sub-document."""
    name = key.encode() + b"\0"
    if isinstance(value, Array):
        return b"\x04" + name + bytes(value)
    if type(value) is bytes:
        return b"\x03" + name + value
    encoded = bson.encode({"k": value})
    return encoded[4:5] + name + encoded[7:-1]


class Array(bytes):
    """An encoded array."""


def array(items: Sequence[Any], keys: Sequence[str] | None = None) -> Array:
    """An array, whose keys need not be the numbers in order that a driver would write."""
    names = keys if keys is not None else [str(number) for number in range(len(items))]
    return Array(document([element(key, item) for key, item in zip(names, items, strict=True)]))


def nested(levels: int, innermost: bytes = b"", *, in_arrays: bool = False) -> bytes:
    """An element `a` with so many levels below the document that holds it."""
    inner = innermost or element("z", 1)
    for _ in range(levels - 1):
        inner = element("0", Array(document([inner]))) if in_arrays else element("a", document([inner]))
    return element("a", document([inner]))


def ids(random: Random) -> list[Any]:
    """One `_id` of each type that the server accepts, new each time."""
    number = random.getrandbits(40)
    return [
        number,
        Int64(number + 1),
        number + 0.5,
        Decimal128(f"{number}.25"),
        f"text {number}",
        f"NUL\0{number}",
        ObjectId(),
        Binary(number.to_bytes(8, "big"), 0),
        Binary(number.to_bytes(16, "big"), 4),
        Binary(number.to_bytes(16, "big"), 3),
        Binary(number.to_bytes(8, "big"), 128),
        DatetimeMS(number),
        DatetimeMS(-(2**62) - number),
        Timestamp(number % 2**31, 7),
        Code(f"return {number}"),
        {"a": number, "b": {"c": [number]}},
        {"t": Timestamp(0, 0), "n": number},
        document([element("a", number), element("a", 2)]),
        "long " + str(number) + "x" * 20_000,
    ]


SINGULAR_IDS: list[Any] = [None, True, False, MinKey(), MaxKey(), Timestamp(0, 0), float("nan"), "", {}, Binary(b"")]
"""Ids of which a collection can have only one."""


def values(random: Random) -> list[bytes]:
    """Elements with values that are changed, misread or refused somewhere on the way."""
    number = random.getrandbits(20)
    return [
        element("zero", Timestamp(0, 0)),
        element("inner", document([element("zero", Timestamp(0, 0)), element("n", number)])),
        element("list", array([Timestamp(0, 0), number])),
        element("odd", array([number, 2, 3], keys=["2", "0", "x"])),
        element("twice", document([element("a", number), element("b", 0), element("a", 2)])),
        element("dollar", document([element("$set", number), element("$ref", "x"), element("a.b", 1)])),
        b"\x02" + b"latin\0" + struct.pack("<i", 4) + b"\xe4\xf6\xff\0",  # text that is not UTF-8
        b"\x06undefined\0",
        b"\x0esymbol\0" + struct.pack("<i", 3) + b"ab\0",
        b"\x0bpattern\0a+\0im\0",
        element("_cls", "User"),
        element("document_id", Timestamp(0, 0)),
    ]


def contents(random: Random) -> list[bytes]:
    """The elements of a document beside its `_id`."""
    chosen = random.sample(values(random), random.randint(1, 4))
    plain = [1, "x", None, 2.5]
    unusual = chosen + [element(random.choice(_LETTERS), random.choice(plain)) for _ in range(random.randint(0, 4))]
    random.shuffle(unusual)
    if random.random() < 0.3:
        deep = random.choice([100, 150, 170, 175, 176, 177, 178, 179])
        unusual.append(nested(deep, in_arrays=random.random() < 0.5))
    return unusual
