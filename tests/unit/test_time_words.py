"""Moments in words are what they say, and nothing is guessed."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, available_timezones

import click
import pytest
from bson import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from watcher.cli.parsing.arguments import At
from watcher.words import times

if TYPE_CHECKING:
    from collections.abc import Iterator

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 24, 8, 30, 15, tzinfo=UTC)  # a Tuesday, 9:30:15 in Berlin


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-24 09:30:15"),
        ("today", "2026-11-24 00:00:00"),
        ("Yesterday", "2026-11-23 00:00:00"),
        ("yesterday 14:00", "2026-11-23 14:00:00"),
        ("yesterday at 14:00:30", "2026-11-23 14:00:30"),
        ("yesterday noon", "2026-11-23 12:00:00"),
        ("noon", "2026-11-24 12:00:00"),
        ("midnight", "2026-11-24 00:00:00"),
        ("14:00", "2026-11-24 14:00:00"),
        ("2pm", "2026-11-24 14:00:00"),
        ("12:30 am", "2026-11-24 00:30:00"),
        ("12 pm", "2026-11-24 12:00:00"),
        ("monday 9:30", "2026-11-23 09:30:00"),
        ("tuesday", "2026-11-24 00:00:00"),
        ("tuesday 9:30", "2026-11-24 09:30:00"),
        ("tuesday 9:31", "2026-11-17 09:31:00"),
        ("wednesday", "2026-11-18 00:00:00"),
        ("12 Nov 2026", "2026-11-12 00:00:00"),
        ("November 12, 2026 14:00", "2026-11-12 14:00:00"),
        ("2h ago", "2026-11-24 07:30:15"),
        ("2h", "2026-11-24 07:30:15"),
        ("an hour ago", "2026-11-24 08:30:15"),
        ("1h30m ago", "2026-11-24 08:00:15"),
        ("1 hour and 30 minutes ago", "2026-11-24 08:00:15"),
        ("2 days, 3 hours ago", "2026-11-22 06:30:15"),
        ("a week ago", "2026-11-17 09:30:15"),
        ("1 month ago", "2026-10-24 09:30:15"),  # summer time then: the same time of day all the same
        ("9 months ago", "2026-02-24 09:30:15"),
        ("2 years ago", "2024-11-24 09:30:15"),
    ],
)
def test_words_are_what_they_say(text: str, expected: str) -> None:
    """`yesterday` is its midnight, not 24 hours ago: else half a day is missing from an answer."""
    assert times.read_words(text, BERLIN, NOW) == datetime.fromisoformat(expected).replace(tzinfo=BERLIN)


def test_a_month_that_is_shorter_ends_on_its_last_day() -> None:
    """There is no 30th of February."""
    assert times.read_words("1 month ago", UTC, datetime(2026, 3, 30, tzinfo=UTC)) == datetime(2026, 2, 28, tzinfo=UTC)


def test_a_time_that_the_clocks_pass_twice_or_skip_is_refused() -> None:
    """Either reading would be a guess. In Berlin 02:30 was there twice on 25 October, and not at all on 29 March."""
    now = datetime(2026, 10, 25, 11, tzinfo=UTC)

    for text in ("2026-10-25 02:30", "2026-03-29T02:30", "today 2:30"):
        with pytest.raises(ValueError, match="write the offset too"):
            times.parse(text, BERLIN, now=now)
    assert times.parse("2026-10-25 02:30+01:00", BERLIN) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    santiago = ZoneInfo("America/Santiago")  # where the clocks skip midnight, the day begins an hour later
    for text in ("2026-09-06", "today"):
        begun = times.parse(text, santiago, now=datetime(2026, 9, 6, 15, tzinfo=UTC))
        assert isinstance(begun, datetime)
        assert begun.timestamp() == datetime(2026, 9, 6, 4, tzinfo=UTC).timestamp()


def test_utc_in_words_is_utc() -> None:
    """Whatever zone the person lives in."""
    assert times.read_words("yesterday 14:00 UTC", BERLIN, NOW) == datetime(2026, 11, 23, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("2", "-1", "2026", "20261112", "12.11.2026", "11/12/2026", "12-11-2026", "2026/11/12", "this morning"),
        *(
            "14",
            "25:00",
            "13pm",
            "last monday",
            "tomorrow",
            "in 2 hours",
            "2 fortnights ago",
            "30 Feb 2026",
            "noon noon",
        ),
        *("ago", "h ago", "2h 3", "yesterday yesterday", "\u0661\u0662:\u0660\u0660", "1e3h ago", "9999 years ago"),
    ],
)
def test_what_could_mean_something_else_is_refused(text: str) -> None:
    """An answer about the wrong moment looks like a right one."""
    with pytest.raises((ValueError, OverflowError)):
        times.parse(text, BERLIN, now=NOW)


@given(st.datetimes(datetime(1971, 1, 2), datetime(2100, 1, 1)), st.sampled_from([UTC, BERLIN, None]))  # noqa: DTZ001
def test_every_time_that_is_printed_reads_back_as_itself(naive: datetime, zone: ZoneInfo | None) -> None:
    """To the millisecond; a time copied from `log` must not become another one."""
    moment = naive.replace(tzinfo=UTC, microsecond=naive.microsecond // 1000 * 1000)
    assert times.parse(times.typed(moment, zone), BERLIN) == moment
    assert times.names_its_zone(times.typed(moment, zone))


@given(st.text(max_size=20))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    """And nothing else happens."""
    try:
        found = times.read_words(text, UTC, NOW)
    except (ValueError, OverflowError):
        return
    assert found.tzinfo is not None


def test_the_moment_that_was_understood_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the answer, where a script does not read it; what has one reading needs no telling."""
    assert At().convert("2026-11-23T12:00:00+01:00", None, None) == datetime(2026, 11, 23, 11, tzinfo=UTC)
    assert At().convert("1795484769:8", None, None) == Timestamp(1795484769, 8)
    assert At().convert("-1", None, None) == -1
    assert capsys.readouterr() == ("", "")
    understood = At().convert("yesterday noon", None, None)
    assert isinstance(understood, datetime)
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"as of {times.typed(understood, None)} (yesterday noon)\n")


def test_a_moment_to_come_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Else an answer of today passes for one of tomorrow."""
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    At().convert(later, None, None)
    assert "is in the future" in capsys.readouterr().err


def test_a_bad_moment_is_told_all_that_may_be_written() -> None:
    """`now` and versions too, where there are any."""
    with pytest.raises(click.BadParameter, match=r"(?s)a version of the document") as refused:
        At().convert("soonish", None, None)
    assert "now  " in refused.value.message
    with pytest.raises(click.BadParameter) as refused:
        At(versions=False).convert("soonish", None, None)
    assert "a version" not in refused.value.message


def _transitions(zone: ZoneInfo) -> Iterator[datetime]:
    step, now = timedelta(days=7), datetime(2016, 1, 1, tzinfo=UTC)
    while now.year <= 2036:
        early, late = now, now + step
        if early.astimezone(zone).utcoffset() != late.astimezone(zone).utcoffset():
            while late - early > timedelta(minutes=1):
                middle = (early + (late - early) / 2).replace(second=0, microsecond=0)
                if middle == early:
                    break
                same = middle.astimezone(zone).utcoffset() == early.astimezone(zone).utcoffset()
                early, late = (middle, late) if same else (early, middle)
            yield late
        now += step


def test_a_day_begins_where_it_begins_in_every_zone() -> None:
    """Where the clocks skip midnight, or pass it twice, at every change of ten years before and after."""
    seen: set[tuple[datetime, timedelta | None]] = set()
    for zone in map(ZoneInfo, sorted(available_timezones())):
        for change in _transitions(zone):
            there = change.astimezone(zone)
            if (change, there.utcoffset()) in seen:
                continue
            seen.add((change, there.utcoffset()))
            for day in (there.date() - timedelta(days=1), there.date(), there.date() + timedelta(days=1)):
                noon = datetime.combine(day, time(12), zone).astimezone(UTC)
                texts = (str(day), "today", "midnight", f"{day:%d %b %Y}", f"{day:%A}", "today at midnight")
                found = [times.parse(text, zone, now=noon) for text in texts]
                (begin,) = {when.astimezone(UTC) for when in found if isinstance(when, datetime)}
                assert begin.astimezone(zone).date() == day
                assert (begin - timedelta(milliseconds=1)).astimezone(zone).date() < day, (zone, day)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59-00:01"])
def test_a_time_beyond_the_calendar_is_refused(text: str) -> None:
    """It has no place in UTC, and would fail where it is used."""
    with pytest.raises(OverflowError):
        times.parse(text)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31", "0001-01-01"])
@pytest.mark.parametrize("zone", [timezone(timedelta(hours=14)), timezone(-timedelta(hours=12)), None])
def test_the_ends_of_the_calendar_can_be_asked_for_and_shown(text: str, zone: tzinfo | None) -> None:
    """In every zone, though there the calendar ends sooner."""
    try:
        when = times.parse(text, zone)
    except (OverflowError, ValueError):
        return
    assert times.typed(when, zone)
    assert times.typed(when, timezone(timedelta(hours=14)))
    assert times.typed(when, timezone(-timedelta(hours=12)))
