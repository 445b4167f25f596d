"""Reading every watched document once, beside the stream: the baseline at the start, the reconciliation after a gap.

The stream is opened first, then the documents are read as they were just before its first event: a snapshot at that
cluster time, whatever is written meanwhile. So a document's entry stands before all of its events, and folding them
from it is exact. A snapshot can be read for a few minutes only. After that a later one is read, of a moment that the
stream has been recorded to, so that history itself tells which documents are still the same (`statements`). What cannot
be read at a moment at all, as capped collections, is read as it is, and judged once the stream has caught up.

A survey is planned in the checkpoint and notes there how far it is, so it goes on after a kill. Its entries are made
from the documents, their moment and history: read again, they are the same.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
from bson import Timestamp
from pymongo.errors import OperationFailure

from watcher.backfill.agenda import Plan, enqueue, finish
from watcher.backfill.snapshot import SNAPSHOT_GONE
from watcher.errors import name_of
from watcher.leadership.lease import DeposedError
from watcher.retry import Retry, StoppedError
from watcher.targets.kinds import MovedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watcher.backfill.surveyor import Surveyor

log = structlog.get_logger(__name__)

SAY_EVERY_S = 5.0
MOST_REFUSALS = 3
"""So many moments in a row the server may refuse to read; then the collection is read as it is."""


@dataclass
class Survey:
    """Carries out plans, one after the other, in a thread of its own.

    Args:
        surveyor: reads collections and records what is to be said of them.
        save: keeps the queue of plans in the checkpoint.
        done: called when a plan is carried out, with the plan that the gaps before it are level by, if any.
        retry: tries again what fails for passing reasons.
        stop: set when the daemon is asked to stop.
    """

    surveyor: Surveyor
    save: Callable[[Sequence[Plan]], None]
    done: Callable[[Plan | None], None]
    retry: Retry
    stop: threading.Event
    _queue: tuple[Plan, ...] = ()
    _given_up: tuple[Plan, ...] = ()
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _said_at: float = 0.0

    def resume(self, plans: Sequence[Plan]) -> None:
        """Carry out what was left when the daemon ended. Call it before anything else."""
        self._queue = tuple(plans)

    def assign(self, plan: Plan) -> None:
        """Carry out a plan after those that wait. When it returns, a majority has it; safe to repeat.

        Raises:
            pymongo.errors.PyMongoError: it could not be kept, and is not carried out.
        """
        with self._wake:
            self._keep(enqueue(self._queue, plan))
            self._wake.notify_all()

    def waiting(self) -> tuple[Plan, ...]:
        """What is still to be done."""
        with self._wake:
            return self._queue + self._given_up

    def run(self) -> None:
        """Carry out what is assigned, until the daemon stops or is deposed."""
        while not self.stop.is_set():
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
                    "the survey of existing documents ended early; events are recorded all the same",
                    kind=plan.kind,
                    error=name_of(error),
                    remedy="grant find on what is watched and start again, or set WATCHER_BASELINE=off",
                )
                self._give_up(plan)

    def _carry_out(self, plan: Plan) -> None:
        if plan.namespaces:
            log.info("survey of existing documents", kind=plan.kind, at=str(plan.at), collections=len(plan.namespaces))
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
            more = self.retry.call("noting how far the survey is", partial(self._note, reached, next_namespace=True))
            if more is None:
                return
            plan = more
        log.info("survey done", kind=plan.kind, documents=plan.documents, entries=plan.entries)
        self.retry.call("noting that the survey is done", partial(self._finish, plan))

    def _collection(self, plan: Plan) -> Plan | None:
        """Survey the first collection of a plan; the plan after it, or None if there is no more need.

        What fails for passing reasons goes on where it was. A moment that can no longer be read gives way to a later
        one, and where none can be read, what there is now is.
        """
        reached, refusals = plan, 0

        def go_on() -> bool:
            nonlocal reached
            for step in self.surveyor.steps(reached, as_it_is=refusals > MOST_REFUSALS):
                if self.stop.is_set():
                    return False
                noted = self.retry.call("noting how far the survey is", partial(self._note, step))
                if noted is None:
                    return False
                reached = noted
                self._say(reached)
            return True

        while True:
            begun = reached
            try:
                return reached if self.retry.call("reading existing documents", go_on) else None
            except MovedError:
                log.info("a collection was dropped or renamed while it was read", namespace=plan.namespaces[0])
            except OperationFailure as error:
                if error.code not in SNAPSHOT_GONE or refusals > MOST_REFUSALS:
                    raise
                refusals = refusals + 1 if reached.documents == begun.documents else 1
                refused = reached.read_at or reached.at
                later = self.surveyor.recorded_up_to(Timestamp(refused.time, refused.inc + 1))
                reached = replace(reached, read_at=later)
                log.info(
                    "the moment wanted cannot be read; what history does not tell of it is read at a later one",
                    namespace=plan.namespaces[0],
                    at=str(reached.read_at),
                    error=name_of(error),
                )

    def _keep(self, queue: tuple[Plan, ...]) -> None:
        self.save(queue + self._given_up)
        self._queue = queue

    def _note(self, step: Plan, *, next_namespace: bool = False) -> Plan | None:
        """Keep how far the first plan is. None: it is not wanted any more as it was begun."""
        with self._wake:
            if not self._queue or self._queue[0].identity != step.identity:
                return None
            noted = replace(step, namespaces=self._queue[0].namespaces)  # more of them may have been added
            if next_namespace:
                noted = noted.next_namespace()
            self._keep((noted, *self._queue[1:]))
            return noted

    def _finish(self, plan: Plan) -> None:
        with self._wake:
            if self._queue[0] != plan:  # more was added meanwhile
                return
            queue, leveller = finish(self._queue, plan)
            self.done(leveller)
            self._keep(queue)

    def _give_up(self, plan: Plan) -> None:
        """Leave a plan to the next start: it stays in the checkpoint."""
        with self._wake:
            self._given_up += tuple(other for other in self._queue if other.identity == plan.identity)
            self._queue = tuple(other for other in self._queue if other.identity != plan.identity)

    def _say(self, plan: Plan) -> None:
        if time.monotonic() - self._said_at > SAY_EVERY_S:
            self._said_at = time.monotonic()
            log.info(
                "survey under way",
                kind=plan.kind,
                namespace=plan.namespaces[0],
                documents=plan.documents,
                entries=plan.entries,
                collections_left=len(plan.namespaces),
            )
