"""Trying again: what passes is waited for, what does not is said at once, and a stop is never held up."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from pymongo.errors import AutoReconnect, OperationFailure
from structlog.testing import capture_logs

from watcher import retry
from watcher.retry import Retry, StoppedError
from watcher.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable


class Stop(threading.Event):
    """A stop signal that notes how long it was waited on, and lets no time pass."""

    def __init__(self, stopped_by_wait: int = -1) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._stopped_by_wait = stopped_by_wait

    def wait(self, timeout: float | None = None) -> bool:
        """Wait not at all."""
        self.waits.append(timeout or 0)
        if len(self.waits) == self._stopped_by_wait:
            self.set()
        return self.is_set()


def failing(times: int, error: Exception | None = None) -> Callable[[], str]:
    """A call that fails so often, then succeeds."""
    left = [error or AutoReconnect("gone") for _ in range(times)]

    def attempt() -> str:
        if left:
            raise left.pop()
        return "done"

    return attempt


def retrying(stop: threading.Event, told: list[BaseException] | None = None) -> Retry:
    """A retry that tells what it retries."""
    return Retry(stop, lambda _step, error: None if told is None else told.append(error), lambda _step: None)


def telling(told: list[str]) -> Retry:
    """A retry that tells in words what it retries, and what has recovered."""
    return Retry(Stop(), lambda step, _: told.append(f"retrying {step}"), lambda step: told.append(str(step)))


def test_what_passes_is_tried_until_it_succeeds() -> None:
    """However long a server is away; a limit would end the daemon in the night."""
    stop = Stop()
    told: list[BaseException] = []

    assert retrying(stop, told).call(Step.WRITE, failing(50)) == "done"
    assert len(stop.waits) == len(told) == 50


def test_waits_grow_and_stay_bounded_and_are_never_the_same() -> None:
    """A hundred daemons must not come back in the same instant, nor a single one after an hour."""
    stop = Stop()
    retrying(stop).call(Step.WRITE, failing(100))

    assert all(0 < wait <= retry.LONGEST_DELAY_S * (1 + retry._JITTER) for wait in stop.waits)
    assert stop.waits[0] <= retry.FIRST_DELAY_S * (1 + retry._JITTER)
    assert min(stop.waits[-50:]) >= retry.LONGEST_DELAY_S * (1 - retry._JITTER)
    assert len({round(wait, 6) for wait in stop.waits[-50:]}) > 40


@pytest.mark.parametrize("error", [OperationFailure("no", 13), ValueError("bug"), KeyError("bug")])
def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    """Neither a wrong password nor a bug gets better by trying."""
    stop = Stop()

    with pytest.raises(type(error)):
        retrying(stop).call(Step.WRITE, failing(1, error))
    assert stop.waits == []


def test_a_stop_gives_a_failing_call_one_more_chance_and_then_gives_up() -> None:
    """The last attempt may be the one that saves the position."""
    stop = Stop(stopped_by_wait=3)
    with pytest.raises(StoppedError, match="writing") as caught:
        retrying(stop).call(Step.WRITE, failing(10))
    assert isinstance(caught.value.__cause__, AutoReconnect)
    assert len(stop.waits) == 3

    stop = Stop(stopped_by_wait=3)
    assert retrying(stop).call(Step.WRITE, failing(3)) == "done"


def test_a_stop_does_not_keep_a_call_from_being_made() -> None:
    """What was read is still written after the signal."""
    stop = Stop()
    stop.set()

    assert retrying(stop).call(Step.WRITE, failing(0)) == "done"
    with pytest.raises(StoppedError):
        retrying(stop).call(Step.WRITE, failing(1))


def test_a_stop_ends_a_long_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real wait on a real event: systemd would kill a daemon that slept it out."""
    monkeypatch.setattr(retry, "FIRST_DELAY_S", 600.0)
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()

    with pytest.raises(StoppedError):
        retrying(stop).call(Step.WRITE, failing(2))
    assert time.monotonic() - began < 300  # of six hundred


def test_an_abort_is_not_swallowed() -> None:
    """`except Exception` must not catch what ends the process."""

    def attempt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrying(Stop()).call(Step.WRITE, attempt)


def test_a_retry_and_its_end_are_said_without_any_value() -> None:
    """The server's messages may quote documents; only code and name are logged."""
    with capture_logs() as logs:
        retrying(Stop()).call(Step.WRITE, failing(2, OperationFailure("dup key {card: 4000}", 262)))

    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("warning", "failed, trying again"),
        ("warning", "failed, trying again"),
        ("info", "recovered"),
    ]
    assert "4000" not in str(logs)
    assert [line["failures"] for line in logs] == [1, 2, 2]


def test_recovery_is_told_once_and_only_after_a_retry() -> None:
    """Health would otherwise show for ever a failure that is over."""
    told: list[str] = []
    for times in (0, 3):
        telling(told).call(Step.WRITE, failing(times))

    assert told == ["retrying writing history"] * 3 + ["writing history"]


def test_a_retry_is_over_when_another_error_has_ended_it() -> None:
    """The backfill goes on in another way then; the daemon would be unready until it is restarted."""
    told: list[str] = []
    errors: list[Exception] = [AutoReconnect("gone"), OperationFailure("no snapshot", 239)]

    def attempt() -> None:
        raise errors.pop(0)

    with pytest.raises(OperationFailure):
        telling(told).call(Step.READ_DOCUMENTS, attempt)

    assert told == ["retrying reading existing documents", "reading existing documents"]


def test_work_that_fails_for_a_passing_reason_begins_again() -> None:
    """A server that is away for a moment must not end what runs beside the stream."""
    stop, told = Stop(), list[str]()
    retrying = Retry(stop, lambda step, _: told.append(f"retrying {step}"), lambda step: told.append(str(step)))

    retrying.keep_up(Step.MAKE_SNAPSHOTS, failing(3))

    assert told == ["retrying making snapshots", "making snapshots"] * 3
    assert len(stop.waits) == 3


def test_work_that_fails_in_an_unforeseen_way_is_raised_not_begun_again() -> None:
    """It would fail again and again, and nobody would look."""
    stop = Stop()

    with pytest.raises(KeyError):
        retrying(stop).keep_up(Step.MAKE_SNAPSHOTS, failing(1, KeyError("bug")))
    assert stop.waits == []


def test_work_that_fails_when_a_stop_was_asked_for_is_left_alone() -> None:
    """A stop must not wait for a server that is away."""
    stop = Stop(stopped_by_wait=1)

    retrying(stop).keep_up(Step.MAKE_SNAPSHOTS, failing(10))
    assert len(stop.waits) == 1
