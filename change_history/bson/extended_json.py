"""Canonical Extended JSON v2, exact to the BSON type, from bytes and back.

`bson.json_util` writes documents only after decoding them, which loses symbols, undefined, DB pointers and repeated
keys, so containers and the deprecated types are written here; so are the most frequent types, since decoding takes most
of the time. The other types are left to it.

Format: https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md
"""

from __future__ import annotations

import json
import math
import re
import struct
from base64 import b64encode
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from bson import Binary, ObjectId, json_util
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError

from change_history.bson import raw, redacted
from change_history.bson.quick import COMPILED
from change_history.bson.values import CODEC, DBPointer, Symbol, Undefined, to_python, to_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from change_history.bson.raw import Value

_OPTIONS = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL,
    document_class=dict,
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    uuid_representation=CODEC.uuid_representation,
)
# Lone surrogates have no UTF-8; the others end a line, control a terminal, or reverse the direction of text.
_ESCAPED = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_DB_POINTER_ID_BYTES = 12
_read_double = struct.Struct("<d").unpack


def dumps(value: Any) -> str:
    """Write a Python value (see `change_history.bson.values`) as one line."""
    return dumps_raw(to_raw(value))


def dumps_raw(value: Value) -> str:
    """Write a BSON value as one line.

    Bytes that are not UTF-8 come out as escaped lone surrogates, the way Python decodes them.
    """
    kind, payload = value
    writer = _WRITERS.get(kind)
    if writer is not None:
        return writer(payload)
    if kind == raw.BINARY and redacted.is_withheld(value):
        return f'{{"$binary": {{"base64": "{b64encode(payload[5:]).decode()}", "subType": "{redacted.SUBTYPE:02x}"}}}}'
    # Every other type is a scalar that the driver decodes without loss.
    return json.dumps(json_util.default(to_python(value), _OPTIONS))


def dumps_document(document: bytes) -> str:
    """Write a BSON document as one line, its keys in their order, repeated ones too."""
    if COMPILED is not None and (quick := COMPILED.json(document, _text, dumps_raw)) is not None:
        return quick  # type: ignore[no-any-return]
    parts = []
    for key, kind, payload in raw.elements(document):
        writer = _WRITERS.get(kind)
        name = _known_key(key) if len(key) <= _SHORT_KEY else _text(key)
        parts.append(f"{name}: {writer(payload) if writer is not None else dumps_raw((kind, payload))}")
    return "{" + ", ".join(parts) + "}"


def reads_back(document: bytes) -> bool:
    """Whether what `dumps_document` writes is read as the same document.

    Extended JSON cannot distinguish a sub-document such as `{"$oid": "…"}` from the type that is written so.
    """
    if b"$" not in document or not _has_dollar_key(document):
        return True
    try:
        return to_raw(loads(dumps_document(document)))[1] == document
    except (ValueError, BSONError, OverflowError):
        return False


def _has_dollar_key(container: bytes) -> bool:
    return any(
        key.startswith(b"$") or (kind in (raw.DOCUMENT, raw.ARRAY) and _has_dollar_key(payload))
        for key, kind, payload in raw.elements(container)
    )


def _array(payload: bytes) -> str:
    return "[" + ", ".join(map(dumps_raw, raw.items(payload))) + "]"


def _text(utf8: bytes) -> str:
    text = encode_basestring(utf8.decode("utf-8", "surrogateescape"))
    if text.isascii() and "\x7f" not in text:
        return text
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_SHORT_KEY = 64


@lru_cache(4096)
def _known_key(utf8: bytes) -> str:
    """A key as `_text` writes it, cached, since the same few keys recur."""
    return _text(utf8)


def _string(payload: bytes) -> str:
    return _text(payload[4:-1])


def _db_pointer(payload: bytes) -> str:
    namespace, oid = payload[4 : -_DB_POINTER_ID_BYTES - 1], ObjectId(payload[-_DB_POINTER_ID_BYTES:])
    return f'{{"$dbPointer": {{"$ref": {_text(namespace)}, "$id": {{"$oid": "{oid}"}}}}}}'


def _code(payload: bytes) -> str:
    return f'{{"$code": {_string(payload)}}}'


def _code_with_scope(payload: bytes) -> str:
    code_end = 8 + int.from_bytes(payload[4:8], "little")
    return f'{{"$code": {_text(payload[8 : code_end - 1])}, "$scope": {dumps_document(payload[code_end:])}}}'


def _regex(payload: bytes) -> str:
    pattern, options, _ = payload.split(b"\x00")
    return f'{{"$regularExpression": {{"pattern": {_text(pattern)}, "options": {_text(options)}}}}}'


def _integer(name: str) -> Callable[[bytes], str]:
    return lambda payload: f'{{"${name}": "{int.from_bytes(payload, "little", signed=True)}"}}'


def _double(payload: bytes) -> str:
    (number,) = _read_double(payload)
    if number - number != 0:  # NaN or an infinity
        text = "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"  # noqa: PLR0124
    else:
        text = repr(number)
    return f'{{"$numberDouble": "{text}"}}'


def _date(payload: bytes) -> str:
    return f'{{"$date": {_integer("numberLong")(payload)}}}'


def _timestamp(payload: bytes) -> str:
    increment, seconds = (int.from_bytes(half, "little") for half in (payload[:4], payload[4:]))
    return f'{{"$timestamp": {{"t": {seconds}, "i": {increment}}}}}'


_WRITERS: dict[int, Callable[[bytes], str]] = {
    raw.DOCUMENT: dumps_document,
    raw.ARRAY: _array,
    raw.STRING: _string,
    raw.NULL: lambda _: "null",
    raw.BOOLEAN: lambda payload: "true" if payload != b"\x00" else "false",
    raw.SYMBOL: lambda payload: f'{{"$symbol": {_string(payload)}}}',
    raw.UNDEFINED: lambda _: '{"$undefined": true}',
    raw.DB_POINTER: _db_pointer,
    raw.CODE: _code,
    raw.CODE_WITH_SCOPE: _code_with_scope,
    raw.REGEX: _regex,
    raw.INT32: _integer("numberInt"),
    raw.INT64: _integer("numberLong"),
    raw.DATE: _date,
    raw.DOUBLE: _double,
    raw.TIMESTAMP: _timestamp,
    raw.OBJECT_ID: lambda payload: f'{{"$oid": "{payload.hex()}"}}',
}


_ISO_DATES = range(253_402_300_800_000)
"""1970 to 9999, in milliseconds: the others have no ISO form."""


def readable(value: Value) -> str:
    """Write a BSON value as one line, with plain numbers and ISO dates, all else as `dumps_raw` does."""
    kind, payload = value
    if kind == raw.DOCUMENT:
        return readable_document(payload)
    if kind == raw.ARRAY:
        return "[" + ", ".join(map(readable, raw.items(payload))) + "]"
    writer = _READABLE.get(kind)
    said = writer(payload) if writer is not None else None
    return said if said is not None else dumps_raw(value)


def readable_document(document: bytes) -> str:
    """Write a BSON document as `readable` does."""
    if COMPILED is not None and (quick := COMPILED.json(document, _text, dumps_raw, relaxed=True)) is not None:
        return quick  # type: ignore[no-any-return]
    return "{" + ", ".join(f"{_text(key)}: {readable((k, p))}" for key, k, p in raw.elements(document)) + "}"


def relaxed(value: Value) -> str:
    """Write a BSON value as one line of relaxed Extended JSON: as `readable`, but a withheld value says what it is.

    Not every value can be read back from it: numbers lose their type, and a withheld value is no Binary any more.
    """
    kind, payload = value
    if kind == raw.DOCUMENT:
        return "{" + ", ".join(f"{_text(key)}: {relaxed((k, p))}" for key, k, p in raw.elements(payload)) + "}"
    if kind == raw.ARRAY:
        return "[" + ", ".join(map(relaxed, raw.items(payload))) + "]"
    said = _relaxed_binary(payload) if kind == raw.BINARY else None
    return said if said is not None else readable(value)


def _relaxed_double(payload: bytes) -> str | None:
    number: float = struct.unpack("<d", payload)[0]
    return json.dumps(number) if math.isfinite(number) else None


def _relaxed_date(payload: bytes) -> str | None:
    if int.from_bytes(payload, "little", signed=True) not in _ISO_DATES:
        return None
    moment = to_python((raw.DATE, payload)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f'{{"$date": "{moment}"}}'


def _relaxed_binary(payload: bytes) -> str | None:
    withheld = redacted.redacted((raw.BINARY, payload))
    if withheld is None:
        return None
    told = {"how": withheld.how.value, "type": withheld.type, "last": withheld.last, "hash": withheld.digest.hex()}
    return json.dumps({"$redacted": {name: said for name, said in told.items() if said}})


_READABLE: dict[int, Callable[[bytes], str | None]] = {
    raw.INT32: lambda payload: str(int.from_bytes(payload, "little", signed=True)),
    raw.INT64: lambda payload: str(int.from_bytes(payload, "little", signed=True)),
    raw.DOUBLE: _relaxed_double,
    raw.DATE: _relaxed_date,
}


def loads(text: str) -> Any:
    """Read Extended JSON, canonical or relaxed, into Python values as `change_history.bson.values` has them.

    Raises:
        ValueError: not JSON, or not Extended JSON.
    """
    try:
        return json.loads(text, object_hook=_object, parse_constant=_refuse)
    except (TypeError, KeyError, ArithmeticError) as error:
        raise ValueError(f"not Extended JSON: {error}") from error


def _object(found: dict[str, Any]) -> Any:
    match found:
        case {"$symbol": str(text), **rest} if not rest:
            return Symbol(text)
        case {"$undefined": True, **rest} if not rest:
            return Undefined()
        case {"$dbPointer": {"$ref": str(namespace), "$id": ObjectId() as oid}, **rest} if not rest:
            return DBPointer(namespace, oid)
        case {"$ref": _}:
            return found  # a document like any other, not the driver's `DBRef`
    read = json_util.object_hook(found, _OPTIONS)
    if type(read) is Binary:
        return redacted.from_binary(read.subtype, read) or read
    return read


def _refuse(constant: str) -> Any:
    raise ValueError(f'{constant} is not JSON; write {{"$numberDouble": "{constant}"}}')
