"""What the backfill is to read, and in which order: the queue of plans. Pure."""

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
    """What is to be read, and how far it is.

    Attributes:
        kind: `BASELINE`, what documents are; or `RECONCILE`, in what they differ from what history says.
        at: the cluster time as of which history is to have them.
        namespaces: what remains, the first of it being under way.
        after: `{_id: …}` of the last document that is done in the first namespace.
        since: of a reconciliation, up to when history was whole.
        documents: how many are done.
        entries: how many were recorded.
        whole: nothing had to be left out.
        closes_gaps: when it is done, the gaps before it are reconciled.
        read_at: a later cluster time that the first namespace is read at, because `at` can no longer be read.
        latest: the latest cluster time that any document had to be recorded as of instead of `at`.
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
        """What stays the same while the plan is carried out."""
        return self.kind, self.at, self.since

    @property
    def reconciled_at(self) -> Timestamp:
        """The cluster time from which on history can be relied upon, once the plan is carried out."""
        return max(self.at, self.latest) if self.latest is not None else self.at

    def from_the_beginning(self) -> BackfillPlan:
        """The plan as if nothing of what it has left had been read yet."""
        return replace(self, after=None, read_at=None, documents=0, entries=0)

    def next_namespace(self) -> BackfillPlan:
        """The plan once its first namespace is done."""
        return replace(self, namespaces=self.namespaces[1:], after=None, read_at=None)


def enqueue(queue: Sequence[BackfillPlan], plan: BackfillPlan) -> tuple[BackfillPlan, ...]:
    """Put a plan behind those that wait. Safe to repeat.

    Plans are carried out in their order, so nothing of a baseline is lost to a reconciliation. What an earlier
    reconciliation has not done yet, though, is read at the later one's cluster time: its own lies before events that
    are lost, and would have to be reconciled again at once. It still compares with what was known before its own gap.
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
    """Take a plan that is carried out from the queue.

    Returns:
        What remains, and the plan by which gaps are reconciled. None if none is, or not yet: a reconciliation that
        waits takes over what there is to say.
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
