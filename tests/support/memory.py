"""How much memory a daemon has taken at most."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.daemon import Daemon

FULL_SIZE = os.environ.get("WATCHER_TEST_FULL_SIZE") == "1"
"""Whether to test with as much as the documentation tells of; minutes instead of seconds."""


def peak_mb(daemon: Daemon) -> int:
    """The largest resident size that the process ever had, in megabytes (`VmHWM`, Linux only)."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024
