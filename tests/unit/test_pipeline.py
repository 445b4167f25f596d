"""The pipeline with stages in memory: what must hold in whatever order they work, and when it stops."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from tests.support.daemon import eventually
from tests.support.pipeline_stages import (
    PATIENCE_S,
    BrokenError,
    Running,
    Stages,
    check_order,
    fail_with,
    in_turn,
    nothing,
    wait_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.pipeline_stages import Action

pytestmark = pytest.mark.usefixtures("_patience_of_machines")


# Law 2: the checkpoint moves only after everything before it is acknowledged.


def _every_second() -> Action:
    turn = iter(range(10**9))

    def action() -> None:
        if next(turn) % 2 == 0:
            raise AutoReconnect("gone")

    return action


TROUBLES: dict[str, Callable[[], Action]] = {
    "none": lambda: nothing,
    "several passing failures": lambda: fail_with(*(AutoReconnect("gone") for _ in range(5))),
    "every second time": _every_second,
    "slow": lambda: partial(time.sleep, 0.005),
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("where", ["on_write", "on_save", "on_read", "on_record"])
def test_no_position_is_saved_before_its_events_are_acknowledged(
    run: Callable[..., Running], trouble: str, where: str
) -> None:
    """A crash right after such a save would lose these events for good."""
    if where == "on_record" and trouble not in {"none", "slow"}:
        pytest.skip("recording is pure: it is not tried again")
    stages = Stages([3, 0, 1, 5, 0, 0, 2] * 8)
    setattr(stages, where, TROUBLES[trouble]())
    running = run(stages, batch_size=4)
    running.written(88)
    eventually(lambda: [call.number for call in stages.of("save")][-1:] == [88], "the last save", PATIENCE_S)
    running.stopped()

    check_order(stages.calls)
    assert stages.written() == list(range(1, 89))
    assert stages.of("save")[-1].number == 88


def test_a_fatal_write_saves_no_position_beyond_what_was_written(run: Callable[..., Running]) -> None:
    """The events of the failed write must be read again by the next start."""
    writes = iter([*[nothing] * 3, fail_with(BrokenError())])
    running = run(Stages([1] * 10, on_write=in_turn(writes)), batch_size=1)
    assert running.stop.wait(PATIENCE_S)
    with pytest.raises(BrokenError):
        running.ends()

    check_order(running.stages.calls)
    assert running.stages.written() == [1, 2, 3]
    assert max(call.number for call in running.stages.of("save")) == 3


# Stopping in order.


def test_an_orderly_stop_writes_what_was_read_and_saves_last(run: Callable[..., Running]) -> None:
    """What the server has handed over is not thrown away, and the next start does not read it again."""
    go = threading.Event()
    stages = Stages(iter(lambda: 1, 0), on_write=wait_for(go))
    running = run(stages, batch_size=1)
    eventually(lambda: len(stages.of("read")) >= 4, "full queues")
    running.stop.set()
    go.set()
    running.ends()

    read = stages.of("read")[-1].number
    assert stages.written() == list(range(1, read + 1))
    last = [call for call in stages.calls if call.what != "close"][-1]
    assert (last.what, last.number) == ("save", read)
    assert len(stages.of("close")) == 1


def test_a_stop_amid_trouble_ends_soon_and_claims_nothing(run: Callable[..., Running]) -> None:
    """A server that is away must not hold up the end; nothing that was not written is passed over."""

    def gone() -> None:
        raise AutoReconnect("gone")

    running = run(Stages([1] * 10, on_write=gone), batch_size=1)
    eventually(lambda: running.progress.retries > 2, "trouble")
    with capture_logs():
        running.stopped()

    assert running.stages.written() == []
    assert running.stages.of("save") == []


def test_a_stop_does_not_wait_for_a_lingering_write(run: Callable[..., Running]) -> None:
    """With a flush interval of a minute, systemd would kill a daemon that waited for it."""
    running = run(Stages([1]), batch_size=100, flush_interval_s=60)
    eventually(lambda: running.stages.of("record"), "the batch")
    began = time.monotonic()
    stages = running.stopped()

    assert time.monotonic() - began < PATIENCE_S
    assert stages.written() == [1]


def test_a_stop_before_the_first_batch_is_no_failure() -> None:
    """SIGTERM just before the stream is opened would end with a traceback and a failed unit."""
    running = Running(Stages([]))
    running.stop.set()
    running.pipeline.start()

    running.ends()


def test_a_stop_while_the_stream_cannot_be_opened_is_no_failure(run: Callable[..., Running]) -> None:
    """The watched server went away between the checkpoint's loading and the stream's opening; then SIGTERM."""

    def gone() -> None:
        raise AutoReconnect("gone")

    running = run(Stages([], on_read=gone))
    eventually(lambda: running.progress.retries > 1, "two attempts")
    running.stop.set()

    running.ends()
