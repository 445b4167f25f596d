"""Moves the position of a stream for an operator: the target is checked, and skipped events are recorded as a gap.

The command takes the lead of the stream meanwhile (`watcher.leadership.lease`), so that no daemon can overwrite the
position. A stream is opened to find out whether the server can resume from a position, and where a new stream begins.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import bson
from pymongo.errors import PyMongoError

from change_history import globs
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.resume_token import token_bytes
from change_history.bson.values import CODEC
from change_history.reconstruct.scopes import left_off
from change_history.reconstruct.snapshots import forget_since
from change_history.stored.names import CHECKPOINTS
from watcher.backfill.plan_store import PlanStore
from watcher.backfill.planner import Planner
from watcher.backfill.queue import RECONCILE
from watcher.errors import FatalError, PositionDoubtedError, PositionLostError, Verdict, classify, name_of
from watcher.gaps.gap import NOT_WATCHED, Gaps
from watcher.leadership.lease import TTL_S
from watcher.leadership.takeover import leader, take_leads
from watcher.stream.batch import Lost, Position
from watcher.stream.listener import Listener
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bson import Timestamp
    from pymongo import MongoClient

    from watcher.backfill.queue import BackfillPlan
    from watcher.leadership.fence import Fence
    from watcher.leadership.lease import Holder
    from watcher.operations.context import StreamContext
    from watcher.stream.checkpointer import StoredPosition

CAUSE = "moved by an operator"
_TIMESTAMP_MARK = 0x82
_TIMESTAMP_END = 9
_ONE = 1


class NoCheckpointError(FatalError):
    """The stream has no position that could be moved."""


class Move(NamedTuple):
    """One move of a position.

    Attributes:
        stored: the present position, and the stream's count of events.
        target: the new position.
    """

    stored: StoredPosition
    target: Position

    @property
    def forward(self) -> bool:
        """Whether events would be skipped."""
        origin = self.stored.position
        try:
            return token_bytes(self.target.token) > token_bytes(origin.token)
        except ValueError:  # a damaged token: compare the times
            return self.target.cluster_time > origin.cluster_time


def true_to_token(position: Position) -> Position:
    """A stored position with a cluster time up to which everything has been read.

    The time stored with the token is the server's clock when it returned the token. It is ahead of the token while a
    stream is behind, and one tick behind the token of a new stream. So the earlier of the two times counts. If the
    token is damaged, the stored time counts.
    """
    try:
        times = (position.cluster_time, _time_in(position.token))
    except ValueError:
        return position
    return position._replace(cluster_time=min(times))


def position_of(data: str | dict[str, Any]) -> Position:
    """Parse a resume token: its hexadecimal text, or the whole document.

    Raises:
        ValueError: it is not a resume token.
        bson.errors.BSONError: the document cannot be encoded as BSON.
    """
    document = {"_data": data.upper()} if isinstance(data, str) else data
    token = bson.encode(document, codec_options=CODEC)
    return Position(token, _time_in(token))


def time_of(position: Position) -> Timestamp:
    """The cluster time of a position."""
    return position.cluster_time.timestamp


def _time_in(token: bytes) -> ClusterTime:
    key = token_bytes(token)
    if len(key) < _TIMESTAMP_END or key[0] != _TIMESTAMP_MARK:
        raise ValueError("a resume token begins with 82 and a cluster time")
    return ClusterTime.from_id(key[1:_TIMESTAMP_END])


class StreamProbe:
    """Opens a stream with the daemon's options at a given position, and closes it again.

    Args:
        pre_images: whether the daemon requests pre-images.
    """

    def __init__(self, client: MongoClient[Any], scope: Scope, *, pre_images: bool) -> None:
        self._client = client
        self._scope = scope
        self._pre_images = pre_images

    def now(self) -> Position:
        """The position of a new stream that begins now."""
        with closing(Listener(self._client, self._scope, _ONE, None, pre_images=self._pre_images)) as listener:
            return listener.next_batch().position

    def at(self, wanted: Timestamp) -> Position:
        """The position of a new stream that begins with the events of a cluster time."""
        with closing(_ListenerAt(self._client, self._scope, wanted, pre_images=self._pre_images)) as listener:
            token = listener.next_batch().position.token
        return Position(token, ClusterTime.of(wanted))

    def check(self, position: Position) -> None:
        """Resume from a position and read two batches: only reading makes the server search for it in its oplog.

        Raises:
            pymongo.errors.PyMongoError: the server cannot resume from there; see `watcher.errors.classify`.
        """
        with closing(Listener(self._client, self._scope, _ONE, position, pre_images=self._pre_images)) as listener:
            while True:
                try:
                    listener.next_batch()
                    listener.next_batch()
                except PositionDoubtedError:
                    continue  # the listener counts these, and raises a final error in the end
                return


class _ListenerAt(Listener):
    """A stream that begins at a cluster time instead of after a token."""

    def __init__(self, client: MongoClient[Any], scope: Scope, wanted: Timestamp, *, pre_images: bool) -> None:
        super().__init__(client, scope, _ONE, None, pre_images=pre_images)
        self._wanted = wanted

    def _stream_options(self) -> dict[str, Any]:
        return {**super()._stream_options(), "startAtOperationTime": self._wanted}


class Relocation:
    """Checks where a stream can resume, and moves it there."""

    def __init__(self, context: StreamContext) -> None:
        self._context = context
        self._history = context.history
        self._checkpoints = context.history.get_collection(CHECKPOINTS, codec_options=CODEC)
        self._stream = context.settings.checkpoint
        self._scope = context.scope
        self._planner = Planner(context.watched, context.history, context.scope)
        self._probe = StreamProbe(context.watched, context.scope, pre_images=context.pre_images)

    def stored_options(self) -> dict[str, Any]:
        """The options of the stored position, in the form of `Scope.describe`.

        Raises:
            NoCheckpointError: the stream has no position.
        """
        found = self._checkpoints.find_one({"_id": self._stream, "token": {"$exists": True}}, {"options": 1})
        if found is None:
            known = ", ".join(sorted(self._checkpoints.distinct("_id"))) or "none"
            raise NoCheckpointError(
                f"Stream {self._stream!r} has no checkpoint in {self._history.name} (streams there: {known}).",
                "`watcher run` makes one when it first starts; another stream is named by --stream NAME, a partition "
                "of one by --partition I/N.",
            )
        options: dict[str, Any] = found["options"]
        return options

    def stored(self, *, whatever_options: bool = False) -> StoredPosition:
        """The stream's present position.

        Args:
            whatever_options: accept a position that was made with other options than the settings'.

        Raises:
            NoCheckpointError: the stream has no position.
            watcher.errors.PositionRefusedError: the position is another deployment's, or was made with other options.
        """
        former = self._former_scope()
        found = self._context.checkpointer(former if whatever_options else None).load()
        if found is None:
            raise NoCheckpointError(f"Stream {self._stream!r} has no position yet.", "Start it: watcher run")
        return found._replace(position=true_to_token(found.position))

    def now(self) -> Position:
        """The present position: the stream would resume from now on."""
        return self._probe.now()

    def at(self, wanted: Timestamp) -> Position:
        """The position before the first event of a cluster time.

        Raises:
            watcher.errors.PositionLostError: the oplog does not reach back that far.
            ValueError: the time is in the future.
        """
        now = time_of(self._probe.now())
        if wanted > now:
            raise ValueError(f"{wanted.time}:{wanted.inc} lies in the future: the server is at {now.time}:{now.inc}")
        with _in_words():
            position = self._probe.at(wanted)
        return self.at_token(position)

    def at_token(self, position: Position) -> Position:
        """Check a position given by its token, and return it.

        Raises:
            watcher.errors.PositionLostError: the server cannot resume from there.
        """
        with _in_words():
            self._probe.check(position)
        return position

    def changed_options(self) -> dict[str, tuple[Any, Any]]:
        """The options in which the settings differ from the stored position: old and new value by name.

        Raises:
            NoCheckpointError: the stream has no position.
        """
        old, new = self.stored_options(), self._scope.describe()
        return {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}

    def leader(self) -> Holder | None:
        """The daemon that leads the stream; None: there is none."""
        return leader(self._history, self._stream)

    @property
    def pause_s(self) -> float:
        """Seconds that a deposed daemon is given to stop."""
        return TTL_S

    def apply(self, move: Move, *, by_force: bool = False) -> None:
        """Carry out a move. The gap is recorded first, so that a crash cannot lose it. Idempotent.

        Args:
            by_force: depose the daemon that leads the stream. It stands by meanwhile, and then resumes at the target.

        Raises:
            LedError: a daemon leads, and `by_force` is not set.
            watcher.leadership.lease.DeposedError: another operator has taken the lead meanwhile.
        """
        with take_leads(self._history, [self._stream], by_force=by_force) as mine:
            if mine.deposed:
                move = move._replace(stored=self.stored(whatever_options=True))
            self._carry_out(move, mine.fences[self._stream])

    def _carry_out(self, move: Move, fence: Fence) -> None:
        plans = PlanStore(self._history, fence)
        if move.forward:
            skipped = Lost(move.stored.position, CAUSE)
            Gaps(self._history, fence, self._scope).write(skipped, move.target)
            if self._context.reconciles:
                plans.add(self._planner.reconcile(skipped, move.target))
        else:
            forget_since(self._history, move.target.cluster_time)  # events that were lost until now may be recorded
        checkpointer = self._context.checkpointer(term=fence.term)
        if self.changed_options():  # the new scope was not covered before
            adopted = self._planner.after_adoption(move.target, self._former_scope())
            self._note_unwatched(adopted, move.target, fence)
            checkpointer.begin(move.target, self.stored_options())
            for plan in adopted if self._context.baseline else ():
                plans.add(plan)
        checkpointer.save(move.target, move.stored.events)

    def _note_unwatched(self, adopted: Sequence[BackfillPlan], target: Position, fence: Fence) -> None:
        """Record a gap for collections that are watched again: history of the time in between may be wrong."""
        left: dict[ClusterTime, list[str]] = {}
        for namespace in (name for plan in adopted if plan.kind == RECONCILE for name in plan.namespaces):
            if (until := left_off(self._history, self._stream, namespace)) is not None:
                left.setdefault(ClusterTime.of(until), []).append(namespace)
        for since, namespaces in left.items():
            unwatched = replace(self._scope, include=tuple(map(globs.exactly, namespaces)), exclude=())
            lost = Lost(Position("\n".join(namespaces).encode("utf-8", "surrogateescape"), since), NOT_WATCHED)
            Gaps(self._history, fence, unwatched).write(lost, target)

    def _former_scope(self) -> Scope:
        return Scope.described(self.stored_options())


@contextmanager
def _in_words() -> Iterator[None]:
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
