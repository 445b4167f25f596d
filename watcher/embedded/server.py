"""The embedded default: a replica set of one that the daemon keeps for itself in a folder.

In the folder: the server's data and log (`watcher.embedded.mongod`), and who uses it (`watcher.embedded.state`).
"""

import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from watcher.embedded import state
from watcher.embedded.mongod import HOST, Mongod, port_free

_PORT_FREE_S = 5.0


class EmbeddedServer:
    """The embedded replica set. A context manager: started on entering, stopped on leaving.

    A server that outlived its daemon, over the same data, is stopped first; data made under another port goes on
    under this one.

    Args:
        folder: The data folder; made if missing.
        port: TCP port on 127.0.0.1.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.server = Mongod(folder, port)
        self._lock: IO[str] | None = None

    @property
    def uri(self) -> str:
        """The connection string of the server."""
        return self.server.uri

    @property
    def running(self) -> bool:
        """Whether the server's process lives."""
        return self.server.running

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start the server and wait for a writable primary. Call it from the main thread (see `lifeline`).

        Args:
            timeout_s: The longest wait, in seconds.

        Returns:
            Itself.

        Raises:
            FolderInUseError: Another live daemon uses the folder.
            MongodError: The server cannot run; each subclass says why and what to do.
        """
        self._lock = state.hold(self.folder)
        try:
            _end_orphan(self.folder)
            self.server.launch()
            # Before it is ready, so that an orphan is known however early it became one.
            state.write(self.folder, self.server)
            self.server.wait_ready(timeout_s)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server in order and free the folder. Stop what writes to it first."""
        self.server.stop()
        if self._lock is not None:
            state.forget(self.folder)
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def find_running(folder: Path) -> str | None:
    """Find the embedded server that runs over a folder, for the read commands.

    Args:
        folder: The data folder.

    Returns:
        Its URI, or None where its process does not live or its port does not answer.
    """
    found = state.read(folder)
    if found is None or not found.alive():
        return None
    with suppress(OSError), socket.create_connection((HOST, found.port), timeout=1):
        return found.uri
    return None


def _end_orphan(folder: Path, timeout_s: float = 30.0) -> None:
    """Wait for the end of a server whose daemon was killed; hasten it, by force after the time-out.

    Stopping rather than adopting it: it may be stopping already, and a child of ours ends with us.
    """
    found = state.read(folder)
    if found is None:
        return
    force_at = time.monotonic() + timeout_s
    with suppress(ProcessLookupError):
        if found.alive():
            os.kill(found.pid, signal.SIGTERM)
        while found.alive():
            if time.monotonic() > force_at:
                os.kill(found.pid, signal.SIGKILL)
            time.sleep(0.05)
    # The kernel may free the port a moment after the process; another program's port stays taken and is named later.
    free_by = time.monotonic() + _PORT_FREE_S
    while not port_free(found.port) and time.monotonic() < free_by:
        time.sleep(0.05)
    state.forget(folder)
