"""Splitting a stream into another number of partitions, or putting it together again.

Every partition has read up to somewhere. A resume token of one partition is refused for another, whose filter hides the
very event that the server looks for. So the new partitions begin at the cluster time up to which all former ones have
read. Some events are read again, and since the same event is the same history, none is recorded twice.

All of it is one transaction: until it is done the former partitions stand, and after it only the new ones. The former
checkpoints are gone then, and with them whatever a former daemon could move.
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
    """The stream cannot be divided so."""


class Division(NamedTuple):
    """What a stream is split into, and how far it is.

    Attributes:
        positions: by the names of the checkpoints, where they stand; None: it has not begun.
        gaps: what was lost of it.
    """

    positions: dict[str, StoredPosition | None]
    gaps: tuple[GapBounds, ...]

    @property
    def begun(self) -> dict[str, StoredPosition]:
        """The positions that there are."""
        return {name: stored for name, stored in self.positions.items() if stored is not None}

    @property
    def since(self) -> Position | None:
        """Up to where all partitions have read; None: none has."""
        return min((each.position for each in self.begun.values()), key=_when, default=None)

    @property
    def open_gaps(self) -> int:
        """How many gaps are not reconciled."""
        return sum(gap.reconciled_at is None for gap in self.gaps)


def _refuse_what_cannot_be(stream: str, division: Division, partitions: int) -> None:
    """Raise `CannotSplitError`, with what has to be done before, if a stream cannot be split so."""
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
    # What a gap has passed over must not come after it has been reconciled: its entries tell differences.
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
    """Into how many partitions one stream is split: noted beside its terms, and changed with its checkpoints.

    Documents are divided by their `_id`, so partitions of two divisions must never be at work at once: each would have
    recorded up to somewhere of what the other one takes over. A daemon looks here before it begins, and again once it
    leads.

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
        """How many partitions there are; 1 for a stream that was never split."""
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
        """Note another number of partitions, within the transaction that changes the checkpoints."""
        said = {"$set": {"parts": partitions}, "$currentDate": {"changed_at": True}}
        self._terms.update_one({"_id": self._id}, said, upsert=True, session=session)

    def check(self, partition: Partition | None) -> None:
        """See whether a daemon of this partition, or of the whole, is one of those that there are.

        Raises:
            watcher.errors.PositionRefusedError: it is not.
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
    """Changes into how many partitions a stream is split.

    Every method raises `PyMongoError` if a deployment does not answer.
    """

    def __init__(self, context: StreamContext) -> None:
        self._context = context
        self._history = context.history
        self._checkpoints = context.history.get_collection(
            CHECKPOINTS, write_concern=_MAJORITY, read_preference=ReadPreference.PRIMARY
        )
        self._stream = context.settings.stream
        self.layout = Layout(context.history, self._stream)

    def division(self) -> Division:
        """How the stream is divided now, and where its partitions stand.

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
        """Which daemons are at work on the stream, by checkpoint."""
        found = {name: leader(self._history, name) for name in self.layout.checkpoints()}
        return {name: holder for name, holder in found.items() if holder is not None}

    def target(self, division: Division, partitions: int) -> Position:
        """The position at which the new partitions would begin; the stream is opened there.

        Raises:
            CannotSplitError: the stream cannot be divided so.
            watcher.errors.PositionLostError: the oplog does not reach back so far.
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
            probe.check(position)  # a time, and no event's token: what holds for one partition does for the others
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
        """Give a stream that has not begun one beginning in so many partitions: now. One that has is left as it is.

        Raises: as `change` does.
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
        """Divide a stream into another number of partitions; all of it, or nothing.

        Args:
            partitions: how many; 1: put it together.
            by_force: depose daemons that are at work on it. They find out, and end.

        Returns:
            Where the new partitions begin.

        Raises:
            watcher.leadership.takeover.LedError: a daemon is at work on it.
            CannotSplitError: it cannot be divided so.
            watcher.leadership.lease.DeposedError: somebody else has taken the lead meanwhile; nothing was changed.
            watcher.errors.FatalError: it cannot go on from where it stands; says why.
        """
        with take_leads(self._history, self.layout.checkpoints(), by_force=by_force) as mine:
            if set(self.layout.checkpoints()) != set(mine.fences):
                raise LedError(f"Somebody else is just dividing stream {self._stream!r}.", "Look, and try again.")
            for fence in mine.fences.values():
                fence.hold()  # from here on, nothing of the former daemons counts but events
            division = self.division()
            target = self.target(division, partitions)
            begun = max(each.begun for each in division.begun.values())
            checkpoints = self._checkpoints_at(target, begun, self._waiting(target, mine.fences.values()), partitions)
            forget_since(self._history, target.cluster_time)
            self._write(checkpoints, mine.fences)
        return target

    def _write(self, checkpoints: list[dict[str, Any]], former: dict[str, Fence]) -> None:
        """Replace the former checkpoints by new ones.

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
        """What the former partitions covered before their options were changed, each up to a time of its own."""
        stored = self._checkpoints.find({"_id": {"$in": [*self.layout.checkpoints()]}}, {"formerly": 1})
        found = [each for checkpoint in stored for each in checkpoint.get("formerly", ())]
        once = [each for number, each in enumerate(found) if each not in found[:number]]
        return {"formerly": once} if once else {}

    def _waiting(self, target: Position, fences: Iterable[Fence]) -> tuple[BackfillPlan, ...]:
        """The baseline that is not done yet: begun again by each new partition, whose documents are others."""
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
