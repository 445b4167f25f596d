"""The pipeline with stages in memory: what must hold in whatever order and however badly they work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from queue import Queue
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest
from pymongo.errors import AutoReconnect, OperationFailure
from structlog.testing import capture_logs

from tests.daemon import eventually
from watcher import pipeline, retry
from watcher.batch import Batch, Entry, Lost, Position, Recorded
from watcher.pipeline import Pipeline
from watcher.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from watcher.pipeline import Checkpoints

PATIENCE_S = 10.0

Action = Callable[[], None]
"""What a stage does when it is called: nothing, wait, or raise."""


class BrokenError(Exception):
    """A failure that does not pass."""


class Call(NamedTuple):
    """Something that a stage was asked to do."""

    what: str
    """`read`, `record`, `try`, `write`, `appeared`, `lost`, `save` or `close`."""
    number: int
    """Of the last event concerned."""
    events: tuple[int, ...] = ()


def at(number: int) -> Position:
    """The position after an event."""
    return Position(b"%d" % number, number.to_bytes(4, "little") + number.to_bytes(4, "little"))


def number_of(position: Position) -> int:
    """The event that a position is after."""
    return int(position.token)


def fail_with(*errors: BaseException) -> Action:
    """Raise these, one a call; then succeed."""
    left = list(errors)

    def action() -> None:
        if left:
            raise left.pop(0)

    return action


def nothing() -> None:
    """Succeed."""


@dataclass
class Stages:
    """All stages in one, in memory, with one record of what they were asked to do, in the order of time."""

    batches: Iterable[int]
    """Number of events of each batch to be heard; afterwards empty batches at the same position."""
    on_read: Action = nothing
    on_record: Action = nothing
    on_write: Action = nothing
    on_appeared: Action = nothing
    on_save: Action = nothing
    on_close: Action = nothing
    appearing: bool = False
    idle_moves: bool = False
    """Whether an empty batch has a later position than the one before."""
    bytes_an_event: int = 1
    calls: list[Call] = field(default_factory=list)
    server_seconds: int = 0

    def __post_init__(self) -> None:
        self._left: Iterator[int] = iter(self.batches)
        self._next = 1
        self._lock = threading.Lock()

    def _called(self, what: str, number: int, events: tuple[int, ...] = ()) -> None:
        with self._lock:
            self.calls.append(Call(what, number, events))

    def next_batch(self) -> Batch:
        """Listens."""
        self.on_read()
        size = next(self._left, 0)
        first, self._next = self._next, self._next + size
        if not size:
            time.sleep(0.001)
            self._next += self.idle_moves
        events = [b"%d" % number for number in range(first, first + size)]
        self._called("read", self._next - 1, tuple(range(first, first + size)))
        return Batch(events, at(self._next - 1))

    def close(self) -> None:
        """Listens."""
        self.on_close()
        self._called("close", 0)

    def record(self, batch: Batch) -> Recorded:
        """Records."""
        self.on_record()
        self._called("record", number_of(batch.position))
        recorded = Recorded([Entry(event, event) for event in batch.events], [], batch.position)
        recorded.lost = batch.lost
        recorded.size = self.bytes_an_event * len(batch.events)
        if self.appearing and batch.events:
            recorded.appeared.add(f"shop.c{number_of(batch.position)}")
        return recorded

    def write(self, recorded: Recorded) -> int:
        """Writes."""
        events = tuple(int(entry.event) for entry in recorded.entries)
        self._called("try", number_of(recorded.position), events)
        self.on_write()
        self._called("write", number_of(recorded.position), events)
        return 0

    def appeared(self, namespace: str) -> None:
        """Is told of a new collection."""
        self.on_appeared()
        self._called("appeared", int(namespace.removeprefix("shop.c")))

    def lost(self, lost: Lost, _now: Position) -> None:
        """Is told of a gap."""
        self._called("lost", number_of(lost.position))

    def save(self, position: Position, _events: int) -> None:
        """Checkpoints."""
        self.on_save()
        self._called("save", number_of(position))

    def of(self, what: str) -> list[Call]:
        """The calls of one kind."""
        with self._lock:
            return [call for call in self.calls if call.what == what]

    def written(self) -> list[int]:
        """The events written, in the order of writing."""
        return [event for call in self.of("write") for event in call.events]


class Running:
    """A pipeline over stages in memory; always stopped in the end."""

    def __init__(self, stages: Stages, batch_size: int = 100, flush_interval_s: float = 0) -> None:
        self.stages = stages
        self.stop = threading.Event()
        self.progress = Progress()
        self.pipeline = Pipeline(
            stages,
            stages,
            stages,
            cast("Checkpoints", stages),  # its arguments have other names, being unused
            on_new_collection=stages.appeared,
            on_lost=stages.lost,
            progress=self.progress,
            stop=self.stop,
            batch_size=batch_size,
            flush_interval_s=flush_interval_s,
        )

    def ends(self, patience_s: float = PATIENCE_S) -> None:
        """Wait for the end; raises what made a stage fail."""
        ended = self.pipeline.wait(patience_s)
        assert ended, f"these stages never ended: {[t.name for t in self.pipeline._threads if t.is_alive()]}"

    def written(self, events: int) -> None:
        """Wait until so many events are written."""
        eventually(lambda: len(self.stages.written()) >= events or self.stop.is_set(), "the writes", PATIENCE_S)

    def stopped(self) -> Stages:
        """Stop in order."""
        self.stop.set()
        self.ends()
        return self.stages


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    """A function that starts a pipeline. At the end all are told to stop, and no thread may be left."""
    runs: list[Running] = []

    def start(stages: Stages, **options: Any) -> Running:
        running = Running(stages, **options)
        runs.append(running)
        running.pipeline.start()
        return running

    yield start
    for running in runs:
        running.stop.set()
        for thread in running.pipeline._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), f"{thread.name} is left behind"


@pytest.fixture(autouse=True)
def _patience_of_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between attempts, and save after every write, so that every interleaving is seen."""
    monkeypatch.setattr(retry, "FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(pipeline, "CHECKPOINT_EVERY_S", 0.0)


def check_order(calls: list[Call]) -> None:
    """Fail unless, at every moment, the saved position covers only what was acknowledged before."""
    acknowledged: set[int] = set()
    for call in calls:
        if call.what == "write":
            acknowledged |= set(call.events)
        if call.what == "save":
            assert acknowledged >= set(range(1, call.number + 1)), f"saved {call.number} before it was acknowledged"


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
    running.stopped()

    check_order(stages.calls)
    assert stages.written() == list(range(1, 89))
    assert stages.of("save")[-1].number == 88


def test_a_fatal_write_saves_no_position_beyond_what_was_written(run: Callable[..., Running]) -> None:
    """The events of the failed write must be read again by the next start."""
    writes = iter([*[nothing] * 3, fail_with(BrokenError())])
    running = run(Stages([1] * 10, on_write=_in_turn(writes)), batch_size=1)
    running.stop.wait(1)
    running.stop.set()
    with pytest.raises(BrokenError):
        running.ends()

    check_order(running.stages.calls)
    assert running.stages.written() == [1, 2, 3]
    assert max(call.number for call in running.stages.of("save")) == 3


# A failing stage ends the daemon, and says why.


FAILURES = {
    "listening": "on_read",
    "recording": "on_record",
    "writing": "on_write",
    "saving": "on_save",
    "switching on pre-images": "on_appeared",
}


def _in_turn(actions: Iterator[Action]) -> Action:
    """Another action at each call; after the last, nothing."""

    def action() -> None:
        next(actions, nothing)()

    return action


def _both(one: Action, other: Action) -> Action:
    """One after the other."""

    def action() -> None:
        one()
        other()

    return action


def _wait_for(event: threading.Event) -> Action:
    """Wait for an event at every call."""

    def action() -> None:
        assert event.wait(PATIENCE_S)

    return action


def _stages_that_fail(failing: str, after: int, error: BaseException, **more: Any) -> Stages:
    """Stages with an endless stream of which one fails for good at its n-th call."""
    left = iter([*[nothing] * after, *[fail_with(error)]])
    stages = Stages(iter(lambda: 1, 0), appearing=True, **more)
    setattr(stages, FAILURES[failing], _in_turn(left))
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
    running.stop.wait(0.2)
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
    reads = -1
    while reads != len(stages.of("read")):
        reads = len(stages.of("read"))
        time.sleep(0.05)
    full.set()
    failed.wait(2)
    running.stop.set()

    with pytest.raises(BrokenError, match=failing):
        running.ends()
    check_order(stages.calls)


def test_the_error_of_the_first_read_is_not_hidden_by_another(run: Callable[..., Running]) -> None:
    """A lost position must be reported as one, whatever the threads' order; closing takes its time here."""
    stages = Stages([], on_read=fail_with(OperationFailure("lost", 286)), on_close=partial(time.sleep, 0.1))

    with pytest.raises(OperationFailure, match="lost"):
        run(stages).ends()


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
    eventually(lambda: running.progress.troubles > 1, "two attempts")
    running.stop.set()

    running.ends()


# Stopping in order.


def test_an_orderly_stop_writes_what_was_read_and_saves_last(run: Callable[..., Running]) -> None:
    """What the server has handed over is not thrown away, and the next start does not read it again."""
    go = threading.Event()
    stages = Stages(iter(lambda: 1, 0), on_write=_wait_for(go))
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
    eventually(lambda: running.progress.troubles > 2, "trouble")
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


# Merging.


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


# Idle, bounded, told.


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


def test_a_stalled_writer_stops_the_listener_after_a_few_batches(run: Callable[..., Running]) -> None:
    """Memory stays bounded however long the history's server takes."""
    go = threading.Event()
    stages = Stages(iter(lambda: 1, 0), on_write=_wait_for(go))
    running = run(stages, batch_size=1)
    reads = -1
    while reads != len(stages.of("read")):
        reads = len(stages.of("read"))
        time.sleep(0.1)
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
    before = threading.active_count()
    for _ in range(20):
        running = run(Stages([1]))
        running.written(1)
        running.stopped()

    assert threading.active_count() == before


def test_waiting_gives_up_after_its_time(run: Callable[..., Running]) -> None:
    """The main thread has a watchdog to feed."""
    running = run(Stages([]))

    assert running.pipeline.wait(0.05) is False
    running.stopped()
