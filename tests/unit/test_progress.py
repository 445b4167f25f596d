"""What is told of the daemon's state, when it is told, and when it is not."""

from __future__ import annotations

import threading

import pytest
from bson import Timestamp
from pymongo.errors import AutoReconnect

from change_history.bson.cluster_time import ClusterTime
from watcher.health import progress as module
from watcher.health.progress import Progress
from watcher.steps import Deployment, Step
from watcher.stream.batch import Batch, Entry, Position, Recorded, RejectedEvent


class Clock:
    """A clock that is set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that progress looks at."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def at(seconds: int) -> Position:
    """The position at a time of the server's clock."""
    return Position(b"%d" % seconds, ClusterTime.of(Timestamp(seconds, 1)))


def heard(events: int, seconds: int) -> Batch:
    """A batch that ends at a time of the server's clock, ten bytes an event."""
    return Batch([b"0123456789"] * events, at(seconds))


def recorded(events: int, seconds: int, rejected: int = 0) -> Recorded:
    """The history of a batch."""
    counts = {("shop.users", "update"): events - rejected}
    entries = [Entry(b"", b"0123456789")] * (events - rejected)
    return Recorded(entries, [RejectedEvent(b"0123456789", "")] * rejected, position=at(seconds), counts=counts)


def well(progress: Progress) -> Progress:
    """Let it be open, with everything saved."""
    progress.listened(heard(0, 1000), 1000)
    progress.written(recorded(0, 1000), 0)
    progress.checkpointed(at(1000))
    return progress


def test_counting_goes_on_where_the_checkpoint_stands() -> None:
    """The total is of all starts; what this start did is told apart."""
    progress = Progress()
    progress.starts_with(100)
    progress.listened(heard(5, 50), 50)
    progress.written(recorded(5, 50, rejected=1), 1)

    assert (progress.events, progress.session_events, progress.rejected, progress.batches) == (105, 5, 1, 1)
    assert progress.tally.counts() == {("shop.users", "update"): 4}


def test_what_is_on_its_way_is_known_by_stage_and_size() -> None:
    """Where it piles up is where to look."""
    progress = Progress()
    progress.listened(heard(5, 50), 50)
    assert (progress.heard - progress.recorded, progress.bytes, progress.waiting) == (5, 50, 5)
    progress.turned(recorded(5, 50))
    progress.written(recorded(2, 50, rejected=1), 1)
    assert (progress.heard - progress.recorded, progress.recorded - progress.acknowledged) == (0, 3)
    assert progress.bytes == 30


def test_the_oldest_event_under_way_tells_how_long_the_stream_lets_events_wait(clock: Clock) -> None:
    """By it expiry steps aside: too early would be never done, too late would be felt."""
    progress = well(Progress())
    assert progress.delay_s == 0
    progress.listened(heard(3, 1000), 1000)
    clock.now += 0.25
    progress.listened(heard(2, 1001), 1001)
    assert progress.delay_s == 0.25
    progress.written(recorded(2, 1000), 0)
    assert progress.delay_s == 0.25
    progress.written(recorded(1, 1000), 0)
    clock.now += 0.5
    assert progress.delay_s == 0.5
    progress.written(recorded(2, 1001, rejected=1), 1)
    assert progress.delay_s == 0
    progress.listened(heard(1, 1002), 1002)
    clock.now += 1
    progress.standing_by(None)
    assert progress.delay_s == 0


def test_an_empty_batch_is_no_write() -> None:
    """An idle stream must not look busy."""
    progress = well(Progress())

    assert (progress.batches, progress.events) == (0, 0)


def test_lag_is_by_the_servers_clock() -> None:
    """Our own clock may be wrong by hours; an idle stream is not late."""
    progress = Progress()
    assert progress.lag_s is None
    progress.listened(heard(3, 1000), 1000)
    assert progress.lag_s is None
    progress.written(recorded(1, 900), 0)
    assert progress.lag_s == 100
    progress.written(recorded(2, 1000), 0)
    assert progress.lag_s == 0
    progress.listened(heard(0, 5000), 5000)
    progress.written(recorded(0, 5000), 0)
    assert progress.lag_s == 0


def test_lag_grows_while_the_stream_is_down(clock: Clock) -> None:
    """The server's clock goes on without telling us; a lag of 0 all through an outage would hide it."""
    progress = well(Progress())
    clock.now += 600
    progress.retrying(Step.LISTEN, AutoReconnect("gone"))

    assert progress.lag_s == 600
    assert progress.checkpoint_age_s == 600


def test_lag_does_not_vanish_between_two_batches_of_a_long_catching_up() -> None:
    """All that was heard is recorded, but the server has hours more to tell."""
    progress = Progress()
    progress.listened(heard(5, 1000), 9000)
    progress.written(recorded(5, 1000), 0)

    assert (progress.waiting, progress.lag_s) == (0, 8000)


def test_the_servers_clock_never_goes_back() -> None:
    """Another member's clock may be behind after a failover; lag must not become negative."""
    progress = Progress()
    progress.listened(heard(2, 1000), 1000)
    progress.listened(heard(2, 400), 400)
    progress.written(recorded(1, 400), 0)
    assert progress.lag_s == 600
    progress.written(recorded(1, 2000), 0)
    assert progress.lag_s == 0


def test_it_is_not_ready_before_its_position_is_saved() -> None:
    """From then on nothing escapes it; before, a unit that starts after us could write unseen."""
    progress = Progress()
    progress.listened(heard(0, 1), 1)
    assert (progress.opened, progress.role) == (False, "starting")
    assert progress.judgement().reasons == ["the stream is not open yet"]
    progress.checkpointed(at(1))
    assert progress.opened
    assert progress.judgement().ready


def test_a_retry_is_told_until_the_same_thing_succeeds() -> None:
    """By its kind alone: a message may quote documents."""
    progress = well(Progress())
    progress.retrying(Step.WRITE, AutoReconnect("secret"))
    assert progress.judgement().reasons == ["history deployment: writing history failed, trying again: AutoReconnect"]
    assert progress.retries == 1
    assert progress.retries_of == {Deployment.WATCHED: 0, Deployment.HISTORY: 1, Deployment.EITHER: 0}
    progress.recovered(Step.LISTEN)
    assert not progress.judgement().ready
    progress.recovered(Step.WRITE)
    assert progress.judgement().ready


def test_a_retry_is_a_sign_of_life(clock: Clock) -> None:
    """The watchdog must not kill a daemon that waits for its server, again and again."""
    progress = well(Progress())
    progress.listened(heard(5, 1001), 1001)
    with progress.at_work(Step.WRITE):
        for _ in range(10):
            clock.now += progress.bounds.live_s - 1
            progress.retrying(Step.WRITE, AutoReconnect("gone"))
            assert progress.alive()
        clock.now += progress.bounds.live_s + 1
        assert not progress.alive()


def test_a_retry_beside_the_stream_does_not_hide_a_stage_that_hangs(clock: Clock) -> None:
    """The backfill fails and tries again every ten seconds; meanwhile the writing stage is stuck for good."""
    progress = well(Progress())
    progress.listened(heard(5, 1001), 1001)
    with progress.at_work(Step.WRITE):
        beside = threading.Thread(target=progress.retrying, args=(Step.READ_DOCUMENTS, AutoReconnect()))
        clock.now += progress.bounds.live_s + 1
        beside.start()
        beside.join()

        assert not progress.alive()


def test_old_values_that_are_tried_again_keep_the_recording_alive(clock: Clock) -> None:
    """It reads them from the history deployment, under a name of its own."""
    progress = well(Progress())
    with progress.at_work(Step.RECORD):
        clock.now += progress.bounds.live_s - 1
        progress.retrying(Step.READ_HISTORY, AutoReconnect())
        clock.now += progress.bounds.live_s - 1

        assert progress.alive()


def test_a_checkpoint_that_falls_behind_and_stays_there_is_told(clock: Clock) -> None:
    """Healthy while days behind is the complaint about others."""
    progress = well(Progress())
    for second in range(1, 6):
        clock.now += 10
        progress.listened(heard(1, 1000 + second), 1000 + second)
    (reason,) = progress.judgement().reasons
    assert reason.startswith("the checkpoint has not moved for 40 s")
    progress.checkpointed(at(1002))
    assert progress.judgement().ready  # it moves again, though it is not there yet
    clock.now += 31
    assert not progress.judgement().ready
    progress.checkpointed(at(1005))
    clock.now += 1000
    assert progress.judgement().ready


def test_a_long_idle_stream_that_gets_an_event_is_not_late_at_once(clock: Clock) -> None:
    """The wait counts from the event's arrival."""
    progress = well(Progress())
    clock.now += 10 * progress.bounds.live_s
    progress.listened(heard(5, 1001), 1001)

    assert progress.judgement().ready


def test_a_stand_by_is_one_until_it_leads_and_starts_anew_then(clock: Clock) -> None:
    """What it did in an earlier term, and what went wrong there, is not what it does now."""
    progress = well(Progress())
    assert progress.role == "leader"
    progress.listened(heard(5, 1001), 1001)
    progress.retrying(Step.SAVE_CHECKPOINT, AutoReconnect())
    progress.standing_by("db1:4711")
    assert (progress.role, progress.owner, progress.waiting, progress.lag_s) == ("standby", "db1:4711", 0, None)
    assert progress.judgement().ready
    for _ in range(10):
        clock.now += 20
        progress.standing_by("db1:4711")
    assert progress.judgement().ready
    progress.leads(8)
    assert (progress.role, progress.owner, progress.term) == ("leader", None, 8)
    assert progress.judgement().reasons == ["the stream is not open yet"]


def test_how_long_the_oplog_will_do_needs_both_its_ends() -> None:
    """From the oldest entry to what is saved; unknown is not 0."""
    progress = Progress()
    progress.oplog_since = 400
    assert progress.oplog_headroom_s is None
    assert well(progress).oplog_headroom_s == 600
    progress.oplog_since = None
    assert progress.oplog_headroom_s is None


def test_no_count_is_lost_between_threads() -> None:
    """Three stages and the health server share it."""
    progress = Progress()

    def work() -> None:
        for _ in range(2000):
            progress.listened(heard(1, 1), 1)
            progress.written(recorded(1, 1), 0)
            progress.retrying(Step.WRITE, AutoReconnect())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (progress.events, progress.batches, progress.retries, progress.waiting) == (8000, 8000, 8000, 0)
    assert progress.bytes == 0
