"""Expiry keeps out of the stream's way, and still comes to its end."""

from __future__ import annotations

import sys

import pytest

from watcher.retention import expiry as module
from watcher.retention.expiry import EndedError, Pace
from watcher.retention.runner import short_turns


class Clock:
    """A clock that goes on only while somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stopped = False

    def monotonic(self) -> float:
        """Seconds."""
        return self.now

    def wait(self, seconds: float) -> bool:
        """Wait; whether a stop was asked for."""
        self.now += seconds
        return self.stopped


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the pace looks at."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_no_second_has_more_than_the_rate_even_after_a_long_pause(clock: Clock) -> None:
    """Else what was saved up in a pause would come down on the stream at once."""
    pace = Pace(1000, clock.wait, _due=clock.now)
    clock.now += 60
    begun = clock.now
    for _ in range(40):
        pace.done(250)

    assert clock.now - begun == pytest.approx(10 - 0.1)


def test_an_event_that_waits_is_let_by_before_the_next_slice(clock: Clock) -> None:
    """Else each slice makes the stream wait for a little longer."""
    heard = clock.now - 0.1
    pace = Pace(
        10**9, clock.wait, delay_s=lambda: 0.0 if clock.now >= heard + 0.2 else clock.now - heard, _due=clock.now
    )
    pace.done(250)

    assert clock.now == pytest.approx(heard + 0.2, abs=0.01)


def test_expiry_goes_on_where_every_event_waits_for_a_distant_majority(clock: Clock) -> None:
    """At a thousand entries a second; else history would never expire there."""
    begun = clock.now
    pace = Pace(20_000, clock.wait, delay_s=lambda: 0.08, _due=clock.now)
    for _ in range(10):
        pace.done(250)

    assert 1 < clock.now - begun < 3


def test_a_stream_that_is_behind_has_everything_to_itself(clock: Clock) -> None:
    """For as long as it is behind, and until a stop is asked for."""
    until = clock.now + 30
    pace = Pace(20_000, clock.wait, lambda: clock.now < until, _due=clock.now)
    pace.done(250)
    assert clock.now == pytest.approx(until, abs=0.1)

    until = clock.now + 30
    clock.stopped = True
    with pytest.raises(EndedError):
        pace.done(250)
    assert clock.now < until


def test_threads_take_short_turns_while_history_expires_and_only_then() -> None:
    """Else each of the stream's threads waits for five milliseconds whenever expiry computes."""
    usual = sys.getswitchinterval()
    with short_turns():
        assert sys.getswitchinterval() <= 0.001

    assert sys.getswitchinterval() == usual
