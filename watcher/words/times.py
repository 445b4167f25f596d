"""Times and spans of time as text: parsing and formatting.

In words: `2h ago`, `yesterday 14:00`, `monday 9:30`, `12 Nov 2026`. Ambiguous texts are refused: a library would
guess, and find a date in nearly anything. A zone is a `tzinfo`; None is the local one.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

from bson import Timestamp

if TYPE_CHECKING:
    from datetime import tzinfo

    from change_history.reconstruct.point_in_time import Instant, PointInTime
    from change_history.stored.event import Event


_SPAN_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_CLUSTER_TIME = re.compile(r"([0-9]{3,}):([0-9]+)")  # two digits before the colon are an hour
_LIKE_ISO = re.compile(r"[0-9]{4}-[0-9W]")
_UINT32 = range(2**32)
_CLOCKS_DIFFER_S = 60


def parse(text: str, zone: tzinfo | None = None, *, now: datetime | None = None) -> Instant:
    """Read a time: ISO 8601, a cluster time `seconds:increment`, or words.

    Args:
        text: what was typed.
        zone: zone of times without one, and of words.
        now: an aware datetime that `ago` is counted from; the present.

    Returns:
        A `bson.Timestamp` for a cluster time, else an aware datetime.

    Raises:
        ValueError: it is no time, or could be more than one; the message may say why.
        OverflowError: it is beyond the calendar.
    """
    text = text.strip()
    if found := _CLUSTER_TIME.fullmatch(text):
        second, increment = int(found[1]), int(found[2])
        if second not in _UINT32 or increment not in _UINT32:
            raise ValueError("seconds and increment of a cluster time are 32-bit numbers")
        return Timestamp(second, increment)
    found_at = _parsed(text, zone, now or datetime.now(UTC))
    found_at.astimezone(UTC)  # otherwise it would fail where it is used: the calendar's limits differ between zones
    return found_at


def _parsed(text: str, zone: tzinfo | None, now: datetime) -> datetime:
    if not _LIKE_ISO.match(text):
        return read_words(text, zone, now)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("" if "isoformat" in str(error) else str(error)) from error
    if parsed.tzinfo:
        return parsed
    if len(text) <= len("2026-01-31"):  # a day, which begins even where the clocks skip midnight
        return parsed.astimezone() if zone is None else parsed.replace(tzinfo=zone)
    return in_zone(parsed, zone)


def seconds(point: Instant) -> float:
    """A point in time in seconds since 1970; a cluster time without its increment."""
    return point.timestamp() if isinstance(point, datetime) else float(point.time)


def is_future(point: Instant, now: datetime | None = None) -> bool:
    """Whether it is in the future by more than clocks may differ."""
    return seconds(point) > (now or datetime.now(UTC)).timestamp() + _CLOCKS_DIFFER_S


def names_its_zone(text: str) -> bool:
    """Whether a text means the same time on every machine: ISO 8601 with a zone, or a cluster time."""
    if _CLUSTER_TIME.fullmatch(text.strip()):
        return True
    try:
        return datetime.fromisoformat(text.strip()).tzinfo is not None
    except ValueError:
        return False


def zone_name(zone: tzinfo | None) -> str:
    """UTC, or the local zone as the server knows it: a name of the IANA database, or else today's offset."""
    if zone is not None:
        return "UTC"
    from zoneinfo import ZoneInfo

    from tzlocal import get_localzone_name

    try:
        name = get_localzone_name()
        local = ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return offset()
    # TZ may define a custom zone with the name of another one.
    now = datetime.now(UTC)
    seasons = [now - quarters * timedelta(days=91) for quarters in range(4)]
    same = all(when.astimezone(local).utcoffset() == when.astimezone().utcoffset() for when in seasons)
    return name if same else offset()


def offset() -> str:
    """Today's offset of the local zone from UTC: `+02:00`."""
    return datetime.now(UTC).astimezone().isoformat()[-6:]


def wall(point: datetime, zone: tzinfo | None) -> str:
    """A wall time as date and time of day, to the millisecond, with its offset: `2024-05-01 14:00:00.000+02:00`."""
    return _there(point, zone).isoformat(" ", "milliseconds")


def _there(point: datetime, zone: tzinfo | None) -> datetime:
    try:
        return point.astimezone(zone)
    except (OverflowError, ValueError, OSError):  # beyond the calendar in that zone
        return point.astimezone(UTC)


def clock(point: Timestamp, zone: tzinfo | None) -> str:
    """A cluster time as date and time of day, to the second."""
    return datetime.fromtimestamp(point.time, UTC).astimezone(zone).isoformat(" ", "seconds")


def exact(point: Timestamp) -> str:
    """A cluster time in the form in which users type it, `seconds:increment`."""
    return f"{point.time}:{point.inc}"


def clock_and_exact(point: Timestamp, zone: tzinfo | None) -> str:
    """A cluster time as date and time of day, and as `seconds:increment`."""
    return f"{clock(point, zone)}  {exact(point)}"


def typed(point: Instant, zone: tzinfo | None) -> str:
    """A time in a form that is parsed as the same time: a wall time with its offset, or `seconds:increment`."""
    return exact(point) if isinstance(point, Timestamp) else wall(point, zone)


def typed_exactly(at: PointInTime | None) -> str:
    """A point in time as `typed`, to the microsecond; a version by its number."""
    if isinstance(at, datetime):
        return at.isoformat()
    return exact(at) if isinstance(at, Timestamp) else str(at)


def asked(at: PointInTime | None, zone: tzinfo | None) -> str:
    """The requested point in time, for an answer about it: a time, `version 3`, or `now`."""
    if isinstance(at, Timestamp):
        return f"{clock(at, zone)}, {exact(at)}"
    if at is None:
        return "now"
    return wall(at, zone) if isinstance(at, datetime) else f"version {at}"


def of_event(event: Event, zone: tzinfo | None) -> str:
    """The time of an event: its wall time, or its cluster time if the wall time is beyond the calendar."""
    when = event.timestamp
    return wall(when, zone) if isinstance(when, datetime) else exact(event.cluster_time)


def span(length_s: float) -> str:
    """A span of time in its two largest units: `2 h 5 min`."""
    left = int(length_s)
    parts = []
    for unit, size in _SPAN_UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "less than 1 s"


_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_WRITTEN_OUT = (
    re.compile(rf"(?P<day>[0-9]{{1,2}}) {_MONTH} (?P<year>[0-9]{{4}})\b"),
    re.compile(rf"{_MONTH} (?P<day>[0-9]{{1,2}}),? (?P<year>[0-9]{{4}})\b"),
)
_DIGITS_ONLY = re.compile(r"[+-]?[0-9]+")
_LIKE_SECONDS = (9, 10)
"""Numbers of digits that the seconds since 1970 have, from 1973 on."""
_EITHER_WAY = re.compile(r"[0-9]{1,4}([./-])[0-9]{1,2}\1[0-9]{1,4}\b.*")
_OF_DAY = re.compile(
    r"(?:at )?(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?)? ?(?P<half>am|pm)?"
)
_NAMED_TIMES = {"": time(), "noon": time(12), "at noon": time(12), "midnight": time(), "at midnight": time()}
_HALF_DAY = 12

_SPAN = re.compile(r"([0-9]+|an?\b) *([a-z]+)(?:,? *(?:and +)?)")
_AGO = re.compile(r"(?P<spans>(?:(?:[0-9]+|an?\b) *[a-z]+,? *(?:and +)?)+?)(?: *\bago)?")
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), timedelta(seconds=1)),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), timedelta(minutes=1)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), timedelta(hours=1)),
}
_CALENDAR_DAYS = {**dict.fromkeys(("d", "day", "days"), 1), **dict.fromkeys(("w", "week", "weeks"), 7)}
_CALENDAR_MONTHS = {**dict.fromkeys(("month", "months"), 1), **dict.fromkeys(("y", "year", "years"), 12)}


def read_words(text: str, zone: tzinfo | None, now: datetime) -> datetime:
    """Read a time in words; `now` is what they are relative to, `zone` where days begin.

    Days, weeks, months and years are those of the calendar: `2 days ago` is the same time of day; hours, minutes and
    seconds are as long as they are. A day without a time begins at midnight, a time without a day is today's, the name
    of a day with its time is the latest that is not in the future. Raises as `parse`.
    """
    words = " ".join(text.lower().split())
    if words.endswith(" utc"):
        words, zone = words.removesuffix(" utc"), UTC
    if words == "now":
        return now
    if _DIGITS_ONLY.fullmatch(words):
        if len(words) in _LIKE_SECONDS:
            raise ValueError(f"a number alone is no time; as a cluster time it is {words}:1")
        raise ValueError("a number alone is no time")
    if _EITHER_WAY.fullmatch(words):
        raise ValueError("write year-month-day: this could be read in more than one way")
    here = now.astimezone(zone)
    if (found := _ago(words, here, zone)) is not None:
        return found
    day, rest = _day(words, here.date())
    point = datetime.combine(day, _time(rest))
    if words.partition(" ")[0] in _DAYS and point > here.replace(tzinfo=None):
        point -= timedelta(weeks=1)
    # The clocks may skip midnight; the day begins nevertheless.
    return _aware(point, zone) if _NAMED_TIMES.get(rest) == time() else in_zone(point, zone)


def in_zone(wall: datetime, zone: tzinfo | None) -> datetime:
    """The instant of a date and time of day in a zone.

    Raises:
        ValueError: the clocks repeat or skip it.
    """
    first, second = (_aware(wall.replace(fold=fold), zone) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        offsets = " or ".join(each.isoformat(" ") for each in (first, second))
        raise ValueError(f"the clocks are changed then; write the offset too, {offsets}")
    return first


def _aware(wall: datetime, zone: tzinfo | None) -> datetime:
    return wall.astimezone() if zone is None else wall.replace(tzinfo=zone)


def _day(words: str, today: date) -> tuple[date, str]:
    """The day that words begin with, and the rest of them."""
    first, _, rest = words.partition(" ")
    if first in {"today", "yesterday"}:
        return today - timedelta(days=first == "yesterday"), rest
    if first in _DAYS:
        return today - timedelta(days=(today.weekday() - _DAYS.index(first)) % 7), rest
    for form in _WRITTEN_OUT:
        if found := form.match(words):
            month = _MONTHS.index(found["month"][:3]) + 1
            return date(int(found["year"]), month, int(found["day"])), words[found.end() :].lstrip(", ")
    if not words:
        raise ValueError("it is empty")
    return today, words


def _time(words: str) -> time:
    if words in _NAMED_TIMES:
        return _NAMED_TIMES[words]
    found = _OF_DAY.fullmatch(words)
    if found is None or (found["minute"] is None and found["half"] is None):
        raise ValueError
    hour = int(found["hour"])
    if found["half"]:
        if not 1 <= hour <= _HALF_DAY:
            raise ValueError
        hour = hour % _HALF_DAY + (_HALF_DAY if found["half"] == "pm" else 0)
    return time(hour, int(found["minute"] or 0), int(found["second"] or 0))


def _ago(words: str, here: datetime, zone: tzinfo | None) -> datetime | None:
    """The time that the words `… ago` name, relative to `here`; None: they are other words."""
    spans = _AGO.fullmatch(words)
    if spans is None:
        return None
    months = days = 0
    exact = timedelta()
    for number, unit in _SPAN.findall(spans["spans"]):
        count = int(number) if number.isdecimal() else 1
        if unit in _UNITS:
            exact += count * _UNITS[unit]
        elif unit in _CALENDAR_DAYS:
            days += count * _CALENDAR_DAYS[unit]
        elif unit in _CALENDAR_MONTHS:
            months += count * _CALENDAR_MONTHS[unit]
        else:
            return None
    if months or days:
        wall = _months_before(here.replace(tzinfo=None), months) - timedelta(days=days)
        here = _aware(wall, zone)
    return (here.astimezone(UTC) - exact).astimezone(zone)


def _months_before(wall: datetime, months: int) -> datetime:
    """The same day of an earlier month, or its last one."""
    year, month = divmod(wall.year * 12 + wall.month - 1 - months, 12)
    if year < 1:
        raise OverflowError("no calendar has it")
    return wall.replace(year=year, month=month + 1, day=min(wall.day, monthrange(year, month + 1)[1]))
