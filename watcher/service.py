"""The daemon's life cycle: connect, stand by until the lease is free, lead until a signal, shut down.

Stop order: the pipeline ends with its last checkpoint, the lease is released, then the connections close. `composition`
creates the parts, and defines their start order. A daemon that is deposed stops its parts, and stands by again.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from threading import Event
from typing import TYPE_CHECKING, Any

import structlog
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

import models
from change_history import server_codes
from watcher import clients, garbage
from watcher.composition import compose, prepare
from watcher.errors import (
    DeploymentRefusedError,
    PositionLostError,
    UndeliverableError,
    Verdict,
    classify,
    name_of,
    remedy_for,
)
from watcher.health.reporter import Reporter
from watcher.health.systemd import Watchdog, notify
from watcher.leadership.lease import DeposedError, Lease
from watcher.leadership.standby import Standby
from watcher.operations import granted
from watcher.retry import Retry, StoppedError
from watcher.signals import AbortedError, stop_signals
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    import signal

    from config.settings import Settings
    from watcher.composition import DaemonContext
    from watcher.health.progress import Progress
    from watcher.leadership.lead import Leadership

log = structlog.get_logger(__name__)


class Service:
    """The daemon as a whole."""

    def __init__(self, settings: Settings, watched_uri: str, history_uri: str, progress: Progress) -> None:
        self._settings = settings
        self._watched_uri = watched_uri
        self._history_uri = history_uri
        self._progress = progress
        self._stop = Event()
        self._leading: Leadership | None = None
        self._deployments: tuple[MongoClient[Any], MongoClient[Any]] | None = None
        self._scope = Scope.of(settings)

    def run(self) -> None:
        """Record until SIGTERM or SIGINT. To be called from the main thread.

        Raises:
            watcher.errors.FatalError: only the operator can help; the message says how.
            watcher.signals.AbortedError: a second signal came before the orderly end.
        """
        structlog.contextvars.bind_contextvars(stream=self._settings.checkpoint)
        with ExitStack() as stack:
            stack.callback(structlog.contextvars.unbind_contextvars, "stream")
            stack.enter_context(stop_signals(self._asked_to_stop))
            stack.enter_context(Watchdog(self._progress))
            try:
                self._record(stack)
            except AbortedError:
                stack.pop_all()  # skip closing, which would wait for servers
                raise
            except StoppedError:
                log.info("stopped before the stream was open")
            except PyMongoError as error:
                raise self._explained(error) from error

    def _record(self, stack: ExitStack) -> None:
        watched: MongoClient[Any] = stack.enter_context(
            clients.closing_soon(MongoClient(self._watched_uri, **clients.options(self._watched_uri)))
        )
        history_client = models.connect(
            self._history_uri, self._settings.history_database, **clients.options(self._history_uri)
        )
        stack.callback(models.disconnect)
        stack.enter_context(clients.closing_soon(history_client))
        retry = Retry(self._stop, self._progress.retrying, self._progress.recovered)
        self._deployments = watched, history_client
        context = prepare(self._settings, self._scope, watched, history_client, retry)
        lease = Lease(context.history, self._settings.checkpoint)
        standby = Standby(lease, context.check, self._progress, self._stop)
        reporter = Reporter(self._progress, self._settings.report_interval_s)
        while (leading := standby.until_leading()) is not None:
            self._leading = leading
            if self._stop.is_set():
                leading.stop.set()  # the stop was requested just before `leading` existed
            with leading, suppress(DeposedError):
                self._lead(context, leading, reporter)
            if self._stop.is_set():
                break
            standby.deposed(leading.term)
        reporter.stopped()

    def _lead(self, context: DaemonContext, leading: Leadership, reporter: Reporter) -> None:
        """Record until a stop is requested.

        Raises:
            DeposedError: another daemon leads.
            Exception: the error that makes recording impossible.
        """
        try:
            pipeline, beside, finish = compose(context, leading, self._progress)
        except StoppedError:
            leading.raise_failure()
            raise
        garbage.search_less()
        garbage.give_back_less()
        pipeline.start(beside)
        reporter.started(self._scope)
        while not pipeline.wait(reporter.due_in_s()):
            reporter.report()
        leading.raise_failure()
        finish()

    def _asked_to_stop(self, number: signal.Signals) -> None:
        log.info("stopping: what has been read is still recorded; a second signal ends at once", signal=number.name)
        notify("STOPPING=1")
        self._stop.set()
        if self._leading is not None:
            self._leading.stop.set()

    def _explained(self, error: PyMongoError) -> Exception:
        if isinstance(error, UndeliverableError):
            return PositionLostError(
                f"The next event of stream {self._settings.checkpoint!r} cannot be delivered: {error}.",
                "History that is recorded already stays. Start with WATCHER_ON_GAP=reconcile (or record): the event is "
                "left out, a gap says so, and with `reconcile` the document is recorded as it is.",
            )
        if classify(error) is Verdict.POSITION_LOST:
            return PositionLostError(
                f"The server cannot go on from the checkpoint of stream {self._settings.checkpoint!r}: "
                f"{name_of(error)}. "
                "Events between it and the oldest entry of the oplog are lost.",
                "History that is recorded already stays. To go on from now and have the gap recorded, start with "
                "WATCHER_ON_GAP=record, or move the position (`watcher checkpoint set --now`, or --at TIME for as far "
                "back as the oplog reaches), or start a new stream: WATCHER_STREAM=<another name>. To keep it from "
                "happening again, give the oplog more room: "
                "db.adminCommand({replSetResizeOplog: 1, minRetentionHours: 48}).",
            )
        return self._missing(error) or DeploymentRefusedError(f"MongoDB refuses: {name_of(error)}.", remedy_for(error))

    def _missing(self, error: PyMongoError) -> DeploymentRefusedError | None:
        """The error that names the missing privilege; None: that is not the reason, or it is not known."""
        if (
            not isinstance(error, OperationFailure)
            or error.code != server_codes.UNAUTHORIZED
            or self._deployments is None
        ):
            return None
        watched, history_client = self._deployments
        try:
            return granted.explained(
                self._settings, self._scope, watched, history_client[self._settings.history_database]
            )
        except PyMongoError:  # the user may not even query that: a general message has to do
            return None
