"""The daemon and its commands as processes: started, stopped, killed, waited for, and measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0
"""How long a test waits before it fails, however busy the machine is. A test that passes never waits for it."""


def eventually(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until a condition gives something true, and return that; otherwise fail saying what was awaited."""
    until = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {patience_s:.0f} s in vain for: {what}")
        time.sleep(0.02)
    return found


class Daemon:
    """`watcher run` with settings by environment; its log goes to a file.

    Args:
        client: a client of the deployment that keeps the history.
        log_file: where its log goes; appended to.
        uri: the watched deployment.
        history_database: name of the history database.
        settings: other settings, by their lower-case names.
    """

    def __init__(
        self, client: MongoClient[Any], log_file: Path, *, uri: str, history_database: str, **settings: Any
    ) -> None:
        self.client = client
        self.database = client[history_database]
        self._log_file = log_file
        given = {"mongodb_uri": uri, "history_database": history_database, "http_port": 0, **settings}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")},
            **{f"WATCHER_{name.upper()}": str(value) for name, value in given.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, without waiting."""
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "watcher", "run"], env=self._environment, cwd=ROOT, stdout=log, stderr=log
            )
        return self

    def command(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start another command of `watcher` with the same settings; its output is dropped."""
        return subprocess.Popen(
            [sys.executable, "-m", "watcher", *arguments],
            env=self._environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def ready(self) -> Self:
        """Wait until its stream is open: from then on nothing escapes it."""
        assert self.process is not None
        query = {"token": {"$exists": True}}
        eventually(lambda: self._ended() or self.database.checkpoints.count_documents(query), "a position")
        return self

    def _ended(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode}\n{self.log()}")
        return False

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end; its exit code.

        One that is only just starting does not catch signals yet, and would end of them without order.
        """
        if number is not signal.SIGKILL:
            eventually(self._heeds_signals, "its signal handlers")
        self.send(number)
        return self.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.stop(signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end; its exit code."""
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def _heeds_signals(self) -> bool:
        """Whether it has its handlers, or is gone (proc(5): SigCgt)."""
        assert self.process is not None
        if self.process.poll() is not None:
            return True
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    def log(self) -> str:
        """What it has logged; nothing before it was first started."""
        return self._log_file.read_text() if self._log_file.exists() else ""

    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged, parsed."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def recorded(self, namespace: str, document_id: Any) -> dict[str, Any]:
        """Wait for history of a document and return its first entry; then everything before it is recorded too.

        (History is written in the order of the stream, batch after batch; within a batch in any order, so a test
        that counts puts its marker into a batch of its own by waiting for what precedes it.)
        """
        query = {"namespace": namespace, "document_id": document_id}
        found = eventually(lambda: self.database.history.find_one(query), f"history of {query}\n{self.log()}")
        assert isinstance(found, dict)
        return found

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def watcher(daemon: Daemon, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `more` are environment variables that win."""
    return subprocess.run(
        [sys.executable, "-m", "watcher", *arguments],
        env=daemon._environment | more,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


FULL_SIZE = os.environ.get("WATCHER_TEST_FULL_SIZE") == "1"
"""Whether to test with as much as the documentation tells of; minutes instead of seconds."""


def cluster_time(daemon: Daemon, document_id: Any, operation: str = "insert") -> str:
    """When something happened, as it can be typed."""
    found: Any = daemon.database.history.find_one({"document_id": document_id, "operation": operation})
    return f"{found['cluster_time'].time}:{found['cluster_time'].inc}"


def peak_mb(daemon: Daemon) -> int:
    """The largest resident size that the process ever had, in megabytes (`VmHWM`, Linux only)."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024
