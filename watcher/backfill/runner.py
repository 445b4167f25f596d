"""Reads every watched document once while the stream runs: the baseline at the start, the reconciliation after a gap.

The stream is opened first. Then the documents are read as they were just before its first event, by a snapshot read at
that cluster time, whatever is written meanwhile. So a document's entry precedes all of its events, and folding them
onto it is exact. The server keeps a snapshot for a few minutes only. After that, a later snapshot is read, at a cluster
time that the stream has been recorded up to, so that history shows which documents have not changed since (`entries`).
Collections that cannot be read at a cluster time at all, such as capped ones, are read as they are now, and compared
once the stream has caught up.

The plans and their progress are in the checkpoint, so the backfill resumes after a kill. Entries are derived from the
documents, their cluster time and history: reading again makes the same entries.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from bson import Timestamp
from pymongo.errors import OperationFailure, PyMongoError

from change_history.bson.resume_token import token_time
from change_history.partition import read
from change_history.reconstruct.trust import parts_before
from watcher.backfill.plan_store import PlanStore
from watcher.backfill.planner import Planner
from watcher.backfill.queue import RECONCILE, BackfillPlan, enqueue, finish
from watcher.backfill.readers import SNAPSHOT_GONE
from watcher.backfill.scanner import Scanner
from watcher.errors import name_of
from watcher.leadership.lease import DeposedError
from watcher.retry import StoppedError
from watcher.steps import Step
from watcher.targets.namespaces import MovedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.database import Database

    from watcher.events.redaction import Redaction
    from watcher.leadership.fence import Fence
    from watcher.retry import Retry
    from watcher.stream.batch import Lost, Position, Renamed, SharedProgress
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)

_LOG_EVERY_S = 5.0
_MOST_REFUSALS = 3
"""Consecutive cluster times that the server may refuse to read, before the collection is read as it is now."""


class Backfill:
    """The backfill of one stream: completes plans one after the other, in a thread of its own.

    A requested plan is saved before the call returns, and may be requested again. If it cannot be saved, the call
    raises `PyMongoError`, and the plan is not carried out.

    Args:
        store: stores history documents; returns when a majority has acknowledged them.
        shared: holds the position up to which everything is recorded, and counts the completed plans.
        baseline: record the documents that existed before the stream.
        reconcile: reconcile history with the documents after a gap.
    """

    def __init__(
        self,
        client: MongoClient[Any],
        history: Database[Any],
        fence: Fence,
        scope: Scope,
        store: Callable[[list[bytes]], None],
        retry: Retry,
        stop: threading.Event,
        *,
        shared: SharedProgress,
        baseline: bool,
        reconcile: bool,
        redaction: Redaction | None,
    ) -> None:
        self._planner = Planner(client, history, scope)
        self._scope = scope
        self._fence = fence
        self._history = history
        self._retry = retry
        self._stop = stop
        self._kept = PlanStore(history, fence)
        self._baseline, self._reconcile = baseline, reconcile
        self._shared = shared
        self._scanner = Scanner(
            client=client,
            history=history,
            store=store,
            recorded_until=self._recorded,
            nudge=self._kept.nudge,
            retry=retry,
            stop=stop,
            redaction=redaction,
            partition=scope.partition,
            others_recorded=self._others_past,
        )
        self._queue: tuple[BackfillPlan, ...] = ()
        self._given_up: tuple[BackfillPlan, ...] = ()
        self._wake = threading.Condition()
        self._logged_at = 0.0

    def begin(self, start: Position) -> None:
        """Plan the baseline of a new stream."""
        if self._baseline:
            self._assign(self._planner.baseline(start))

    def resume(self) -> None:
        """Load the plans left by the last run, as far as the settings still want them; to be called first."""
        self._queue = tuple(plan for plan in self._kept.load() if self._is_wanted(plan))

    def after_gap(self, lost: Lost, now: Position) -> None:
        """Plan the reconciliation of all collections after events were lost."""
        if self._reconcile:
            self._assign(self._planner.reconcile(lost, now))

    def after_rename(self, renamed: Renamed) -> None:
        """Plan the reading of a collection that is watched under its new name."""
        with self._wake:
            waiting = self._queue + self._given_up
        plan = self._planner.after_rename(renamed, waiting)
        if plan is not None and self._is_wanted(plan):
            self._assign(plan)

    def anew(self, plan: BackfillPlan) -> None:
        """Carry out a plan requested by an operator, independent of the settings."""
        self._assign(plan)

    def has(self, plan: BackfillPlan) -> bool:
        """Whether a plan waits, is being carried out, or was postponed to the next start."""
        with self._wake:
            return any(other.identity == plan.identity for other in self._queue + self._given_up)

    def scanner(self) -> Scanner:
        """The reader of this stream's documents."""
        return self._scanner

    def run(self) -> None:
        """Carry out plans until the daemon stops or is deposed.

        The entries depend on existing history. So the fence is taken first, after which no former leader can add to it.
        """
        try:
            self._retry.call(Step.TAKE_OVER_BACKFILL, self._fence.hold)
        except (StoppedError, DeposedError):
            return
        except PyMongoError as error:
            log.error(  # noqa: TRY400 - the name says it
                "existing documents cannot be recorded; events are recorded all the same",
                error=name_of(error),
                remedy="`watcher doctor` names the privilege that is missing",
            )
            return
        while not self._stop.is_set():
            with self._wake:
                if not self._queue:
                    self._wake.wait(0.5)
                    continue
                plan = self._queue[0]
            try:
                self._carry_out(plan)
            except (StoppedError, DeposedError):
                return
            except Exception as error:  # noqa: BLE001 - the stream must go on
                log.error(  # noqa: TRY400
                    "the backfill of existing documents ended early; events are recorded all the same",
                    kind=plan.kind,
                    error=name_of(error),
                    remedy="grant find on what is watched and start again, or set WATCHER_BASELINE=off",
                )
                self._give_up(plan)

    def _assign(self, plan: BackfillPlan) -> None:
        """Append a plan to the queue. When it returns, a majority has acknowledged it."""
        with self._wake:
            self._keep(enqueue(self._queue, plan))
            self._wake.notify_all()

    def _is_wanted(self, plan: BackfillPlan) -> bool:
        if plan.closes_gaps:
            return self._reconcile
        return self._baseline or (plan.kind == RECONCILE and self._reconcile)

    def _recorded(self) -> Timestamp | None:
        """The latest cluster time whose events are all recorded; None: not known yet."""
        position = self._shared.recorded
        reached = token_time(position.token) if position is not None else None
        return reached.just_before.timestamp if reached is not None else None

    def _others_past(self, wanted: Timestamp) -> bool:
        """Whether every other partition of the stream is recorded up to a cluster time."""
        mine = self._fence.stream
        behind = (each.checkpoint for each in parts_before(self._history, wanted))
        return not any(name != mine and read(name)[0] == read(mine)[0] for name in behind)

    def _carry_out(self, plan: BackfillPlan) -> None:
        if plan.namespaces:
            log.info(
                "backfill of existing documents", kind=plan.kind, at=str(plan.at), collections=len(plan.namespaces)
            )
        while plan.namespaces:
            try:
                reached = self._collection(plan)
            except OperationFailure as error:
                log.error(  # noqa: TRY400 - the name says it
                    "existing documents of a collection could not be read; its events are recorded all the same",
                    kind=plan.kind,
                    namespace=plan.namespaces[0],
                    error=name_of(error),
                )
                with self._wake:
                    mine = [other for other in self._queue[:1] if other.identity == plan.identity]
                reached = replace(mine[0], whole=False) if mine else None
            if reached is None:
                return
            more = self._retry.call(Step.SAVE_BACKFILL, partial(self._note, reached, next_namespace=True))
            if more is None:
                return
            plan = more
        log.info("backfill done", kind=plan.kind, documents=plan.documents, entries=plan.entries)
        self._retry.call(Step.FINISH_BACKFILL, partial(self._finish, plan))

    def _collection(self, plan: BackfillPlan) -> BackfillPlan | None:
        """Read the first collection of a plan. Returns the plan after it; None: it is no longer needed.

        After a transient failure, reading continues where it was. If a cluster time can no longer be read, a later one
        is used; if the server refuses those too, the collection is read as it is now.
        """
        reached, refusals = plan, 0

        def go_on() -> bool:
            nonlocal reached
            for step in self._scanner.steps(reached, as_it_is=refusals > _MOST_REFUSALS):
                if self._stop.is_set():
                    return False
                noted = self._retry.call(Step.SAVE_BACKFILL, partial(self._note, step))
                if noted is None:
                    return False
                reached = noted
                self._log(reached)
            return True

        while True:
            begun = reached
            try:
                return reached if self._retry.call(Step.READ_DOCUMENTS, go_on) else None
            except MovedError:
                log.info("a collection was dropped or renamed while it was read", namespace=plan.namespaces[0])
            except OperationFailure as error:
                if error.code not in SNAPSHOT_GONE or refusals > _MOST_REFUSALS:
                    raise
                refusals = refusals + 1 if reached.documents == begun.documents else 1
                refused = reached.read_at or reached.at
                later = self._scanner.recorded_up_to(Timestamp(refused.time, refused.inc + 1))
                reached = replace(reached, read_at=later)
                log.info(
                    "the server no longer has the snapshot wanted, so a later one is read",
                    namespace=plan.namespaces[0],
                    at=str(reached.read_at),
                    error=name_of(error),
                )

    def _keep(self, queue: tuple[BackfillPlan, ...]) -> None:
        self._kept.save(queue + self._given_up)
        self._queue = queue

    def _note(self, step: BackfillPlan, *, next_namespace: bool = False) -> BackfillPlan | None:
        """Save the progress of the first plan. None: the plan was replaced meanwhile."""
        with self._wake:
            if not self._queue or self._queue[0].identity != step.identity:
                return None
            noted = replace(step, namespaces=self._queue[0].namespaces)  # more of them may have been added
            if next_namespace:
                noted = noted.next_namespace()
            self._keep((noted, *self._queue[1:]))
            return noted

    def _finish(self, plan: BackfillPlan) -> None:
        with self._wake:
            if self._queue[0] != plan:  # more was added meanwhile
                return
            queue, closing = finish(self._queue, plan)
            if closing is not None:
                self._kept.close_gaps(closing, self._scope)
            self._shared.backfills += 1
            self._keep(queue)

    def _give_up(self, plan: BackfillPlan) -> None:
        """Postpone a plan to the next start: it stays in the checkpoint."""
        with self._wake:
            self._given_up += tuple(other for other in self._queue if other.identity == plan.identity)
            self._queue = tuple(other for other in self._queue if other.identity != plan.identity)

    def _log(self, plan: BackfillPlan) -> None:
        if time.monotonic() - self._logged_at > _LOG_EVERY_S:
            self._logged_at = time.monotonic()
            log.info(
                "backfill under way",
                kind=plan.kind,
                namespace=plan.namespaces[0],
                documents=plan.documents,
                entries=plan.entries,
                collections_left=len(plan.namespaces),
            )
