"""When the survey is given something to do: at the start, after a gap, after a renaming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from pymongo.errors import PyMongoError

from change_history.partition import read
from change_history.reconstruct.recorded import parts_before
from watcher.backfill.agenda import RECONCILE, Plan
from watcher.backfill.plan_store import PlanStore
from watcher.backfill.plans import Plans
from watcher.backfill.survey import Survey
from watcher.backfill.surveyor import Surveyor
from watcher.errors import name_of
from watcher.events import event
from watcher.leadership.lease import DeposedError
from watcher.retry import StoppedError
from watcher.stream.batch import before

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from bson import Timestamp
    from pymongo import MongoClient
    from pymongo.database import Database

    from watcher.leadership.fence import Fence
    from watcher.retry import Retry
    from watcher.stream.batch import Lost, Position, Renamed
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)


class Surveys:
    """The survey of one stream. Whatever is asked of it is kept before it returns, and safe to ask again.

    Args:
        client: the watched deployment.
        history: the history database.
        fence: writes under the leader's term.
        scope: what is watched.
        store: stores history documents; returns when a majority has them.
        retry: tries again what fails for passing reasons.
        stop: set when the daemon is asked to stop.
        recorded: how far everything is acknowledged by a majority; None: nothing yet.
        baseline: whether the state of documents is recorded whose beginnings no event has told.
        reconcile: whether history is brought level after a gap.
        on_done: called when a plan is carried out, from the survey's thread.
    """

    def __init__(
        self,
        client: MongoClient[Any],
        history: Database[Any],
        fence: Fence,
        scope: Scope,
        store: Callable[[list[bytes]], None],
        retry: Retry,
        stop: Event,
        *,
        recorded: Callable[[], Position | None],
        baseline: bool,
        reconcile: bool,
        on_done: Callable[[], None],
    ) -> None:
        self._plans = Plans(client, history, scope)
        self._fence = fence
        self._history = history
        self._retry = retry
        self._kept = PlanStore(history, fence)
        self._baseline, self._reconcile = baseline, reconcile
        self._position = recorded
        self._on_done = on_done
        surveyor = Surveyor(
            client, history, store, self._recorded, self._kept.nudge, retry, stop, scope.part, self._others_past
        )
        self._survey = Survey(surveyor, self._kept.save, self._done, retry, stop)

    def begin(self, start: Position) -> None:
        """Survey everything for a stream that begins."""
        if self._baseline:
            self._survey.assign(self._plans.baseline(start))

    def resume(self) -> None:
        """Go on with what was left when the daemon ended, as far as it is still wanted."""
        self._survey.resume([plan for plan in self._kept.load() if self._is_wanted(plan)])

    def after_gap(self, lost: Lost, now: Position) -> None:
        """Survey everything after events were lost."""
        if self._reconcile:
            self._survey.assign(self._plans.reconcile(lost, now))

    def after_rename(self, renamed: Renamed) -> None:
        """Survey a collection that came under watch by its new name."""
        plan = self._plans.after_rename(renamed, self._survey.waiting())
        if plan is not None and self._is_wanted(plan):
            self._survey.assign(plan)

    def run(self) -> None:
        """Carry out what there is to do, until the daemon stops or is deposed.

        What is said is judged by what history says already, so first of all no former leader can add to that.
        """
        try:
            self._retry.call("taking over the survey", self._fence.hold)
        except (StoppedError, DeposedError):
            return
        except PyMongoError as error:
            log.error(  # noqa: TRY400 - the name says it
                "existing documents cannot be surveyed; events are recorded all the same",
                error=name_of(error),
                remedy="grant readWrite on the history database",
            )
            return
        self._survey.run()

    def _is_wanted(self, plan: Plan) -> bool:
        if plan.levels:
            return self._reconcile
        return self._baseline or (plan.kind == RECONCILE and self._reconcile)

    def _recorded(self) -> Timestamp | None:
        """The last moment of which nothing can follow."""
        position = self._position()
        reached = event.token_time(position.token) if position is not None else None
        return before(reached) if reached is not None else None

    def _others_past(self, moment: Timestamp) -> bool:
        """Whether no other part of the stream stands before a moment."""
        mine = self._fence.stream
        behind = (each.checkpoint for each in parts_before(self._history, moment))
        return not any(name != mine and read(name)[0] == read(mine)[0] for name in behind)

    def _done(self, leveller: Plan | None) -> None:
        if leveller is not None:
            self._kept.level(leveller)
        self._on_done()
