"""Is the daemon ready, and is it alive? A pure function of what it has done and of a clock.

What counts is durable progress: what the server sent must be recorded, acknowledged by a majority, and passed by the
checkpoint, within a bounded time. That threads run says nothing. A step that is retried makes the daemon not ready, and
leaves it alive: after a restart the same step would fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from watcher.steps import Step


class Bounds(NamedTuple):
    """How long something may take, in seconds.

    Attributes:
        ready_s: longer than this without progress is not ready. An idle stream saves its position every 10 s.
        live_s: longer than this is stuck. One attempt may be silent for two socket timeouts (a retryable write is tried
            twice by the driver) and the times to find a server; see `watcher.clients`.
        opening_s: longer than this without even a retry, the stream is not going to open. Indexes of a large history
            may have to be made, and pre-images switched on for thousands of collections.
    """

    ready_s: float = 30.0
    live_s: float = 180.0
    opening_s: float = 1800.0


class StageWork(NamedTuple):
    """What a stage is doing, and since when, or when it was last retried; by the monotonic clock."""

    step: Step
    since: float


class Retried(NamedTuple):
    """A step that failed for a passing reason and is retried, and the name of the error."""

    step: Step
    error: str


@dataclass(frozen=True)
class Facts:
    """What is known of the daemon. Times are seconds of the monotonic clock.

    Attributes:
        leader: it leads the stream; else it stands by.
        opened: the stream is open and its position saved.
        sign: the last sign of life of whatever kind.
        works: what the stages are doing; a stage that waits for another one does nothing.
        retried: what is being retried.
        unsaved_since: when the server sent something that the checkpoint has not passed, or when the checkpoint last
            moved towards it, or such a step was last retried; None: it has passed everything.
        waiting: events that the server has sent and that are not recorded.
    """

    leader: bool
    opened: bool
    sign: float
    works: tuple[StageWork, ...] = ()
    retried: tuple[Retried, ...] = ()
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
    """Judge a daemon."""
    reasons = [f"{step.deployment.phrase}: {step} failed, trying again: {error}" for step, error in facts.retried]
    silent = now - facts.sign
    if not facts.leader:
        if silent > bounds.ready_s and not reasons:
            reasons.append(f"history deployment: the lease has not been looked at for {silent:.0f} s")
        return Judgement(silent <= bounds.live_s, reasons)
    if not facts.opened:
        reasons.insert(0, "the stream is not open yet")
    waits = [(now - since, step) for step, since in facts.works]
    reasons += [
        f"{step.deployment.phrase}: {step} has come to no end for {waited:.0f} s"
        for waited, step in waits
        if waited > bounds.ready_s
    ]
    unsaved = now - facts.unsaved_since if facts.unsaved_since is not None else 0.0
    if unsaved > bounds.ready_s and not reasons:
        reasons.append(
            f"the checkpoint has not moved for {unsaved:.0f} s although the server has sent more; "
            f"{facts.waiting} events wait to be recorded"
        )
    stuck = max([unsaved, *(waited for waited, _ in waits)]) > bounds.live_s
    return Judgement(not stuck and (facts.opened or silent <= bounds.opening_s), reasons)
