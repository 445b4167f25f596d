"""Notifies systemd of the daemon's state: the sd_notify(3) protocol, one datagram per message.

This is twenty lines of socket code; the packages that offer it are either unmaintained or bind libsystemd.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from watcher.health.progress import Progress

_MICROSECONDS = 1_000_000
_LOOK_EVERY_S = 0.1


def notify(message: str) -> None:
    """Send a message, such as `READY=1`, `STOPPING=1`, `WATCHDOG=1` or `STATUS=…`; without systemd, do nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # the abstract namespace, where the first byte is NUL
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        try:
            manager.connect(address)
            manager.sendall(message.encode())
        except OSError:
            return


def watchdog_interval_s() -> float | None:
    """Seconds between two `WATCHDOG=1` messages (half of `WatchdogSec=`); None: systemd does not watch the process."""
    interval = os.environ.get("WATCHDOG_USEC", "")
    watched = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not interval.isdigit() or watched != str(os.getpid()):
        return None
    return int(interval) / _MICROSECONDS / 2


class Watchdog:
    """A context manager: within the block, a thread notifies systemd of readiness and liveness.

    It is a thread of its own, since the main thread may be waiting for a server. Both are judged by durable progress.

    `READY=1` is sent once, when the stream is open or another daemon leads it. `WATCHDOG=1` is sent twice within
    `WatchdogSec=`, as long as the daemon is alive.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._interval_s = watchdog_interval_s()
        self._ready = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            if not self._ready and (self._progress.opened or not self._progress.leader):
                self._ready = True
                notify("READY=1")
            if self._interval_s is not None:
                if self._progress.alive():
                    notify("WATCHDOG=1")
            elif self._ready:
                return
            self._end.wait(self._interval_s if self._ready else _LOOK_EVERY_S)
