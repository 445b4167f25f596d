"""An error that nobody foresaw is a bug, and its message may quote a document: it must not reach standard error."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.daemon import ROOT

if TYPE_CHECKING:
    from pymongo.database import Database

SECRET = "card 4000-1234"
BROKEN = f"""
import pymongo

def broken(*arguments, **options):
    raise ValueError({SECRET!r})

pymongo.MongoClient.__init__ = broken
from watcher.cli.main import main
main()
"""


def ran(program: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a program in Python to its end, with these settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")}
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**inherited, **settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "command",
    [["run"], ["partition", "2", "--yes"], ["checkpoint", "set", "--now", "--yes"], ["rejected", "retry", "--all"]],
    ids=lambda command: command[0],
)
def test_an_uncaught_error_shows_where_it_rose_and_no_value(command: list[str], log_format: str) -> None:
    """Standard error goes to log stores that many may read."""
    settings = {
        "WATCHER_MONGODB_URI": "mongodb://127.0.0.1:9/?replicaSet=none",
        "WATCHER_HTTP_PORT": "0",
        "WATCHER_LOG_FORMAT": log_format,
    }
    ended = ran(BROKEN, *command, **settings)

    assert ended.returncode == 1
    assert "uncaught exception" in ended.stderr
    assert "ValueError" in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout


@pytest.mark.parametrize(
    "work",
    [
        "watcher.backfill.runner:Backfill.run",
        "watcher.health.oplog_window:OplogWindow.run",
        "watcher.snapshotter:Snapshotter.run",
        "watcher.targets.pre_images:PreImages.look_again",
    ],
    ids=lambda work: work.partition(":")[2],
)
def test_a_thread_beside_the_stream_does_not_die_unnoticed(
    replica_set_uri: str, database: Database[Any], work: str
) -> None:
    """The daemon would go on for months without backfill, snapshots, pre-images or metric, and nobody would know."""
    module, _, name = work.partition(":")
    cls, _, method = name.partition(".")
    broken = f"""
from {module} import {cls}

def broken(*arguments, **options):
    raise ValueError({SECRET!r})

{cls}.{method} = broken
from watcher.cli.main import main
main()
"""
    history = f"{database.name}_history"
    settings = {
        "WATCHER_MONGODB_URI": replica_set_uri,
        "WATCHER_INCLUDE": f"{database.name}.*",
        "WATCHER_HISTORY_DATABASE": history,
        "WATCHER_HTTP_PORT": "0",
    }
    try:
        ended = ran(broken, "run", **settings)
        checkpoint = database.client[history].checkpoints.find_one({"_id": "default"})
    finally:
        database.client.drop_database(history)

    assert ended.returncode == 1
    assert "uncaught exception" in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout
    assert checkpoint is not None
    assert "token" in checkpoint
    assert "owner" not in checkpoint["lease"], "the lead was not given up"
