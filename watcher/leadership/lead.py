"""One daemon's leadership of its stream: from taking the lease until releasing or losing it.

A separate thread renews the lease. When another daemon has taken it, everything started under this term is stopped.
When the lease could not be renewed in time, no batch is passed to the writer until it is renewed.
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
    """A monotonic clock in seconds; on Linux it also counts the time while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Leadership:
    """A context manager that keeps renewing a lease, and releases it at the end if it is still held.

    Args:
        term: the acquired term.
        acquired_at: time of `clock` just before the lease was acquired.

    Attributes:
        stop: set when everything under this term has to stop in order; may also be set from outside.
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
        """Check, by this machine's clock, that the lease has not expired; renew it if it has.

        The process can be suspended right after this, so the check is no guarantee; but without it a daemon that was
        suspended would continue as if nothing had happened.

        Raises:
            DeposedError: another daemon leads.
            pymongo.errors.PyMongoError: the lease has expired, and could not be renewed.
        """
        self.raise_failure()
        if clock() >= self._until:
            self._renew()

    def raise_failure(self) -> None:
        """Raise the error that ended this leadership, if there is one.

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
            return  # a second signal: exit at once, and let the lease expire
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
            except Exception as error:  # noqa: BLE001 - raised by `raise_failure`
                self._failure = error
                self.stop.set()
                return

    def _renew(self) -> None:
        asked = clock()
        self._lease.renew(self.term)
        self._until = asked + self._lease.ttl_s


class LeadersWriter:
    """A writing stage that writes only while the lease is held.

    Args:
        assure: `Leadership.assure`.
        too_late: called with a batch that was stored after another daemon took the lead: the lease expired during the
            write.
    """

    def __init__(self, writer: Writes, assure: Callable[[], None], too_late: Callable[[Recorded], None]) -> None:
        self._writer = writer
        self._assure = assure
        self._too_late = too_late

    def write(self, recorded: Recorded) -> int:
        """Write a batch, as the writer does.

        Raises:
            watcher.leadership.lease.DeposedError: another daemon leads.
            pymongo.errors.PyMongoError: the write was not acknowledged, or the lease could not be renewed.
        """
        self._assure()
        rejected = self._writer.write(recorded)
        try:
            self._assure()
        except DeposedError:
            self._too_late(recorded)
            raise
        return rejected
