"""`watcher serve` beside the daemon: a process of its own, so that nobody who reads slows the recording down."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self

import structlog

from watcher.embedded import parent_death

if TYPE_CHECKING:
    from pathlib import Path

    from config.settings import Settings

log = structlog.get_logger(__name__)

_STOP_S = 10.0
_AGAIN_S = 5.0
_INCURABLE = range(2, 3)
"""Exit statuses that a second start would not cure: wrong settings."""


class Serving:
    """Runs `watcher serve`, and again when it ends; a context manager, which stops it at its end."""

    def __init__(self, uri: str, settings: Settings, config_file: Path | None) -> None:
        self._environment = {
            **os.environ,
            "WATCHER_HISTORY_URI": uri,
            "WATCHER_SERVE_HOST": settings.serve_host,
            "WATCHER_SERVE_PORT": str(settings.serve_port),
            **({"WATCHER_CONFIG": str(config_file.absolute())} if config_file is not None else {}),
        }
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="serve", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(_STOP_S)
        if process is not None and process.poll() is None:
            process.kill()

    def _keep(self) -> None:
        """Runs in a thread that lives as long as the process: to the kernel it is the parent."""
        watcher = [sys.executable, "-m", "watcher", "serve"]
        command = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid()), *watcher]
        while not self._stop.is_set():
            self._process = subprocess.Popen(  # noqa: S603 - our own words, no shell
                command, env=self._environment, stdin=subprocess.DEVNULL, process_group=0
            )
            status = self._process.wait()
            if self._stop.is_set():
                return
            log.error("`watcher serve` ended; the recording goes on", status=status)
            if status in _INCURABLE:
                return
            self._stop.wait(_AGAIN_S)
