"""What is told of the daemon's state, when it is told, and when it is not."""

from __future__ import annotations

import threading

import pytest
from pymongo.errors import AutoReconnect

from watcher import progress as module
from watcher.batch import Entry, Position, Recorded, Rejected
from watcher.progress import STUCK_AFTER_S, Progress


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that progress looks at."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def a_batch(events: int, seconds: int, rejected: int = 0) -> Recorded:
    """A batch that ends at a time of the server's clock."""
    position = Position(b"", (1).to_bytes(4, "little") + seconds.to_bytes(4, "little"))
    counts = {("shop.users", "update"): events - rejected}
    return Recorded(
        [Entry(b"", b"")] * (events - rejected), [Rejected(b"", "")] * rejected, position=position, counts=counts
    )


def test_counting_goes_on_where_the_checkpoint_stands() -> None:
    """The total is of all starts; what this start did is told apart."""
    progress = Progress()
    progress.starts_with(100)
    progress.listened(5, 50)
    progress.written(a_batch(5, 50, rejected=1), 1)

    assert (progress.events, progress.session_events, progress.rejected, progress.batches) == (105, 5, 1, 1)
    assert progress.by_kind == {("shop.users", "update"): 4}


def test_lag_is_by_the_servers_clock_and_nothing_pending_is_no_lag() -> None:
    """Our own clock may be wrong by hours; an idle stream is not late."""
    progress = Progress()
    progress.listened(3, 1000)
    progress.written(a_batch(1, 900), 0)
    assert progress.lag_s == 100
    progress.written(a_batch(2, 1000), 0)
    assert progress.lag_s == 0
    progress.listened(0, 5000)
    assert progress.lag_s == 0


def test_the_servers_clock_never_goes_back() -> None:
    """Another member's clock may be behind after a failover; lag must not become negative."""
    progress = Progress()
    progress.listened(2, 1000)
    progress.listened(2, 400)
    progress.written(a_batch(1, 2000), 0)

    assert progress.lag_s == 0


def test_it_is_not_ready_before_its_position_is_saved() -> None:
    """From then on nothing escapes it; before, a unit that starts after us could write unseen."""
    progress = Progress()
    progress.listened(0, 1)
    assert not progress.opened
    assert progress.reasons_not_ready() == ["the stream is not open yet"]
    progress.checkpointed()
    assert progress.opened
    assert progress.reasons_not_ready() == []


def test_trouble_is_told_until_the_same_thing_succeeds() -> None:
    """By its kind alone: a message may quote documents."""
    progress = Progress()
    progress.checkpointed()
    progress.trouble("writing", AutoReconnect("secret"))
    assert progress.reasons_not_ready() == ["trouble writing, trying again: AutoReconnect"]
    assert progress.troubles == 1
    progress.checkpointed()
    assert progress.reasons_not_ready() != []
    progress.relief("listening")
    assert progress.reasons_not_ready() != []
    progress.relief("writing")
    assert progress.reasons_not_ready() == []


def test_trouble_alone_is_a_sign_of_life(clock: Clock) -> None:
    """The watchdog must not kill a daemon that waits for its server, again and again."""
    progress = Progress()
    for _ in range(10):
        clock.now += STUCK_AFTER_S - 1
        progress.trouble("writing", AutoReconnect("gone"))
        assert progress.alive()
    clock.now += STUCK_AFTER_S + 1
    assert not progress.alive()


def test_events_that_wait_are_told_though_the_listener_lives(clock: Clock) -> None:
    """Healthy while days behind is the complaint about others."""
    progress = Progress()
    progress.checkpointed()
    progress.listened(5, 1)
    for _ in range(4):
        clock.now += STUCK_AFTER_S / 3
        progress.listened(0, 1)
    assert progress.alive()
    assert progress.reasons_not_ready() == ["events have waited for more than 60 s to be recorded"]
    progress.written(a_batch(5, 1), 0)
    assert progress.reasons_not_ready() == []


def test_a_long_idle_stream_that_gets_an_event_is_not_late_at_once(clock: Clock) -> None:
    """The wait counts from the event's arrival."""
    progress = Progress()
    progress.checkpointed()
    clock.now += 10 * STUCK_AFTER_S
    progress.listened(5, 1)

    assert progress.reasons_not_ready() == []


def test_no_count_is_lost_between_threads() -> None:
    """Three stages and the health server share it."""
    progress = Progress()

    def work() -> None:
        for _ in range(2000):
            progress.listened(1, 1)
            progress.written(a_batch(1, 1), 0)
            progress.trouble("writing", AutoReconnect())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (progress.events, progress.batches, progress.troubles, progress._pending) == (8000, 8000, 8000, 0)
