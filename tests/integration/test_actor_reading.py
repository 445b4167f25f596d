"""Who did it, as it is asked for and shown: nobody is named for an event that is not known to be theirs."""

from __future__ import annotations

import csv
import json
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import ObjectId, json_util
from click.testing import CliRunner
from pymongo import MongoClient
from pymongo.server_api import ServerApi

from change_history.query.selection import Selection
from change_history.reader import Reader
from change_history.stored.names import HISTORY
from models.changes_view import PIPELINE
from models.history import ActorModel
from tests.support import query_plans
from tests.support.daemon import FULL_SIZE, eventually
from tests.support.handmade_events import change, cluster, event_id, seconds, stored, transaction, write
from tests.support.recording import make_indexes
from watcher.cli import exit_codes
from watcher.cli.main import watcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result
    from pymongo.database import Database

    Run = Callable[..., Result]

CAROL = ObjectId("66f2a1c0e4b0d52a3c9f1e77")


def by(actor: Any, provenance: str = "context", **more: Any) -> ActorModel:
    """An actor."""
    return ActorModel(id=actor, provenance=provenance, **more)


@pytest.fixture(autouse=True)
def _events(database: Database[Any]) -> None:
    """A history in which some is known."""
    make_indexes(database)
    alice = by("alice", reason="ticket 7", request="r-1", database_user="svc@admin")
    write(database, 1, 42, change("name", new="Ada"), operation="insert", actor=alice, transaction=transaction(3, 1))
    write(database, 2, 42, change("name", "Ada", "Bob"), actor=by("bob", "stamp"))
    write(database, 3, 42, change("name", "Bob", "Cy"))
    write(database, 4, 42, change("name", "Cy", "Di"), actor=by(CAROL, "stamp"))
    write(database, 5, 43, change("name", new="Eve"), operation="insert", actor=by("alice (session)", "session"))
    write(database, 6, 43, change("age", new=3), operation="baseline")
    write(database, 7, 44, change("name", "Fay", None), operation="delete", namespace="shop.other")


@pytest.fixture
def history(client: MongoClient[Any], database: Database[Any]) -> Reader:
    """That history."""
    return Reader(client, database.name)


@pytest.fixture
def run(replica_set_uri: str, database: Database[Any]) -> Run:
    """Run a command."""
    environment = {
        "WATCHER_HISTORY_URI": replica_set_uri,
        "WATCHER_HISTORY_DATABASE": database.name,
        "COLUMNS": "300",
        "TZ": "UTC",
    }

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(watcher, arguments, env=environment)

    return invoke


def _seconds(found: Any) -> list[int]:
    return seconds({"_id": event.id} for event in found)


def test_an_event_says_who_did_it_and_how_that_is_known(history: Reader) -> None:
    """From Python; nobody where nobody is known."""
    first, second, third, *_ = history.log("shop.users", 42)

    assert first.actor is not None
    assert second.actor is not None
    assert (first.actor.id, first.actor.provenance) == ("alice", "context")
    assert (first.actor.reason, first.actor.request, first.actor.database_user) == ("ticket 7", "r-1", "svc@admin")
    assert (second.actor.id, second.actor.provenance, second.actor.reason) == ("bob", "stamp", None)
    assert third.actor is None


def test_what_somebody_did_is_found_and_nothing_else(history: Reader) -> None:
    """Neither what is unknown nor what another one of nearly the same name did."""
    assert _seconds(history.log(None, actor="alice")) == [1]
    assert _seconds(history.log("shop.users", actor=CAROL)) == [4]
    assert _seconds(history.log("shop.users", actor=str(CAROL))) == []
    assert _seconds(history.log("shop.users", 42, actor="bob", field="name")) == [2]
    assert _seconds(history.log(None, reason="ticket 7")) == [1]
    assert _seconds(history.log(None, request="r-1", actor="alice", reason="ticket 7")) == [1]
    assert _seconds(history.log(None, request="r-1", actor="bob")) == []
    assert _seconds(history.log(None, operation="update", actor="bob")) == [2]
    assert set(map(str, history.actors())) == {"alice", "bob", str(CAROL), "alice (session)"}


def test_a_client_that_asked_for_the_stable_api_is_told_of_all_names(
    replica_set_uri: str, database: Database[Any], history: Reader
) -> None:
    """The command `distinct` is not in it: whoever sets `serverApi` could not list collections or actors."""
    with MongoClient[Any](replica_set_uri, server_api=ServerApi("1", strict=True)) as strict:
        told = Reader(strict, database.name)
        assert told.namespaces() == history.namespaces() != []
        assert told.actors() == history.actors() != []
        assert told.actors_in(["shop.users"]) == history.actors_in(["shop.users"]) != []
    plan = database.command(
        "explain", {"aggregate": HISTORY, "pipeline": [{"$group": {"_id": "$namespace"}}], "cursor": {}}
    )
    assert "DISTINCT_SCAN" in query_plans.stages(query_plans.winning(plan))  # no more than a value of each


@pytest.mark.parametrize("asked", [{"actor": "alice"}, {"reason": "ticket 7"}, {"request": "r-1"}])
def test_an_index_answers_who_did_it(database: Database[Any], asked: dict[str, Any]) -> None:
    """However much others did, and whatever else is asked."""
    database.history.insert_many([stored(100 + second, 1, change("n", 1, 2)) for second in range(200)])
    (name,) = asked
    for selection in (Selection(None, **asked), Selection("shop.users", **asked, operations=("insert",))):
        found = database.history.find(selection.query(), sort=[("_id", -1)], hint=selection.index).limit(50).explain()
        plan = query_plans.winning(found)
        assert query_plans.indexes(plan) == {"actor_id" if name == "actor" else f"actor_{name}"}
        assert "SORT" not in query_plans.stages(plan)
        assert query_plans.examined(found) == 1


def test_rows_of_the_view_are_asked_for_by_actor_through_the_index(database: Database[Any]) -> None:
    """BI tools look at the view."""
    database.command("create", "changes", viewOn="history", pipeline=PIPELINE)
    (row,) = database.changes.find({"actor.id": "bob"})
    explained = database.command(
        "explain",
        {"aggregate": "changes", "pipeline": [{"$match": {"actor.id": "bob"}}], "cursor": {}},
        verbosity="executionStats",
    )

    assert (row["field"], row["new_value"], row["actor"]) == ("name", "Bob", {"id": "bob", "provenance": "stamp"})
    assert query_plans.indexes(query_plans.winning(explained)) == {"actor_id"}
    assert query_plans.examined(explained) == 1


def test_a_log_tells_who_and_leaves_out_whom_nobody_knows(run: Run) -> None:
    """In all its forms."""
    text = run("log", "shop.users", "--utc").stdout
    oneline = run("log", "shop.users", "42", "--oneline").stdout
    (line,) = run("log", "--by", "alice", "--json").stdout.splitlines()

    heads = [line for line in text.splitlines() if not line.startswith(" ")]
    assert [head.split("  ", 3)[3] if head.count("  ") > 2 else "" for head in heads] == [
        'by alice (context), reason "ticket 7", request "r-1", database user svc@admin  transaction 00000003:1',
        "by bob (stamp)",
        "",
        "by 66f2a1c0e4b0d52a3c9f1e77 (stamp)",
        'by "alice (session)" (session)',
        "",
    ]
    assert [line.partition("  by ")[2].partition("  ")[0] for line in oneline.splitlines()] == [
        "alice",
        "bob",
        "",
        str(CAROL),
    ]
    assert json_util.loads(line)["actor"] == {
        "id": "alice",
        "provenance": "context",
        "reason": "ticket 7",
        "request": "r-1",
        "database_user": "svc@admin",
    }
    assert run("log", "--by", str(CAROL), "--oneline").stdout.count("\n") == 1
    assert run("log", "shop.users", "--reason", "ticket 7", "--oneline").stdout.count("\n") == 1
    assert run("log", "--request", "r-1", "--oneline").stdout.count("\n") == 1


def test_a_log_that_only_counts_tells_who_too(run: Run) -> None:
    """With those of nobody; where nobody at all is known, nothing is said."""
    lines = [json_util.loads(line) for line in run("log", "shop.users", "--stat", "--json").stdout.splitlines()]
    counted = {str(line.get("actor")): line["events"] for line in lines if line["by"] == "actor"}

    assert counted == {"alice": 1, "bob": 1, str(CAROL): 1, "alice (session)": 1, "None": 2}
    assert "By actor" in run("log", "shop.users", "--stat").stdout
    assert "By actor" not in run("log", "shop.other", "--stat").stdout


def test_an_actor_that_is_not_found_is_told_with_those_that_are_meant(run: Run) -> None:
    """Or a spelling mistake looks like innocence."""
    near = run("log", "--by", "Alicee")
    text = run("log", "--by", f'"{CAROL}"')

    assert near.exit_code == exit_codes.NOT_FOUND
    assert 'There is history by: "alice"' in near.stderr
    assert "an ObjectId: --by 66f2a1c0e4b0d52a3c9f1e77" in text.stderr


def test_show_blame_and_diff_tell_who(run: Run, database: Database[Any]) -> None:
    """Beside what they always told."""
    shown = run("show", "shop.users", "42", "--at", "2")
    blamed = run("blame", "shop.users", "42", "--at", "2").stdout
    (leaf,) = (json.loads(line) for line in run("blame", "shop.users", "42", "--json").stdout.splitlines())
    differing = run("diff", "shop.users", "42", "1", "2")

    assert "by bob (stamp)" in shown.stderr
    assert "bob (stamp)" in blamed
    assert leaf["event"]["actor"] == {"id": {"$oid": str(CAROL)}, "provenance": "stamp"}
    assert "A: " in differing.stderr
    assert "by alice (context)" in differing.stderr
    assert "by bob (stamp)" in differing.stderr
    between = run("diff", "shop.users", "42", "4", "1").stderr
    assert f"between them: 1 event by {CAROL} (stamp), 1 event by bob (stamp), 1 event by nobody known" in between
    whole = "2 events by dora (context), 1 event by nobody known"  # of one transaction, the rest of it left out
    write(database, 20, 99, change("n", new=0), operation="insert", actor=by("erin"))
    for place, who in enumerate([by("dora"), None, by("dora"), by("erin")], 1):
        more = {"actor": who} if who is not None else {}
        write(database, 20, 99, change("n", place - 1, place), place=place, **more)
    assert whole in run("diff", "shop.users", "99", "1", "4").stderr


def test_exports_have_columns_for_who(run: Run, tmp_path: Path) -> None:
    """CSV, Parquet, and NDJSON by changes; narrowed down as a log is."""
    from pyarrow import parquet

    for name in ("all.csv", "all.parquet"):
        assert run("export", "shop.users", "-o", str(tmp_path / name)).exit_code == 0
    assert run("export", "shop.users", "--by", "bob", "-o", str(tmp_path / "bob.csv")).exit_code == 0
    with (tmp_path / "all.csv").open() as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "bob.csv").open() as file:
        bobs = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    lines = run("export", "shop.users", "42", "--rows", "changes", "--format", "ndjson").stdout.splitlines()

    names = ("actor", "provenance", "reason", "request", "database_user")
    assert [rows[0][name] for name in names] == ["alice", "context", "ticket 7", "r-1", "svc@admin"]
    assert [rows[2][name] for name in names] == [""] * 5
    assert [table[0][name] for name in names] == ["alice", "context", "ticket 7", "r-1", "svc@admin"]
    assert table[2]["actor"] is None
    assert [row["new_value"] for row in bobs] == ['"Bob"']
    assert json.loads(lines[0])["actor"]["id"] == "alice"


def test_who_did_how_much_is_counted_with_the_share_of_nobody(run: Run) -> None:
    """Baselines are nobody's deeds."""
    lines = [json_util.loads(line) for line in run("stats", "--by", "actor", "--json").stdout.splitlines()]
    text = run("stats", "shop.users", "--by", "actor").stdout
    refused = run("stats", "--by", "actor", "--top", "3")

    assert lines[0] == {"by": "total", "events": 6, "unknown": 2}
    assert {(str(line["actor"]), line["provenance"], line["events"]) for line in lines if line["by"] == "actor"} == {
        ("alice", "context", 1),
        ("alice (session)", "session", 1),
        ("bob", "stamp", 1),
        (str(CAROL), "stamp", 1),
    }
    assert {(line["namespace"], line["operation"]) for line in lines if line["by"] == "unknown"} == {
        ("shop.users", "update"),
        ("shop.other", "delete"),
    }
    assert "who did it is known of 4 (80.0 %), unknown of 1 (20.0 %)" in text
    assert refused.exit_code == exit_codes.USAGE


def test_a_followed_log_shows_an_event_once_it_is_known_whose_it_is(history: Reader, database: Database[Any]) -> None:
    """The context may stand last in its transaction, and a database user comes later still."""
    found: list[int] = []
    stop = threading.Event()

    def follow() -> None:
        for event in history.follow(None, actor="alice", stop=stop):
            found.extend(_seconds([event]))

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        eventually(lambda: found == [1], "what is there")
        write(database, 10, 42, change("n", 1, 2), actor=by("alice"))
        write(database, 11, 42, change("n", 2, 3))
        late = stored(11, 42, change("n", 2, 3))["_id"]
        database.history.update_one({"_id": late}, {"$set": {"actor": {"id": "alice", "provenance": "context"}}})
        eventually(lambda: found == [1, 10, 11], "both, once each")
    finally:
        stop.set()
        follower.join()
    assert found == [1, 10, 11]


def test_the_last_fifty_of_somebody_are_read_at_once_however_long_the_history_is(
    history: Reader, database: Database[Any]
) -> None:
    """In a million events, with WATCHER_TEST_FULL_SIZE; whether they did half of it, or little long ago."""
    number = 1_000_000 if FULL_SIZE else 5_000
    template = bson.decode(stored(0, 1, change("name", "Ada", "Bob")).raw)
    busy, rare = {"id": "busy", "provenance": "session"}, {"id": "rare", "provenance": "context", "request": "r-9"}

    def event(second: int) -> dict[str, Any]:
        who = rare if second in range(1000, 1100) else busy if second % 2 else {"id": f"user {second % 997}"}
        about = {"_id": event_id(1000 + second), "document_id": second % 1000, "cluster_time": cluster(1000 + second)}
        return {**template, **about, "actor": {"provenance": "stamp", **who}}

    for start in range(0, number, 10_000):
        batch = [event(second) for second in range(start, min(start + 10_000, number))]
        database.history.insert_many(batch, ordered=False)

    asked: list[dict[str, Any]] = [{"actor": "busy"}, {"actor": "rare"}, {"request": "r-9"}, {"actor": "user 6"}]
    for question in asked:
        for namespace in (None, "shop.users"):
            times = []
            for _ in range(21):
                begun = time.perf_counter()
                found = list(history.log(namespace, limit=50, **question))
                times.append((time.perf_counter() - begun) * 1000)
            print(f"{number} events, {question}, {namespace}: {statistics.median(times):.2f} ms")  # noqa: T201 - shown with -s
            selection = Selection(namespace, **question)
            assert len(found) == min(50, database.history.count_documents(selection.query()))
            query = database.history.find(selection.query(), sort=[("_id", -1)], hint=selection.index).limit(51)
            assert query_plans.examined(query.explain()) <= 51
            if FULL_SIZE:
                assert statistics.median(times) < 5


@pytest.mark.parametrize("typed", ["null", "1.5", "true", "", "\udce4", "a" * 5000])
def test_who_cannot_be_anybody_is_refused_at_the_door(run: Run, typed: str) -> None:
    """Not taken for "whoever it was", and no traceback."""
    for command in (("log", "--by"), ("log", "--request"), ("export", "shop.users", "--by")):
        found = run(*command, typed)
        assert (found.exit_code, found.stdout) == (exit_codes.USAGE, ""), found.output
    found = run("revert", "shop.users", "42", "--to", "1", "--actor", typed)
    assert found.exit_code == exit_codes.USAGE
    assert "Traceback" not in found.output
