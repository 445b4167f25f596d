"""Is the daemon ready, and is it alive? A pure function of what it has done and of a clock.

What counts is durable progress: what the server told must be recorded, acknowledged by a majority, and passed by the
checkpoint, within a bounded time. That threads run says nothing. Trouble that is tried again makes the daemon not
ready, and leaves it alive: a restart would meet the same trouble.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from watcher.health.sides import side_of, words


class Bounds(NamedTuple):
    """How long something may take, in seconds.

    Attributes:
        ready_s: longer than this without progress is not ready. An idle stream saves its position every 10 s.
        live_s: longer than this is stuck. One attempt may be silent for two socket timeouts (a retryable write is tried
            twice by the driver) and the times to find a server; see `watcher.clients`.
        opening_s: longer than this without even trouble, the stream is not going to open. Indexes of a large history
            may have to be made, and pre-images switched on for thousands of collections.
    """

    ready_s: float = 30.0
    live_s: float = 180.0
    opening_s: float = 1800.0


class Work(NamedTuple):
    """What a stage is doing, and since when, or since when it was last tried again; by the monotonic clock."""

    doing: str
    since: float


class Trouble(NamedTuple):
    """What fails for a passing reason and is tried again, and the name of the error."""

    doing: str
    error: str


@dataclass(frozen=True)
class Facts:
    """What is known of the daemon. Times are seconds of the monotonic clock.

    Attributes:
        leader: it leads the stream; else it stands by.
        opened: the stream is open and its position saved.
        sign: the last sign of life of whatever kind.
        works: what the stages are doing; a stage that waits for another one does nothing.
        troubles: what is being tried again.
        unsaved_since: when the server told of something that the checkpoint has not passed, or when the checkpoint last
            moved towards it, or such a step was last tried again; None: it has passed everything.
        waiting: events that the server has told and that are not recorded.
    """

    leader: bool
    opened: bool
    sign: float
    works: tuple[Work, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    unsaved_since: float | None = None
    waiting: int = 0


class Judgement(NamedTuple):
    """Whether the daemon should be left running, and why nobody should rely on it now; no reason: it is ready."""

    live: bool
    reasons: list[str]

    @property
    def ready(self) -> bool:
        """Whether the history can be relied on to be up to date, or this daemon to take over at once."""
        return not self.reasons


def judge(facts: Facts, now: float, bounds: Bounds) -> Judgement:
    """Judge a daemon.

    Args:
        facts: what is known of it.
        now: the monotonic clock.
        bounds: how long something may take.
    """
    reasons = [
        f"{words(side_of(trouble.doing))}: trouble {trouble.doing}, trying again: {trouble.error}"
        for trouble in facts.troubles
    ]
    silent = now - facts.sign
    if not facts.leader:
        if silent > bounds.ready_s and not reasons:
            reasons.append(f"history deployment: the lease has not been looked at for {silent:.0f} s")
        return Judgement(silent <= bounds.live_s, reasons)
    if not facts.opened:
        reasons.insert(0, "the stream is not open yet")
    waits = [(now - work.since, work.doing) for work in facts.works]
    reasons += [
        f"{words(side_of(doing))}: {doing} has come to no end for {waited:.0f} s"
        for waited, doing in waits
        if waited > bounds.ready_s
    ]
    unsaved = now - facts.unsaved_since if facts.unsaved_since is not None else 0.0
    if unsaved > bounds.ready_s and not reasons:
        reasons.append(
            f"the checkpoint has not moved for {unsaved:.0f} s although the server has told more; "
            f"{facts.waiting} events wait to be recorded"
        )
    stuck = max([unsaved, *(waited for waited, _ in waits)]) > bounds.live_s
    return Judgement(not stuck and (facts.opened or silent <= bounds.opening_s), reasons)
