"""A checkpoint damaged in every part of it: a clear end, or a gap, as `WATCHER_ON_GAP` wants; no silence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp

from tests.support.daemon import eventually, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon

UNREADABLE: list[tuple[str, dict[str, Any]]] = [
    ("`options` is not a document, `token` is missing", {"$unset": {"token": 1}, "$set": {"options": []}}),
    ("`survey` cannot be read", {"$set": {"survey": [{"kind": "baseline"}]}}),
]
"""The rest is in `tests/integration/test_checkpoint_unreadable.py`."""


@pytest.fixture
def stopped(replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon that recorded one event and was stopped; another event happened since."""
    daemon = make_daemon(replica_set_uri, database.name, on_gap="stop").start().ready()
    database.a.insert_one({"_id": "before"})
    daemon.recorded(f"{database.name}.a", "before")
    opened = {"survey": {"$exists": False}}
    eventually(lambda: daemon.database.checkpoints.find_one(opened), "the baseline")
    assert daemon.stop() == exit_codes.OK
    database.a.insert_one({"_id": "meanwhile"})
    return daemon


def recorded(daemon: Daemon) -> list[Any]:
    """What is recorded of which documents, in order."""
    query = {"document_id": {"$exists": True}}
    return [(e["operation"], e["document_id"]) for e in daemon.database.history.find(query, sort=[("_id", 1)])]


def test_what_cannot_be_read_ends_with_everything_that_is_wrong(stopped: Daemon) -> None:
    """Exit code 5 and a remedy, no traceback; and what was damaged stays as it is, to be repaired."""
    whole: Any = stopped.database.checkpoints.find_one()
    for said, damage in UNREADABLE:
        stopped.database.checkpoints.update_one({}, damage)
        damaged: Any = stopped.database.checkpoints.find_one()
        logged = len(stopped.log())

        assert stopped.start().wait() == exit_codes.POSITION_REFUSED, said

        log = stopped.log()[logged:]
        assert f"is damaged: {said}" in log
        assert "WATCHER_STREAM=<another name>" in log
        assert "Traceback" not in log
        assert '"exception"' not in log
        left: Any = stopped.database.checkpoints.find_one()
        assert {**left, "lease": 0} == {**damaged, "lease": 0}
        stopped.database.checkpoints.replace_one({}, whole)
    stopped.start()
    stopped.recorded(whole["options"]["include"][0].replace("*", "a"), "meanwhile")
    assert [kind for kind, _ in recorded(stopped)] == ["insert", "insert"]


def _turned(token: dict[str, str], digit: int) -> dict[str, str]:
    """The token with one bit of its hexadecimal digits turned."""
    digits = token["_data"]
    return {"_data": digits[:digit] + f"{int(digits[digit], 16) ^ 1:X}" + digits[digit + 1 :]}


@pytest.mark.parametrize(
    ("on_gap", "damage"), [("stop", "one bit"), ("record", "cut off"), ("reconcile", "of another stream")]
)
def test_a_damaged_token_is_a_lost_position(
    stopped: Daemon,
    database: Database[Any],
    make_daemon: Callable[..., Daemon],
    replica_set_uri: str,
    on_gap: str,
    damage: str,
) -> None:
    """Also one that the server would take; `stop` ends with exit code 6, the others record the gap and go on."""
    kept: Any = stopped.database.checkpoints.find_one()
    token = kept["token"]
    damaged = {
        "cut off": {"_data": token["_data"][:24]},
        "one bit": _turned(token, len(token["_data"]) - 4),
        "of another stream": {"_data": token["_data"][:18] + "2B0229296E05"},
    }[damage]
    stopped.database.checkpoints.update_one({}, {"$set": {"token": damaged}})
    name = stopped.database.name
    daemon = make_daemon(replica_set_uri, database.name, on_gap=on_gap, history_database=name).start()

    if on_gap == "stop":
        assert daemon.wait() == exit_codes.POSITION_LOST
        assert "watcher checkpoint set --now" in daemon.log()
        return
    eventually(lambda: daemon.database.history.find_one({"operation": "gap"}), "the gap")
    database.a.insert_one({"_id": "after"})
    daemon.recorded(f"{database.name}.a", "after")
    if on_gap == "reconcile":
        eventually(lambda: ("reconcile", "meanwhile") in recorded(daemon), "the reconciliation")
    (gap,) = daemon.database.history.find({"operation": "gap"})
    assert gap["description"]["from"] == kept["cluster_time"]
    assert daemon.stop() == exit_codes.OK
    assert daemon.database.history.count_documents({"operation": "gap"}) == 1
    assert watcher(daemon, "checkpoint", "show").returncode == exit_codes.OK


def test_a_checkpoint_of_the_future_is_refused_and_can_be_moved_back(stopped: Daemon, database: Database[Any]) -> None:
    """The server would be silent until then, and the daemon look healthy."""
    kept: Any = stopped.database.checkpoints.find_one()
    hour = kept["cluster_time"].time + 3600
    token = {"_data": f"82{hour:08X}{kept['cluster_time'].inc:08X}2B0229296E04"}
    ahead = {"$set": {"token": token, "cluster_time": Timestamp(hour, kept["cluster_time"].inc)}}
    stopped.database.checkpoints.update_one({}, {**ahead, "$unset": {"digest": ""}})

    assert stopped.start().wait() == exit_codes.POSITION_REFUSED
    assert "lies in the future" in stopped.log()
    at = f"{kept['cluster_time'].time}:{kept['cluster_time'].inc}"
    moved = watcher(stopped, "checkpoint", "set", "--at", at, "--yes")
    assert (moved.returncode, moved.stderr) == (exit_codes.OK, "")
    stopped.start()
    stopped.recorded(f"{database.name}.a", "meanwhile")
    assert recorded(stopped)[-1] == ("insert", "meanwhile")


def test_a_lease_that_is_none_keeps_nobody_waiting(stopped: Daemon, database: Database[Any]) -> None:
    """Whoever comes takes the lead; and the command that shows the checkpoint does not stumble over what is there."""
    nonsense = {"owner": 5, "term": 1, "expires_at": datetime.now(UTC) + timedelta(days=9), "pid": "p", "host": None}
    for damage in ({"lease": "x", "survey": 5, "options": 5, "replica_set": 5}, {"lease": nonsense}):
        whole: Any = stopped.database.checkpoints.find_one()
        stopped.database.checkpoints.update_one({}, {"$set": damage})
        shown = watcher(stopped, "checkpoint", "show")
        assert (shown.returncode, shown.stderr) == (exit_codes.OK, "")
        stopped.database.checkpoints.replace_one({}, {**whole, "lease": damage["lease"]})

    stopped.start()
    stopped.recorded(f"{database.name}.a", "meanwhile")
    assert stopped.stop() == exit_codes.OK
