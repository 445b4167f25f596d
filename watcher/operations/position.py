"""Moving the position of a stream, as an operator asks: checked, and recorded as a gap where events are skipped.

Whoever moves it leads the stream meanwhile (`watcher.leadership.lease`), so that no daemon can save its own position
over it. Whether the server goes on from a position, and where a stream would begin, is learnt by opening it.

What asks a deployment raises `PyMongoError` if that does not answer, or refuses.
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
    """There is no position that could be moved."""


class Move(NamedTuple):
    """One move of a position.

    Attributes:
        stored: where the stream stands, and its count of events.
        target: where it is to stand.
    """

    stored: StoredPosition
    target: Position

    @property
    def forward(self) -> bool:
        """Whether events would be skipped."""
        origin = self.stored.position
        try:
            return token_bytes(self.target.token) > token_bytes(origin.token)
        except ValueError:  # a damaged one: what is left is its time
            return self.target.cluster_time > origin.cluster_time


def true_to_token(position: Position) -> Position:
    """A stored position with a time up to which everything has been read.

    The time stored beside the token is the server's clock when the token was given. It runs ahead of the token while a
    stream is behind, and is a tick behind the token of a stream that has just begun. So the earlier of the two counts.
    A damaged token says nothing; then the stored time has to do.
    """
    try:
        times = (position.cluster_time, _time_in(position.token))
    except ValueError:
        return position
    return position._replace(cluster_time=min(times))


def position_of(data: str | dict[str, Any]) -> Position:
    """Read a resume token: its hexadecimal text, or the whole document.

    Raises:
        ValueError: it is no resume token.
        bson.errors.BSONError: what it says has no BSON form.
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
    """Opens one stream with the daemon's own options, here and there, and lets it go.

    Args:
        pre_images: whether the daemon asks for the images before each change.
    """

    def __init__(self, client: MongoClient[Any], scope: Scope, *, pre_images: bool) -> None:
        self._client = client
        self._scope = scope
        self._pre_images = pre_images

    def now(self) -> Position:
        """The position of a stream that begins now."""
        with closing(Listener(self._client, self._scope, _ONE, None, pre_images=self._pre_images)) as listener:
            return listener.next_batch().position

    def at(self, wanted: Timestamp) -> Position:
        """The position of a stream that begins with the events of a cluster time."""
        with closing(_ListenerAt(self._client, self._scope, wanted, pre_images=self._pre_images)) as listener:
            token = listener.next_batch().position.token
        return Position(token, ClusterTime.of(wanted))

    def check(self, position: Position) -> None:
        """Go on from a position, and read on once: only then does the server look for it in its oplog.

        Raises:
            pymongo.errors.PyMongoError: the server does not go on from there; `watcher.errors.classify` says more.
        """
        with closing(Listener(self._client, self._scope, _ONE, position, pre_images=self._pre_images)) as listener:
            while True:
                try:
                    listener.next_batch()
                    listener.next_batch()
                except PositionDoubtedError:
                    continue  # the listener counts, and says for sure in the end
                return


class _ListenerAt(Listener):
    """A stream that begins at a cluster time instead of after a token."""

    def __init__(self, client: MongoClient[Any], scope: Scope, wanted: Timestamp, *, pre_images: bool) -> None:
        super().__init__(client, scope, _ONE, None, pre_images=pre_images)
        self._wanted = wanted

    def _stream_options(self) -> dict[str, Any]:
        return {**super()._stream_options(), "startAtOperationTime": self._wanted}


class Relocation:
    """Finds out where a stream could go on, and moves it there."""

    def __init__(self, context: StreamContext) -> None:
        self._context = context
        self._history = context.history
        self._checkpoints = context.history.get_collection(CHECKPOINTS, codec_options=CODEC)
        self._stream = context.settings.checkpoint
        self._scope = context.scope
        self._planner = Planner(context.watched, context.history, context.scope)
        self._probe = StreamProbe(context.watched, context.scope, pre_images=context.pre_images)

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
                "`watcher run` makes one when it first starts; another stream is named by --stream NAME, a partition "
                "of one by --partition I/N.",
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
        found = self._context.checkpointer(former if whatever_options else None).load()
        if found is None:
            raise NoCheckpointError(f"Stream {self._stream!r} has no position yet.", "Start it: watcher run")
        return found._replace(position=true_to_token(found.position))

    def now(self) -> Position:
        """The position that means: from now on."""
        return self._probe.now()

    def at(self, wanted: Timestamp) -> Position:
        """The position before the first event of a cluster time.

        Raises:
            watcher.errors.PositionLostError: the oplog does not reach back so far.
            ValueError: it lies in the future.
        """
        now = time_of(self._probe.now())
        if wanted > now:
            raise ValueError(f"{wanted.time}:{wanted.inc} lies in the future: the server is at {now.time}:{now.inc}")
        with _in_words():
            position = self._probe.at(wanted)
        return self.at_token(position)

    def at_token(self, position: Position) -> Position:
        """A position that was named by its token, once it is known to be one.

        Raises:
            watcher.errors.PositionLostError: the server does not go on from there.
        """
        with _in_words():
            self._probe.check(position)
        return position

    def changed_options(self) -> dict[str, tuple[Any, Any]]:
        """The options that the settings give otherwise than the stored position has them: old and new by name.

        Raises:
            NoCheckpointError: the stream has no position.
        """
        old, new = self.stored_options(), self._scope.describe()
        return {name: (old.get(name), value) for name, value in new.items() if old.get(name) != value}

    def leader(self) -> Holder | None:
        """Which daemon is at work on the stream; None: none is."""
        return leader(self._history, self._stream)

    @property
    def pause_s(self) -> float:
        """How many seconds a daemon that was deposed is given to let go."""
        return TTL_S

    def apply(self, move: Move, *, by_force: bool = False) -> None:
        """Carry out a move. What is skipped is recorded first, so that no crash can lose the gap. Safe to repeat.

        Args:
            by_force: depose a daemon that is at work on the stream. It stands by until this is done, and goes on there.

        Raises:
            LedError: there is one, and it was not to be deposed.
            watcher.leadership.lease.DeposedError: somebody else has done the same meanwhile.
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
            forget_since(self._history, move.target.cluster_time)  # events may come that were lost until now
        checkpointer = self._context.checkpointer(term=fence.term)
        if self.changed_options():  # what is covered now was not covered before
            adopted = self._planner.after_adoption(move.target, self._former_scope())
            self._note_unwatched(adopted, move.target, fence)
            checkpointer.begin(move.target, self.stored_options())
            for plan in adopted if self._context.baseline else ():
                plans.add(plan)
        checkpointer.save(move.target, move.stored.events)

    def _note_unwatched(self, adopted: Sequence[BackfillPlan], target: Position, fence: Fence) -> None:
        """Record since when what is watched again has not been watched: what history says of that time may be wrong."""
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
