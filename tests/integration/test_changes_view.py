"""The view of the changes on a real server: one exact row a change, answered from the indexes of the history."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util
from bson.raw_bson import RawBSONDocument

from change_history.bson.values import document_to_python
from change_history.stored import chunks
from change_history.stored.event import to_event
from change_history.stored.names import PARTS
from change_history.stored.reading import RAW
from models import ABSENT, UNKNOWN
from models.changes_view import NAME
from tests.support import query_plans
from tests.support.handmade_events import at, change, event_id, stored, transaction
from tests.support.load import MONGOSH
from tests.support.recording import make_indexes
from watcher import views

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

EVENTS = [
    stored(0, 1, change("_id", new=1), change("n", new=None), change("a", new={"b": [1]}), operation="insert"),
    stored(1, 1, change("n", None, 3), change("a.b", path=["a.b"], new="x"), transaction=transaction(1, 7)),
    stored(2, 1, change("n", UNKNOWN, 4, old_value_from="unknown"), change("m", 1, 2, old_value_from="history")),
    stored(3, 1, change("a.b", [1, 2, 3], truncated_to=1)),
    stored(4, 1, change("", path=[], old_value_from="unknown"), operation="delete"),
    stored(5, 2, change("_id", new=2), operation="insert"),
    stored(6, ABSENT, operation="drop"),
    stored(7, 1, change("n", 1, 2), namespace="shop.orders"),
]


@pytest.fixture
def history(database: Database[Any]) -> Database[Any]:
    """A history with its indexes and the view."""
    make_indexes(database)
    views.ensure(database)
    database.history.insert_many(EVENTS)
    return database


def rows(history: Database[Any], query: dict[str, Any]) -> list[dict[str, Any]]:
    """What the view has, in the order of time, each value exact."""
    view = history.get_collection(NAME, codec_options=RAW)
    return [document_to_python(row) for row in view.find(query).sort([("event_id", 1), ("_id.number", 1)])]


def test_each_change_is_a_row_that_tells_what_the_change_tells(history: Database[Any]) -> None:
    """Absent is absent and not null, unknown is said to be unknown; nothing else differs from the models."""
    expected = []
    for event in map(to_event, EVENTS):
        for number, told in enumerate(event.changes):
            row: dict[str, Any] = {"_id": {"event": bytes(event.id), "number": number}, "event_id": bytes(event.id)}
            row |= {"namespace": event.namespace, "document_id": event.document_id, "operation": event.operation}
            row |= {"timestamp": event.timestamp.replace(tzinfo=UTC), "cluster_time": event.cluster_time}
            if event.transaction is not None:
                row["transaction"] = {"session": event.transaction.session, "number": 7}
            expected.append(row | {"field": told.field})
    found = rows(history, {})

    assert [{name: row[name] for name in wanted} for row, wanted in zip(found, expected, strict=True)] == expected
    values = [
        {name: row[name] for name in ("old_value", "new_value", "old_value_from", "new_value_from") if name in row}
        for row in found
    ]
    assert values == [
        {"new_value": 1},
        {"new_value": None},
        {"new_value": {"b": [1]}},
        {"old_value": None, "new_value": 3},
        {"new_value": "x"},
        {"new_value": 4, "old_value_from": "unknown"},
        {"old_value": 1, "new_value": 2, "old_value_from": "history"},
        {"old_value": [1, 2, 3], "new_value_from": "unknown"},
        {"old_value_from": "unknown"},
        {"new_value": 2},
        {"old_value": 1, "new_value": 2},
    ]
    assert [row["path"] for row in found if "path" in row] == [["a.b"], []]


def test_a_document_in_parts_says_that_its_values_are_elsewhere(history: Database[Any]) -> None:
    """Rows without values would read as fields that came from nothing and went."""
    whole = bytes(stored(20, 9, change("n", 1, 2), change("big", new="x" * 100)).raw)
    pieces = chunks.cut(event_id(20), whole)
    history[PARTS].insert_many([{"_id": piece.id, "data": piece.data} for piece in pieces])
    history.history.insert_one(RawBSONDocument(chunks.head(whole, pieces)))

    found = rows(history, {"document_id": 9})

    assert [row["field"] for row in found] == ["n", "big"]
    assert all(row["old_value_from"] == row["new_value_from"] == "parts" for row in found)
    assert not any("old_value" in row or "new_value" in row for row in found)


QUESTIONS: list[tuple[str, int, dict[str, Any]]] = [
    ("document_timeline", 5, {"namespace": "shop.users", "document_id": 1}),
    ("document_timeline", 5, {"namespace": "shop.users", "document_id": 1, "field": "n"}),
    ("document_timeline", 5, {"namespace": "shop.users", "document_id": 1, "timestamp": {"$gte": at(0)}}),
    ("_id_", 3, {"event_id": {"$gte": event_id(0), "$lt": event_id(3)}}),
    ("transaction", 1, {"transaction": {"$exists": True}, "transaction.session": transaction(1, 7).session}),
]


@pytest.mark.parametrize(("index", "most", "query"), QUESTIONS)
def test_a_question_to_the_view_reads_the_index_of_the_history(
    history: Database[Any], index: str, most: int, query: dict[str, Any]
) -> None:
    """What is asked is pushed below the unwinding; otherwise every question would unwind all of history."""
    explained = history.command("explain", {"find": NAME, "filter": query}, verbosity="executionStats")
    plan = query_plans.winning(explained)

    assert query_plans.indexes(plan) == {index}
    assert "COLLSCAN" not in query_plans.stages(plan)
    assert query_plans.examined(explained) <= most


def test_a_namespace_is_asked_from_one_of_its_indexes(history: Database[Any]) -> None:
    """Whichever the server prefers."""
    explained = history.command(
        "explain", {"find": NAME, "filter": {"namespace": "shop.orders"}}, verbosity="executionStats"
    )

    assert query_plans.indexes(query_plans.winning(explained)) <= {"document_timeline", "namespace_timeline"}
    assert "COLLSCAN" not in query_plans.stages(query_plans.winning(explained))
    assert query_plans.examined(explained) == 1


@pytest.mark.skipif(MONGOSH is None, reason="no mongosh")
def test_the_shell_reads_changes_as_rows(history: Database[Any], replica_set_uri: str, tmp_path: Path) -> None:
    """As the README shows it."""
    script = f"""
        const rows = db.getSiblingDB("{history.name}").changes
            .find({{namespace: "shop.users", document_id: 1, field: "n"}})
            .sort({{event_id: 1}}).toArray();
        print(EJSON.stringify(rows, {{relaxed: false}}));
    """
    assert MONGOSH is not None
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [MONGOSH, "--quiet", "--norc", replica_set_uri, "--eval", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    found = json_util.loads(done.stdout)
    assert [{name: row.get(name, "absent") for name in ("old_value", "new_value")} for row in found] == [
        {"old_value": "absent", "new_value": None},
        {"old_value": None, "new_value": 3},
        {"old_value": "absent", "new_value": 4},
    ]
    assert found[0]["timestamp"].replace(tzinfo=UTC) == at(0.5)
