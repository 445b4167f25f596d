"""Moving the position of a stream, as an operator asks: checked, and recorded as a gap where events are skipped.

Whoever moves it leads the stream meanwhile (`watcher.leadership.lease`), so that no daemon can save its own position
over it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from change_history.bson.values import CODEC
from change_history.reconstruct.snapshots import forget_since
from change_history.stored.names import CHECKPOINTS
from watcher.backfill.plan_store import PlanStore
from watcher.backfill.planner import Planner
from watcher.errors import FatalError, PositionLostError, Verdict, classify, name_of
from watcher.gaps.gap import Gaps
from watcher.leadership.lease import TTL_S
from watcher.leadership.takeover import leader, taken
from watcher.operations.moves import true_to_token
from watcher.operations.openings import Openings
from watcher.stream.batch import Lost
from watcher.stream.checkpointer import Checkpointer
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson import Timestamp
    from pymongo import MongoClient
    from pymongo.database import Database

    from watcher.leadership.fence import Fence
    from watcher.leadership.lease import Holder
    from watcher.operations.moves import Move
    from watcher.stream.batch import Position
    from watcher.stream.checkpointer import StoredPosition
    from watcher.targets.identity import ReplicaSet

CAUSE = "moved by an operator"


class NoCheckpointError(FatalError):
    """There is no position that could be moved."""


class Relocation:
    """Finds out where a stream could go on, and moves it there.

    Args:
        watched: client of the watched deployment.
        history: the history database.
        stream: name of the stream.
        scope: what the settings say is watched.
        replica_set: the watched deployment.
        pre_images: whether the daemon asks for the images before each change.
        reconcile: whether the daemon is to bring history level with the documents after events were skipped.
        baseline: whether it is to record the state of documents that come under watch.
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
        reconcile: bool = False,
        baseline: bool = False,
    ) -> None:
        self._history = history
        self._checkpoints = history.get_collection(CHECKPOINTS, codec_options=CODEC)
        self._stream = stream
        self._scope = scope
        self._replica_set = replica_set
        self._plans = Planner(watched, history, scope)
        self._reconcile, self._baseline = reconcile, baseline
        self._openings = Openings(watched, scope, pre_images=pre_images)

    def stored_options(self) -> dict[str, Any]:
        """What the stored position was made for, in the form of `Scope.describe`.

        Raises:
            NoCheckpointError: the stream has no position.
        """
        found = self._checkpoints.find_one({"_id": self._stream, "token": {"$exists": True}}, {"options": 1})
        if found is None:
            known = ", ".join(sorted(self._checkpoints.distinct("_id"))) or "none"
            raise NoCheckpointError(
                f"Stream {self._stream!r} has no checkpoint in {self._history.name} (streams there: {known}).",
                "`watcher run` makes one when it first starts; another stream is named by --stream NAME, a part of one "
                "by --partition I/N.",
            )
        options: dict[str, Any] = found["options"]
        return options

    def stored(self, *, whatever_options: bool = False) -> StoredPosition:
        """Where the stream stands.

        Args:
            whatever_options: also if it was made for other options than the settings'.

        Raises:
            NoCheckpointError: it has no position.
            watcher.errors.PositionRefusedError: it is another deployment's, or made for other options.
        """
        former = self._former_scope()
        scope = former if whatever_options else self._scope
        found = Checkpointer(self._history, self._stream, scope, self._replica_set).load()
        if found is None:
            raise NoCheckpointError(f"Stream {self._stream!r} has no position yet.", "Start it: watcher run")
        return found._replace(position=true_to_token(found.position))

    def _former_scope(self) -> Scope:
        return Scope.described(self.stored_options())

    def now(self) -> Position:
        """The position that means: from now on."""
        return self._openings.now()

    def at(self, moment: Timestamp) -> Position:
        """The position before the first event of a cluster time.

        Raises:
            watcher.errors.PositionLostError: the oplog does not reach back so far.
            ValueError: it lies in the future.
        """
        now = self._openings.server_time()
        if moment > now:
            raise ValueError(f"{moment.time}:{moment.inc} lies in the future: the server is at {now.time}:{now.inc}")
        with self._in_words():
            position = self._openings.at(moment)
        self._check(position)
        return position

    def at_token(self, position: Position) -> Position:
        """A position that was named by its token, once it is known to be one.

        Raises:
            watcher.errors.PositionLostError: the server does not go on from there.
        """
        self._check(position)
        return position

    def changed_options(self) -> dict[str, tuple[Any, Any]]:
        """The options that the settings give otherwise than the stored position has them: old and new by name.

        Raises:
            NoCheckpointError: the stream has no position.
        """
        old, new = self.stored_options(), self._scope.describe()
        return {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}

    def _check(self, position: Position) -> None:
        with self._in_words():
            self._openings.check(position)

    def leader(self) -> Holder | None:
        """Which daemon is at work on the stream; None: none is."""
        return leader(self._history, self._stream)

    @property
    def pause_s(self) -> float:
        """How many seconds a daemon that was deposed is given to let go."""
        return TTL_S

    def apply(self, move: Move, *, by_force: bool = False) -> None:
        """Carry out a move. What is skipped is recorded first, so that no crash can lose the gap.

        Args:
            move: the move.
            by_force: depose a daemon that is at work on the stream. It stands by until this is done, and goes on there.

        Raises:
            LedError: there is one, and it was not to be deposed.
            watcher.leadership.lease.DeposedError: somebody else has done the same meanwhile.
            pymongo.errors.PyMongoError: a step is not acknowledged by a majority; safe to repeat.
        """
        with taken(self._history, [self._stream], by_force=by_force) as mine:
            if mine.deposed:
                move = move._replace(stored=self.stored(whatever_options=True))
            self._carry_out(move, mine.fences[self._stream])

    def _carry_out(self, move: Move, fence: Fence) -> None:
        plans = PlanStore(self._history, fence)
        if move.forward:
            skipped = Lost(move.stored.position, CAUSE)
            Gaps(self._history, fence, self._scope).write(skipped, move.target)
            if self._reconcile:
                plans.add(self._plans.reconcile(skipped, move.target))
        else:
            forget_since(self._history, move.target.cluster_time)  # events may come that were lost until now
        checkpointer = Checkpointer(self._history, self._stream, self._scope, self._replica_set, fence.term)
        if self.changed_options():  # what is covered now was not covered before
            checkpointer.begin(move.target)
            if self._baseline:
                for plan in self._plans.after_adoption(move.target, self._former_scope()):
                    plans.add(plan)
        checkpointer.save(move.target, move.stored.events)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except PyMongoError as error:
            if classify(error) is not Verdict.POSITION_LOST:
                raise
            raise PositionLostError(
                f"The server cannot go on from there: {name_of(error)}. It is older than the oplog, or no position of "
                "this stream.",
                "db.getReplicationInfo() in mongosh says how far back the oplog reaches; --at TIME takes any time in "
                "it, --now the present.",
            ) from error
