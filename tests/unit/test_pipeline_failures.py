"""The pipeline with stages in memory that fail: it ends by itself, says why, and blocks nobody."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import OperationFailure

from tests.support.pipeline_stages import PATIENCE_S, BrokenError, Stages, check_order, fail_with, in_turn, nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.pipeline_stages import Action, Running

pytestmark = pytest.mark.usefixtures("_patience_of_machines")

FAILURES = {
    "listening": "on_read",
    "recording": "on_record",
    "writing": "on_write",
    "saving": "on_save",
    "switching on pre-images": "on_appeared",
}


def _both(one: Action, other: Action) -> Action:
    """One after the other."""

    def action() -> None:
        one()
        other()

    return action


def _stages_that_fail(failing: str, after: int, error: BaseException, **more: Any) -> Stages:
    """Stages with an endless stream of which one fails for good at its n-th call."""
    left = iter([*[nothing] * after, *[fail_with(error)]])
    stages = Stages(iter(lambda: 1, 0), appearing=True, **more)
    setattr(stages, FAILURES[failing], in_turn(left))
    return stages


@pytest.mark.parametrize("after", [0, 1, 7])
@pytest.mark.parametrize("failing", FAILURES)
def test_a_stage_that_fails_for_good_ends_the_daemon_by_itself(
    run: Callable[..., Running], failing: str, after: int
) -> None:
    """A daemon that stays up and records nothing is worse than one that ends: nobody looks."""
    if failing == "listening" and after == 0:
        pytest.skip("see test_the_error_of_the_first_read_is_not_hidden_by_another")
    running = run(_stages_that_fail(failing, after, BrokenError(failing)), batch_size=1)

    with pytest.raises(BrokenError, match=failing):
        running.ends()
    assert running.stop.is_set()
    check_order(running.stages.calls)


@pytest.mark.parametrize("failing", FAILURES)
def test_a_stop_ends_all_stages_also_after_one_has_failed(run: Callable[..., Running], failing: str) -> None:
    """No thread waits for ever before a queue that nobody empties, and the first error reaches the caller."""
    running = run(_stages_that_fail(failing, 3, BrokenError(failing), on_close=nothing), batch_size=1)
    assert running.stop.wait(PATIENCE_S)
    running.stop.set()

    with pytest.raises(BrokenError, match=failing):
        running.ends()


@pytest.mark.parametrize("failing", FAILURES)
def test_a_failure_while_all_queues_are_full_blocks_nobody(run: Callable[..., Running], failing: str) -> None:
    """The writer is held until both queues are full, then a stage fails."""
    full, failed = threading.Event(), threading.Event()

    def hold() -> None:
        full.wait(PATIENCE_S)

    def fail() -> None:
        if failed.is_set() or full.is_set():
            failed.set()
            raise BrokenError(failing)

    stages = Stages(iter(lambda: 1, 0), appearing=True, on_write=hold)
    if failing == "writing":
        stages.on_write = _both(hold, fail)
    else:
        setattr(stages, FAILURES[failing], fail)
    running = run(stages, batch_size=1)
    stages.reads_until_it_stalls()
    full.set()
    assert failed.wait(PATIENCE_S)
    running.stop.set()

    with pytest.raises(BrokenError, match=failing):
        running.ends()
    check_order(stages.calls)


def test_the_error_of_the_first_read_is_not_hidden_by_another(run: Callable[..., Running]) -> None:
    """A lost position must be reported as one, whatever the threads' order; closing takes its time here."""
    stages = Stages([], on_read=fail_with(OperationFailure("lost", 286)), on_close=partial(time.sleep, 0.1))

    with pytest.raises(OperationFailure, match="lost"):
        run(stages).ends()


def test_what_fails_beside_the_stages_ends_the_daemon_in_order(run: Callable[..., Running]) -> None:
    """Unnoticed, nothing would be read of existing documents any more, or no snapshot be made, until the next start."""
    failed = threading.Event()

    def work() -> None:
        assert failed.wait(PATIENCE_S)
        raise BrokenError("backfill")

    running = run(Stages(iter(lambda: 1, 0)), beside={"backfill": work})
    running.written(3)
    failed.set()

    with pytest.raises(BrokenError, match="backfill"):
        running.ends()
    stages = running.stages
    check_order(stages.calls)
    assert stages.of("save")[-1].number == stages.written()[-1] == stages.of("record")[-1].number


def test_what_is_done_beside_the_stages_may_end_before_them(run: Callable[..., Running]) -> None:
    """A backfill that has nothing left to do must not stop the recording."""
    ended = threading.Event()
    running = run(Stages([1, 2]), beside={"backfill": ended.set})

    assert ended.wait(PATIENCE_S)
    running.written(3)
    assert not running.stop.is_set()
    assert running.stopped().written() == [1, 2, 3]


def test_the_checkpoint_counts_on_from_what_was_recorded_before(run: Callable[..., Running]) -> None:
    """The number of events would begin anew with every start."""
    running = run(Stages([1, 2, 3]))
    running.written(6)

    assert running.stopped().saved_events[-1] == 100 + 6
