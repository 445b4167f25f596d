"""Splits a stream into another number of partitions, or joins them again.

Each partition has its own position. The server refuses a resume token of one partition for another, whose filter drops
the event that the server searches for. So the new partitions begin at the cluster time up to which all former ones have
read. Some events are read again, and since the same event gives the same history, none is recorded twice.

All of it is one transaction: before it only the former partitions exist, after it only the new ones. The former
checkpoints are then deleted, so a former daemon has no position left to move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import PyMongoError

from change_history.partition import Partition, all_of, checkpoint_of
from change_history.reconstruct.snapshots import forget_since
from change_history.reconstruct.trust import gaps
from change_history.stored.names import CHECKPOINTS, TERMS
from watcher.backfill import plan_store
from watcher.backfill.planner import Planner
from watcher.backfill.queue import BASELINE, enqueue
from watcher.backfill.requests import Requests
from watcher.errors import FatalError, PositionLostError, PositionRefusedError, Verdict, classify, name_of
from watcher.leadership.lease import DeposedError
from watcher.leadership.takeover import LedError, leader, take_leads
from watcher.operations.position import StreamProbe, true_to_token
from watcher.stream.checkpointer import Checkpointer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from change_history.reconstruct.trust import GapBounds
    from watcher.backfill.queue import BackfillPlan
    from watcher.leadership.fence import Fence
    from watcher.leadership.lease import Holder
    from watcher.operations.context import StreamContext
    from watcher.stream.batch import Position
    from watcher.stream.checkpointer import StoredPosition

_MAJORITY = WriteConcern("majority")
_ATTEMPTS = 20


class CannotSplitError(FatalError):
    """The stream cannot be split in this way; the message says why."""


class Division(NamedTuple):
    """The partitions of a stream, and their positions.

    Attributes:
        positions: positions by checkpoint name; None: the partition has not begun.
        gaps: the gaps of the stream.
    """

    positions: dict[str, StoredPosition | None]
    gaps: tuple[GapBounds, ...]

    @property
    def begun(self) -> dict[str, StoredPosition]:
        """The positions of the partitions that have begun."""
        return {name: stored for name, stored in self.positions.items() if stored is not None}

    @property
    def since(self) -> Position | None:
        """The position up to which all partitions have read; None: none has begun."""
        return min((each.position for each in self.begun.values()), key=_when, default=None)

    @property
    def open_gaps(self) -> int:
        """Number of gaps that are not reconciled."""
        return sum(gap.reconciled_at is None for gap in self.gaps)


def _refuse_what_cannot_be(stream: str, division: Division, partitions: int) -> None:
    """Raise `CannotSplitError`, with what has to be done first, if a stream cannot be split in this way."""
    if len(division.positions) == partitions:
        raise CannotSplitError(f"Stream {stream!r} is divided so already.", "`watcher partition` shows its partitions.")
    if missing := [name for name in division.positions if name not in division.begun]:
        raise CannotSplitError(
            f"{', '.join(missing)} of stream {stream!r} has no position.",
            "Start its daemon, so that it makes one, and try again.",
        )
    if doubtful := [name for name, stored in division.begun.items() if not stored.intact]:
        raise CannotSplitError(
            f"The position of {', '.join(doubtful)} is not what was saved.",
            "Start its daemon, which records the gap, as WATCHER_ON_GAP says; then try again.",
        )
    # Events in a gap must not be recorded after its reconciliation, whose entries are differences to a former state.
    for name, stored in division.begun.items():
        for gap in division.gaps:
            if gap.checkpoint in division.positions and _when(stored.position) < gap.until:
                raise CannotSplitError(
                    f"{name} has not come yet to where {gap.checkpoint} goes on after its gap.",
                    f"Start the daemon of {name} until it is past that (`watcher partition` says), and try again.",
                )


def _when(position: Position) -> ClusterTime:
    return position.cluster_time


class Layout:
    """The number of partitions of a stream: stored with its terms, and changed together with its checkpoints.

    Documents are divided by their `_id`, so partitions of different divisions must never run at the same time: their
    positions would not fit each other's documents. A daemon checks this before it begins, and again once it leads.

    Args:
        stream: name of the stream, without a partition.
    """

    def __init__(self, history: Database[Any], stream: str) -> None:
        options: dict[str, Any] = {"read_preference": ReadPreference.PRIMARY, "write_concern": _MAJORITY}
        self._terms = history.get_collection(TERMS, **options)
        self._checkpoints = history.get_collection(CHECKPOINTS, **options)
        self._stream = stream
        self._id = f"{stream}:layout"

    def partitions(self) -> int:
        """The number of partitions; 1 for a stream that was never split."""
        found = self._terms.find_one({"_id": self._id}) or {}
        return int(found.get("parts", 1))

    def checkpoints(self) -> tuple[str, ...]:
        """The names of the stream's checkpoints."""
        return tuple(checkpoint_of(self._stream, each) for each in all_of(self.partitions()))

    def is_open(self) -> bool:
        """Whether the stream has neither been split nor begun as a whole."""
        if self._terms.find_one({"_id": self._id}) is not None:
            return False
        return self._checkpoints.find_one({"_id": self._stream, "token": {"$exists": True}}) is None

    def change(self, partitions: int, session: ClientSession) -> None:
        """Store another number of partitions, in the transaction that changes the checkpoints."""
        said = {"$set": {"parts": partitions}, "$currentDate": {"changed_at": True}}
        self._terms.update_one({"_id": self._id}, said, upsert=True, session=session)

    def check(self, partition: Partition | None) -> None:
        """Check that a daemon's partition (None: the whole stream) fits the present number of partitions.

        Raises:
            watcher.errors.PositionRefusedError: it does not.
        """
        total = self.partitions()
        wanted = partition.total if partition is not None else 1
        if wanted == total:
            return
        stands = "is not split" if total == 1 else f"is split into {total} partitions"
        mine = "the whole of it" if partition is None else f"partition {partition}"
        fits = "leave WATCHER_PARTITION out" if total == 1 else f"WATCHER_PARTITION=I/{total}, one daemon for each I"
        raise PositionRefusedError(
            f"Stream {self._stream!r} {stands}, but this daemon is to record {mine}.",
            f"Start what fits ({fits}), or change the stream: `watcher partition {wanted}` says what that means, and "
            "does it with --yes.",
        )


class Repartition:
    """Changes the number of partitions of a stream."""

    def __init__(self, context: StreamContext) -> None:
        self._context = context
        self._history = context.history
        self._checkpoints = context.history.get_collection(
            CHECKPOINTS, write_concern=_MAJORITY, read_preference=ReadPreference.PRIMARY
        )
        self._stream = context.settings.stream
        self.layout = Layout(context.history, self._stream)

    def division(self) -> Division:
        """The stream's present partitions and their positions.

        Raises:
            watcher.errors.PositionRefusedError: a checkpoint is damaged, another deployment's, or of other options.
        """
        positions = {}
        for partition in all_of(self.layout.partitions()):
            name = checkpoint_of(self._stream, partition)
            stored = self._checkpointer(partition, name).load()
            positions[name] = stored and stored._replace(position=true_to_token(stored.position))
        return Division(positions, tuple(gaps(self._history, stream=self._stream)))

    def leaders(self) -> dict[str, Holder]:
        """The daemons that lead partitions of the stream, by checkpoint."""
        found = {name: leader(self._history, name) for name in self.layout.checkpoints()}
        return {name: holder for name, holder in found.items() if holder is not None}

    def target(self, division: Division, partitions: int) -> Position:
        """The position at which the new partitions would begin; a stream is opened there as a check.

        Raises:
            CannotSplitError: the stream cannot be split in this way.
            watcher.errors.PositionLostError: the oplog does not reach back that far.
        """
        if division.since is None:
            raise CannotSplitError(
                f"Stream {self._stream!r} has not begun.",
                f"The first daemon that is started splits it: watcher run --partition 1/{partitions}",
            )
        _refuse_what_cannot_be(self._stream, division, partitions)
        probe = self._probe(all_of(partitions)[0])
        wanted = division.since.cluster_time.timestamp
        try:
            position = probe.at(wanted)
            probe.check(position)  # it is a time, not an event's token: what is true for one partition is true for all
        except PyMongoError as error:
            if classify(error) is not Verdict.POSITION_LOST:
                raise
            raise PositionLostError(
                f"The server cannot go on from {wanted.time}:{wanted.inc}, up to where all partitions have read: "
                f"{name_of(error)}.",
                "Start the daemons as the stream is divided now: they record the gap, as WATCHER_ON_GAP says. Then "
                "try again.",
            ) from error
        return position

    def begin(self, partitions: int) -> None:
        """Split a stream that has not begun: all its partitions begin now. A stream that has begun is left unchanged.

        Raises as `change` does.
        """
        with take_leads(self._history, [self._stream], by_force=False) as mine:
            if not self.layout.is_open():
                return
            fence = mine.fences[self._stream]
            fence.hold()
            now = self._probe(None).now()
            queue: tuple[BackfillPlan, ...] = ()
            if self._context.baseline:
                queue = (Planner(self._context.watched, self._history, self._context.scope_of(None)).baseline(now),)
            self._write(self._checkpoints_at(now, now.cluster_time, queue, partitions), mine.fences)

    def change(self, partitions: int, *, by_force: bool = False) -> Position:
        """Split a stream into another number of partitions, atomically.

        Args:
            partitions: the new number; 1: join the partitions.
            by_force: depose the daemons that lead. They notice it, and end.

        Returns:
            The position at which the new partitions begin.

        Raises:
            watcher.leadership.takeover.LedError: a daemon leads, and `by_force` is not set.
            CannotSplitError: the stream cannot be split in this way.
            watcher.leadership.lease.DeposedError: another daemon has taken the lead meanwhile; nothing was changed.
            watcher.errors.FatalError: the stream cannot resume from its position; the message says why.
        """
        with take_leads(self._history, self.layout.checkpoints(), by_force=by_force) as mine:
            if set(self.layout.checkpoints()) != set(mine.fences):
                raise LedError(f"Somebody else is just dividing stream {self._stream!r}.", "Look, and try again.")
            for fence in mine.fences.values():
                fence.hold()  # from here on, former daemons can write nothing but events
            division = self.division()
            target = self.target(division, partitions)
            begun = max(each.begun for each in division.begun.values())
            checkpoints = self._checkpoints_at(target, begun, self._waiting(target, mine.fences.values()), partitions)
            forget_since(self._history, target.cluster_time)
            self._write(checkpoints, mine.fences)
        return target

    def _write(self, checkpoints: list[dict[str, Any]], former: dict[str, Fence]) -> None:
        """Replace the former checkpoints by new ones.

        Renewals of the former leases write to the same documents, and sometimes conflict with the transaction.
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
            Requests(self._history).hand_over(former.keys(), [each["_id"] for each in checkpoints], session)

        for left in reversed(range(_ATTEMPTS)):
            try:
                next(iter(former.values())).run(write)
            except PyMongoError as error:
                if not left or not error.has_error_label("TransientTransactionError"):
                    raise
            else:
                return

    def _checkpoints_at(
        self, target: Position, begun: ClusterTime, queue: tuple[BackfillPlan, ...], partitions: int
    ) -> list[dict[str, Any]]:
        backfill = {"survey": [plan_store.document(plan) for plan in queue]} if queue else {}
        checkpoints = []
        covered = self._covered_before()
        for partition in all_of(partitions):
            name = checkpoint_of(self._stream, partition)
            said = self._checkpointer(partition, name).said(target, 0)
            checkpoints.append({"_id": name, **said, "begun": begun.timestamp, **covered, **backfill})
        return checkpoints

    def _covered_before(self) -> dict[str, Any]:
        """The former scopes of the partitions before their options were changed, each with its own end."""
        stored = self._checkpoints.find({"_id": {"$in": [*self.layout.checkpoints()]}}, {"formerly": 1})
        found = [each for checkpoint in stored for each in checkpoint.get("formerly", ())]
        once = [each for number, each in enumerate(found) if each not in found[:number]]
        return {"formerly": once} if once else {}

    def _waiting(self, target: Position, fences: Iterable[Fence]) -> tuple[BackfillPlan, ...]:
        """The unfinished baseline: every new partition begins it again, since it has other documents."""
        queue: tuple[BackfillPlan, ...] = ()
        for fence in fences:
            for plan in plan_store.PlanStore(self._history, fence).load():
                if plan.kind != BASELINE or plan.at > target.cluster_time.timestamp:
                    raise CannotSplitError(
                        f"The backfill of {fence.stream!r} is not done.",
                        "Let its daemon finish: `watcher checkpoint show` says `backfill` as long as it has not. What "
                        "is left of a gap waits for WATCHER_ON_GAP=reconcile.",
                    )
                queue = enqueue(queue, plan.from_the_beginning())
        return queue

    def _checkpointer(self, partition: Partition | None, name: str) -> Checkpointer:
        scope = self._context.scope_of(partition)
        return Checkpointer(self._history, name, scope, self._context.replica_set)

    def _probe(self, partition: Partition | None) -> StreamProbe:
        context = self._context
        return StreamProbe(context.watched, context.scope_of(partition), pre_images=context.pre_images)
