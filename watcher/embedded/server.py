"""The embedded default: a replica set of one that the daemon keeps for itself in a folder.

In the folder: the server's data and log (`watcher.embedded.mongod`), `daemon.lock` and `server.json`. The lock is held
while a daemon lives and names its process. `server.json` names the server's process, port and URI, for the read
commands and for a daemon that finds the server of one that was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Self

from watcher.embedded.errors import FolderError, FolderInUseError
from watcher.embedded.mongod import HOST, Mongod, port_free

if TYPE_CHECKING:
    from types import TracebackType

_PORT_FREE_S = 5.0


_STATE_FILE = "server.json"
_LOCK_FILE = "daemon.lock"


class EmbeddedServer:
    """The embedded replica set. A context manager: started on entering, stopped on leaving.

    A server that outlived its daemon, over the same data, is stopped first; data made under another port goes on
    under this one.
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
        """Start the server and wait for a writable primary. Call it from the main thread (see `parent_death`).

        Raises:
            FolderInUseError: Another live daemon uses the folder.
            MongodError: The server cannot run; each subclass says why and what to do.
        """
        self._lock = _lock(self.folder)
        try:
            _end_orphan(self.folder)
            self.server.launch()
            # Before it is ready, so that an orphan is known however early it became one.
            _write_state(self.folder, self.server)
            self.server.wait_ready(timeout_s)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server in order and free the folder. Stop what writes to it first."""
        self.server.stop()
        if self._lock is not None:
            _forget_state(self.folder)
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

    Returns:
        Its URI, or None where its process does not live or its port does not answer.
    """
    found = _read_state(folder)
    if found is None or not found.alive():
        return None
    with suppress(OSError), socket.create_connection((HOST, found.port), timeout=1):
        return found.uri
    return None


def _end_orphan(folder: Path, timeout_s: float = 30.0) -> None:
    """Wait for the end of a server whose daemon was killed; hasten it, by force after the time-out.

    Stopping rather than adopting it: it may be stopping already, and a child of ours ends with us.
    """
    found = _read_state(folder)
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
    _forget_state(folder)


class _State(NamedTuple):
    """What ``server.json`` holds."""

    pid: int
    born: str  # distinguishes the process from a later one with the same id
    port: int
    uri: str

    def alive(self) -> bool:
        """Whether this very process lives, not a later one of the same id."""
        return _born(self.pid) == self.born


def _lock(folder: Path) -> IO[str]:
    """Lock the folder for this process; the kernel unlocks it at the process's end, whatever ends it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / _LOCK_FILE).open("a+", encoding="utf-8")
    except OSError as error:
        raise FolderError(folder, error.strerror or str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise FolderInUseError(folder, holder) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _write_state(folder: Path, server: Mongod) -> None:
    """Write ``server.json`` for a server that was launched."""
    pid = server.pid
    if pid is None or (born := _born(pid)) is None:
        return  # it ended just now; waiting for it will say why
    draft = folder / f"{_STATE_FILE}.new"
    draft.write_text(json.dumps(_State(pid, born, server.port, server.uri)._asdict()), encoding="utf-8")
    draft.replace(folder / _STATE_FILE)  # atomically, so that a reader never sees a partial file


def _forget_state(folder: Path) -> None:
    """Remove ``server.json``."""
    (folder / _STATE_FILE).unlink(missing_ok=True)


def _read_state(folder: Path) -> _State | None:
    """Read ``server.json``."""
    try:
        return _State(**json.loads((folder / _STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _born(pid: int) -> str | None:
    """When a process began, as an opaque word; None where it does not live.

    A zombie does not, unless threads of it are still ending: they hold its port and its files. Field 22 of
    ``/proc/PID/stat``, proc(5). Without ``/proc`` (macOS) the id alone has to do.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except OSError:
            return None
        return "unknown"
    return None if fields[0] == "Z" and not _has_other_threads(pid) else fields[19]


def _has_other_threads(pid: int) -> bool:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    except OSError:
        return False
