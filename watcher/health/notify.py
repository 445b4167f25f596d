"""Telling systemd how the service is: the sd_notify(3) protocol, one datagram a message.

Twenty lines of socket code; the packages that offer it are either unmaintained or bind libsystemd.
"""

from __future__ import annotations

import os
import socket

_MICROSECONDS = 1_000_000


def notify(message: str) -> None:
    """Send one message, such as `READY=1`, `STOPPING=1`, `WATCHDOG=1` or `STATUS=…`; no service manager: nothing."""
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
    """How often `WATCHDOG=1` is due, in seconds (half of `WatchdogSec=`), or None if systemd does not watch us."""
    interval = os.environ.get("WATCHDOG_USEC", "")
    watched = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not interval.isdigit() or watched != str(os.getpid()):
        return None
    return int(interval) / _MICROSECONDS / 2
