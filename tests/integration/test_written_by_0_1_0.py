"""History, checkpoints, snapshots, gaps and rejected events that build 0.1.0 has written are read and continued."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from change_history import History
from tests.support.daemon import FULL_SIZE, Daemon, eventually, watcher
from tests.support.earlier_build import ANSWERS, DUMP, HISTORY, answers, ask, continue_here, restore
from tests.support.servers import free_port
from watcher.cli import exit_codes
from watcher.embedded.mongod import Mongod

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


EVERY = 1 if FULL_SIZE else 24
"""So many answers of `log`, `show`, `diff`, `blame` and `export`, one is asked for again; of the others, all."""
MANY = {"log", "show", "diff", "blame", "export"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoClient[dict[str, Any]]]:
    """A client of a server of its own that has what the build has written."""
    folder = tmp_path_factory.mktemp("written")
    with (
        Mongod(folder, free_port(), cache_gb=0.25, oplog_mb=256) as server,
        MongoClient[dict[str, Any]](server.uri) as found,
    ):
        restore(found, DUMP)
        yield found


ID_DIGITS = 32
"""Of the `_id` of an entry, as a table prints it."""


def _uri(client: MongoClient[Any]) -> str:
    (host, port), *_ = client.nodes
    return f"mongodb://{host}:{port}/?replicaSet=rs0"


def test_every_answer_is_the_one_that_the_build_itself_gave(client: MongoClient[Any]) -> None:
    """An upgrade that reads old history otherwise has changed the past."""
    said, *all_given = answers(ANSWERS)
    few = [each for each in all_given if each["arguments"][0] not in MANY]
    given = few + [each for each in all_given if each["arguments"][0] in MANY][::EVERY]
    found = ask(_uri(client), said["environment"], [_as_asked_now(each["arguments"]) for each in given])

    assert {each["arguments"][0] for each in given} >= MANY | {"gaps", "rejected", "checkpoint", "snapshots"}
    for then, now in zip(given, found, strict=True):
        if "an event of its collection was rejected" in then["stderr"]:
            continue  # it concerns its own document alone by now: test_any_document
        assert _comparable(now, then["arguments"]) == _comparable(then, then["arguments"]), then["arguments"]


def _as_asked_now(arguments: list[str]) -> list[str]:
    """Documents that were one column then have a column for each field by now, unless that is asked for."""
    if arguments[0] != "export" or "--at" not in arguments:
        return arguments
    return [f"{each}-json" if each in {"csv", "parquet"} else each for each in arguments]


LATER_COLUMNS = {
    *("transaction", "session", "day", "document_key", "type", "old_number", "new_number", "old_text", "new_text"),
    *("old_time", "new_time", "actor", "provenance", "reason", "request", "database_user"),
}


def _comparable(answer: dict[str, Any], arguments: list[str]) -> Any:
    """An answer, without what is said in another way by now: a table has one more column, a CSV names transactions."""
    if arguments[0] == "rejected" and "--json" not in arguments:
        return answer["code"], [word for word in answer["stdout"].split() if len(word) == ID_DIGITS]
    if arguments[0] == "export" and "csv" in arguments and "--at" not in arguments:
        rows = csv.DictReader(io.StringIO(answer["stdout"]))
        told = [{name: row[name] for name in row if name not in LATER_COLUMNS} for row in rows]
        return answer["code"], told
    return (
        answer["code"],
        _like_inserts(answer["stdout"]) if arguments[0] == "log" else answer["stdout"],
        answer.get("stderr"),
    )


def _like_inserts(log: str) -> str:
    """A log whose baselines are printed as they are by now."""
    lines, in_baseline = [], False
    for line in log.splitlines(keepends=True):
        in_baseline = "  baseline" in line if not line.startswith(" ") else in_baseline
        lines.append(re.sub(r"^    (?! )(.*?): \(absent\) → ", r"    + \1: ", line) if in_baseline else line)
    return "".join(lines)


def test_the_library_reads_every_document_that_the_build_had_recorded(client: MongoClient[Any]) -> None:
    """With every form an entry can have: in chunks, without images, bare, reconciled, of a transaction."""
    of_documents: list[dict[str, Any]] = [
        {"$match": {"document_id": {"$exists": True}}},
        {"$sortByCount": "$namespace"},
    ]
    recorded = {each["_id"]: each["count"] for each in client[HISTORY].history.aggregate(of_documents)}
    history = History(client, HISTORY)

    assert len(recorded) > 20
    for namespace, events in recorded.items():
        assert sum(1 for _ in history.log(namespace)) >= events, namespace


def test_a_daemon_goes_on_where_the_build_has_stopped(client: MongoClient[Any], tmp_path: Path) -> None:
    """With its checkpoint, plans and options; what was rejected is tried again, and snapshots are made anew."""
    continue_here(client, "default")
    checkpoint = client[HISTORY].checkpoints.find_one({"_id": "default"})
    assert checkpoint is not None
    before = client[HISTORY].history.count_documents({})
    daemon = Daemon(
        client,
        tmp_path / "daemon.log",
        uri=_uri(client),
        history_database=HISTORY,
        include="shop.*,crm.*,types.*,gone.*,odd.*,häs.*,large.*,bare_form.*,refused.*,classic.*",
    )
    with daemon:
        client.shop.upgraded.insert_one({"_id": "first"})
        client.shop.upgraded.update_one({"_id": "first"}, {"$set": {"n": 1}})
        eventually(
            lambda: daemon._ended() or client[HISTORY].history.count_documents({"namespace": "shop.upgraded"}) >= 2,
            "what happened after the upgrade",
        )
        assert client[HISTORY].history.count_documents({}) > before
        assert daemon.stop() == exit_codes.OK
    lines = watcher(daemon, "log", "--json", "shop.upgraded", "first")
    assert lines.returncode == exit_codes.OK, lines.stderr
    told = [json.loads(line)["operation"] for line in lines.stdout.splitlines()]
    assert [each for each in told if each in {"insert", "update"}] == ["insert", "update"]

    rejected = client[HISTORY].rejected.count_documents({})
    retried = watcher(daemon, "rejected", "retry", "--all")
    assert "Traceback" not in retried.stderr
    assert client[HISTORY].rejected.count_documents({}) <= rejected
    rebuilt = watcher(daemon, "snapshots", "rebuild")
    assert rebuilt.returncode == exit_codes.OK, rebuilt.stderr
    verified = watcher(daemon, "snapshots", "verify", "--json")
    assert (verified.returncode, verified.stdout) == (exit_codes.OK, ""), verified.stderr
