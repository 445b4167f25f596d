"""When a daemon is ready and when it is alive, by what it has done and a clock alone."""

from __future__ import annotations

from typing import Any

import pytest
from pymongo import MongoClient

from watcher import clients
from watcher.health.readiness import Bounds, Facts, Judgement, Retried, StageWork, judge
from watcher.steps import Step

BOUNDS = Bounds(30, 180, 1800)
WELL = Facts(leader=True, opened=True, sign=0)


def after(seconds: float, **facts: object) -> Judgement:
    """Judge what is as it was at time 0 after so many seconds."""
    return judge(Facts(**{**vars(WELL), **facts}), seconds, BOUNDS)


def test_a_quiet_evening_is_no_failure() -> None:
    """Nothing happens, for days, and everything is in the checkpoint."""
    assert after(1e6) == Judgement(live=True, reasons=[])


@pytest.mark.parametrize(
    ("step", "deployment"),
    [
        (Step.LISTEN, "watched"),
        (Step.RECORD, "history"),
        (Step.WRITE, "history"),
        (Step.SAVE_CHECKPOINT, "history"),
        (Step.RECORD_GAP, "watched or history"),
    ],
)
def test_a_stage_that_hangs_is_named_with_its_deployment_then_restarted(step: Step, deployment: str) -> None:
    """Ready for ever while nothing moves is what others' users complain of."""
    work = (StageWork(step, 0),)

    assert after(30, works=work) == Judgement(live=True, reasons=[])
    assert after(31, works=work) == Judgement(
        live=True, reasons=[f"{deployment} deployment: {step} has come to no end for 31 s"]
    )
    assert not after(181, works=work).live


def test_a_checkpoint_that_stands_still_is_stuck_though_all_stages_work() -> None:
    """Durable progress is what counts. Whatever the cause, known to us or not."""
    busy = (StageWork(Step.LISTEN, 180.9),)

    assert after(30, unsaved_since=0.0).ready
    assert after(31, unsaved_since=0.0, works=busy, waiting=7) == Judgement(
        live=True,
        reasons=[
            "the checkpoint has not moved for 31 s although the server has sent more; 7 events wait to be recorded"
        ],
    )
    assert not after(181, unsaved_since=0.0, works=busy).live


def test_what_explains_a_standstill_is_told_instead_of_it() -> None:
    """One reason that helps, not two of which one is a consequence."""
    told = after(100, unsaved_since=0.0, retried=(Retried(Step.WRITE, "NetworkTimeout"),)).reasons

    assert told == ["history deployment: writing history failed, trying again: NetworkTimeout"]


def test_retries_of_the_two_deployments_are_told_apart() -> None:
    """Whoever is called at night must know which server to look at."""
    retried = (Retried(Step.LISTEN, "AutoReconnect"), Retried(Step.WRITE, "WTimeoutError"))

    assert after(1, retried=retried) == Judgement(
        live=True,
        reasons=[
            "watched deployment: listening to the change stream failed, trying again: AutoReconnect",
            "history deployment: writing history failed, trying again: WTimeoutError",
        ],
    )


def test_a_stream_that_is_not_open_is_not_ready_and_left_to_try_for_half_an_hour() -> None:
    """Indexes of a large history take their time; restarted every three minutes they would never be done."""
    opening = {"opened": False}

    assert after(1, **opening) == Judgement(live=True, reasons=["the stream is not open yet"])
    assert after(1800, **opening).live
    assert not after(1801, **opening).live


def test_a_stand_by_is_ready_unless_it_cannot_see_the_lease() -> None:
    """A rolling update waits for the new one to be ready, which it must be before the old one lets go."""
    waiting = {"leader": False, "opened": False}

    assert after(1, **waiting) == Judgement(live=True, reasons=[])
    retried = (Retried(Step.RENEW_LEASE, "AutoReconnect"),)
    assert after(1, retried=retried, **waiting).reasons == [
        "history deployment: renewing the lease failed, trying again: AutoReconnect"
    ]
    assert after(31, **waiting) == Judgement(
        live=True, reasons=["history deployment: the lease has not been looked at for 31 s"]
    )
    assert not after(181, **waiting).live


def test_one_silent_attempt_of_the_driver_is_shorter_than_what_counts_as_stuck() -> None:
    """With a majority missing, a write says nothing until its time is up, twice: a restart would cure nothing."""
    client: MongoClient[Any] = MongoClient(
        "mongodb://nobody.invalid", connect=False, **clients.options("mongodb://nobody.invalid")
    )
    with client:
        options = client.options.pool_options
        one_s = (options.socket_timeout or 1e9) + (options.connect_timeout or 1e9)
        one_s += client.options.server_selection_timeout

    assert 2 * one_s < Bounds().live_s
