"""Who uses the embedded server's folder.

``daemon.lock`` is locked while a daemon lives and holds its process id. ``server.json`` names the server's process,
port and URI, for the read commands and for a daemon that finds the server of one that was killed.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import IO, NamedTuple

from watcher.embedded.errors import FolderError, FolderInUseError
from watcher.embedded.mongod import Mongod

_STATE = "server.json"
_LOCK = "daemon.lock"


class State(NamedTuple):
    """What ``server.json`` holds."""

    pid: int
    born: str  # tells the process from a later one of the same id
    port: int
    uri: str

    def alive(self) -> bool:
        """Whether this very process lives, not a later one of the same id."""
        return _born(self.pid) == self.born


def hold(folder: Path) -> IO[str]:
    """Lock the folder for this process; the kernel unlocks it at the process's end, whatever ends it.

    Args:
        folder: The data folder; made if missing.

    Returns:
        The lock, held until it is closed.

    Raises:
        FolderInUseError: Another live daemon holds it.
        FolderError: The folder cannot be made or written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("a+", encoding="utf-8")
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


def write(folder: Path, server: Mongod) -> None:
    """Write ``server.json`` for a server that was launched.

    Args:
        folder: The data folder.
        server: The server.
    """
    pid = server.pid
    if pid is None or (born := _born(pid)) is None:
        return  # it ended just now; waiting for it will say why
    draft = folder / f"{_STATE}.new"
    draft.write_text(json.dumps(State(pid, born, server.port, server.uri)._asdict()), encoding="utf-8")
    draft.replace(folder / _STATE)  # at once, so that a reader never sees half


def forget(folder: Path) -> None:
    """Remove ``server.json``.

    Args:
        folder: The data folder.
    """
    (folder / _STATE).unlink(missing_ok=True)


def read(folder: Path) -> State | None:
    """Read ``server.json``.

    Args:
        folder: The data folder.

    Returns:
        What it says, whether or not the process still lives; None where there is no such file or it is damaged.
    """
    try:
        return State(**json.loads((folder / _STATE).read_text(encoding="utf-8")))
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
