"""The pipeline, to be read first: listen → record → write → checkpoint.

Four threads, one for each of these, so that the server reads the oplog, this process makes history of it, and the
server stores history, all at the same time. Between them are short queues: if writing is slow, recording waits, and
then listening waits, so memory stays bounded. The position travels with its batch through the queues and is saved only
after the batch is acknowledged. Nothing waits for that: of the positions to be saved, only the last one is kept.

Stop order: listening ends first; what it has read is recorded and written; the checkpoint moves last. The same happens
when a stage fails for good, or something that works beside them.
"""

from __future__ import annotations

import contextvars
import threading
import time
from contextlib import closing, suppress
from functools import partial
from queue import Empty, Queue
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import structlog

from watcher.retry import Retry, StoppedError
from watcher.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager

    from watcher.stream.batch import Batch, Lost, Position, Recorded, Renamed, SharedProgress

T = TypeVar("T")
log = structlog.get_logger(__name__)

QUEUED_BATCHES = 2
LARGEST_WRITE = 16 * 1024 * 1024
"""Small batches are joined into one write of up to this many bytes of history."""
CHECKPOINT_EVERY_S = 1.0
"""Seconds between saved positions of a busy stream. After a crash, events since then are read again, nothing else."""
IDLE_CHECKPOINT_EVERY_S = 10.0
"""The same for an idle stream. Its position has to move too, or the oplog's oldest entry would overtake it."""
_NO_TIME = 1e-9


class Listens(Protocol):
    """Waits for events up to half a second. The batch may be empty, and always carries a position."""

    server_seconds: int

    def next_batch(self) -> Batch: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


class Records(Protocol):
    """Turns events into history documents."""

    def record(self, batch: Batch, stored: int, /) -> Recorded:
        """Record a batch. A majority has acknowledged the history of all batches up to the number `stored`."""


class Writes(Protocol):
    """Stores history. Returns, when a majority has acknowledged it, the number of rejected events."""

    def write(self, recorded: Recorded) -> int: ...  # noqa: D102


class Checkpoints(Protocol):
    """Stores the position, and how many events the stream has recorded up to it since it began."""

    def save(self, position: Position, events: int) -> None: ...  # noqa: D102


class Reacts(Protocol):
    """Reacts to events before the checkpoint passes them; a call may be repeated."""

    def appeared(self, namespace: str) -> None:
        """There is a new collection, `db.coll`."""

    def renamed(self, renamed: Renamed) -> None:
        """A collection was renamed; the event's history is written, the checkpoint has not passed it yet."""

    def lost(self, lost: Lost, now: Position) -> None:
        """Events were lost; the stream resumes at `now`, and no later event is written yet."""


class Observes(Protocol):
    """Receives notifications from any thread, for the log, `/ready` and metrics."""

    def at_work(self, step: Step) -> AbstractContextManager[None]: ...  # noqa: D102
    def retrying(self, step: Step, error: BaseException) -> None: ...  # noqa: D102
    def recovered(self, step: Step) -> None: ...  # noqa: D102
    def listened(self, batch: Batch, server_seconds: int) -> None: ...  # noqa: D102
    def turned(self, batch: Recorded) -> None: ...  # noqa: D102
    def written(self, batch: Recorded, rejected: int) -> None: ...  # noqa: D102
    def gap(self) -> None: ...  # noqa: D102
    def checkpointed(self, position: Position) -> None: ...  # noqa: D102


class Pipeline:
    """Runs the stages until a stop is requested, or one of them fails for good.

    Args:
        listener, recorder, writer, checkpointer: the stages.
        reactions: called for events that concern a whole collection, or the stream.
        shared: receives the position up to which everything is recorded.
        recorded_before: number of events that the stream had recorded when the daemon started.
        observer: receives notifications.
        stop: set from outside for an orderly end, and by the pipeline itself when a stage has failed.
        batch_size: maximum number of events in one write.
        flush_interval_s: seconds to wait for a write to fill up; 0: write at once.
    """

    def __init__(
        self,
        listener: Listens,
        recorder: Records,
        writer: Writes,
        checkpointer: Checkpoints,
        reactions: Reacts,
        *,
        shared: SharedProgress,
        recorded_before: int = 0,
        observer: Observes,
        stop: threading.Event,
        batch_size: int,
        flush_interval_s: float,
    ) -> None:
        self._listener, self._recorder, self._writer, self._checkpointer = listener, recorder, writer, checkpointer
        self._reactions = reactions
        self._shared = shared
        self._recorded_before = recorded_before
        self._observer = observer
        self._batch_size = batch_size
        self._flush_interval_s = flush_interval_s
        self._heard: Queue[Batch | None] = Queue(QUEUED_BATCHES)
        self._recorded: Queue[Recorded | None] = Queue(QUEUED_BATCHES)
        self._reached: Queue[_Reached | None] = Queue(1)
        self._stop = stop
        self._stored = 0  # number of the last batch that a majority has acknowledged
        self._retry = Retry(self._stop, observer.retrying, observer.recovered)
        self._failure: BaseException | None = None
        self._stages: list[threading.Thread] = []

    def start(self, beside: Mapping[str, Callable[[], None]] | None = None) -> None:
        """Start the stages, each in its own thread.

        Args:
            beside: functions by name that run in threads of their own until the stop. They may end earlier, and are
                not waited for; but if one fails, everything stops, as with a stage.
        """
        stages = {"listen": self._listen, "record": self._record, "write": self._write, "save": self._save}
        self._stages = [self._started(name, stage) for name, stage in stages.items()]
        for name, work in (beside or {}).items():
            self._started(name, work)

    def wait(self, timeout: float) -> bool:
        """Wait for the stages to end, for at most `timeout` seconds. False: they have not ended.

        Raises:
            BaseException: the first error that made a stage, or a function beside them, fail for good.
        """
        deadline = time.monotonic() + timeout
        for thread in self._stages:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._stages):
            return False
        if self._failure is not None:
            raise self._failure
        return True

    def _started(self, name: str, work: Callable[[], None]) -> threading.Thread:
        context = contextvars.copy_context()  # what is bound to the log
        thread = threading.Thread(target=context.run, args=(self._guarded, name, work), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except StoppedError:
            log.warning("stopped amid a retry; what is not recorded yet will be read again", stage=name)
        except BaseException as error:
            if self._failure is not None:
                log.exception("failed, too", stage=name)  # only the first one is raised
            self._failure = self._failure or error
            self._stop.set()

    def _listen(self) -> None:
        try:
            while not self._stop.is_set():
                batch = self._call(Step.LISTEN, self._listener.next_batch)
                self._observer.listened(batch, self._listener.server_seconds)
                self._heard.put(batch)
        finally:
            self._heard.put(None)
            self._listener.close()

    def _record(self) -> None:
        try:
            with closing(_until_end(self._heard, self._stop)) as batches:
                for batch in batches:
                    with self._observer.at_work(Step.RECORD):
                        recorded = self._recorder.record(batch, self._stored)
                    self._observer.turned(recorded)
                    for namespace in sorted(recorded.appeared):
                        self._call(Step.ENABLE_PRE_IMAGES, partial(self._reactions.appeared, namespace))
                    self._recorded.put(recorded)
        finally:
            self._recorded.put(None)

    def _write(self) -> None:
        try:
            self._write_all()
        finally:
            self._reached.put(None)

    def _write_all(self) -> None:
        saved_at = -IDLE_CHECKPOINT_EVERY_S
        saved: Position | None = None
        reached: Position | None = None
        dirty = False
        events = reached_events = self._recorded_before
        with closing(_merged(self._recorded, self._batch_size, self._flush_interval_s, self._stop)) as batches:
            for batch in batches:
                if batch.lost is not None:
                    resumed = batch.lost.resumed or batch.position
                    self._call(Step.RECORD_GAP, partial(self._reactions.lost, batch.lost, resumed))
                    self._observer.gap()
                    dirty = True
                rejected = 0
                if len(batch):
                    rejected = self._call(Step.WRITE, partial(self._writer.write, batch))
                    dirty = True
                events += len(batch)
                self._observer.written(batch, rejected)
                self._stored = batch.number
                for renamed in batch.renamed:
                    self._call(Step.PLAN_BACKFILL, partial(self._reactions.renamed, renamed))
                if batch.safe is not None:
                    self._shared.recorded = reached = batch.safe
                    reached_events = events - batch.unsafe
                wait = CHECKPOINT_EVERY_S if dirty else IDLE_CHECKPOINT_EVERY_S
                if reached is not None and reached != saved and time.monotonic() - saved_at >= wait:
                    self._to_be_saved(_Reached(reached, reached_events))
                    saved, saved_at, dirty = reached, time.monotonic(), False
        if reached is not None and reached != saved:
            self._to_be_saved(_Reached(reached, reached_events))

    def _to_be_saved(self, reached: _Reached) -> None:
        """Queue a position to be saved, in place of one that still waits."""
        with suppress(Empty):
            self._reached.get_nowait()
        self._reached.put(reached)

    def _save(self) -> None:
        with closing(_until_end(self._reached, self._stop)) as all_reached:
            for reached in all_reached:
                self._call(Step.SAVE_CHECKPOINT, partial(self._checkpointer.save, *reached))
                self._observer.checkpointed(reached.position)

    def _call(self, step: Step, attempt: Callable[[], T]) -> T:
        """Retry until it succeeds; meanwhile the observer shows the step."""
        with self._observer.at_work(step):
            return self._retry.call(step, attempt)


class _Reached(NamedTuple):
    """A position up to which everything is acknowledged, and how many events the stream has recorded up to it."""

    position: Position
    events: int


def _until_end(queue: Queue[T | None], stop: threading.Event) -> Generator[T, None, None]:
    """The items of a queue up to its end.

    If the consumer fails, everything is stopped and the queue emptied, so that the producer never blocks on a full one.
    """
    item: T | None = None
    try:
        while (item := queue.get()) is not None:
            yield item
    finally:
        if item is not None:
            stop.set()
        while item is not None:
            item = queue.get()


def _merged(
    queue: Queue[Recorded | None], most_events: int, linger_s: float, stop: threading.Event
) -> Generator[Recorded, None, None]:
    """The batches of a queue, each joined with those waiting behind it into one write of at most `most_events` events.

    If the consumer fails, it does what `_until_end` does.
    """
    following: Recorded | None = None
    ended = False
    try:
        while not ended:
            batch, following = (following if following is not None else queue.get()), None
            if batch is None:
                ended = True
                return
            until = time.monotonic() + (linger_s if len(batch) else 0)
            while len(batch) < most_events and batch.size < LARGEST_WRITE and not ended:
                try:
                    following = queue.get(timeout=max(_NO_TIME, until - time.monotonic()))
                except Empty:
                    break
                ended = following is None
                if following is not None and (len(batch) + len(following) > most_events or following.lost is not None):
                    break
                if following is not None:
                    batch.join(following)
                    following = None
            yield batch
    finally:
        if not ended:
            stop.set()
        while not ended:
            ended = queue.get() is None
