"""The queue of the backfill's plans: what it reads, and in which order. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bson import Timestamp
    from bson.raw_bson import RawBSONDocument

BASELINE, RECONCILE = "baseline", "reconcile"


@dataclass(frozen=True)
class BackfillPlan:
    """What to read, and the progress made.

    Attributes:
        kind: `BASELINE`: record the documents; `RECONCILE`: record how they differ from their state in history.
        at: the cluster time as of which the documents are to be recorded.
        namespaces: those that remain; the first one is being read.
        after: `{_id: …}` of the last finished document of the first namespace; None: none is finished.
        since: of a reconciliation, the cluster time up to which history was complete; None: a baseline.
        documents: number of documents finished.
        entries: number of entries recorded.
        whole: nothing had to be skipped.
        closes_gaps: when it is done, the gaps before it are reconciled.
        read_at: a later cluster time to read the first namespace at, because `at` can no longer be read; None: `at`.
        latest: the latest cluster time that any document had to be recorded as of, instead of `at`; None: none had.
    """

    kind: str
    at: Timestamp
    namespaces: tuple[str, ...]
    after: RawBSONDocument | None = None
    since: Timestamp | None = None
    documents: int = 0
    entries: int = 0
    whole: bool = True
    closes_gaps: bool = False
    read_at: Timestamp | None = None
    latest: Timestamp | None = None

    @property
    def identity(self) -> tuple[str, Timestamp, Timestamp | None]:
        """The part of a plan that does not change while it is carried out."""
        return self.kind, self.at, self.since

    @property
    def reconciled_at(self) -> Timestamp:
        """The cluster time from which on history can be trusted, once the plan is completed."""
        return max(self.at, self.latest) if self.latest is not None else self.at

    def from_the_beginning(self) -> BackfillPlan:
        """The plan without the progress in its remaining namespaces."""
        return replace(self, after=None, read_at=None, documents=0, entries=0)

    def next_namespace(self) -> BackfillPlan:
        """The plan once its first namespace is done."""
        return replace(self, namespaces=self.namespaces[1:], after=None, read_at=None)


def enqueue(queue: Sequence[BackfillPlan], plan: BackfillPlan) -> tuple[BackfillPlan, ...]:
    """Append a plan to the queue. Idempotent.

    Plans are completed in order, so a reconciliation does not replace any part of a baseline. But the namespaces that
    an earlier reconciliation has not finished are read at the later one's cluster time: its own time is before events
    that are lost, so they would have to be reconciled again at once. They are still compared with history before the
    earlier gap.
    """
    waiting = []
    for other in queue:
        if other.closes_gaps and plan.closes_gaps:
            if other.at < plan.at:
                other = replace(other, at=plan.at, after=None, read_at=None)  # noqa: PLW2901
            if other.since != plan.since:
                plan = replace(plan, namespaces=_without(plan.namespaces, other.namespaces))
        waiting.append(other)
    for index, other in enumerate(waiting):
        if other.identity == plan.identity:
            more = _without(plan.namespaces, other.namespaces)
            waiting[index] = replace(other, namespaces=other.namespaces + more)
            return tuple(waiting)
    return (*waiting, plan)


def finish(queue: Sequence[BackfillPlan], done: BackfillPlan) -> tuple[tuple[BackfillPlan, ...], BackfillPlan | None]:
    """Remove a completed plan from the queue.

    Returns:
        The remaining queue, and the plan that reconciles gaps. None: no gap is reconciled, or not yet: a later
        reconciliation in the queue will mark them.
    """
    waiting = [plan for plan in queue if plan.identity != done.identity]
    if not done.closes_gaps:
        return tuple(waiting), done if done.kind == RECONCILE and done.whole else None
    for index, plan in enumerate(waiting):
        if plan.closes_gaps:
            latest = max(done.reconciled_at, plan.reconciled_at)
            waiting[index] = replace(plan, whole=plan.whole and done.whole, latest=latest)
            return tuple(waiting), None
    return tuple(waiting), done if done.whole else None


def _without(namespaces: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(namespace for namespace in namespaces if namespace not in others)
