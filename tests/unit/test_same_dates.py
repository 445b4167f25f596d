"""Dates are the same where BSON writes them alike, whichever way that is found out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from bson.tz_util import utc

from change_history.bson.values import to_raw
from change_history.query.conditions import same

BEGIN = datetime(2026, 10, 25, 0, 30)  # noqa: DTZ001 - without a zone, too
BERLIN = ZoneInfo("Europe/Berlin")


def test_a_date_that_did_not_change_is_not_told_as_a_change() -> None:
    """Nor one that did as none: in summer time or not, below a millisecond, or without a zone."""
    steps = [timedelta(0), timedelta(microseconds=1), timedelta(microseconds=999), timedelta(milliseconds=1)]
    dates = [(BEGIN + step).replace(tzinfo=zone) for step in steps for zone in (None, utc, UTC, BERLIN)]
    dates += [datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1)]

    wrong = [pair for pair in product(dates, dates) if same(*pair) != (to_raw(pair[0]) == to_raw(pair[1]))]

    assert wrong == []
