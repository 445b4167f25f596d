"""What the benchmarks share: ports, the daemon as a process of its own, and waiting."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from watcher.embedded.mongod import Mongod

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


def daemon(
    uri: str, history_uri: str | None = None, build: Path | None = None, /, **settings: str
) -> subprocess.Popen[bytes]:
    """Start `watcher run` on a deployment.

    Args:
        uri: the watched deployment.
        history_uri: where the history goes; None: there, too.
        build: a checkout with its own `.venv`, whose daemon it is; None: this one's.
        settings: more of them, by the names of their environment variables.
    """
    watcher = [sys.executable, "-m", "watcher"] if build is None else [str(build / ".venv" / "bin" / "watcher")]
    program = [*watcher, "run"]
    environment = {**os.environ, "WATCHER_MONGODB_URI": uri, "WATCHER_HTTP_PORT": "0", "WATCHER_BASELINE": "off"}
    environment |= settings
    if history_uri is not None:
        environment["WATCHER_HISTORY_URI"] = history_uri
    return subprocess.Popen(
        program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=build or ROOT
    )


@contextmanager
def started_server(*, cache_gb: int, oplog_mb: int) -> Iterator[tuple[Mongod, Path]]:
    """A `mongod` for the length of the block, and a folder for it and for whatever else; both are gone afterwards."""
    with (
        TemporaryDirectory(prefix="watcher-bench-", ignore_cleanup_errors=True) as folder,
        Mongod(Path(folder) / "server", free_port(), cache_gb=cache_gb, oplog_mb=oplog_mb) as server,
    ):
        yield server, Path(folder)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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


def resident_mb(pid: int, name: str = "VmRSS") -> float:
    """Resident size of a process in megabytes.

    Args:
        pid: the process.
        name: `VmRSS`: now; `VmHWM`: the most there has been.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(f"{name}:")).split()[1]) / 1024
