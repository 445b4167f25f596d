"""The pipeline joins batches that wait: in order, within limits, and without losing what belongs to them."""

from __future__ import annotations

import threading
from queue import Queue
from typing import TYPE_CHECKING

import pytest

from tests.support.pipeline_stages import Stages, at, number_of
from watcher.stream import pipeline
from watcher.stream.batch import Lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.pipeline_stages import Running
    from watcher.stream.batch import Batch, Recorded

pytestmark = pytest.mark.usefixtures("_patience_of_machines")


def _merge(batches: list[int], most: int, bytes_an_event: int = 1) -> list[list[int]]:
    """Join batches that all wait already; the events of each write."""
    queue: Queue[Recorded | None] = Queue()
    stages = Stages(batches, bytes_an_event=bytes_an_event)
    for _ in batches:
        queue.put(stages.record(stages.next_batch()))
    queue.put(None)
    return [
        [int(entry.event) for entry in merged.entries] for merged in pipeline._merged(queue, most, 0, threading.Event())
    ]


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([1, 1, 1], [3]),
        ([4, 1], [4, 1]),
        ([3, 2, 2], [3, 4]),
        ([2, 0, 0, 2, 1], [4, 1]),
        ([0, 0, 3], [3]),
        ([0, 0], [0]),
        ([4, 4, 4], [4, 4, 4]),
        ([3, 1, 0], [4, 0]),
        ([1, 3, 1, 3], [4, 4]),
        ([], []),
    ],
)
def test_joined_batches_keep_their_order_and_their_limit(batches: list[int], expected: list[int]) -> None:
    """A batch out of order would put the checkpoint past one that is not written yet."""
    merged = _merge(batches, 4)

    assert [len(events) for events in merged] == expected
    assert [event for events in merged for event in events] == list(range(1, sum(batches) + 1))


@pytest.mark.parametrize("before", [0, 1])
def test_a_gap_is_never_joined_away(before: int) -> None:
    """The first answer after a lost position is mostly empty; dropped, its gap would be silent, against law 3."""
    queue: Queue[Recorded | None] = Queue()
    stages = Stages([before, 0, 1])
    batches = [stages.record(stages.next_batch()) for _ in range(3)]
    batches[1].lost = Lost(at(before), "ChangeStreamHistoryLost (286)")
    for item in (*batches, None):
        queue.put(item)
    merged = list(pipeline._merged(queue, 100, 0, threading.Event()))

    assert [batch.lost is not None for batch in merged] == [False, True]


def test_a_gap_is_recorded_before_what_follows_it_and_before_the_checkpoint(run: Callable[..., Running]) -> None:
    """A crash in between must find the gap again rather than forget it."""
    stages = Stages([2, 0, 1])
    hear = stages.next_batch

    def next_batch() -> Batch:
        batch = hear()
        if len(stages.of("read")) == 1:
            batch.lost = Lost(at(0), "lost")
        return batch

    stages.next_batch = next_batch  # type: ignore[method-assign]
    running = run(stages)
    running.written(3)
    running.stopped()

    kept = [call.what for call in stages.calls if call.what in {"lost", "write", "save"}]
    assert kept[0] == "lost"
    assert kept.count("lost") == 1
    assert running.progress.gaps == 1
    assert kept[-1] == "save"


def test_joined_batches_stay_small_in_bytes() -> None:
    """A thousand batches of one large event each must not become one write of gigabytes."""
    merged = _merge([1] * 10, 1000, bytes_an_event=pipeline.LARGEST_WRITE // 2)

    assert [len(events) for events in merged] == [2] * 5


def test_the_last_of_joined_positions_is_saved_with_all_that_belongs_to_it() -> None:
    """Counts, new collections and rejected events are joined too."""
    stages = Stages([2, 3], appearing=True)
    one, two = (stages.record(stages.next_batch()) for _ in range(2))
    one.counts, two.counts = {("a", "insert"): 1, ("a", "update"): 1}, {("a", "insert"): 3}
    one.join(two)

    assert number_of(one.position) == 5
    assert one.counts == {("a", "insert"): 4, ("a", "update"): 1}
    assert one.appeared == {"shop.c2", "shop.c5"}
    assert one.size == len(one) == 5


def test_a_flush_interval_waits_for_more_events(run: Callable[..., Running]) -> None:
    """Otherwise a steady trickle would be one write with a majority's acknowledgement each."""
    running = run(Stages([1] * 20), batch_size=20, flush_interval_s=30)
    running.written(20)
    stages = running.stopped()

    assert [len(call.events) for call in stages.of("write") if call.events] == [20]


def test_a_flush_interval_that_is_over_writes_what_there_is(run: Callable[..., Running]) -> None:
    """However few; a batch that never fills must not wait for ever."""
    running = run(Stages([1, 1]), batch_size=1000, flush_interval_s=0.05)
    running.written(2)
    assert running.stopped().written() == [1, 2]
