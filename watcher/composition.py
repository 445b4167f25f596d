"""The composition root: creates the whole daemon from the settings.

Start order: reach the deployment, check the privileges, create the indexes, split a new stream into its partitions,
load and check the checkpoint. Every daemon of a stream does this. The leader then loads the checkpoint again, enables
pre-images, and opens the stream. A new stream saves its position, and the backfill's plan, before it reads its first
event.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from pymongo import ReadPreference
from pymongo.errors import OperationFailure

from change_history import server_codes
from change_history.stored.names import HISTORY
from config.ages import FOREVER, Rule
from config.settings import ActorSessions, OnGap, RetentionBy, Snapshots
from config.settings import PreImages as PreImagesMode
from models import indexes
from watcher import views
from watcher.backfill.entry_store import EntryStore
from watcher.backfill.requests import Requests, Taking
from watcher.backfill.runner import Backfill
from watcher.erasure.active import Active, ErasingWriter
from watcher.errors import Verdict, classify, name_of
from watcher.events import fast_path
from watcher.gaps.gap import Gaps
from watcher.health.oplog_window import OplogWindow
from watcher.leadership.fence import Fence
from watcher.leadership.lead import LeadersWriter
from watcher.leadership.lease import DeposedError
from watcher.leadership.takeover import LedError
from watcher.operations import granted
from watcher.operations.context import StreamContext
from watcher.operations.repartition import Layout, Repartition
from watcher.redaction_changes import Redactions, Rules
from watcher.retention.expiry import Pace
from watcher.retention.runner import RetentionRunner
from watcher.retry import Retry
from watcher.sealing import supervised as sealing
from watcher.sealing.supervised import Seals
from watcher.snapshotter import NoticedWriter, Snapshotter
from watcher.steps import Step
from watcher.stream.actors.completion import CompletingWriter, Completions
from watcher.stream.actors.contexts import Contexts
from watcher.stream.actors.sessions import Sessions
from watcher.stream.actors.stamps import Stamps
from watcher.stream.actors.users import Users
from watcher.stream.batch import SharedProgress
from watcher.stream.listener import Listener
from watcher.stream.pipeline import Pipeline
from watcher.stream.pre_image_cache import PreImageCache
from watcher.stream.pre_images_from_history import PreImagesFromHistory
from watcher.stream.recorder import Recorder
from watcher.stream.writer import Writer
from watcher.targets import namespaces
from watcher.targets.identity import identify
from watcher.targets.pre_images import PreImages

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from pymongo import MongoClient
    from pymongo.database import Database

    from config.settings import Settings
    from watcher.events.redaction import Redaction
    from watcher.health.progress import Progress
    from watcher.leadership.lead import Leadership
    from watcher.stream.batch import Lost, Position, Renamed
    from watcher.stream.checkpointer import Checkpointer
    from watcher.stream.pipeline import Writes
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)

_CATCHING_UP_S = 2
"""Age of the last written event, in seconds, above which the stream is catching up, and needs all resources."""
_BEHIND_AT_MOST = 1000
"""Number of events in the pipeline from which on the stream needs all resources."""


class DaemonContext(StreamContext):
    """The context of every daemon of a stream, leading or not."""

    def check(self) -> None:
        """Check that this daemon could lead from the present checkpoint.

        Raises:
            watcher.errors.PositionRefusedError: the checkpoint is another deployment's, or of a stream with other
                options or another number of partitions.
        """
        self.check_layout()
        self.checkpointer().load()

    def check_layout(self) -> None:
        """Check that the stream has the number of partitions that this daemon expects; raises as `check` does."""
        Layout(self.history, self.settings.stream).check(self.settings.recorded_partition)


def prepare(
    settings: Settings, scope: Scope, watched: MongoClient[Any], history_client: MongoClient[Any], retry: Retry
) -> DaemonContext:
    """Do everything that does not need the lead, so that the lead can be taken at once, or the daemon fails early.

    A new stream with partitions is split here, under the lead of the whole stream.

    Args:
        history_client: client of the history deployment; the models are connected to it.

    Raises:
        watcher.errors.FatalError: only the operator can help; the message says how.
        watcher.retry.StoppedError: a stop was requested.
    """
    sealing.check(settings)
    replica_set = retry.call(Step.REACH_WATCHED, partial(identify, watched))
    retry.call(Step.CHECK_SCOPE, partial(namespaces.check, watched, scope))
    retry.call(Step.CHECK_SCOPE, partial(namespaces.warn_of_paths, watched, scope))
    # Not from a secondary: it may lag, and show an old checkpoint or none.
    history = history_client.get_database(settings.history_database, read_preference=ReadPreference.PRIMARY)
    retry.call(Step.CHECK_PRIVILEGES, partial(granted.check, settings, history))
    retry.call(Step.MAKE_INDEXES, partial(make_collection, history))
    retry.call(Step.MAKE_INDEXES, partial(indexes.ensure, history))
    retry.call(Step.MAKE_VIEW, partial(views.ensure, history))
    retry.call(Step.SEAL, partial(sealing.look, settings, history))
    context = DaemonContext(settings, scope, watched, history, replica_set)
    if settings.recorded_partition is not None:
        _split_if_new(context, settings.recorded_partition.total, retry)
    retry.call(Step.LOAD_CHECKPOINT, context.check)
    return context


class Composed(NamedTuple):
    """The parts of a leading daemon.

    Attributes:
        beside: functions by name that run beside the stages, each in a thread of its own.
        finish: to be called when the stages have ended in order.
    """

    pipeline: Pipeline
    beside: dict[str, Callable[[], None]]
    finish: Callable[[], None]


def compose(context: DaemonContext, leading: Leadership, progress: Progress) -> Composed:
    """Create all parts of a leading daemon, up to the point where its threads can start.

    Args:
        leading: its leadership; the daemon writes under its term, and stops with it.

    Raises:
        watcher.errors.FatalError: only the operator can help; the message says how.
        watcher.leadership.lease.DeposedError: another daemon leads by now.
        watcher.retry.StoppedError: a stop was requested.
    """
    settings, scope, watched, history = context.settings, context.scope, context.watched, context.history
    stop = leading.stop
    retry = Retry(stop, progress.retrying, progress.recovered)
    retry.call(Step.CHECK_LAYOUT, context.check_layout)  # the lead prevents changes from here on
    fence = Fence(history, settings.checkpoint, leading.term)
    checkpointer = context.checkpointer(term=leading.term)
    stored = retry.call(Step.LOAD_CHECKPOINT, checkpointer.load)
    images = PreImages(watched, scope) if settings.pre_images is PreImagesMode.ENABLE else None
    if images is not None:
        retry.call(Step.ENABLE_PRE_IMAGES, images.enable_existing)
    listener = Listener(
        watched,
        scope,
        settings.batch_size,
        stored.position if stored is not None else None,
        pre_images=context.pre_images,
        intact=stored is None or stored.intact,
        skip_what_is_lost=settings.on_gap is not OnGap.STOP,
    )
    redaction, say_rules = _redaction(context, fence)
    shared = SharedProgress()
    seals = Seals(settings, history, fence, shared, retry, stop)
    writer = ErasingWriter(history, Writer(history, settings.checkpoint, seals.stored), Active(history))
    backfill = Backfill(
        watched,
        history,
        fence,
        scope,
        writer.storing(EntryStore(history, fence, writer).store),
        retry,
        stop,
        baseline=context.baseline,
        reconcile=context.reconciles,
        redaction=redaction,
        shared=shared,
    )
    gaps = Gaps(history, fence, scope)
    if stored is None:
        start = _begin(listener, backfill, checkpointer, retry)
        begun = start.cluster_time
        if images is not None:
            retry.call(Step.ENABLE_PRE_IMAGES, images.enable_existing)  # created while the stream was opened
    else:
        progress.starts_with(stored.events)
        retry.call(Step.READ_HISTORY, partial(writer.start, stored.position.cluster_time))
        start, begun = stored.position, stored.begun
        retry.call(Step.LOAD_BACKFILLS, backfill.resume)
    retry.call(Step.RECORD_REDACTION, partial(say_rules, start))
    from_history = PreImagesFromHistory(history, settings.checkpoint, scope, begun, shared, retry, redaction)
    # From the outside in: the snapshotter is notified of stored entries (`_snapshots`); only a leading daemon writes
    # (`LeadersWriter`); earlier batches get their actors (`CompletingWriter`); erased values are removed
    # (`ErasingWriter`).
    writes: Writes = LeadersWriter(CompletingWriter(writer, Completions(history)), leading.assure, gaps.distrust)
    beside = seals.beside(stored.position.cluster_time if stored is not None else begun)
    writes = _snapshots(context, writes, beside, progress, retry, stop)
    pipeline = Pipeline(
        listener,
        Recorder(
            PreImageCache(from_history, all_lack=not context.pre_images),
            Contexts(settings.context_collection),
            Stamps(settings.actor_fields),
            redaction,
        ),
        writes,
        checkpointer,
        _Reactions(images, gaps, backfill),
        shared=shared,
        recorded_before=stored.events if stored is not None else 0,
        observer=progress,
        stop=stop,
        batch_size=settings.batch_size,
        flush_interval_s=settings.flush_interval_ms / 1000,
    )
    beside |= _retention(context, progress, stop, retry) | _sessions(context, progress, shared, stop, retry)
    beside |= _baselines(context, backfill, stop, retry)
    beside["oplog"] = partial(retry.keep_up, Step.MEASURE_OPLOG, OplogWindow(watched, progress, stop).run)
    if images is not None:
        beside["pre-images"] = partial(retry.keep_up, Step.ENABLE_PRE_IMAGES, partial(images.look_again, stop, retry))
    return Composed(pipeline, beside, seals.finish)


def _begin(listener: Listener, backfill: Backfill, checkpointer: Checkpointer, retry: Retry) -> Position:
    """Begin a new stream: save the backfill's plan and the first position before the first event is read."""
    start = retry.call(Step.OPEN_STREAM, listener.next_batch).position
    retry.call(Step.PLAN_BACKFILL, partial(backfill.begin, start))
    retry.call(Step.SAVE_CHECKPOINT, partial(checkpointer.begin, start))
    retry.call(Step.SAVE_CHECKPOINT, partial(checkpointer.save, start, 0))
    return start


class _Reactions(NamedTuple):
    """Reactions to events of a whole collection, or the stream; implements `watcher.stream.pipeline.Reacts`.

    `images`: enables pre-images for new collections; None: they are not enabled.
    """

    images: PreImages | None
    gaps: Gaps
    backfill: Backfill

    def appeared(self, namespace: str) -> None:
        if self.images is not None:
            self.images.enable(namespace)

    def renamed(self, renamed: Renamed) -> None:
        self.backfill.after_rename(renamed)

    def lost(self, lost: Lost, now: Position) -> None:
        self.gaps.write(lost, now)
        if self.images is not None:
            self.images.enable_existing()  # collections created in the gap have no event
        self.backfill.after_gap(lost, now)


def _baselines(context: DaemonContext, backfill: Backfill, stop: Event, retry: Retry) -> dict[str, Callable[[], None]]:
    """The backfill, and the baselines requested by operators."""
    requests, stream = Requests(context.history), context.settings.checkpoint
    asked = Taking(context.watched, requests, stream, backfill, backfill.scanner, retry, stop)
    work = {"baselines": asked.run, "backfill": backfill.run}
    return {name: partial(retry.keep_up, Step.BACKFILL, run) for name, run in work.items()}


def _snapshots(
    context: DaemonContext,
    writes: Writes,
    beside: dict[str, Callable[[], None]],
    progress: Progress,
    retry: Retry,
    stop: Event,
) -> Writes:
    """Add the snapshotter, if enabled: wrap the writer so that it is notified of written entries."""
    if context.settings.snapshots is not Snapshots.ON:
        return writes
    age = context.settings.snapshot_retention or FOREVER
    snapshotter = Snapshotter(context.history, _behind(context, progress), stop, age_s=Rule("*.*", age).seconds)
    beside["snapshots"] = partial(retry.keep_up, Step.MAKE_SNAPSHOTS, snapshotter.run)
    return NoticedWriter(writes, snapshotter)


def _retention(context: DaemonContext, progress: Progress, stop: Event, retry: Retry) -> dict[str, Callable[[], None]]:
    """The expiry of history by age, if this daemon does it: of several partitions, the first one does."""
    settings = context.settings
    if settings.retention_by is not RetentionBy.DAEMON or (settings.partition or (1,))[0] != 1:
        return {}
    runner = RetentionRunner(context.history, settings.retention, settings.snapshot_retention)
    for rule in settings.retention:
        if rule.seconds is not None:
            age = timedelta(seconds=rule.seconds)
            log.info("history expires by age, for good", collections=rule.glob, after=str(age))
    pace = Pace(settings.retention_rate, stop.wait, _behind(context, progress), lambda: progress.delay_s)
    return {"retention": partial(retry.keep_up, Step.EXPIRE, partial(runner.run, pace, stop))}


def _sessions(
    context: DaemonContext, progress: Progress, shared: SharedProgress, stop: Event, retry: Retry
) -> dict[str, Callable[[], None]]:
    """The lookup of database users by session, if enabled."""
    if context.settings.actor_sessions is ActorSessions.OFF:
        return {}
    behind = _behind(context, progress)
    sessions = Sessions(
        context.watched,
        context.history,
        context.settings.checkpoint,
        context.scope,
        Users(context.watched, context.history),
        Completions(context.history),
        shared,
        lambda: behind() or (progress.lag_s or 0) > _CATCHING_UP_S,
        stop,
    )
    return {"sessions": partial(retry.keep_up, Step.TELL_USERS, sessions.run)}


def _behind(context: DaemonContext, progress: Progress) -> Callable[[], bool]:
    """A function that returns whether the stream cannot keep up at the moment."""
    most = min(context.settings.batch_size, _BEHIND_AT_MOST)
    return lambda: progress.waiting >= most


def _redaction(context: DaemonContext, fence: Fence) -> tuple[Redaction | None, Callable[[Position], None]]:
    """The redaction, and the function that records in history from which position on it applies."""
    rules, key = context.settings.redact, context.settings.hash_key
    said = Redactions(context.watched, context.history, fence, context.scope, Rules.of(rules, key))
    return fast_path.redaction(rules, key), said.say


def _split_if_new(context: DaemonContext, partitions: int, retry: Retry) -> None:
    """Split a new stream: the daemon that comes first gives all partitions the same beginning."""
    repartition = Repartition(context)
    if not retry.call(Step.CHECK_LAYOUT, repartition.layout.is_open):
        return
    if context.settings.pre_images is PreImagesMode.ENABLE:
        retry.call(Step.ENABLE_PRE_IMAGES, PreImages(context.watched, context.scope).enable_existing)
    while retry.call(Step.CHECK_LAYOUT, repartition.layout.is_open):
        try:
            retry.call(Step.SPLIT, partial(repartition.begin, partitions))
        except (LedError, DeposedError) as error:  # most likely another partition's daemon does it
            log.info("waiting for whoever is splitting the stream, or begins it as a whole", reason=str(error))
            retry.pause(Step.SPLIT)


def make_collection(history: Database[Any]) -> None:
    """Create the history collection if it does not exist, compressed by zstd: a third smaller than with the default.

    An existing collection is not changed. If the server refuses, creating the first index makes a default collection.
    """
    try:
        history.command("create", HISTORY, storageEngine=_COMPRESSED)
    except OperationFailure as error:
        if classify(error) is Verdict.TRANSIENT:
            raise
        if error.code != server_codes.NAMESPACE_EXISTS:
            log.debug("history is compressed as the server does it by default", error=name_of(error))


_COMPRESSED = {"wiredTiger": {"configString": "block_compressor=zstd"}}
