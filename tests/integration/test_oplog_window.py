"""How far back the oplog reaches: cheap, and no trouble where it cannot be known."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pymongo import MongoClient
from structlog.testing import capture_logs

from tests.support.daemon import eventually
from watcher.health.oplog_window import MEASURE_EVERY_S, OplogWindow
from watcher.health.progress import Progress

if TYPE_CHECKING:
    from tests.support.servers import Secured

STREAM = {"resource": {"db": "shop", "collection": ""}, "actions": ["changeStream", "find"]}
OPLOG = {"resource": {"db": "local", "collection": "oplog.rs"}, "actions": ["find"]}


def oldest(uri: str) -> int | None:
    """Measure as a user."""
    with MongoClient[dict[str, Any]](uri) as client:
        return OplogWindow(client, Progress(), threading.Event()).oldest()


def test_who_may_read_the_oplog_knows_how_far_it_reaches(deployment: Secured) -> None:
    """From its very first entry."""
    first = deployment.root.local["oplog.rs"].find_one(sort=[("$natural", 1)])
    assert first is not None

    assert oldest(deployment.user("may", [STREAM, OPLOG])) == first["ts"].time


def test_who_may_not_is_none_the_worse(deployment: Secured) -> None:
    """No error, no line in the log every half minute: a number less."""
    uri = deployment.user("may not", [STREAM])

    with capture_logs() as logs:
        assert oldest(uri) is None
    assert [line for line in logs if line["log_level"] != "debug"] == []


def test_a_server_that_is_away_is_not_known(free_port: int) -> None:
    """What was measured long ago would be a lie by now."""
    assert oldest(f"mongodb://127.0.0.1:{free_port}/?serverSelectionTimeoutMS=100") is None


def test_only_the_oldest_entry_is_looked_at(deployment: Secured) -> None:
    """Beside a stream in a hurry nobody reads gigabytes."""
    plan = deployment.root.local.command(
        "explain",
        {"find": "oplog.rs", "projection": {"ts": 1}, "sort": {"$natural": 1}, "limit": 1},
        verbosity="executionStats",
    )

    assert plan["executionStats"]["totalDocsExamined"] <= 1


def test_it_measures_until_it_is_stopped(deployment: Secured) -> None:
    """In a thread of its own, which ends at once."""
    stop, progress = threading.Event(), Progress()
    with MongoClient[dict[str, Any]](deployment.uri("root")) as client:
        thread = threading.Thread(target=OplogWindow(client, progress, stop).run)
        thread.start()
        eventually(lambda: progress.oplog_since is not None, "a measurement")
        stop.set()
        thread.join(MEASURE_EVERY_S)

    assert not thread.is_alive()
    assert progress.oplog_since is not None
