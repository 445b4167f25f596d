"""BSON values as readable text: all types are distinguishable, terminal control characters are escaped.

The spelling is the shell's (`Long("3")`, `ObjectId("…")`), shortened. Values are written piece by piece and the
writing stops once it is wide enough: history may hold documents of sixteen megabytes.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import UUID_SUBTYPE

from change_history.bson.redacted import Redacted
from change_history.bson.values import DBPointer, Missing, Symbol, Undefined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ELLIPSIS = "…"
_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_@.+][A-Za-z0-9_@.+:-]*")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_CHUNK = 256
_INT32 = range(-(2**31), 2**31)
_UUID_BYTES = 16
_LAST_TWO_BYTE = 0xFFFF


def text_of(value: Any, width: int | None = None) -> str:
    """A value, also `ABSENT` and `UNKNOWN`, on one line of at most `width` terminal cells; None: unlimited."""
    if width is None:
        return _whole(value)
    from rich.cells import cell_len

    written, cells = [], 0
    for piece in _pieces(value):
        written.append(piece)
        cells += cell_len(piece)
        if cells > width:
            break
    return shorten("".join(written), width)


def shorten(text: str, width: int) -> str:
    """Cut a line to a number of terminal cells, with an ellipsis at its end if something was cut."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + ELLIPSIS


def printable(text: str) -> str:
    """Escape invisible characters: controls, lone surrogates, marks that change the writing direction."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def number(count: int) -> str:
    """A number with separated thousands: `12,345`."""
    return f"{count:,}"


def words(count: int, noun: str) -> str:
    """A number and what it counts: `1 event`, `2,000 events`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def is_plain_word(text: str) -> bool:
    """Whether a text needs no quotes in a shell, and is not read as an option."""
    return _PLAIN_WORD.fullmatch(text) is not None


@lru_cache(2048)
def key_text(key: str) -> str:
    """A key, quoted if it could be misread."""
    return key if _PLAIN_KEY.fullmatch(key) else "".join(_quoted(key))


def _escape(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    point = ord(character)
    return f"\\u{point:04x}" if point <= _LAST_TWO_BYTE else f"\\u{{{point:x}}}"


def _quoted(text: str) -> Iterator[str]:
    yield '"'
    for start in range(0, len(text), _CHUNK):
        chunk = text[start : start + _CHUNK].replace("\\", "\\\\").replace('"', '\\"')
        yield chunk if chunk.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in chunk)
    yield '"'


def _whole(value: Any) -> str:
    """The whole text of a value: the joined output of `_pieces`."""
    kind = type(value)
    if kind is str:
        if value.isprintable() and '"' not in value and "\\" not in value:
            return f'"{value}"'
        return "".join(_quoted(value))
    if kind is dict:
        return "{" + ", ".join([f"{key_text(key)}: {_whole(inner)}" for key, inner in value.items()]) + "}"
    if kind is list:
        return "[" + ", ".join(map(_whole, value)) + "]"
    writer = _WRITERS.get(kind)
    return writer(value) if writer is not None else "".join(_pieces(value))


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for index, (key, inner) in enumerate(value.items()):
            yield f"{', ' if index else ''}{key_text(key)}: "
            yield from _pieces(inner)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for index, inner in enumerate(value):
            yield ", " if index else ""
            yield from _pieces(inner)
        yield "]"
    elif type(value) is str:
        yield from _quoted(value)
    else:
        yield _scalar(value)


def _scalar(value: Any) -> str:
    writer = _WRITERS.get(type(value))
    return writer(value) if writer else printable(str(value))


def _integer(value: int) -> str:
    return str(value) if value in _INT32 else f'Long("{value}")'


def _double(value: float) -> str:
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(value), repr(value))


def _date(value: datetime) -> str:
    aware = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _binary(value: bytes) -> str:
    subtype = value.subtype if isinstance(value, Binary) else 0
    if subtype == UUID_SUBTYPE and len(value) == _UUID_BYTES:
        return f'UUID("{UUID(bytes=bytes(value))}")'
    shown = base64.b64encode(value[:_CHUNK]).decode()
    rest = f" … {len(value)} bytes" if len(value) > _CHUNK else ""
    return f'Binary({subtype}, "{shown}"{rest})'


def _regex(value: Regex[Any]) -> str:
    pattern = value.pattern if isinstance(value.pattern, str) else value.pattern.decode("utf-8", "surrogateescape")
    flags = "".join(letter for letter, flag in _REGEX_FLAGS.items() if value.flags & flag)
    return printable(f"/{pattern}/{flags}")


def _code(value: Code) -> str:
    scope = f", {text_of(value.scope)}" if value.scope is not None else ""
    return f"Code({''.join(_quoted(str(value)))}{scope})"


_REGEX_FLAGS = {"i": re.IGNORECASE, "l": re.LOCALE, "m": re.MULTILINE, "s": re.DOTALL, "u": re.UNICODE, "x": re.VERBOSE}

_WRITERS: dict[type, Callable[[Any], str]] = {
    Missing: lambda value: f"({value.value})",
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: _integer,
    Int64: lambda value: f'Long("{int(value)}")',
    float: _double,
    Decimal128: lambda value: f'Decimal128("{value}")',
    datetime: _date,
    DatetimeMS: lambda value: f"Date({int(value)} ms)",  # outside the years 1 to 9999
    Timestamp: lambda value: f"Timestamp({value.time}, {value.inc})",
    ObjectId: lambda value: f'ObjectId("{value}")',
    Binary: _binary,
    bytes: _binary,
    Regex: _regex,
    Code: _code,
    MinKey: lambda _: "MinKey()",
    MaxKey: lambda _: "MaxKey()",
    Symbol: lambda value: f"Symbol({''.join(_quoted(value))})",
    Undefined: lambda _: "undefined",
    Redacted: lambda value: printable(str(value)),
    DBPointer: lambda value: f'DBPointer({"".join(_quoted(value.namespace))}, ObjectId("{value.id}"))',
}
