"""The composition root: every part of the daemon, put together by the settings.

Start order: reach the deployment, make the indexes, load and check the checkpoint, switch pre-images on, open the
stream. A stream that begins saves its position, and what is to be surveyed, before it reads its first event.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pymongo import ReadPreference

from config.choices import Baseline, OnGap
from config.choices import PreImages as PreImagesMode
from models import HistoryModel
from watcher.batch import Entry, Position, Recorded
from watcher.checkpointer import Checkpointer
from watcher.gaps import Gaps
from watcher.identity import identify
from watcher.images import PreImages
from watcher.listener import Listener
from watcher.pipeline import Pipeline
from watcher.plans import Plans
from watcher.recorder import Recorder
from watcher.retry import Retry
from watcher.survey import BASELINE, RECONCILE, Survey
from watcher.writer import Writer

if TYPE_CHECKING:
    from threading import Event

    from pymongo import MongoClient

    from config.settings import Settings
    from watcher.batch import Lost
    from watcher.progress import Progress
    from watcher.scope import Scope

_NO_POSITION = Position(b"", bytes(8))


def compose(
    settings: Settings,
    scope: Scope,
    watched: MongoClient[Any],
    keeper: MongoClient[Any],
    progress: Progress,
    stop: Event,
) -> tuple[Pipeline, Survey]:
    """Put the daemon together, up to the point where its threads can start.

    Args:
        settings: what the operator says.
        scope: what is watched.
        watched: client of the watched deployment.
        keeper: client of the deployment that keeps the history; the models are connected to it.
        progress: is told what happens.
        stop: set when the daemon is asked to stop.

    Raises:
        watcher.errors.FatalError: only the operator can help; says how.
        watcher.retry.StoppedError: a stop was asked for meanwhile.
    """
    retry = Retry(stop, progress.trouble, progress.relief)
    replica_set = retry.call("reaching the watched deployment", partial(identify, watched))
    retry.call("making the indexes of the history", HistoryModel.ensure_indexes)
    # A secondary may lag, and an old checkpoint, or none, would be believed.
    history = keeper.get_database(settings.history_database, read_preference=ReadPreference.PRIMARY)
    checkpointer = Checkpointer(history, settings.stream, scope, replica_set)
    stored = retry.call("loading the checkpoint", checkpointer.load)
    images = PreImages(watched, scope)
    enable_images = settings.pre_images is PreImagesMode.ENABLE
    if enable_images:
        retry.call("switching on pre-images", images.enable_existing)
    listener = Listener(
        watched,
        scope,
        settings.batch_size,
        stored.position if stored is not None else None,
        pre_images=settings.pre_images is not PreImagesMode.OFF,
        skip_what_is_lost=settings.on_gap is not OnGap.STOP,
    )
    writer = Writer(history, settings.stream)
    plans = Plans(watched, history, settings.stream, scope)
    survey = Survey(watched, history, partial(_store, writer), plans.save, plans.done, retry, stop)
    gaps = Gaps(history, settings.stream, scope)

    def on_lost(lost: Lost, now: Position) -> None:
        gaps.write(lost, now)
        if enable_images:
            images.enable_existing()  # what was created in the gap has told nobody
        if settings.on_gap is OnGap.RECONCILE:
            plan = plans.reconcile(lost, now)
            plans.save(plan)
            survey.assign(plan)

    if stored is None:
        start = retry.call("opening the change stream", listener.next_batch).position
        if settings.baseline is Baseline.INITIAL:
            plan = retry.call("planning the baseline", partial(plans.baseline, start))
            retry.call("planning the baseline", partial(plans.save, plan))
            survey.assign(plan)
        retry.call("saving the checkpoint", partial(checkpointer.save, start, 0))
        if enable_images:
            retry.call("switching on pre-images", images.enable_existing)  # created while the stream was opened
    else:
        progress.starts_with(stored.events)
        unfinished = retry.call("loading the plan of the survey", plans.load)
        wanted = {BASELINE: settings.baseline is Baseline.INITIAL, RECONCILE: settings.on_gap is OnGap.RECONCILE}
        if unfinished is not None and wanted[unfinished.kind]:
            survey.assign(unfinished)
    pipeline = Pipeline(
        listener,
        Recorder(),
        writer,
        checkpointer,
        on_new_collection=images.enable if enable_images else _nothing,
        on_lost=on_lost,
        progress=progress,
        stop=stop,
        batch_size=settings.batch_size,
        flush_interval_s=settings.flush_interval_ms / 1000,
    )
    return pipeline, survey


def _store(writer: Writer, documents: list[bytes]) -> None:
    """Write history that no event has made."""
    writer.write(Recorded([Entry(document, b"") for document in documents], [], _NO_POSITION))


def _nothing(_namespace: str) -> None:
    """Pre-images are left as they are."""
