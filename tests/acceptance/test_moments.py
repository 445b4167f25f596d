"""Moments on the command line, on a real server: what was understood, what is yet to come, what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.daemon import watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.daemon import Daemon

BERLIN = {"TZ": "Europe/Berlin"}


@pytest.fixture
def shop(daemon: Daemon, database: Database[Any]) -> str:
    """A collection with a document of two versions, both recorded; its namespace."""
    database.orders.insert_one({"_id": 17, "qty": 3})
    database.orders.update_one({"_id": 17}, {"$set": {"qty": 5}})
    database.orders.insert_one({"_id": 18})
    daemon.recorded(f"{database.name}.orders", 18)
    return f"{database.name}.orders"


def in_a_year() -> str:
    """A moment that is yet to come, in full."""
    return (datetime.now(UTC) + timedelta(days=365)).isoformat(timespec="seconds")


def test_a_moment_in_the_future_is_answered_as_of_now_and_said_to_be_one(daemon: Daemon, shop: str) -> None:
    """Unsaid, a mistyped year would pass for an answer about that year. Standard output stays data."""
    said = "that is in the future: answers are as of now"
    later = in_a_year()
    for arguments in (["show", shop, "17", "--at", later], ["export", shop, "17", "--at", later], ["log", shop, "17"]):
        window = ["--until", later] if arguments[0] == "log" else []
        form = [] if arguments[0] == "export" else ["--json"]
        found = watcher(daemon, *arguments, *window, *form)
        assert found.returncode == exit_codes.OK
        assert found.stderr.count(said) == 1
        assert all(json.loads(line) for line in found.stdout.splitlines())
    shown = watcher(daemon, "show", shop, "17", "--at", later)
    assert json.loads(shown.stdout)["qty"] == 5
    assert said in shown.stderr
    assert said not in watcher(daemon, "show", shop, "17", "--at", "now").stderr


def test_the_moment_that_was_understood_is_said_beside_the_answer(daemon: Daemon, shop: str) -> None:
    """In the person's zone, or UTC; not of a moment that was written in full, nor of a version."""
    now = datetime.now(UTC).replace(microsecond=0)
    local = now.isoformat().removesuffix("+00:00")
    shown = watcher(daemon, "show", shop, "17", "--at", f"{local}.999", "--utc", "--json")
    assert json.loads(shown.stdout)["qty"] == {"$numberInt": "5"}
    assert f"as of {now:%Y-%m-%d %H:%M:%S}.999+00:00 ({local}.999)" in shown.stderr

    compared = watcher(daemon, "diff", shop, "17", "yesterday noon", "0s ago", "--json", **BERLIN)
    assert all(json.loads(line) for line in compared.stdout.splitlines())
    first, second = compared.stderr.splitlines()[:2]
    assert first.startswith("as of 20")
    assert first.endswith(" (yesterday noon)")
    assert " 12:00:00.000+0" in first
    assert "+00:00" not in first
    assert second.startswith("as of 20")

    put_back = watcher(daemon, "revert", shop, "17", "--to", "0s ago", "--utc")
    assert put_back.returncode == exit_codes.OK
    assert put_back.stderr.startswith("as of 20")
    assert "(0s ago)" in put_back.stderr
    for in_full in ("1", "now", f"{now.isoformat()}"):
        assert "as of" not in watcher(daemon, "show", shop, "17", "--at", in_full).stderr


def test_an_answer_that_nothing_is_recorded_names_the_moment(daemon: Daemon, shop: str) -> None:
    """In the person's zone, or UTC; `up to then` left open what was searched."""
    early = watcher(daemon, "show", shop, "17", "--at", "2024-07-01", **BERLIN)
    assert early.returncode == exit_codes.NOT_FOUND
    assert f"nothing is recorded of {shop}, id 17 up to 2024-07-01 00:00:00.000+02:00." in early.stderr
    both = watcher(daemon, "diff", shop, "17", "2024-06-01", "2024-07-01", "--utc", **BERLIN)
    assert both.returncode == exit_codes.NOT_FOUND
    assert "up to 2024-07-01 00:00:00.000+00:00." in both.stderr
    for arguments in (["log", shop], ["stats", shop], ["export", shop]):
        empty = watcher(daemon, *arguments, "--until", "2024-07-01", **BERLIN)
        assert (empty.returncode, empty.stdout) == (exit_codes.NOT_FOUND, "")
        assert "until 2024-07-01 00:00:00.000+02:00" in empty.stderr
        utc = watcher(daemon, *arguments, "--until", "2024-07-01", "--utc", **BERLIN)
        assert "until 2024-07-01 00:00:00.000+00:00" in utc.stderr


def test_a_wrong_moment_names_all_that_may_be_written(daemon: Daemon, shop: str) -> None:
    """And one moment for a diff is first of all one too few; what the message tells to add works."""
    wrong = watcher(daemon, "show", shop, "17", "--at", "12.11.2026")
    assert (wrong.returncode, wrong.stdout) == (exit_codes.USAGE, "")
    for form in ("year-month-day", "'2h ago'", "seconds:increment", "now  ", "1, 2, -1"):
        assert form in wrong.stderr

    one = watcher(daemon, "diff", shop, "17", "1")
    assert one.returncode == exit_codes.USAGE
    assert "Error: one point in time is missing, if 17 is the ID of a document;" in one.stderr
    assert watcher(daemon, "diff", shop, "17", "1", "now").stdout.splitlines() == ["- qty: 3", "+ qty: 5"]
