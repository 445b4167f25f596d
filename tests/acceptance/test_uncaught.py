"""An error that nobody foresaw is a bug, and its message may quote a document: it must not reach standard error."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.daemon import ROOT

SECRET = "card 4000-1234"
BROKEN = f"""
import pymongo

def broken(*arguments, **options):
    raise ValueError({SECRET!r})

pymongo.MongoClient.__init__ = broken
from watcher.cli.main import main
main()
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "command",
    [["run"], ["partition", "2", "--yes"], ["checkpoint", "set", "--now", "--yes"], ["rejected", "retry", "--all"]],
    ids=lambda command: command[0],
)
def test_an_uncaught_error_shows_where_it_rose_and_no_value(command: list[str], log_format: str) -> None:
    """Standard error goes to log stores that many may read."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WATCHER_")},
        "WATCHER_MONGODB_URI": "mongodb://127.0.0.1:9/?replicaSet=none",
        "WATCHER_HTTP_PORT": "0",
        "WATCHER_LOG_FORMAT": log_format,
    }
    ended = subprocess.run(
        [sys.executable, "-c", BROKEN, *command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert "uncaught exception" in ended.stderr
    assert "ValueError" in ended.stderr
    assert SECRET not in ended.stderr + ended.stdout
