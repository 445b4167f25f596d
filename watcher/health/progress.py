"""The daemon's progress: counters, position and lag, for the log, `/ready` and metrics."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from watcher.errors import name_of
from watcher.health.readiness import Bounds, Facts, Judgement, Retried, StageWork, judge
from watcher.steps import Deployment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from watcher.steps import Step
    from watcher.stream.batch import Batch, Position, Recorded

MOST_NAMESPACES = 1000
"""Number of namespaces that are counted separately: each makes one time series or more in Prometheus."""

OTHER = "other"
"""Label under which all further namespaces are counted. A collection's namespace has a dot, so it cannot collide."""


class Tally:
    """Counts events by namespace and operation, in bounded memory. Written by one thread; read by any."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._namespaces: set[str] = set()

    def add(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count events."""
        for (namespace, operation), count in counts.items():
            if namespace not in self._namespaces and len(self._namespaces) < MOST_NAMESPACES:
                self._namespaces.add(namespace)
            key = (namespace if namespace in self._namespaces else OTHER), operation
            self._counts[key] = self._counts.get(key, 0) + count

    def counts(self) -> dict[tuple[str, str], int]:
        """An atomic copy of the counts, which change meanwhile."""
        return self._counts.copy()


class ServerClock:
    """The server's clock; between replies it is extrapolated with the monotonic clock, never with the wall clock."""

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._at = 0.0

    def told(self, seconds: int) -> None:
        """Set the clock to the server's time, in seconds since 1970. A member whose clock lags does not set it back."""
        if self._seconds is None or seconds >= self._seconds:
            self._seconds = seconds
        self._at = time.monotonic()

    def since(self, seconds: int) -> float | None:
        """Seconds passed since a time of the server's clock, not below 0; None: the server's time is unknown."""
        if self._seconds is None:
            return None
        return max(0.0, self._seconds + time.monotonic() - self._at - seconds)


@dataclass
class Progress:
    """The progress of all stages; every method may be called from any thread.

    Attributes:
        bounds: how long something may take before the daemon is not ready, or not alive.
        events: events recorded since the checkpoint was created.
        rejected: events rejected since the start.
        batches: writes since the start.
        gaps: gaps recorded since the start.
        tally: events recorded since the start by namespace and operation.
        retries_of: retried failures since the start, by the deployment that failed.
        heard, recorded, acknowledged: events that the listener, recorder and writer have finished since the start.
        bytes: size in bytes of the events that were received but are not acknowledged.
        owner: the leader, if it is another daemon, as the lease names it; None: unknown, or this daemon.
        term: number of the present or last term of this daemon; 0: none.
        saved: the position saved in the checkpoint since the start; None: none yet.
        oplog_since: time of the oldest entry of the oplog, in seconds since 1970 (UTC); None: unknown.
    """

    bounds: Bounds = field(default_factory=Bounds)
    events: int = 0
    rejected: int = 0
    batches: int = 0
    gaps: int = 0
    tally: Tally = field(default_factory=Tally)
    retries_of: dict[Deployment, int] = field(default_factory=lambda: dict.fromkeys(Deployment, 0))
    heard: int = 0
    recorded: int = 0
    acknowledged: int = 0
    bytes: int = 0
    leader: bool = True
    owner: str | None = None
    term: int = 0
    saved: Position | None = None
    oplog_since: int | None = None
    _clock: ServerClock = field(default_factory=ServerClock)
    _started_with: int = 0
    _opened: bool = False
    _newest: Position | None = None
    _reached: Position | None = None
    _unsaved_since: float | None = None
    _under_way: deque[tuple[int, float]] = field(default_factory=deque)
    _retried: dict[Step, str] = field(default_factory=dict)
    _works: dict[int, StageWork] = field(default_factory=dict)
    _sign: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def standing_by(self, owner: str | None) -> None:
        """Note that this daemon is on standby. Called whenever the lease was read.

        Args:
            owner: the leader, as the lease names it; None: none is known.
        """
        with self._lock:
            if self.leader:
                self._begin()
            self.leader, self.owner = False, owner
            self._sign = time.monotonic()

    def leads(self, term: int) -> None:
        """Note that this daemon leads its stream from now on; called before the stages are created."""
        with self._lock:
            self._begin()
            self.leader, self.owner, self.term = True, None, term

    def _begin(self) -> None:
        """Forget the events in the pipeline: they are read again, by this daemon or another one."""
        self._opened = False
        self.heard = self.recorded = self.acknowledged
        self.bytes = 0
        self._under_way.clear()
        self.saved = self._newest = self._reached = self._unsaved_since = None
        self._retried.clear()
        self._works.clear()
        self._sign = time.monotonic()

    def starts_with(self, events: int) -> None:
        """Continue counting from the number of events in the checkpoint."""
        with self._lock:
            self.events = self._started_with = events

    @contextmanager
    def at_work(self, step: Step) -> Iterator[None]:
        """Within the block, this thread's stage works on a step, which must end; its retries count for the step."""
        me = threading.get_ident()
        with self._lock:
            self._works[me] = StageWork(step, time.monotonic())
        try:
            yield
        finally:
            with self._lock:
                self._works.pop(me, None)
                self._sign = time.monotonic()

    def listened(self, batch: Batch, server_seconds: int) -> None:
        """Note a batch that was received, and the server's clock in seconds since 1970."""
        size = sum(map(len, batch.events))
        with self._lock:
            self._clock.told(server_seconds)
            self.heard += len(batch.events)
            self.bytes += size
            if batch.events:
                self._under_way.append((self.heard, time.monotonic()))
            self._newest = batch.position
            if self._unsaved_since is None and (self.saved is None or batch.position.token != self.saved.token):
                self._unsaved_since = time.monotonic()

    def turned(self, batch: Recorded) -> None:
        """Count the events of a batch whose history was made."""
        with self._lock:
            self.recorded += len(batch)

    def written(self, batch: Recorded, rejected: int) -> None:
        """Count the events of an acknowledged batch, and how many of them were rejected; the batch may be empty."""
        size = sum(len(entry.event) for entry in batch.entries) + sum(len(each.event) for each in batch.rejected)
        with self._lock:
            self._reached = batch.position
            self.acknowledged += len(batch)
            while self._under_way and self._under_way[0][0] <= self.acknowledged:
                self._under_way.popleft()
            self.bytes -= size
            self.batches += bool(len(batch))
            self.rejected += rejected
            self.events += len(batch)
            self.tally.add(batch.counts)

    def gap(self) -> None:
        """Count a recorded gap."""
        with self._lock:
            self.gaps += 1

    def checkpointed(self, position: Position) -> None:
        """Note that the checkpoint has moved."""
        with self._lock:
            self.saved, self._opened = position, True
            all_saved = self._newest is None or self._newest.token == position.token
            self._unsaved_since = None if all_saved else time.monotonic()

    def retrying(self, step: Step, error: BaseException) -> None:
        """Note that a step has failed for a transient reason and is retried."""
        with self._lock:
            self.retries_of[step.deployment] += 1
            self._retried[step] = name_of(error)
            self._alive()

    def recovered(self, step: Step) -> None:
        """Note that a step that had failed has succeeded, or is abandoned."""
        with self._lock:
            self._retried.pop(step, None)
            self._alive()

    def _alive(self) -> None:
        """Note a sign of life: of the daemon, of the present thread's step, and of the positions that wait for it."""
        me, self._sign = threading.get_ident(), time.monotonic()
        if (work := self._works.get(me)) is not None:
            self._works[me] = work._replace(since=self._sign)
            if self._unsaved_since is not None:
                self._unsaved_since = self._sign

    @property
    def role(self) -> str:
        """`leader`, `standby`, or `starting` while neither is known."""
        if not self.leader:
            return "standby"
        return "leader" if self.term or self._opened else "starting"

    @property
    def opened(self) -> bool:
        """Whether the stream is open and its position saved."""
        return self._opened

    @property
    def retries(self) -> int:
        """Number of retried failures since the start."""
        return sum(self.retries_of.values())

    @property
    def waiting(self) -> int:
        """Number of events received from the server, but not acknowledged yet."""
        return max(0, self.heard - self.acknowledged)

    @property
    def delay_s(self) -> float:
        """Seconds since the oldest waiting event was received; 0: none waits."""
        with self._lock:
            return time.monotonic() - self._under_way[0][1] if self._under_way else 0.0

    @property
    def session_events(self) -> int:
        """Number of events recorded since this start."""
        return self.events - self._started_with

    @property
    def lag_s(self) -> int | None:
        """How far history is behind, in whole seconds of the server's clock; None: unknown, or another daemon leads."""
        with self._lock:
            return self._since(self._reached)

    @property
    def checkpoint_age_s(self) -> int | None:
        """Age of the saved position, in whole seconds of the server's clock; None: as in `lag_s`."""
        with self._lock:
            return self._since(self.saved)

    def _since(self, position: Position | None) -> int | None:
        passed = self._clock.since(position.seconds) if position is not None else None
        return int(passed) if passed is not None else None

    @property
    def oplog_headroom_s(self) -> int | None:
        """Seconds of oplog before the saved position: how long the stream may stop at this load. None: unknown."""
        with self._lock:
            known = self.oplog_since is not None and self.saved is not None
            return self.saved.seconds - self.oplog_since if known else None  # type: ignore[operator, union-attr]

    def judgement(self) -> Judgement:
        """Whether the daemon is ready and alive now, and the reasons if it is not ready."""
        with self._lock:
            facts = Facts(
                self.leader,
                self._opened,
                self._sign,
                tuple(self._works.values()),
                tuple(Retried(*item) for item in self._retried.items()),
                self._unsaved_since,
                self.waiting,
            )
        return judge(facts, time.monotonic(), self.bounds)

    def alive(self) -> bool:
        """Whether the daemon should be left running."""
        return self.judgement().live
