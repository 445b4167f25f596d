"""The composition root: puts the daemon together, runs it, and takes it apart.

Start order: reach both deployments, make the indexes, load and check the checkpoint, switch pre-images on, start the
pipeline. Stop order: the pipeline ends with its last checkpoint, then the connections close.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import structlog
from pymongo import MongoClient
from pymongo.errors import PyMongoError

import models
from config.choices import OnGap
from config.choices import PreImages as PreImagesMode
from models import HistoryModel
from watcher import clients, notify
from watcher.checkpointer import Checkpointer
from watcher.errors import (
    DeploymentRefusedError,
    PositionLostError,
    Verdict,
    classify,
    name_of,
    remedy_for,
)
from watcher.gaps import Gaps
from watcher.identity import identify
from watcher.images import PreImages
from watcher.listener import Listener
from watcher.pipeline import Pipeline
from watcher.recorder import Recorder
from watcher.reporter import Reporter
from watcher.retry import Retry, StoppedError
from watcher.scope import Scope
from watcher.signals import AbortedError, stop_signals
from watcher.writer import Writer

if TYPE_CHECKING:
    import signal

    from config.settings import Settings
    from watcher.progress import Progress

log = structlog.get_logger(__name__)


class Service:
    """The daemon as a whole.

    Args:
        settings: what the operator says.
        watched_uri: connection string of the watched deployment.
        history_uri: connection string of the deployment that keeps the history.
        progress: is told what happens; health and metrics read it.
    """

    def __init__(self, settings: Settings, watched_uri: str, history_uri: str, progress: Progress) -> None:
        self._settings = settings
        self._watched_uri = watched_uri
        self._history_uri = history_uri
        self._progress = progress
        self._stop = threading.Event()
        self._retry = Retry(self._stop, progress.trouble, progress.relief)
        self._scope = Scope(settings.include, settings.exclude, settings.history_database)

    def run(self) -> None:
        """Record until SIGTERM or SIGINT. Call it from the main thread.

        Raises:
            watcher.errors.FatalError: only the operator can help; says how.
            watcher.signals.AbortedError: a second signal came before the orderly end.
        """
        structlog.contextvars.bind_contextvars(stream=self._settings.stream)
        with ExitStack() as stack:
            stack.callback(structlog.contextvars.unbind_contextvars, "stream")
            stack.enter_context(stop_signals(self._asked_to_stop))
            try:
                self._record(stack)
            except AbortedError:
                stack.pop_all()  # closing would wait for servers; at once means at once
                raise
            except StoppedError:
                log.info("stopped before the stream was open")
            except PyMongoError as error:
                raise self._explained(error) from error

    def _record(self, stack: ExitStack) -> None:
        watched: MongoClient[Any] = stack.enter_context(
            clients.closing_soon(MongoClient(self._watched_uri, **clients.options(self._watched_uri)))
        )
        keeper = models.connect(
            self._history_uri, self._settings.history_database, **clients.options(self._history_uri)
        )
        stack.callback(models.disconnect)
        stack.enter_context(clients.closing_soon(keeper))
        pipeline = self._compose(watched, keeper)
        pipeline.start()
        reporter = Reporter(self._progress, self._settings.report_interval_s)
        reporter.started(self._scope)
        while not pipeline.wait(reporter.due_in_s()):
            reporter.report()
        reporter.stopped()

    def _compose(self, watched: MongoClient[Any], keeper: MongoClient[Any]) -> Pipeline:
        settings, scope = self._settings, self._scope
        replica_set = self._retry.call("reaching the watched deployment", lambda: identify(watched))
        self._retry.call("making the indexes of the history", HistoryModel.ensure_indexes)
        history = keeper[settings.history_database]
        checkpointer = Checkpointer(history, settings.stream, scope, replica_set)
        stored = self._retry.call("loading the checkpoint", checkpointer.load)
        if stored is not None:
            self._progress.starts_with(stored.events)
        images = PreImages(watched, scope)
        enable = settings.pre_images is PreImagesMode.ENABLE
        if enable:
            self._retry.call("switching on pre-images", images.enable_existing)
        return Pipeline(
            Listener(
                watched,
                scope,
                settings.batch_size,
                stored.position if stored is not None else None,
                pre_images=settings.pre_images is not PreImagesMode.OFF,
                skip_what_is_lost=settings.on_gap is not OnGap.STOP,
            ),
            Recorder(),
            Writer(history, settings.stream),
            checkpointer,
            on_new_collection=images.enable if enable else _nothing,
            on_lost=Gaps(history, settings.stream, scope).write,
            progress=self._progress,
            stop=self._stop,
            batch_size=settings.batch_size,
            flush_interval_s=settings.flush_interval_ms / 1000,
        )

    def _asked_to_stop(self, number: signal.Signals) -> None:
        log.info("stopping: what has been read is still recorded; a second signal ends at once", signal=number.name)
        notify.notify("STOPPING=1")
        self._stop.set()

    def _explained(self, error: PyMongoError) -> Exception:
        if classify(error) is Verdict.POSITION_LOST:
            return PositionLostError(
                f"The server cannot go on from the checkpoint of stream {self._settings.stream!r}: {name_of(error)}. "
                "Events between it and the oldest entry of the oplog are lost.",
                "History that is recorded already stays. To go on from now and have the gap recorded, start with "
                "WATCHER_ON_GAP=record, or start a new stream: WATCHER_STREAM=<another name>. To keep it from "
                "happening again, give the oplog more room: "
                "db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 48}).",
            )
        return DeploymentRefusedError(f"MongoDB refuses: {name_of(error)}.", remedy_for(error))


def _nothing(_namespace: str) -> None:
    """Pre-images are left as they are."""
