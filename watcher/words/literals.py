"""Parses values that users write: document ids, and old and new values of fields. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.errors import InvalidBSON

from change_history.bson import extended_json
from change_history.bson.values import DBPointer, Symbol, Undefined, to_raw

if TYPE_CHECKING:
    from collections.abc import Callable

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")  # digits with a leading zero are a code, not a number
_DOUBLE = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,3})?Z")
_INT32, _INT64 = range(-(2**31), 2**31), range(-(2**63), 2**63)
_SHORTENED = "…"
_WORDS = {
    "true": True,
    "false": False,
    "null": None,
    "undefined": Undefined(),
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}


def value(text: str) -> Any:
    """Read a value: Extended JSON, bare, or as the shell and our commands print it: `ObjectId("…")`, `{a: Long("3")}`.

    Bare, 24 hexadecimal digits are an ObjectId, digits an integer (`int` where int32 holds it, else `Int64`), digits
    with a fraction or an exponent a double, `2024-01-01T00:00:00.000Z` a date, and everything else a string; so are
    digits with a leading zero, and more than int64 holds.

    Raises:
        ValueError: it begins like JSON or like `Long("3")` and cannot be parsed as such.
        bson.errors.BSONError: what it says has no BSON form.
        OverflowError: a number in it is too large.
    """
    for form, read in _BARE:
        if form.fullmatch(text):
            return read(text)
    if _CALL.fullmatch(text):
        return _printed(text)
    return _structured(text) if text[:1] in {"{", "[", '"'} else text


def document_id(text: str) -> Any:
    """Read a document id: as `value` does, except that MongoDB has no arrays as ids.

    Raises:
        ValueError: it begins like JSON and cannot be parsed as such, or is an array.
        bson.errors.BSONError: what it says has no BSON form.
        OverflowError: a number in it is too large.
    """
    found = value(text)
    if isinstance(found, list):
        raise ValueError("MongoDB has no arrays as ids")  # noqa: TRY004 - what was typed is wrong, not a type
    return found


def _structured(text: str) -> Any:
    try:
        found = extended_json.loads(text)
    except ValueError:
        if _is_json(text):
            raise  # valid JSON, but no value
        try:
            return _printed(text)
        except _NotPrintedError as error:
            if _SHORTENED in text:
                raise ValueError(str(error)) from None
        raise
    to_raw(found)  # otherwise it would fail later, in the query
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class _NotPrintedError(ValueError):
    """The text is not in the form in which the commands print values."""


def _integer(digits: str) -> Any:
    number = int(digits)
    if number in _INT32:
        return number
    return Int64(number) if number in _INT64 else digits


def _word(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    return datetime.fromisoformat(text).astimezone(UTC)


_BARE: list[tuple[re.Pattern[str], Callable[[str], Any]]] = [
    (_OBJECT_ID, ObjectId),
    (re.compile("|".join(_WORDS)), _word),
    (_DATE, _word),
    (_INTEGER, _integer),
    (_DOUBLE, float),
]


def _printed(text: str) -> Any:
    reader = _Reader(text)
    found = reader.value()
    reader.end()
    to_raw(found)
    return found


_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"|(?P<bare>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|[0-9a-fA-F]{24}\b|-?[0-9][0-9.]*(?:[eE][+-]?[0-9]+)?|-Infinity)"
    r"|(?P<name>[A-Za-z_$][A-Za-z0-9_$]*)"
    r"|(?P<mark>[][{}():,]))",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "0": "\0"}


class _Reader:
    """Reads what `watcher.words.value_text` writes, and the shell's spelling of it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self) -> Any:
        kind, text = self._next()
        match kind:
            case "string":
                return _unescaped(text[1:-1])
            case "bare":
                return self._bare(text)
            case "name":
                return self._named(text)
        return self._container(text)

    def _named(self, name: str) -> Any:
        if name == "new":
            name = self._next()[1]
        if self._peek() != "(":
            if name not in _WORDS:
                raise self._fault()
            return _WORDS[name]
        self._next()
        return _called(name, self._several(")", self._argument))

    def _container(self, mark: str) -> Any:
        if mark == "{":
            return dict(self._several("}", self._pair))
        if mark == "[":
            return self._several("]", self.value)
        raise self._fault()

    def end(self) -> None:
        if self._text[self._at :].strip():
            raise self._fault()

    def _bare(self, text: str) -> Any:
        for form, read in _BARE:
            if form.fullmatch(text):
                return read(text)
        raise self._fault()

    def _argument(self) -> Any:
        found = self.value()
        if self._text[self._at :].lstrip().startswith("ms"):  # `Date(-1 ms)`, outside the years 1 to 9999
            self._next()
        return found

    def _pair(self) -> tuple[str, Any]:
        kind, text = self._next()
        if kind == "mark":
            raise self._fault()
        key = _unescaped(text[1:-1]) if kind == "string" else text
        self._take(":")
        return key, self.value()

    def _several(self, closing: str, read: Callable[[], Any]) -> list[Any]:
        found: list[Any] = []
        if self._peek() == closing:
            self._next()
            return found
        while True:
            found.append(read())
            mark = self._next()[1]
            if mark == closing:
                return found
            if mark != ",":
                raise self._fault()

    def _take(self, mark: str) -> None:
        if self._next()[1] != mark:
            raise self._fault()

    def _peek(self) -> str:
        found = _TOKEN.match(self._text, self._at)
        return found[0].strip() if found else ""

    def _next(self) -> tuple[str, str]:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise self._fault()
        self._at = found.end()
        kind = str(found.lastgroup)
        return kind, found[kind]

    def _fault(self) -> _NotPrintedError:
        if _SHORTENED in self._text:
            return _NotPrintedError("it was shortened when it was printed; --json prints all of it")
        return _NotPrintedError(f"it cannot be read from character {self._at + 1} on")


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        code = found[1] or found[2] or found[3]
        return chr(int(code, 16)) if code else _ESCAPED.get(found[4], found[4])

    return _ESCAPE.sub(character, text)


def _long(digits: Any) -> Int64:
    number = int(digits)
    if number not in _INT64:
        raise OverflowError("a Long has 64 bits")
    return Int64(number)


def _int(digits: Any) -> int:
    number = int(digits)
    if number not in _INT32:
        raise OverflowError("an Int32 has 32 bits")
    return number


def _decimal(digits: Any) -> Decimal128:
    try:
        return Decimal128(str(digits))
    except ArithmeticError as error:
        raise ValueError(f"{digits!r} is no decimal number") from error


def _date(when: Any) -> datetime | DatetimeMS:
    if isinstance(when, int):
        try:
            return DatetimeMS(when + 0).as_datetime()
        except (ValueError, OverflowError, InvalidBSON):
            return DatetimeMS(when + 0)  # an `Int64` is none to it
    if isinstance(when, datetime):
        return when
    found = datetime.fromisoformat(when)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def _binary(subtype: Any, data: Any) -> Binary:
    try:
        return Binary(base64.b64decode(data, validate=True), int(subtype))
    except (binascii.Error, TypeError) as error:
        raise ValueError("the bytes of a Binary are written in Base64") from error


def _timestamp(seconds: Any, increment: Any = None) -> Timestamp:
    if isinstance(seconds, dict):
        return Timestamp(seconds["t"], seconds["i"])
    return Timestamp(seconds, increment)


_CALLS: dict[str, Callable[..., Any]] = {
    "ObjectId": ObjectId,
    "UUID": lambda digits: Binary.from_uuid(UUID(digits)),
    "Long": _long,
    "NumberLong": _long,
    "Int32": _int,
    "NumberInt": _int,
    "Double": float,
    "Decimal128": _decimal,
    "NumberDecimal": _decimal,
    "ISODate": _date,
    "Date": _date,
    "Binary": _binary,
    "BinData": _binary,
    "Timestamp": _timestamp,
    "MinKey": MinKey,
    "MaxKey": MaxKey,
    "Symbol": Symbol,
    "Code": Code,
    "DBPointer": DBPointer,
}
_CALL = re.compile(rf"(?:new )?(?:{'|'.join(_CALLS)})\(.*\)\s*", re.DOTALL)


def _called(name: str, arguments: list[Any]) -> Any:
    if name not in _CALLS:
        raise _NotPrintedError(f"there is no type {name}")
    try:
        return _CALLS[name](*arguments)
    except (TypeError, KeyError) as error:
        raise ValueError(f"{name} takes other arguments") from error
