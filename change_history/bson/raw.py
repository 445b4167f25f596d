"""BSON as bytes: parse and build documents without decoding a value.

Decoding is not lossless: `bson` reads a symbol as `str`, undefined as `None`, `{"$ref": …}` as `DBRef`, and
refuses text that is not UTF-8, all of which a server stores silently. History must return the exact bytes, so
recording moves values as bytes without interpreting them. Every function that reads a document raises
`MalformedBSON` where a length or a type in it is impossible.

Format: https://bsonspec.org/spec.html, version 1.1.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from change_history.bson.quick import COMPILED as _compiled  # noqa: N811 - it is a module

if TYPE_CHECKING:
    from collections.abc import Iterable

Value: TypeAlias = tuple[int, bytes]
"""A BSON value: its type byte and its payload."""

Element: TypeAlias = tuple[bytes, int, bytes]
"""A BSON element: key without the closing NUL, type byte, payload."""

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY = 0x01, 0x02, 0x03, 0x04, 0x05
UNDEFINED, OBJECT_ID, BOOLEAN, DATE, NULL, REGEX = 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B
DB_POINTER, CODE, SYMBOL, CODE_WITH_SCOPE = 0x0C, 0x0D, 0x0E, 0x0F
INT32, TIMESTAMP, INT64, DECIMAL128 = 0x10, 0x11, 0x12, 0x13
MIN_KEY, MAX_KEY = 0xFF, 0x7F

NULL_VALUE: Value = (NULL, b"")
EMPTY_DOCUMENT = b"\x05\x00\x00\x00\x00"

_int32 = struct.Struct("<i")
_read_int32 = _int32.unpack_from
_write_int32 = _int32.pack

# Payload size by type: a fixed number of bytes; _PREFIXED: an int32 length, plus the bytes in _BESIDE;
# _ODD: computed, for regular expressions and DB pointers.
_PREFIXED, _ODD, _INVALID = -1, -2, -3
_SIZE = [_INVALID] * 256
_BESIDE = [0] * 256
for _kind, _size in {
    DOUBLE: 8,
    UNDEFINED: 0,
    OBJECT_ID: 12,
    BOOLEAN: 1,
    DATE: 8,
    NULL: 0,
    INT32: 4,
    TIMESTAMP: 8,
    INT64: 8,
    DECIMAL128: 16,
    MIN_KEY: 0,
    MAX_KEY: 0,
}.items():
    _SIZE[_kind] = _size
for _kind, _beside in {
    STRING: 4,
    CODE: 4,
    SYMBOL: 4,
    DOCUMENT: 0,
    ARRAY: 0,
    CODE_WITH_SCOPE: 0,
    BINARY: 5,
}.items():
    _SIZE[_kind] = _PREFIXED
    _BESIDE[_kind] = _beside
_SIZE[REGEX] = _SIZE[DB_POINTER] = _ODD

TYPE_BYTE = [bytes((kind,)) for kind in range(256)]
"""The type byte as `bytes`, by its number."""


class MalformedBSON(ValueError):  # noqa: N818 - the term of the BSON specification
    """The bytes are not a BSON document."""


def elements(document: bytes) -> list[Element]:
    """Take a document or array apart, one level deep, in its order, duplicates included."""
    if _compiled is not None and type(document) is bytes and (quick := _compiled.elements(document)) is not None:
        return quick  # type: ignore[no-any-return]
    found: list[Element] = []
    append = found.append
    size_of, beside = _SIZE, _BESIDE
    position, end = 4, len(document) - 1
    try:
        while position < end:
            kind = document[position]
            name_end = document.index(0, position + 1)
            start = name_end + 1
            size = size_of[kind]
            if size >= 0:
                stop = start + size
            elif size == _PREFIXED:
                stop = start + _read_int32(document, start)[0] + beside[kind]
            else:
                stop = _odd_end(document, kind, start)
            if stop > end or stop < start:
                raise MalformedBSON("a value runs past its document")
            append((document[position + 1 : name_end], kind, document[start:stop]))
            position = stop
    except (ValueError, struct.error) as error:
        raise MalformedBSON(str(error)) from error
    return found


def readable(document: bytes) -> dict[bytes, Value]:
    """The fields of a document up to the first that cannot be read; `fields` where all can. Never raises."""
    found: dict[bytes, Value] = {}
    position, end = 4, len(document) - 1
    try:
        while position < end:
            kind = document[position]
            start = document.index(0, position + 1) + 1
            stop = end_of_value(document, kind, start)
            if stop > end or stop < start:
                break
            found[document[position + 1 : start - 1]] = (kind, document[start:stop])
            position = stop
    except ValueError:  # MalformedBSON is one
        pass
    return found


def end_of_value(document: bytes, kind: int, start: int) -> int:
    """The offset of the end of a value, from its type and the offset of its beginning."""
    size = _SIZE[kind]
    if size >= 0:
        return start + size
    try:
        if size == _PREFIXED:
            return start + int(_read_int32(document, start)[0]) + _BESIDE[kind]
        return _odd_end(document, kind, start)
    except (ValueError, struct.error) as error:
        raise MalformedBSON(str(error)) from error


def _odd_end(document: bytes, kind: int, start: int) -> int:
    if kind == REGEX:
        return document.index(0, document.index(0, start) + 1) + 1
    if kind == DB_POINTER:
        return start + 4 + int(_read_int32(document, start)[0]) + 12
    raise MalformedBSON(f"unknown BSON type 0x{kind:02x}")


def fields(document: bytes) -> dict[bytes, Value]:
    """Take a document apart into a dictionary from key to value, in its order; of duplicates the last counts."""
    if _compiled is not None and type(document) is bytes and (quick := _compiled.fields(document)) is not None:
        return quick  # type: ignore[no-any-return]
    # The loop of `elements` repeated: this is the hottest function, and an intermediate list would cost a quarter.
    found: dict[bytes, Value] = {}
    size_of, beside, index = _SIZE, _BESIDE, document.index
    position, end = 4, len(document) - 1
    try:
        while position < end:
            kind = document[position]
            name_end = index(0, position + 1)
            start = name_end + 1
            size = size_of[kind]
            if size >= 0:
                stop = start + size
            elif size == _PREFIXED:
                stop = start + _read_int32(document, start)[0] + beside[kind]
            else:
                stop = _odd_end(document, kind, start)
            if stop > end or stop < start:
                raise MalformedBSON("a value runs past its document")
            found[document[position + 1 : name_end]] = (kind, document[start:stop])
            position = stop
    except (ValueError, struct.error) as error:
        raise MalformedBSON(str(error)) from error
    return found


def spans(document: bytes, start: int = 0) -> dict[bytes, tuple[int, int, int]]:
    """The places of a document's values: by key, the type, and the offsets of beginning and end.

    Args:
        document: BSON, or BSON that holds the document.
        start: the offset of the document.
    """
    found: dict[bytes, tuple[int, int, int]] = {}
    try:
        position, end = start + 4, start + int(_read_int32(document, start)[0]) - 1
        if not start + 4 <= end < len(document):
            raise MalformedBSON("a document runs past its end")
        while position < end:
            kind = document[position]
            name_end = document.index(0, position + 1)
            stop = end_of_value(document, kind, name_end + 1)
            if stop > end or stop <= name_end:
                raise MalformedBSON("a value runs past its document")
            found[document[position + 1 : name_end]] = kind, name_end + 1, stop
            position = stop
    except (ValueError, struct.error) as error:
        raise MalformedBSON(str(error)) from error
    return found


def keyed(document: bytes) -> tuple[dict[bytes, Value], frozenset[bytes]]:
    """Take a document apart into a dictionary as `fields` does, and name the keys that it has more than once."""
    contents = elements(document)
    found = {key: (kind, payload) for key, kind, payload in contents}
    if len(found) == len(contents):
        return found, frozenset()
    counts = Counter(key for key, _, _ in contents)
    return found, frozenset(key for key, count in counts.items() if count > 1)


def items(array: bytes) -> list[Value]:
    """Split an array into its values. The keys of an array have no meaning."""
    return [(kind, payload) for _, kind, payload in elements(array)]


def element(key: bytes, value: Value) -> bytes:
    """Write one element."""
    return TYPE_BYTE[value[0]] + key + b"\x00" + value[1]


def document(parts: Iterable[bytes]) -> bytes:
    """Make a document from encoded elements."""
    body = b"".join(parts)
    return _write_int32(len(body) + 5) + body + b"\x00"


def from_fields(contents: Iterable[tuple[bytes, Value]]) -> bytes:
    """Write a document from keys and values."""
    return document([TYPE_BYTE[kind] + key + b"\x00" + payload for key, (kind, payload) in contents])


def from_items(values: Iterable[Value]) -> bytes:
    """Write an array from its values."""
    return document([TYPE_BYTE[kind] + b"%d\x00" % index + payload for index, (kind, payload) in enumerate(values)])


def string(text: bytes) -> bytes:
    """Write the payload of a string: length in bytes with the closing NUL, text, NUL."""
    return _write_int32(len(text) + 1) + text + b"\x00"


def repeats(document: bytes) -> bool:
    """Whether a document repeats a key at its top level."""
    return len(fields(document)) != len(elements(document))


def binary(data: bytes) -> Value:
    """Bytes as a BSON value, of the generic subtype."""
    return BINARY, int32(len(data)) + b"\x00" + data


def int32(number: int) -> bytes:
    """Write the payload of a 32-bit integer."""
    return _write_int32(number)


def text_of(value: Value) -> bytes:
    """The bytes of a string value, without length and NUL."""
    return value[1][4:-1]
