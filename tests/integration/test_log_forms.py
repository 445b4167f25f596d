"""`watcher log` in its forms: counted, on one line, reversed, by transaction, in UTC; and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from bson import Decimal128, Timestamp, json_util
from bson.raw_bson import RawBSONDocument

from change_history.bson.cluster_time import ClusterTime
from models import ABSENT, UNKNOWN
from tests.support.daemon import PATIENCE_S
from tests.support.handmade_events import START, change, event_id, stored, transaction
from tests.support.recording import make_indexes
from watcher.cli import exit_codes
from watcher.gaps import gap

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    Run = Callable[..., subprocess.CompletedProcess[str]]

HOUR = 3600
ABOUT = {"namespace": "shop.orders"}


def gap_at(second: int) -> RawBSONDocument:
    """A gap of ten seconds."""
    since, until = (ClusterTime.of(Timestamp(START + s, 1)) for s in (second, second + 10))
    lost = gap.Gap("default", repr(second).encode(), since, until, "lost", ("*.*",), ())
    return RawBSONDocument(gap.document(lost, (START * 1000).to_bytes(8, "little")))


EVENTS = [
    stored(0, 17, change("_id", new=17), change("status", new="new"), operation="insert", **ABOUT),
    stored(5, -1, change("_id", new=-1), change("price", new=Decimal128("19.99")), operation="insert", **ABOUT),
    gap_at(10),
    stored(HOUR, 17, change("status", "new", "paid"), transaction=transaction(0xAB12CD34, 7), **ABOUT),
    stored(HOUR, 3, change("left", 5, 4), transaction=transaction(0xAB12CD34, 7), namespace="shop.stock", place=1),
    stored(2 * HOUR, 17, change("items.0.qty", 1, 2), change("items.1.qty", 1, 3), **ABOUT),
    stored(2 * HOUR + 1, 17, change("status", UNKNOWN, "sent", old_value_from="unknown"), **ABOUT),
    stored(2 * HOUR + 2, ABSENT, operation="drop", **ABOUT),
]


@pytest.fixture
def run(database: Database[Any], replica_set_uri: str) -> Run:
    """Run the command to its end, an hour east of Greenwich."""
    make_indexes(database)
    database.history.insert_many(EVENTS)
    settings = {"WATCHER_HISTORY_URI": replica_set_uri, "WATCHER_HISTORY_DATABASE": database.name}
    environment = os.environ | settings | {"TZ": "<+01>-1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "watcher", "log", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    return run


def documents(found: subprocess.CompletedProcess[str]) -> list[Any]:
    """What was printed as JSON, read by the driver's own reader."""
    assert found.returncode == exit_codes.OK, found.stderr
    return [json_util.loads(line) for line in found.stdout.splitlines()]


def test_one_line_an_event_has_an_id_that_can_be_asked_for(run: Run) -> None:
    """As `git log --oneline`; the id leads to the transaction."""
    lines = run("shop.orders", "--oneline", "--utc").stdout.splitlines()

    assert len(lines) == 7
    identity = event_id(HOUR).hex()[:20]
    assert lines[3] == f"{identity}  2023-11-14 23:13:20.500+00:00  update  17  (ab12cd34:7)  status"
    assert lines[4].endswith("update  17  items.0.qty, items.1.qty")
    assert lines[6].endswith("drop  shop.orders")
    assert run("--oneline", "--transaction", identity, "--utc").stdout.splitlines() == [
        f"{identity}  2023-11-14 23:13:20.500+00:00  update  shop.orders 17  (ab12cd34:7)  status",
        f"{event_id(HOUR, 1).hex()[:20]}  2023-11-14 23:13:20.500+00:00  update  shop.stock 3  (ab12cd34:7)  left",
    ]


def test_a_transaction_can_be_asked_for_as_it_is_printed(run: Run) -> None:
    """The name in the heading of an event, pasted."""
    shown = run("shop.orders", "17").stdout
    name = next(line.rpartition("  transaction ")[2] for line in shown.splitlines() if "  transaction " in line)

    found = documents(run("--transaction", name, "--json"))

    assert name == "ab12cd34:7"
    assert [(e["namespace"], e["document_id"]) for e in found] == [("shop.orders", 17), ("shop.stock", 3)]
    missing = run("--transaction", "ab12cd34:8")
    assert (missing.returncode, missing.stdout) == (exit_codes.NOT_FOUND, "")
    assert "no transaction ab12cd34:8 is recorded" in missing.stderr
    outside = run("--transaction", event_id(0).hex())
    assert outside.returncode == exit_codes.NOT_FOUND
    assert "belongs to no transaction" in outside.stderr


def test_reversed_is_the_same_answer_backwards(run: Run) -> None:
    """Gaps in their places too, and the newest where a limit cuts."""
    forwards = documents(run("shop.orders", "--json"))
    backwards = documents(run("shop.orders", "--json", "--reverse"))
    newest = documents(run("shop.orders", "--json", "--reverse", "--limit", "5"))

    assert [e["operation"] for e in forwards] == ["insert", "insert", "gap", "update", "update", "update", "drop"]
    assert backwards == forwards[::-1]
    assert newest == forwards[:0:-1]


def test_an_id_below_zero_is_no_option(run: Run) -> None:
    """`watcher log shop.orders -1`, in any place, and a mistyped option is still one."""
    for asked in (
        ["shop.orders", "-1", "--json"],
        ["--json", "shop.orders", "-1"],
        ["--json", "shop.orders", "--", "-1"],
    ):
        assert [e["document_id"] for e in documents(run(*asked)) if "document_id" in e] == [-1]
    assert run("shop.orders", "--changed-to", "-1", "--json").returncode == exit_codes.OK
    mistyped = run("shop.orders", "--feild", "a")
    assert mistyped.returncode == exit_codes.USAGE
    assert "--field" in mistyped.stderr


def test_every_mistake_is_told_at_once(run: Run) -> None:
    """Not one a run; and nothing is asked of the server."""
    wrong = run(
        "users",
        "--since",
        "soonish",
        "--limit",
        "0",
        "--operation",
        "updat",
        "--transaction",
        "x",
        "--json",
        "--oneline",
    )
    contradictory = run("a.b", "--follow", "--reverse", "--stat", "--until", "2024-01-01", "--since", "2024-01-02")

    assert wrong.returncode == contradictory.returncode == exit_codes.USAGE
    for said in (
        "no namespace",
        "no time",
        "not in the range",
        "insert, update",
        "names no transaction",
        "--oneline is for",
    ):
        assert said in wrong.stderr, said
    for said in ("is after --until", "--until excludes", "--reverse first", "--stat counts"):
        assert said in contradictory.stderr, said


def test_counts_are_those_of_the_events_that_are_listed(run: Run) -> None:
    """By field, array positions left out; by hour of the zone; by collection; the gap is not counted as an event."""
    found = documents(run("--stat", "--json"))
    by = {kind: [line for line in found if line["by"] == kind] for kind in ("total", "field", "hour", "collection")}

    assert by["total"] == [{"by": "total", "events": 7, "changes": 9, "gaps": 1}]
    assert {line["field"]: line["changes"] for line in by["field"]} == {
        "status": 3,
        "_id": 2,
        "items.$[].qty": 2,
        "price": 1,
        "left": 1,
    }
    assert [(line["hour"].replace(tzinfo=UTC).timestamp() - START + 800, line["events"]) for line in by["hour"]] == [
        (0, 2),
        (HOUR, 2),
        (2 * HOUR, 3),
    ]
    assert {line["namespace"]: (line["events"], line["changes"]) for line in by["collection"]} == {
        "shop.orders": (6, 8),
        "shop.stock": (1, 1),
    }


def test_counts_heed_every_condition(run: Run) -> None:
    """Only the field's changes, only the value's, only the transaction's, only the newest."""

    def totals(*asked: str) -> tuple[int, int]:
        (line,) = [line for line in documents(run(*asked, "--stat", "--json")) if line["by"] == "total"]
        return line["events"], line["changes"]

    assert totals("shop.orders", "--field", "status") == (3, 3)
    assert totals("shop.orders", "--changed-to", "paid") == (1, 1)
    assert totals("--transaction", "ab12cd34:7") == (2, 2)
    assert totals("shop.orders", "--limit", "2") == (2, 1)
    assert totals("shop.orders", "17", "--operation", "update") == (3, 4)


def test_counts_for_people_are_tables_with_bars(run: Run) -> None:
    """Three, and a total; what is not known is said."""
    shown = run("shop.orders", "--stat").stdout

    for said in (
        "Changes by field",
        "By hour",
        "2023-11-15 01:00+01:00",
        "By collection",
        "█",
        "8 changes in 6 events",
    ):
        assert said in shown, said
    assert "What happened in 1 gap is not known" in shown


def test_a_value_that_is_not_known_is_said_not_guessed(run: Run) -> None:
    """The update without a pre-image may have been from `paid`."""
    found = run("shop.orders", "--changed-from", "paid")

    assert found.returncode == exit_codes.NOT_FOUND
    assert "1 event left out: the value that was asked for is not known of them." in found.stderr


def test_a_price_typed_as_a_double_finds_the_decimal(run: Run) -> None:
    """19.99 and NumberDecimal("19.99") are two numbers to MongoDB; who types the one is led to the other."""
    found = run("shop.orders", "--changed-to", "19.99")

    assert found.returncode == exit_codes.NOT_FOUND
    assert """--changed-to '{"$numberDecimal": "19.99"}'""" in found.stderr
    assert run("shop.orders", "--changed-to", '{"$numberDecimal": "19.99"}').returncode == exit_codes.OK


def test_a_mistyped_field_gets_its_neighbour(run: Run) -> None:
    """Nothing found of `statsu` is no answer."""
    found = run("shop.orders", "--field", "statsu")

    assert found.returncode == exit_codes.NOT_FOUND
    assert "There are changes of: status." in found.stderr


def test_only_the_changes_that_were_meant_are_printed(run: Run) -> None:
    """Among many of one event."""
    shown = run("shop.orders", "--changed-to", "3", "--utc").stdout

    assert shown.splitlines()[-1] == "    items.1.qty: 1 → 3"
    assert "items.0.qty" not in shown


def test_times_are_read_and_shown_in_the_zone_that_is_chosen(run: Run) -> None:
    """A time without a zone is an hour later in UTC than an hour east of it; wherever the option stands."""
    local = documents(
        run("shop.orders", "--since", "2023-11-15 00:13:20.5", "--until", "2023-11-15 00:13:20.5", "--json")
    )
    utc = documents(run("shop.orders", "--since", "2023-11-14 23:13:20.5", "--json", "--utc"))
    cluster = documents(run("shop.orders", "--since", f"{START + HOUR}:1", "--until", f"{START + HOUR}:1", "--json"))

    assert [e["document_id"] for e in local] == [17]
    assert local == cluster
    assert len(utc) == 4
    assert "2023-11-15 00:13:20.500+01:00  update" in run("shop.orders").stdout
    assert "2023-11-14 23:13:20.500+00:00  update" in run("shop.orders", "--utc").stdout
