"""What the benchmarks share: ports, the daemon as a process of its own, and waiting."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def daemon(uri: str) -> subprocess.Popen[bytes]:
    """Start `watcher run` on a deployment."""
    program = [sys.executable, "-m", "cli", "run"]
    environment = {**os.environ, "WATCHER_MONGODB_URI": uri, "WATCHER_HTTP_PORT": "0", "WATCHER_BASELINE": "off"}
    root = Path(__file__).resolve().parent.parent
    return subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a daemon in order."""
    process.send_signal(signal.SIGTERM)
    if process.wait(30) != 0:
        raise SystemExit(f"the daemon ended with {process.returncode}")


def wait(condition: Any) -> None:
    """Wait until a condition holds."""
    until = time.monotonic() + 30
    while not condition():
        if time.monotonic() > until:
            raise SystemExit("waited in vain")
        time.sleep(0.05)


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
