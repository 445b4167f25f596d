"""Splitting a stream into another number of parts, or putting it together again.

Every part has read up to somewhere. A resume token of one part is refused for another, whose filter hides the very
event that the server looks for. So the new parts begin at the cluster time up to which all former ones have read: some
events are read again, and since the same event is the same history, none is recorded twice.

All of it is one transaction: until it is done the former parts stand, and after it only the new ones. The former
checkpoints are gone then, and with them whatever a former daemon could move.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import PyMongoError

from change_history.partition import Partition, all_of, checkpoint_of
from change_history.reconstruct.snapshots import forget_since
from change_history.reconstruct.trust import gaps
from change_history.stored.names import CHECKPOINTS
from watcher.backfill import plan_store
from watcher.backfill.planner import Planner
from watcher.backfill.queue import BASELINE, enqueue
from watcher.errors import PositionLostError, Verdict, classify, name_of
from watcher.leadership.lease import DeposedError
from watcher.leadership.takeover import LedError, leader, taken
from watcher.operations.division import CannotSplitError, Division, refuse_what_cannot_be
from watcher.operations.layout import Layout
from watcher.operations.moves import true_to_token
from watcher.operations.openings import Openings
from watcher.stream.checkpointer import Checkpointer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from watcher.backfill.queue import Plan
    from watcher.leadership.fence import Fence
    from watcher.leadership.lease import Holder
    from watcher.stream.batch import Position
    from watcher.targets.identity import ReplicaSet
    from watcher.targets.scope import Scope

_MAJORITY = WriteConcern("majority")
_ATTEMPTS = 20


class Repartition:
    """Changes into how many parts a stream is split.

    Args:
        watched: client of the watched deployment.
        history: the history database.
        stream: name of the stream, without a part.
        scope: what is watched, without a part.
        replica_set: the watched deployment.
        pre_images: whether the daemons ask for the images before each change.
        baseline: whether a stream that begins records the state of the documents there are.
    """

    def __init__(
        self,
        watched: MongoClient[Any],
        history: Database[Any],
        stream: str,
        scope: Scope,
        replica_set: ReplicaSet,
        *,
        pre_images: bool,
        baseline: bool,
    ) -> None:
        self._watched = watched
        self._history = history
        self._checkpoints = history.get_collection(
            CHECKPOINTS, write_concern=_MAJORITY, read_preference=ReadPreference.PRIMARY
        )
        self._stream, self._scope, self._replica_set = stream, replace(scope, partition=None), replica_set
        self._pre_images, self._baseline = pre_images, baseline
        self.layout = Layout(history, stream)

    def division(self) -> Division:
        """How the stream is divided now, and where its parts stand.

        Raises:
            watcher.errors.PositionRefusedError: a checkpoint is damaged, another deployment's, or of other options.
            pymongo.errors.PyMongoError: no answer.
        """
        positions = {}
        for part in all_of(self.layout.parts()):
            name = checkpoint_of(self._stream, part)
            stored = self._checkpointer(part, name).load()
            positions[name] = stored and stored._replace(position=true_to_token(stored.position))
        return Division(positions, tuple(gaps(self._history, stream=self._stream)))

    def leaders(self) -> dict[str, Holder]:
        """Which daemons are at work on the stream, by checkpoint."""
        found = {name: leader(self._history, name) for name in self.layout.checkpoints()}
        return {name: holder for name, holder in found.items() if holder is not None}

    def target(self, division: Division, parts: int) -> Position:
        """The position at which the new parts would begin; the stream is opened there.

        Raises:
            CannotSplitError: the stream cannot be divided so.
            watcher.errors.PositionLostError: the oplog does not reach back so far.
            pymongo.errors.PyMongoError: no answer.
        """
        if division.since is None:
            raise CannotSplitError(
                f"Stream {self._stream!r} has not begun.",
                f"The first daemon that is started splits it: watcher run --partition 1/{parts}",
            )
        refuse_what_cannot_be(self._stream, division, parts)
        openings = Openings(
            self._watched, replace(self._scope, partition=all_of(parts)[0]), pre_images=self._pre_images
        )
        moment = division.since.cluster_time.timestamp
        try:
            position = openings.at(moment)
            openings.check(position)  # it is a time, and no event's token: what holds for one part does for the others
        except PyMongoError as error:
            if classify(error) is not Verdict.POSITION_LOST:
                raise
            raise PositionLostError(
                f"The server cannot go on from {moment.time}:{moment.inc}, up to where all parts have read: "
                f"{name_of(error)}.",
                "Start the daemons as the stream is divided now: they record the gap, as WATCHER_ON_GAP says. Then "
                "try again.",
            ) from error
        return position

    def begin(self, parts: int) -> None:
        """Give a stream that has not begun one beginning in so many parts: now. One that has is left as it is.

        Raises: as `change` does.
        """
        with taken(self._history, [self._stream], by_force=False) as mine:
            if not self.layout.is_open():
                return
            fence = mine.fences[self._stream]
            fence.hold()
            now = Openings(self._watched, self._scope, pre_images=self._pre_images).now()
            queue: tuple[Plan, ...] = ()
            if self._baseline:
                queue = (Planner(self._watched, self._history, self._scope).baseline(now),)
            self._write(self._checkpoints_at(now, now.cluster_time, queue, parts), mine.fences)

    def change(self, parts: int, *, by_force: bool = False) -> Position:
        """Divide a stream into another number of parts; all of it, or nothing.

        Args:
            parts: how many; 1: put it together.
            by_force: depose daemons that are at work on it. They find out, and end.

        Returns:
            Where the new parts begin.

        Raises:
            watcher.leadership.takeover.LedError: a daemon is at work on it.
            CannotSplitError: it cannot be divided so.
            watcher.leadership.lease.DeposedError: somebody else has taken the lead meanwhile; nothing was changed.
            watcher.errors.FatalError: it cannot go on from where it stands; says why.
            pymongo.errors.PyMongoError: no answer; safe to repeat.
        """
        with taken(self._history, self.layout.checkpoints(), by_force=by_force) as mine:
            if set(self.layout.checkpoints()) != set(mine.fences):
                raise LedError(f"Somebody else is just dividing stream {self._stream!r}.", "Look, and try again.")
            for fence in mine.fences.values():
                fence.hold()  # from here on, nothing of the former daemons counts but events
            division = self.division()
            target = self.target(division, parts)
            begun = max(each.begun for each in division.begun.values())
            checkpoints = self._checkpoints_at(target, begun, self._waiting(target, mine.fences.values()), parts)
            forget_since(self._history, target.cluster_time)
            self._write(checkpoints, mine.fences)
        return target

    def _write(self, checkpoints: list[dict[str, Any]], former: dict[str, Fence]) -> None:
        """Put new checkpoints in the place of the former ones.

        The leases of these are renewed meanwhile, which conflicts with it now and then.
        """

        def write(session: ClientSession | None) -> None:
            if session is None:
                raise CannotSplitError(
                    "The deployment that keeps the history is a standalone mongod, which has no transactions.",
                    "Keep the history in a replica set (a single node will do) to split a stream.",
                )
            for name, fence in former.items():
                if not self._checkpoints.delete_one(fence.term.of(name), session=session).deleted_count:
                    raise DeposedError(f"term {fence.term.number} of {name} is over")
            self.layout.change(len(checkpoints), session)
            for checkpoint in checkpoints:
                self._checkpoints.replace_one({"_id": checkpoint["_id"]}, checkpoint, upsert=True, session=session)

        for left in reversed(range(_ATTEMPTS)):
            try:
                next(iter(former.values())).run(write)
            except PyMongoError as error:
                if not left or not error.has_error_label("TransientTransactionError"):
                    raise
            else:
                return

    def _checkpoints_at(
        self, target: Position, begun: ClusterTime, queue: tuple[Plan, ...], parts: int
    ) -> list[dict[str, Any]]:
        survey = {"survey": [plan_store.document(plan) for plan in queue]} if queue else {}
        checkpoints = []
        for part in all_of(parts):
            name = checkpoint_of(self._stream, part)
            said = self._checkpointer(part, name).said(target, 0)
            checkpoints.append({"_id": name, **said, "begun": begun.timestamp, **survey})
        return checkpoints

    def _waiting(self, target: Position, fences: Iterable[Fence]) -> tuple[Plan, ...]:
        """The baseline that is not done yet: begun again by each new part, whose documents are others."""
        queue: tuple[Plan, ...] = ()
        for fence in fences:
            for plan in plan_store.PlanStore(self._history, fence).load():
                if plan.kind != BASELINE or plan.at > target.cluster_time.timestamp:
                    raise CannotSplitError(
                        f"Existing documents are still to be surveyed for {fence.stream!r}.",
                        "Let its daemon finish: `watcher checkpoint show` says `survey` as long as it has not. What is "
                        "left of a gap waits for WATCHER_ON_GAP=reconcile.",
                    )
                queue = enqueue(queue, plan.from_the_beginning())
        return queue

    def _checkpointer(self, part: Partition | None, name: str) -> Checkpointer:
        return Checkpointer(self._history, name, replace(self._scope, partition=part), self._replica_set)
