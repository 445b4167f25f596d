"""`watcher` commands beside a daemon of a test, with the daemon's own settings."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.daemon import ROOT

if TYPE_CHECKING:
    from tests.support.daemon import Daemon


def watcher(daemon: Daemon, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `more` are environment variables that win."""
    return subprocess.run(
        [sys.executable, "-m", "watcher", *arguments],
        env=daemon._environment | more,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
