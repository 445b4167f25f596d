"""Moments in words: `2h ago`, `yesterday 14:00`, `monday 9:30`, `12 Nov 2026`. What has two readings is refused.

A library would guess, and read some date into nearly anything; a history must not answer for another moment than the
one that was meant.
"""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta, tzinfo

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


def read(text: str, zone: tzinfo | None, now: datetime) -> datetime:
    """Read a moment in words.

    Days, weeks, months and years are those of the calendar: `2 days ago` is the same time of day; hours, minutes and
    seconds are as long as they are. A day without a time begins at midnight, a time without a day is today's, the name
    of a day with its time is the latest that is not in the future.

    Args:
        text: the words.
        zone: where days begin; None is the local zone.
        now: what the words are relative to, aware.

    Raises:
        ValueError: it is no moment, or could be more than one; the message says why, if there is more to say.
        OverflowError: no calendar has it.
    """
    words = " ".join(text.lower().split())
    if words.endswith(" utc"):
        words, zone = words.removesuffix(" utc"), UTC
    if words == "now":
        return now
    if _DIGITS_ONLY.fullmatch(words):
        raise ValueError("a number alone is no time")
    if _EITHER_WAY.fullmatch(words):
        raise ValueError("write year-month-day: this could be read in more than one way")
    here = now.astimezone(zone)
    if (found := _ago(words, here, zone)) is not None:
        return found
    day, rest = _day(words, here.date())
    moment = datetime.combine(day, _time(rest))
    if words.partition(" ")[0] in _DAYS and moment > here.replace(tzinfo=None):
        moment -= timedelta(weeks=1)
    return in_zone(moment, zone) if rest else _aware(moment, zone)


def in_zone(wall: datetime, zone: tzinfo | None) -> datetime:
    """A date and time of day that a person wrote as the instant it is in a zone.

    Args:
        wall: naive.
        zone: None is the local one.

    Raises:
        ValueError: the clocks pass it twice, or skip it.
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
    """So long before `here`; None: the words are of another kind."""
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
