"""The pipeline idle, stalled, told of new collections, and started again and again: it stays within bounds."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING

import pytest
from pymongo.errors import AutoReconnect

from tests.support.daemon import eventually
from tests.support.pipeline_stages import PATIENCE_S, Stages, fail_with, wait_for
from watcher.stream import pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.pipeline_stages import Running

pytestmark = pytest.mark.usefixtures("_patience_of_machines")


def test_idle_positions_are_saved_seldom(run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    """History kept on the watched server: every save moves its oplog, and that would be saved in turn, for ever."""
    monkeypatch.setattr(pipeline, "IDLE_CHECKPOINT_EVERY_S", 3600.0)
    stages = Stages([], idle_moves=True)
    running = run(stages)
    eventually(lambda: len(stages.of("record")) > 100, "idle batches")
    assert len(stages.of("save")) == 1
    running.stopped()

    first, last = stages.of("save")
    assert first.number < last.number == stages.of("record")[-1].number


def test_idle_positions_are_saved_in_the_end(run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a quiet stream falls off the oplog."""
    monkeypatch.setattr(pipeline, "IDLE_CHECKPOINT_EVERY_S", 0.02)
    stages = Stages([], idle_moves=True)
    run(stages)

    eventually(lambda: len(stages.of("save")) >= 5, "five saves", PATIENCE_S)


def test_history_is_written_while_a_position_is_saved(run: Callable[..., Running]) -> None:
    """Each second, whatever comes just then would wait for a majority twice; and the newest position is saved next."""
    go, begun = threading.Event(), threading.Event()
    writes = count()

    def save() -> None:
        begun.set()
        wait_for(go)()

    def write() -> None:
        if next(writes):  # all but the first come while the position after that is saved
            wait_for(begun)()

    stages = Stages([1] * 9, on_save=save, on_write=write)
    running = run(stages, batch_size=1)
    running.written(9)
    assert stages.of("save") == []
    go.set()
    running.stopped()

    first, *others = (call.number for call in stages.of("save"))
    assert others[-1] == 9
    assert len(others) <= 9 - first


def test_a_stalled_writer_stops_the_listener_after_a_few_batches(run: Callable[..., Running]) -> None:
    """Memory stays bounded however long the history's server takes."""
    go = threading.Event()
    stages = Stages(iter(lambda: 1, 0), on_write=wait_for(go))
    running = run(stages, batch_size=1)
    reads = stages.reads_until_it_stalls()
    go.set()
    running.stopped()

    # One in each hand (listening, recording, writing), one that did not fit the write, and the two queues.
    assert reads <= 2 * pipeline.QUEUED_BATCHES + 4


def test_a_new_collection_is_told_before_its_history_is_written(run: Callable[..., Running]) -> None:
    """The sooner its pre-images are on, the fewer old values are unknown; and a passing failure is tried again."""
    stages = Stages([1, 2], appearing=True, on_appeared=fail_with(AutoReconnect("gone"), AutoReconnect("gone")))
    running = run(stages)
    running.written(3)
    running.stopped()

    assert [call.number for call in stages.of("appeared")] == [1, 3]
    whats = [(call.what, call.number) for call in stages.calls]
    assert whats.index(("appeared", 1)) < next(i for i, (what, _) in enumerate(whats) if what == "write")


def test_threads_carry_what_is_bound_to_the_log_and_end(run: Callable[..., Running]) -> None:
    """Hundreds of starts in one process must not pile up threads."""
    before = set(threading.enumerate())
    for _ in range(20):
        running = run(Stages([1]))
        running.written(1)
        running.stopped()

    assert not set(threading.enumerate()) - before


def test_waiting_gives_up_after_its_time(run: Callable[..., Running]) -> None:
    """The main thread has a watchdog to feed."""
    running = run(Stages([]))

    assert running.pipeline.wait(0.05) is False
    running.stopped()
