"""Standby: everything is prepared, and the lease is polled until it is free."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from watcher.health.systemd import notify
from watcher.leadership.lead import Leadership, clock
from watcher.leadership.lease import LOOK_EVERY_S
from watcher.retry import Retry
from watcher.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from watcher.health.progress import Progress
    from watcher.leadership.lease import Holder, Lease, Term

log = structlog.get_logger(__name__)

CHECK_EVERY_S = 5.0
"""Seconds between two checks whether this daemon could lead at all."""
_LONGEST_DELAY_S = 2.0


class Standby:
    """Waits for the lead.

    Args:
        check: raises an error if this daemon could not lead.
    """

    def __init__(self, lease: Lease, check: Callable[[], None], progress: Progress, stop: Event) -> None:
        self._lease = lease
        self._check = check
        self._progress = progress
        self._stop = stop
        self._retry = Retry(stop, progress.retrying, progress.recovered, _LONGEST_DELAY_S)
        self._leader: Holder | None = None
        self._next_check = 0.0

    def until_leading(self) -> Leadership | None:
        """Wait until this daemon has the lead.

        Returns:
            Its leadership, not entered yet; None: a stop was requested.

        Raises:
            watcher.errors.FatalError: this daemon could not lead; the message gives the reason.
            watcher.retry.StoppedError: a stop was requested while the history deployment did not reply.
        """
        while not self._stop.is_set():
            holder = self._retry.call(Step.LOOK_AT_LEASE, self._lease.holder)
            if holder is None or holder.is_dead():
                self._retry.call(Step.LOAD_CHECKPOINT, self._check)  # before it leaves a lease behind
                leading = self._retry.call(Step.TAKE_LEAD, lambda: self._acquired(holder))  # noqa: B023
                if leading is not None:
                    return leading
            else:
                self._led_by(holder)
            self._stop.wait(LOOK_EVERY_S)
        return None

    def deposed(self, term: Term) -> None:
        """Log that the lead was lost, and show this daemon as standby."""
        log.warning("deposed: somebody else has taken the lead; standing by again", term=term.number)
        self._leader = None
        self._progress.standing_by(None)

    def _acquired(self, former: Holder | None) -> Leadership | None:
        asked = clock()
        term = self._lease.acquire(dead=former.owner if former is not None else None)
        if term is None:
            return None
        self._progress.leads(term.number)
        log.info("leading", term=term.number)
        return Leadership(self._lease, term, asked, self._progress)

    def _led_by(self, holder: Holder) -> None:
        self._progress.standing_by(str(holder))
        if self._leader is None or self._leader.owner != holder.owner:
            log.info("standing by", leader=str(holder), term=holder.term)
            notify(f"STATUS=standing by, {holder} leads")
        self._leader = holder
        if time.monotonic() >= self._next_check:
            self._retry.call(Step.LOAD_CHECKPOINT, self._check)
            self._next_check = time.monotonic() + CHECK_EVERY_S
