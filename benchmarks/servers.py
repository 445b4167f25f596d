"""The servers of a run, and where its peers begin."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient

from benchmarks import processes
from config import log
from watcher.embedded.mongod import Mongod
from watcher.stream.listener import Listener
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.stream.batch import Position

HISTORY = "change_history"
BATCH_SIZE = 1000


class Servers:
    """The watched server, and a second one that can keep the history.

    Args:
        folder: scratch space of the run, with the servers' data.
        watched, second: the servers.
    """

    def __init__(self, folder: Path, watched: Mongod, second: Mongod) -> None:
        self.folder = folder
        self.uri, self.second_uri = watched.uri, second.uri
        self.client: MongoClient[Any] = MongoClient(watched.uri)
        self.second: MongoClient[Any] = MongoClient(second.uri)

    def history(self, *, second: bool = False) -> MongoClient[Any]:
        """A client of the server that keeps the history."""
        return self.second if second else self.client

    def position(self) -> Position:
        """Where the stream stands now."""
        listener = Listener(self.client, scope(), BATCH_SIZE, None, pre_images=True)
        position = listener.next_batch().position
        listener.close()
        return position


def scope() -> Scope:
    """What the daemon watches by default."""
    return Scope(("*.*",), (), HISTORY)


@contextmanager
def servers(*, keep: bool = False, oplog_mb: int = 8192) -> Iterator[Servers]:
    """Start two servers, each a replica set of one; they and their data are gone afterwards.

    Args:
        keep: leave the folder for a look.
        oplog_mb: size of the oplog, in megabytes.
    """
    log.configure("warning")
    folder = Path(tempfile.mkdtemp(prefix="watcher-bench-"))
    try:
        with ExitStack() as stack:
            watched = Mongod(folder / "watched", processes.free_port(), cache_gb=4, oplog_mb=oplog_mb)
            stack.enter_context(watched)
            second = Mongod(folder / "second", processes.free_port(), cache_gb=4, oplog_mb=2048)
            stack.enter_context(second)
            started = Servers(folder, watched, second)
            yield started
            started.client.close()
            started.second.close()
    finally:
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
