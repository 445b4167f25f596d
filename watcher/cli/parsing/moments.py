"""Moments and spans of time: as people write them, and as they read them.

A zone is a `tzinfo`; None is the local one.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bson import Timestamp

if TYPE_CHECKING:
    from datetime import tzinfo

    from change_history.reconstruct.point_in_time import Moment, PointInTime
    from change_history.stored.event import Event

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_CLUSTER_TIME = re.compile(r"([0-9]{3,}):([0-9]+)")  # two digits before the colon are an hour
_LIKE_ISO = re.compile(r"[0-9]{4}-[0-9W]")
_UINT32 = range(2**32)
_CLOCKS_DIFFER_S = 60


def parse_moment(text: str, zone: tzinfo | None = None, *, now: datetime | None = None) -> Moment:
    """Read a time: ISO 8601, a cluster time `seconds:increment`, or words.

    Args:
        text: what was typed.
        zone: of a time that names none, and of words.
        now: an aware datetime that `ago` is counted from; the present.

    Returns:
        A `bson.Timestamp` for a cluster time, else an aware datetime.

    Raises:
        ValueError: it is no time, or could be more than one; the message may say why.
        OverflowError: it is one that no calendar has.
    """
    text = text.strip()
    if found := _CLUSTER_TIME.fullmatch(text):
        second, increment = int(found[1]), int(found[2])
        if second not in _UINT32 or increment not in _UINT32:
            raise ValueError("seconds and increment of a cluster time are 32-bit numbers")
        return Timestamp(second, increment)
    now = now or datetime.now(UTC)
    from watcher.cli.parsing import time_words

    if not _LIKE_ISO.match(text):
        return time_words.read(text, zone, now)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("" if "isoformat" in str(error) else str(error)) from error
    if parsed.tzinfo:
        return parsed
    if len(text) <= len("2026-01-31"):  # a day, which begins even where the clocks skip midnight
        return parsed.astimezone() if zone is None else parsed.replace(tzinfo=zone)
    return time_words.in_zone(parsed, zone)


def seconds(moment: Moment) -> float:
    """A moment in seconds since 1970; a cluster time without its increment."""
    return moment.timestamp() if isinstance(moment, datetime) else float(moment.time)


def is_future(moment: Moment, now: datetime | None = None) -> bool:
    """Whether it is still to come, more than clocks may differ by."""
    return seconds(moment) > (now or datetime.now(UTC)).timestamp() + _CLOCKS_DIFFER_S


def names_its_zone(text: str) -> bool:
    """Whether what was typed has only one reading wherever it is typed: ISO 8601 with a zone, or a cluster time."""
    if _CLUSTER_TIME.fullmatch(text.strip()):
        return True
    try:
        return datetime.fromisoformat(text.strip()).tzinfo is not None
    except ValueError:
        return False


def zone_of(*, utc: bool) -> tzinfo | None:
    """The zone that `--utc` chooses: UTC, or the local one."""
    return UTC if utc else None


def zone_name(*, utc: bool) -> str:
    """The zone that `--utc` chooses as the server knows it: a name of the IANA database, or else today's offset."""
    if utc:
        return "UTC"
    from zoneinfo import ZoneInfo

    from tzlocal import get_localzone_name

    try:
        name = get_localzone_name()
        zone = ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return offset()
    # A zone may be made up with TZ; then the name is another's.
    now = datetime.now(UTC)
    seasons = [now - quarters * timedelta(days=91) for quarters in range(4)]
    same = all(when.astimezone(zone).utcoffset() == when.astimezone().utcoffset() for when in seasons)
    return name if same else offset()


def offset() -> str:
    """Today's offset of the local zone from UTC: `+02:00`."""
    return datetime.now(UTC).astimezone().isoformat()[-6:]


def wall(moment: datetime, zone: tzinfo | None) -> str:
    """A wall time as date and time of day, to the millisecond, with its offset: `2024-05-01 14:00:00.000+02:00`."""
    return moment.astimezone(zone).isoformat(" ", "milliseconds")


def clock(moment: Timestamp, zone: tzinfo | None) -> str:
    """A cluster time as date and time of day, to the second."""
    return datetime.fromtimestamp(moment.time, UTC).astimezone(zone).isoformat(" ", "seconds")


def exact(moment: Timestamp) -> str:
    """A cluster time as it can be typed, `seconds:increment`."""
    return f"{moment.time}:{moment.inc}"


def place(moment: Timestamp, zone: tzinfo | None) -> str:
    """A cluster time by the clock, and exactly."""
    return f"{clock(moment, zone)}  {exact(moment)}"


def typed(moment: Moment, zone: tzinfo | None) -> str:
    """Any moment as it can be typed again and means the same: a wall time with its offset, or `seconds:increment`."""
    return exact(moment) if isinstance(moment, Timestamp) else wall(moment, zone)


def asked(at: PointInTime | None, zone: tzinfo | None) -> str:
    """A moment that was asked for, in an answer about it: a time, `version 3`, or `now`."""
    if isinstance(at, Timestamp):
        return f"{clock(at, zone)}, {exact(at)}"
    if at is None:
        return "now"
    return wall(at, zone) if isinstance(at, datetime) else f"version {at}"


def of_event(event: Event, zone: tzinfo | None) -> str:
    """When an event happened: its wall time, or its cluster time where the wall time is none that a calendar has."""
    when = event.timestamp
    return wall(when, zone) if isinstance(when, datetime) else exact(event.cluster_time)


def span(length_s: float) -> str:
    """A span of time in its two largest units: `2 h 5 min`."""
    left = int(length_s)
    parts = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "less than 1 s"
