"""`watcher doctor` on a real deployment: every trouble is named with its remedy, and none hides another."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util

from tests.support.daemon import watcher
from tests.support.servers import Standalone, overrun
from watcher.cli import exit_codes
from watcher.doctor import installation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

NOWHERE = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300"


def examined(daemon: Daemon, *arguments: str, **more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings by their check, but for the one about the installation."""
    ran = watcher(daemon, "doctor", "--json", *arguments, **more)
    assert ran.stderr == ""
    findings = [json_util.loads(line) for line in ran.stdout.splitlines()]
    assert len({each["check"] for each in findings}) == len(findings)
    return ran.returncode, {each["check"]: each for each in findings if each["check"] != installation.NAME}


def statuses(findings: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What is not fine."""
    return {check: each["status"] for check, each in findings.items() if each["status"] != "ok"}


@pytest.fixture
def stopped(daemon: Daemon, database: Database[Any]) -> Daemon:
    """A daemon that has recorded one event and was stopped."""
    database.users.insert_one({"_id": 1})
    daemon.recorded(f"{database.name}.users", 1)
    assert daemon.stop() == exit_codes.OK
    return daemon


def test_all_is_well_and_nothing_is_written(daemon: Daemon, database: Database[Any]) -> None:
    """Also while the daemon runs, and without leaving a cursor or a document behind."""
    database.users.insert_one({"_id": 1})
    daemon.recorded(f"{database.name}.users", 1)
    before = database.client.list_database_names()
    code, findings = examined(daemon)

    assert (code, statuses(findings)) == (exit_codes.OK, {})
    assert findings["position"]["said"] == "the server goes on from there"
    assert findings["what is watched"]["facts"]["collections"] == 1
    assert findings["oplog"]["facts"]["window_hours"] >= 0
    assert "missing" in findings["privileges, watched"]["facts"]
    assert database.client.list_database_names() == before
    assert database.users.count_documents({}) == 1
    shown = watcher(daemon, "doctor")
    assert shown.returncode == exit_codes.OK
    assert "replica set" in shown.stdout


def test_before_the_first_start_there_is_nothing_to_complain_of(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """And it says what the first start will do."""
    database.users.insert_one({"_id": 1})
    daemon = make_daemon(replica_set_uri, database.name)
    code, findings = examined(daemon)

    assert code == exit_codes.OK
    assert statuses(findings) == {"pre-images": "warning"}
    assert "has never run" in findings["checkpoint"]["said"]
    assert examined(daemon, "--strict")[0] == exit_codes.UNHEALTHY
    assert daemon.database.list_collection_names() == []


def test_a_server_that_is_away_is_the_problem_and_the_rest_is_not_known(stopped: Daemon) -> None:
    """What cannot be asked is neither fine nor broken."""
    code, findings = examined(stopped, WATCHER_MONGODB_URI=NOWHERE)

    assert code == exit_codes.UNHEALTHY
    assert findings.pop("watched deployment")["status"] == "problem"
    assert set(statuses(findings)) == set(findings)
    assert {each["status"] for each in findings.values()} == {"unchecked"}


def test_history_that_is_away_does_not_hide_what_is_known_of_the_watched_side(
    stopped: Daemon, replica_set_uri: str
) -> None:
    """And the other way round."""
    code, findings = examined(stopped, WATCHER_HISTORY_URI=NOWHERE)
    assert code == exit_codes.UNHEALTHY
    assert statuses(findings)["history deployment"] == "problem"
    assert {findings[name]["status"] for name in ("replica set", "pre-images", "oplog", "what is watched")} == {"ok"}
    assert {findings[name]["status"] for name in ("checkpoint", "position", "history indexes")} == {"unchecked"}

    code, findings = examined(stopped, WATCHER_MONGODB_URI=NOWHERE, WATCHER_HISTORY_URI=replica_set_uri)
    assert code == exit_codes.UNHEALTHY
    assert findings["history indexes"]["status"] == "ok"
    assert findings["position"]["status"] == "unchecked"


def test_a_changed_include_is_told_before_the_daemon_refuses_it(stopped: Daemon, database: Database[Any]) -> None:
    """With what it would bring, and both ways out."""
    code, findings = examined(stopped, WATCHER_INCLUDE=f"{database.name}.orders")
    found = findings["what is watched"]

    assert code == exit_codes.UNHEALTHY
    assert (found["status"], found["facts"]["goes"]) == ("problem", [f"{database.name}.users"])
    assert "--adopt-options" in found["remedy"]
    assert examined(stopped, "--include", f"{database.name}.orders")[1]["what is watched"]["said"] == found["said"]
    refused = watcher(stopped, "run", WATCHER_INCLUDE=f"{database.name}.orders")
    assert refused.returncode == exit_codes.POSITION_REFUSED


def test_a_position_of_another_deployment_is_told(stopped: Daemon) -> None:
    """A restored copy of the history beside another replica set."""
    stopped.database.checkpoints.update_one({}, {"$set": {"replica_set": {"name": "other", "id": None}}})
    code, findings = examined(stopped)

    assert code == exit_codes.UNHEALTHY
    assert statuses(findings) == {"position": "problem"}
    assert "belongs to replica set 'other'" in findings["position"]["said"]


def test_a_damaged_position_is_told(stopped: Daemon) -> None:
    """The server cannot read it; what is to be done is said before the daemon does it."""
    stopped.database.checkpoints.update_one({}, {"$set": {"token": {"_data": "82"}}})
    code, findings = examined(stopped)

    assert code == exit_codes.UNHEALTHY
    assert findings["position"]["status"] == "problem"
    assert "WATCHER_ON_GAP=reconcile" in findings["position"]["said"]


def test_missing_indexes_and_view_and_holes_are_told_all_at_once(stopped: Daemon) -> None:
    """Each with what mends it, none of them a reason not to start."""
    kept = stopped.database
    kept.history.drop_index("transaction")
    kept.history.drop_index("gaps")
    kept.history.create_index([("operation", 1)], name="gaps")
    kept.drop_collection("changes")
    kept.rejected.insert_one({"_id": 1})
    code, findings = examined(stopped)

    assert code == exit_codes.OK
    assert statuses(findings) == dict.fromkeys(("history indexes", "view of the changes", "completeness"), "warning")
    assert findings["history indexes"]["facts"]["wrong"] == [
        "history.transaction is missing",
        "history.gaps is of other fields",
    ]
    assert findings["completeness"]["remedy"] == "watcher rejected list"


def test_pre_images_are_named_by_collection(stopped: Daemon, database: Database[Any]) -> None:
    """With the command for each, where the daemon is not to switch them on."""
    database.command({"collMod": "users", "changeStreamPreAndPostImages": {"enabled": False}})
    _, findings = examined(stopped, WATCHER_PRE_IMAGES="use")
    found = findings["pre-images"]

    assert (found["status"], found["facts"]["without"]) == ("warning", [f"{database.name}.users"])
    assert 'runCommand({ collMod: "users"' in found["remedy"]


def test_what_has_no_events_is_told(stopped: Daemon, database: Database[Any]) -> None:
    """A view that is included by its name."""
    database.command("create", "shown", viewOn="users", pipeline=[])
    _, findings = examined(stopped, WATCHER_INCLUDE=f"{database.name}.shown", WATCHER_STREAM="new")

    assert findings["included by name"]["status"] == "problem"
    assert f"WATCHER_INCLUDE={database.name}.users" in findings["included by name"]["remedy"]


def test_a_position_that_the_oplog_has_lost_is_told(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """By the pipeline itself, and by the oplog's window."""
    server = own_server(oplog_mb=1, extra_args=("--syncdelay", "1"))
    daemon = make_daemon(server.uri, "shop", history_database="kept")
    with daemon:
        daemon.ready()
        daemon.client.shop.users.insert_one({"_id": 1})
        daemon.recorded("shop.users", 1)
        assert daemon.stop() == exit_codes.OK
    overrun(daemon.client)
    code, findings = examined(daemon)

    assert code == exit_codes.UNHEALTHY
    assert statuses(findings) == {"oplog": "problem", "position": "problem"}
    assert "watcher checkpoint set" in findings["position"]["remedy"]
    assert "minRetentionHours" in findings["oplog"]["remedy"]


def test_a_standalone_server_is_told(tmp_path: Path, free_port: int, make_daemon: Callable[..., Daemon]) -> None:
    """With how to make it a replica set; what does not depend on that is examined all the same."""
    with Standalone(tmp_path / "server", free_port, initiate=False, cache_gb=0.25) as server:
        code, findings = examined(make_daemon(server.uri, "shop"))

    assert code == exit_codes.UNHEALTHY
    assert "--replSet" in findings["replica set"]["remedy"]
    assert findings["server version"]["status"] == "unchecked"
    assert findings["clock of the watched deployment"]["status"] == "ok"


def test_a_server_that_hangs_is_given_up(own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]) -> None:
    """Once, not once for every check: a report that takes minutes is not waited for."""
    server = own_server()
    daemon = make_daemon(server.uri, "shop")
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        code, findings = examined(daemon)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert code == exit_codes.UNHEALTHY
    assert findings.pop("watched deployment")["status"] == "problem"
    assert {each["status"] for each in findings.values()} == {"unchecked"}
