"""`watcher stats` as scripts and people meet it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp, json_util
from bson.raw_bson import RawBSONDocument

from change_history.bson.cluster_time import ClusterTime
from tests.support.daemon import PATIENCE_S
from tests.support.handmade_events import START, change, stored
from tests.support.recording import make_indexes
from watcher.cli import exit_codes
from watcher.gaps import gap

if TYPE_CHECKING:
    from pymongo.database import Database

DAY = 86_400
PROGRAM = [sys.executable, "-m", "watcher", "stats"]


def gap_at(second: int) -> RawBSONDocument:
    """A gap of ten seconds."""
    since, until = (ClusterTime.of(Timestamp(START + s, 1)) for s in (second, second + 10))
    lost = gap.Gap("default", b"t", since, until, "lost", ("shop.*",), ())
    return RawBSONDocument(gap.document(lost, (START * 1000).to_bytes(8, "little")))


EVENTS = [
    *(stored(second, second % 3, change("price", 1, 2), change("items.0.qty", 1, 2)) for second in range(12)),
    *(stored(4 * DAY + second, "x", change("price", 1, 2), namespace="shop.orders") for second in range(3)),
    gap_at(100),
]


@pytest.fixture
def environment(database: Database[Any], replica_set_uri: str) -> dict[str, str]:
    """What the program finds in its environment: a history, and a zone two hours east of Greenwich."""
    make_indexes(database)
    database.history.insert_many(EVENTS)
    settings = {"WATCHER_HISTORY_URI": replica_set_uri, "WATCHER_HISTORY_DATABASE": database.name}
    return os.environ | settings | {"TZ": "Africa/Cairo", "COLUMNS": "100"}


def run(environment: dict[str, str], *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [*PROGRAM, *arguments]
    return subprocess.run(
        command, env=environment | more, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


def lines(found: subprocess.CompletedProcess[str]) -> dict[str, list[dict[str, Any]]]:
    """What was printed as JSON, by kind, read by the driver's own reader."""
    assert found.returncode == exit_codes.OK, found.stderr
    read = [json_util.loads(line) for line in found.stdout.splitlines()]
    return {kind: [line for line in read if line["by"] == kind] for kind in {line["by"] for line in read}}


def test_json_is_one_count_a_line(environment: dict[str, str]) -> None:
    """Every table, and a total; stdout has nothing else, and a gap is said beside it."""
    found = run(environment, "--json")
    by = lines(found)

    size = sum(len(event.raw) for event in EVENTS[:-1])
    assert by["total"] == [{"by": "total", "documents": 4, "events": 15, "changes": 27, "bytes": size}]
    assert [(line["namespace"], line["events"]) for line in by["collection"]] == [
        ("shop.orders", 3),
        ("shop.users", 12),
    ]
    assert [(line["day"].isoformat(), line["documents"], line["changes"]) for line in by["day"]] == [
        ("2023-11-14T22:00:00", 3, 24),  # midnight in Cairo
        ("2023-11-18T22:00:00", 1, 3),
    ]
    assert [(line["namespace"], line["document_id"], line["events"]) for line in by["document"]] == [
        ("shop.users", 0, 4),
        ("shop.users", 1, 4),
        ("shop.users", 2, 4),
        ("shop.orders", "x", 3),
    ]
    assert [(line["namespace"], line["field"], line["changes"]) for line in by["field"]] == [
        ("shop.users", "items.$[].qty", 12),
        ("shop.users", "price", 12),
        ("shop.orders", "price", 3),
    ]
    assert found.stderr == "What happened in 1 gap is not known: see `watcher gaps`.\n"


def test_only_what_was_asked_for_is_counted(environment: dict[str, str]) -> None:
    """A namespace, a window, so many of the busiest, the days of Greenwich."""
    by = lines(run(environment, "shop.users", "--until", "2023-11-14 22:13:24.5", "--utc", "--top", "1", "--json"))

    assert by["total"][0]["events"] == 5
    assert by["day"][0]["day"].isoformat() == "2023-11-14T00:00:00"
    assert [(line["document_id"], line["events"]) for line in by["document"]] == [(0, 2)]
    assert [line["field"] for line in by["field"]] == ["items.$[].qty"]


def test_a_zone_without_a_name_counts_too(environment: dict[str, str]) -> None:
    """The server knows no `<+02>-2`; the offset does."""
    named, unnamed = (lines(run(environment, "--json", TZ=zone))["day"] for zone in ("Africa/Cairo", "<+02>-2"))

    assert unnamed == named


def test_people_get_tables_with_bars(environment: dict[str, str]) -> None:
    """Whole where no terminal is; days without events have their place."""
    shown = run(environment).stdout.splitlines()

    for said in ("By collection", "By day", "Busiest documents", "Busiest fields"):
        assert any(line.startswith(said) for line in shown), said
    days = [line.split()[:3] for line in shown if line.startswith("  2023-")]
    assert days == [
        ["2023-11-15", "3", "12"],
        ["2023-11-16", "0", "0"],
        ["2023-11-17", "0", "0"],
        ["2023-11-18", "0", "0"],
        ["2023-11-19", "1", "3"],
    ]
    assert next(line for line in shown if line.startswith("  2023-11-15")).rstrip().endswith("█" * 24)
    assert shown[-1].startswith("4 documents, 15 events, 27 changes, ")


def test_nothing_found_says_what_was_searched(environment: dict[str, str]) -> None:
    """With near names, and the exit status of the manual; nothing on stdout."""
    mistyped, windowed = run(environment, "shop.usres"), run(environment, "shop.users", "--since", "1h ago")

    assert (mistyped.returncode, mistyped.stdout) == (exit_codes.NOT_FOUND, "")
    assert "There is history of: shop.users, shop.orders" in mistyped.stderr
    assert (windowed.returncode, windowed.stdout) == (exit_codes.NOT_FOUND, "")
    assert "shop.users, since " in windowed.stderr


def test_mistakes_are_told_at_once(environment: dict[str, str]) -> None:
    """Before any server is asked."""
    found = run(environment, "users", "--since", "soonish", "--top", "0")

    assert found.returncode == exit_codes.USAGE
    for said in ("no namespace", "no time", "1<=x<=1000"):
        assert said in found.stderr
    assert "is after --until" in run(environment, "--since", "1h ago", "--until", "2h ago").stderr


def test_a_terminal_sees_that_it_works(environment: dict[str, str]) -> None:
    """Counting may take minutes; a pipe must not get the words."""
    master, slave = pty.openpty()
    found = subprocess.run(
        PROGRAM, env=environment | {"TERM": "xterm"}, stdout=subprocess.PIPE, stderr=slave, check=True
    )
    os.close(slave)
    said = os.read(master, 65_536).decode()
    os.close(master)

    assert "counting collections, days, documents, fields" in said
    assert b"counting" not in found.stdout
    assert "counting" not in run(environment).stderr
