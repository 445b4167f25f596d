"""The disk of the history is full: the daemon says so, waits, and goes on without a loss once there is room."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from contextlib import suppress
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support import servers
from tests.support.daemon import eventually
from watcher.embedded.mongod import Mongod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.daemon import Daemon

EVENTS = 3000
ROOM = "360m"
"""Of the small disk: the server's own files with its journal take most of it."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder], check=False, capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def _reasons(port: int) -> list[str]:
    """Why it is not ready; nothing if it is."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/ready")
    answer = connection.getresponse()
    said: list[str] = json.loads(answer.read()).get("reasons", [])
    connection.close()
    return said


def _troubles(port: int) -> float:
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    (line,) = (line for line in text.splitlines() if line.startswith('watcher_troubles_total{deployment="history"}'))
    return float(line.split()[-1])


def _write(client: MongoClient[Any], start: int, count: int) -> None:
    client.shop.a.insert_many([{"_id": number, "text": "x" * 1000} for number in range(start, start + count)])


def _all_once(daemon: Daemon, events: int) -> None:
    """Wait until everything is in history; each of it once."""
    found = daemon.database.history
    eventually(lambda: found.count_documents({"operation": "insert"}) >= events, f"all of it\n{daemon.log()[-2000:]}")
    assert found.count_documents({"operation": "insert"}) == events
    assert found.count_documents({"operation": "gap"}) == 0


def test_a_server_without_room_is_waited_for(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon], free_port: int
) -> None:
    """It refuses every write, with `OutOfDiskSpace` (14031): in the log by that name, in `/ready`, in the metrics."""
    watched, keeper = own_server(), own_server(extra_args=("--setParameter", "enableTestCommands=1"))
    daemon = make_daemon(keeper.uri, "shop", mongodb_uri=watched.uri, history_uri=keeper.uri, http_port=free_port)
    daemon.start().ready()
    refused = {
        "failCommands": ["insert", "update", "findAndModify"],
        "errorCode": 14031,
        "appName": "mongo-change-watcher",
    }
    with MongoClient[dict[str, Any]](watched.uri) as client:
        _write(client, 0, 10)
        daemon.recorded("shop.a", 9)
        eventually(lambda: not _reasons(free_port), "readiness")  # else it says, too, that the stream is not open yet
        daemon.client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=refused)
        _write(client, 10, EVENTS)
        reasons = eventually(lambda: _reasons(free_port), "that it is not ready")
        assert all(reason.startswith("history deployment: ") for reason in reasons), reasons
        eventually(lambda: "OutOfDiskSpace (14031)" in daemon.log(), "the reason in the log")
        eventually(lambda: any("(14031)" in reason for reason in _reasons(free_port)), "the reason in /ready")
        assert _troubles(free_port) > 0
        assert daemon.process is not None
        assert daemon.process.poll() is None
        daemon.client.admin.command("configureFailPoint", "failCommand", mode="off")
        _all_once(daemon, EVENTS + 10)
    eventually(lambda: not _reasons(free_port), "readiness")
    assert daemon.stop() == 0


def test_a_disk_that_is_full_ends_the_server_and_not_the_daemon(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon], free_port: int, small_disk: Path
) -> None:
    """A real `mongod` aborts when it cannot write. The daemon waits for it, and goes on when it is back with room."""
    watched = own_server()
    keeper = Mongod(small_disk, servers.free_port(), cache_gb=0.25, oplog_mb=16)
    keeper.start()
    try:
        daemon = make_daemon(keeper.uri, "shop", mongodb_uri=watched.uri, history_uri=keeper.uri, http_port=free_port)
        daemon.start().ready()
        with MongoClient[dict[str, Any]](watched.uri) as client:
            _write(client, 0, 10)
            daemon.recorded("shop.a", 9)
            ballast = small_disk / "ballast"
            with ballast.open("wb") as file:
                _fill(file.fileno())
            written = 10
            while keeper.running:
                assert written < 200_000, "the disk is full and the server did not notice"
                _write(client, written, EVENTS)
                written += EVENTS
            eventually(lambda: _reasons(free_port), "that it is not ready")
            ballast.unlink()
            keeper.start()
            eventually(lambda: _answers(daemon), "the history server")
            _all_once(daemon, written)
        assert daemon.stop() == 0
    finally:
        keeper.stop()


def _fill(file: int) -> None:
    """Write until there is no room."""
    with suppress(OSError):
        while os.write(file, b"\0" * 65536):
            pass


def _answers(daemon: Daemon) -> bool:
    try:
        return bool(daemon.client.admin.command("ping")["ok"])
    except PyMongoError:
        return False
