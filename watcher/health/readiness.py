"""Decides whether the daemon is ready, and whether it is alive. A pure function of its progress and a clock.

Only durable progress counts: events that the server sent must be recorded, acknowledged by a majority, and passed by
the checkpoint, within a bounded time. Running threads prove nothing. While a step is retried, the daemon is not ready,
but alive: after a restart the same step would fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from watcher.steps import Step


class Bounds(NamedTuple):
    """Time limits in seconds.

    Attributes:
        ready_s: time without progress after which the daemon is not ready. An idle stream saves its position every
            10 s.
        live_s: time without progress after which the daemon is stuck. One attempt may take two socket timeouts (the
            driver tries a retryable write twice) and the times to select a server; see `watcher.clients`.
        opening_s: time without even a retry after which the stream will not open. Indexes of a large history may have
            to be built, and pre-images enabled for thousands of collections.
    """

    ready_s: float = 30.0
    live_s: float = 180.0
    opening_s: float = 1800.0


class StageWork(NamedTuple):
    """The step that a stage works on, and the monotonic time when it began or was last retried."""

    step: Step
    since: float


class Retried(NamedTuple):
    """A step that failed for a transient reason and is retried, and the name of the error."""

    step: Step
    error: str


@dataclass(frozen=True)
class Facts:
    """The state of the daemon. Times are seconds of the monotonic clock.

    Attributes:
        leader: the daemon leads the stream; otherwise it is on standby.
        opened: the stream is open and its position saved.
        sign: the last sign of life of any kind.
        works: the steps that the stages work on; a stage that waits for another one has none.
        retried: the steps that are being retried.
        unsaved_since: when the server sent something that the checkpoint has not passed, or when the checkpoint last
            moved towards it, or such a step was last retried; None: the checkpoint has passed everything.
        waiting: number of events received from the server, but not recorded.
    """

    leader: bool
    opened: bool
    sign: float
    works: tuple[StageWork, ...] = ()
    retried: tuple[Retried, ...] = ()
    unsaved_since: float | None = None
    waiting: int = 0


class Judgement(NamedTuple):
    """Whether the daemon should be left running, and the reasons why it is not ready; none: it is ready."""

    live: bool
    reasons: list[str]

    @property
    def ready(self) -> bool:
        """Whether the history is up to date, or this daemon could take over at once."""
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
