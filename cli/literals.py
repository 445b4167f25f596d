"""Reading what people write: document ids and times. Pure; `cli.parse` puts it on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson import Int64, ObjectId, Timestamp

from cli import extended_json
from models.values import to_raw

if TYPE_CHECKING:
    from history.window import Moment

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")  # with a leading zero it is a code, not a number
_DOUBLE = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_CLUSTER_TIME = re.compile(r"([0-9]{3,}):([0-9]+)")  # two digits before the colon are an hour
_AGO = re.compile(r"([0-9]+) *(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?) +ago", re.IGNORECASE)
_LIKE_ISO = re.compile(r"[0-9]{4}-")
_UNIT = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}
_INT32, _INT64, _UINT32 = range(-(2**31), 2**31), range(-(2**63), 2**63), range(2**32)


def document_id(text: str) -> Any:
    """Read a document id: Extended JSON, or bare.

    Bare, 24 hexadecimal digits are an ObjectId, digits an integer (`int` where int32 holds it, else `Int64`), and
    everything else a string; so are digits with a leading zero, and more than int64 holds.

    Raises:
        ValueError: it begins like JSON and is none, or is an array.
        bson.errors.BSONError: what it says has no BSON form.
        OverflowError: a number in it is too large.
    """
    if _OBJECT_ID.fullmatch(text):
        return ObjectId(text)
    if _INTEGER.fullmatch(text):
        number = int(text)
        if number in _INT32:
            return number
        return Int64(number) if number in _INT64 else text
    if _DOUBLE.fullmatch(text):
        return float(text)
    if text[:1] in {"{", "[", '"'} or text in {"true", "false", "null"}:
        found = extended_json.loads(text)
        if isinstance(found, list):
            raise ValueError("MongoDB has no arrays as ids")
        to_raw(found)  # or it would fail later, in the query
        return found
    return text


def moment(text: str, now: datetime | None = None) -> Moment:
    """Read a time: ISO 8601, a cluster time `seconds:increment`, or words.

    Args:
        text: what was typed.
        now: an aware datetime that `ago` is counted from; the present.

    Returns:
        A `bson.Timestamp` for a cluster time, else an aware datetime.

    Raises:
        ValueError: it is no time.
        OverflowError: it is one that no calendar has.
    """
    text = text.strip()
    if found := _CLUSTER_TIME.fullmatch(text):
        seconds, increment = int(found[1]), int(found[2])
        if seconds not in _UINT32 or increment not in _UINT32:
            raise ValueError("seconds and increment of a cluster time are 32-bit numbers")
        return Timestamp(seconds, increment)
    now = now or datetime.now(UTC)
    if found := _AGO.fullmatch(text):
        return now - int(found[1]) * _UNIT[found[2][0].lower()]
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        if _LIKE_ISO.match(text):
            raise  # a slip of the pen; dateparser would find some other date in it
        parsed = _in_words(text, now)
    return parsed if parsed.tzinfo else parsed.astimezone()


def _in_words(text: str, now: datetime) -> datetime:
    import dateparser

    local = now.astimezone().replace(tzinfo=None)
    settings: Any = {"PREFER_DATES_FROM": "past", "RELATIVE_BASE": local}
    found: datetime | None = dateparser.parse(text, languages=["en"], settings=settings)
    if found is None:
        raise ValueError("it is no time")
    return found
