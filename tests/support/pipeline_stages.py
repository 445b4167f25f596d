"""Pipelines that run over stages in memory, and a history that says what a test puts into it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bson import Timestamp

from change_history.bson.cluster_time import ClusterTime
from tests.support.daemon import eventually
from watcher.health.progress import Progress
from watcher.stream.batch import Batch, Entry, Lost, Position, Recorded, Renamed, SharedProgress
from watcher.stream.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from change_history.bson.raw import Value
    from change_history.stored.order import HistoryPosition
    from watcher.events.event import DocumentKey

PATIENCE_S = 60.0

Action = Callable[[], None]
"""What a stage does when it is called: nothing, wait, or raise."""


class BrokenError(Exception):
    """A failure that does not pass."""


class Call(NamedTuple):
    """Something that a stage was asked to do."""

    what: str
    """`read`, `record`, `try`, `write`, `appeared`, `renamed`, `lost`, `save` or `close`."""
    number: int
    """Of the last event concerned."""
    events: tuple[int, ...] = ()


def at(number: int) -> Position:
    """The position after an event."""
    return Position(b"%d" % number, ClusterTime.of(Timestamp(number, number)))


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
    on_renamed: Action = nothing
    on_save: Action = nothing
    on_close: Action = nothing
    appearing: bool = False
    idle_moves: bool = False
    """Whether an empty batch has a later position than the one before."""
    bytes_an_event: int = 1
    calls: list[Call] = field(default_factory=list)
    server_seconds: int = 0
    saved_events: list[int] = field(default_factory=list)

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

    def record(self, batch: Batch, _stored: int = 0) -> Recorded:
        """Records."""
        self.on_record()
        self._called("record", number_of(batch.position))
        recorded = Recorded([Entry(event, event) for event in batch.events], [], batch.position)
        recorded.lost = batch.lost
        recorded.size = self.bytes_an_event * len(batch.events)
        if self.appearing and batch.events:
            name = f"shop.c{number_of(batch.position)}"
            recorded.appeared.add(name)
            recorded.renamed.append(Renamed("shop.a", name, batch.position.cluster_time))
        return recorded

    def write(self, recorded: Recorded) -> int:
        """Writes."""
        events = tuple(int(entry.event) for entry in recorded.entries)
        self._called("try", number_of(recorded.position), events)
        self.on_write()
        self._called("write", number_of(recorded.position), events)
        return 0

    def renamed(self, renamed: Renamed) -> None:
        """Is told of a renaming."""
        self.on_renamed()
        self._called("renamed", int(renamed.target.removeprefix("shop.c")))

    def appeared(self, namespace: str) -> None:
        """Is told of a new collection."""
        self.on_appeared()
        self._called("appeared", int(namespace.removeprefix("shop.c")))

    def lost(self, lost: Lost, _now: Position) -> None:
        """Is told of a gap."""
        self._called("lost", number_of(lost.position))

    def save(self, position: Position, events: int) -> None:
        """Checkpoints."""
        self.on_save()
        self.saved_events.append(events)
        self._called("save", number_of(position))

    def of(self, what: str) -> list[Call]:
        """The calls of one kind."""
        with self._lock:
            return [call for call in self.calls if call.what == what]

    def reads_until_it_stalls(self) -> int:
        """Wait until no more is read; how often it was."""
        reads = -1
        while reads != len(self.of("read")):
            reads = len(self.of("read"))
            time.sleep(0.1)
        return reads

    def written(self) -> list[int]:
        """The events written, in the order of writing."""
        return [event for call in self.of("write") for event in call.events]


def check_order(calls: list[Call]) -> None:
    """Fail unless, at every moment, the saved position covers only what was acknowledged before."""
    acknowledged: set[int] = set()
    for call in calls:
        if call.what == "write":
            acknowledged |= set(call.events)
        if call.what == "save":
            assert acknowledged >= set(range(1, call.number + 1)), f"saved {call.number} before it was acknowledged"


def in_turn(actions: Iterator[Action]) -> Action:
    """Another action at each call; after the last, nothing."""

    def action() -> None:
        next(actions, nothing)()

    return action


def wait_for(event: threading.Event) -> Action:
    """Wait for an event at every call."""

    def action() -> None:
        assert event.wait(PATIENCE_S)

    return action


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
            stages,
            stages,
            shared=SharedProgress(),
            recorded_before=100,
            observer=self.progress,
            stop=self.stop,
            batch_size=batch_size,
            flush_interval_s=flush_interval_s,
        )

    def ends(self, patience_s: float = PATIENCE_S) -> None:
        """Wait for the end; raises what made a stage fail."""
        ended = self.pipeline.wait(patience_s)
        assert ended, f"these stages never ended: {[t.name for t in self.pipeline._stages if t.is_alive()]}"

    def written(self, events: int) -> None:
        """Wait until so many events are written."""
        eventually(lambda: len(self.stages.written()) >= events or self.stop.is_set(), "the writes", PATIENCE_S)

    def stopped(self) -> Stages:
        """Stop in order."""
        self.stop.set()
        self.ends()
        return self.stages


@dataclass
class FixedHistory:
    """Stands for `watcher.stream.pre_images_from_history` where no history is stored.

    Attributes:
        told: what it tells of every document that it is asked about; None: unknown.
        asked: the documents it was asked about, one tuple a question.
        news: what `learned` answers, once.
    """

    told: bytes | None = None
    asked: list[tuple[DocumentKey, ...]] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    news: bool = False

    def documents(
        self, keys: Mapping[DocumentKey, Value], _place: HistoryPosition
    ) -> Iterator[tuple[DocumentKey, bytes | None]]:
        """Tells what the test has put in."""
        self.asked.append(tuple(keys))
        yield from dict.fromkeys(keys, self.told).items()

    def begin(self, recorded: Recorded, _stored: int) -> None:
        """Nothing is ever stored; what was lost is kept for the test to see."""
        if recorded.lost is not None:
            self.lost.append(recorded.lost)

    def learned(self) -> bool:
        """Tells once that there are news."""
        news, self.news = self.news, False
        return news
