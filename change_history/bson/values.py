"""Values as Python sees them: absent, unknown, and every BSON type told apart.

Four things must never be mixed up: a path that was not there (`ABSENT`), a value nobody knows any more (`UNKNOWN`), a
value that history withholds (`change_history.bson.redacted.Redacted`), and a stored null (`None`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import bson
import bson.errors
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw, redacted

if TYPE_CHECKING:
    from collections.abc import Callable

    from bson import ObjectId

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict,
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="surrogateescape",
)
"""How values become Python objects: aware datetimes, `DatetimeMS` outside years 1 to 9999, UUIDs as `Binary`,
bytes that are not UTF-8 as lone surrogates."""


class Missing(Enum):
    """The two ways in which there is no value. Both are false in a condition; neither is `None`."""

    ABSENT = "absent"
    UNKNOWN = "unknown"

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{self.value}>"

    __str__ = __repr__


ABSENT = Missing.ABSENT
"""The path did not exist."""

UNKNOWN = Missing.UNKNOWN
"""There was a value or none; it was not recorded and cannot be derived."""


class Symbol(str):
    """BSON symbol (deprecated, 0x0E): text that is not a string."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Undefined:
    """BSON undefined (deprecated, 0x06): neither null nor absent."""


@dataclass(frozen=True, slots=True)
class DBPointer:
    """BSON DBPointer (deprecated, 0x0C): a namespace and an ObjectId."""

    namespace: str
    id: ObjectId


def to_python(value: raw.Value) -> Any:  # noqa: PLR0911 - one return a type
    """Turn a BSON value into the Python object that stands for exactly that type.

    Sub-documents become `dict` (also those with `$ref`, which `bson` would turn into a `DBRef`), arrays `list`,
    the deprecated types the classes of this module, withheld values `Redacted`, everything else what `bson` gives under
    `CODEC`.
    """
    kind, payload = value
    if kind == raw.DOCUMENT:
        return document_to_python(payload)
    if kind == raw.ARRAY:
        return [to_python(item) for item in raw.items(payload)]
    if kind == raw.SYMBOL:
        return Symbol(payload[4:-1].decode())
    if kind == raw.UNDEFINED:
        return Undefined()
    if kind == raw.DB_POINTER:
        return DBPointer(payload[4:-13].decode(), bson.ObjectId(payload[-12:]))
    if kind == raw.BINARY and (withheld := redacted.redacted(value)) is not None:
        return withheld
    return bson.decode(raw.from_fields([(b"v", value)]), CODEC)["v"]


def document_to_python(
    document: bytes | RawBSONDocument, doubtful: Callable[[dict[str, Any], bytes], tuple[int, int]] | None = None
) -> dict[str, Any]:
    """Turn a BSON document into a `dict`, by the rules of `to_python`.

    Args:
        document: BSON.
        doubtful: for documents of a known form: given what the driver has decoded, and from what, the beginning and the
            end of the part that may hold other types than the driver knows. Without it, that is the whole document.
    """
    data = bytes(document.raw) if isinstance(document, RawBSONDocument) else document
    if b"$ref" not in data:
        decoded = bson.decode(data, CODEC)
        begin, end = (4, len(data)) if doubtful is None else doubtful(decoded, data)
        if _LOST_TYPE(data, begin, end) is None or _encodes_to(decoded, data):
            if redacted.MAGIC in data:
                tell_withheld(decoded)
            return decoded
    return _taken_apart(data)


# What the driver decodes as another type: undefined, DBPointer, symbol. A key follows the type byte. Where three zeros
# and two more bytes such as these follow, it is none, but the length of a string: after an undefined value with
# an empty key they would be the ends of two documents and a type byte, after the others a length of 32 MB or more.
_LOST_TYPE = re.compile(rb"[\x06\x0c\x0e](?!\x00\x00\x00[\x14-\x7e\x80-\xfe][\x02-\xff])").search


def tell_withheld(container: Any) -> None:
    """Put `Redacted` into a `dict` or a `list` wherever the driver has decoded a Binary that is one."""
    for key, value in container.items() if isinstance(container, dict) else enumerate(container):
        kind = type(value)
        if kind is dict or kind is list:
            tell_withheld(value)
        elif kind is bson.Binary and (withheld := redacted.from_binary(value.subtype, value)) is not None:
            container[key] = withheld


def _taken_apart(data: bytes) -> dict[str, Any]:
    return {
        key.decode("utf-8", "surrogateescape"): to_python((kind, payload)) for key, kind, payload in raw.elements(data)
    }


def _encodes_to(decoded: dict[str, Any], data: bytes) -> bool:
    """Whether the driver's decoding, some fifteen times faster than ours, lost nothing of this document."""
    try:
        return bson.encode(decoded, codec_options=CODEC) == data
    except (bson.errors.BSONError, UnicodeEncodeError):
        return False


def to_raw(value: Any) -> raw.Value:  # noqa: PLR0911 - one return a type
    """Write a Python object as the BSON value that `to_python` would read back as it.

    Raises:
        bson.errors.InvalidDocument: the object has no BSON type.
    """
    if isinstance(value, RawBSONDocument):
        return (raw.DOCUMENT, bytes(value.raw))
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise bson.errors.InvalidDocument(f"documents must have only string keys: {value!r}")
        return (
            raw.DOCUMENT,
            raw.from_fields((key.encode("utf-8", "surrogateescape"), to_raw(v)) for key, v in value.items()),
        )
    if isinstance(value, list | tuple):
        return (raw.ARRAY, raw.from_items(to_raw(item) for item in value))
    if isinstance(value, str) and not isinstance(value, bson.Code):
        kind = raw.SYMBOL if isinstance(value, Symbol) else raw.STRING
        return (kind, raw.string(value.encode("utf-8", "surrogateescape")))
    if isinstance(value, redacted.Redacted):
        return value.raw
    if isinstance(value, Undefined):
        return (raw.UNDEFINED, b"")
    if isinstance(value, DBPointer):
        return (raw.DB_POINTER, raw.string(value.namespace.encode()) + value.id.binary)
    ((_, kind, payload),) = raw.elements(bson.encode({"v": value}, codec_options=CODEC))
    return kind, payload
