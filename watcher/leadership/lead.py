"""One daemon's leadership of its stream: from when it takes the lease until it gives it up, or loses it.

The lease is renewed by a thread of its own. When another daemon has taken it, everything that was started under this
term is stopped. When it could not be renewed in time, nothing more is handed on to be written until it has been.
"""

from __future__ import annotations

import contextvars
import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import structlog
from pymongo.errors import PyMongoError

from watcher.errors import name_of
from watcher.leadership.lease import RENEW_EVERY_S, DeposedError
from watcher.retry import Retry, StoppedError
from watcher.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from watcher.health.progress import Progress
    from watcher.leadership.lease import Lease, Term
    from watcher.stream.batch import Recorded
    from watcher.stream.pipeline import Writes

log = structlog.get_logger(__name__)

_LONGEST_DELAY_S = 2.0


def clock() -> float:
    """Seconds that have passed since some time, also while the machine slept, where it can tell (Linux)."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Leadership:
    """A term, kept up. In a `with` block; at its end the lease is given up if it is still held.

    Args:
        term: as it was acquired.
        acquired_at: by `clock`, from before it was.

    Attributes:
        stop: set when everything under this term is to end in order; also to be set from outside.
    """

    def __init__(self, lease: Lease, term: Term, acquired_at: float, progress: Progress) -> None:
        self.term = term
        self.stop = Event()
        self._lease = lease
        self._until = acquired_at + lease.ttl_s
        self._over = Event()
        self._retry = Retry(self._over, progress.retrying, progress.recovered, _LONGEST_DELAY_S)
        self._failure: Exception | None = None
        self._thread = Thread(target=contextvars.copy_context().run, args=(self._keep_up,), name="lease", daemon=True)

    def assure(self) -> None:
        """Return only if the lease had not run out just now, by this machine's clock.

        A process can be frozen right after this, so it guards nothing by itself; but without it a daemon that was
        frozen would go on as if nothing had happened.

        Raises:
            DeposedError: another daemon leads.
            pymongo.errors.PyMongoError: it has run out, and could not be renewed.
        """
        self.raise_failure()
        if clock() >= self._until:
            self._renew()

    def raise_failure(self) -> None:
        """Raise what has ended this leadership from within, if anything has.

        Raises:
            DeposedError: another daemon leads.
            pymongo.errors.PyMongoError: the deployment refuses to renew the lease.
        """
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop.set()
        self._over.set()
        if kind is not None and not issubclass(kind, Exception):
            return  # a second signal; whoever wants the lease can wait
        self._thread.join()
        try:
            self._lease.release(self.term)
        except PyMongoError as error:
            log.warning("the lead could not be given up; it ends by itself", error=name_of(error))

    def _keep_up(self) -> None:
        while not self._over.wait(RENEW_EVERY_S):
            try:
                self._retry.call(Step.RENEW_LEASE, self._renew)
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - handed to whoever leads
                self._failure = error
                self.stop.set()
                return

    def _renew(self) -> None:
        asked = clock()
        self._lease.renew(self.term)
        self._until = asked + self._lease.ttl_s


class LeadersWriter:
    """A writing stage that hands nothing on without the lease.

    Args:
        assure: as `Leadership.assure`.
        too_late: called with what was stored although another daemon leads: the lease ran out while it was written.
    """

    def __init__(self, writer: Writes, assure: Callable[[], None], too_late: Callable[[Recorded], None]) -> None:
        self._writer = writer
        self._assure = assure
        self._too_late = too_late

    def write(self, recorded: Recorded) -> int:
        """Write a batch, as the writer does.

        Raises:
            watcher.leadership.lease.DeposedError: another daemon leads.
            pymongo.errors.PyMongoError: it is not acknowledged, or the lease could not be renewed.
        """
        self._assure()
        rejected = self._writer.write(recorded)
        try:
            self._assure()
        except DeposedError:
            self._too_late(recorded)
            raise
        return rejected
