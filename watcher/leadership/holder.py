"""Who leads a stream, as its lease says, and whether that process still exists."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

_MILLISECONDS = 1000


class Holder(NamedTuple):
    """Who leads a stream at the moment.

    Attributes:
        owner: random name of the daemon.
        host: of the machine or container it runs on.
        pid: of its process.
        place: which processes that number is one of, as `whereabouts` names it; None: not known.
        term: number of its term.
        left_s: seconds until its lease runs out if it is not renewed, by the server's clock.
    """

    owner: str
    host: str
    pid: int
    place: str | None
    term: int
    left_s: float

    def __str__(self) -> str:
        return f"{self.host} (pid {self.pid})"

    def is_dead(self) -> bool:
        """Whether its process is known to exist no more. Only a process of the same kernel can tell."""
        if self.place is None or self.place != whereabouts():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False


def whereabouts() -> str | None:
    """Within what a process id names a process: this start of the machine, and the pid namespace (Linux only)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def holder_of(lease: Mapping[str, Any] | None, left_ms: float | None) -> Holder | None:
    """Read a stored lease; None: nobody leads.

    Args:
        lease: the field of the checkpoint.
        left_ms: milliseconds until it runs out.
    """
    if not isinstance(lease, Mapping) or "owner" not in lease or "term" not in lease or left_ms is None or left_ms <= 0:
        return None
    return Holder(
        str(lease["owner"]),
        str(lease.get("host")),
        pid if isinstance(pid := lease.get("pid"), int) else 0,
        str(lease.get("place")) if "place" in lease else None,
        int(lease["term"]),
        left_ms / _MILLISECONDS,
    )
