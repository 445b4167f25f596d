"""An `_id` of any size: the stream goes on behind what the server cannot deliver, and the document is in history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from change_history import History
from tests.support.daemon import eventually, watcher
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

MB = 1024 * 1024
TOO_LARGE = {"four megabytes": 4 * MB, "six megabytes": 6 * MB}


def gaps(daemon: Daemon) -> list[dict[str, Any]]:
    """What is said of each gap."""
    return [gap["description"] for gap in daemon.database.history.find({"operation": "gap"})]


def reconciled(daemon: Daemon, number: int) -> None:
    """Wait until there are so many gaps, and all are reconciled."""
    eventually(
        lambda: len(found := gaps(daemon)) >= number and all(gap.get("level") for gap in found), "it is reconciled"
    )


def big(number: int, size: int) -> str:
    """An `_id` of a size."""
    return f"{number} ".ljust(size, "x")


@pytest.mark.parametrize("size", TOO_LARGE)
def test_the_stream_goes_on_behind_an_id_that_cannot_be_delivered(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon], size: str
) -> None:
    """It ended the daemon at every start; nothing after it was recorded, and nothing said so."""
    server = own_server(cache_gb=1)
    daemon = make_daemon(server.uri, "shop")
    database: Database[Any] = daemon.client["shop"]
    one, two = (big(number, TOO_LARGE[size]) for number in (1, 2))
    database.a.insert_one({"_id": two, "n": 0})
    daemon.start().ready()
    database.a.insert_one({"_id": "before"})
    database.a.insert_one({"_id": one, "n": 1})
    with database.client.start_session() as session, session.start_transaction():
        database.a.insert_one({"_id": "beside"}, session=session)
        database.a.update_one({"_id": two}, {"$set": {"n": 2}}, session=session)
    database.a.insert_one({"_id": "after"})

    for document_id in ("before", "beside", "after"):
        daemon.recorded(f"{database.name}.a", document_id)
    reconciled(daemon, 1)
    assert {gap["cause"] for gap in gaps(daemon)} == {"an _id is too large for a resume token"}
    assert any("cannot be delivered" in line["event"] for line in daemon.log_lines())
    listed = watcher(daemon, "gaps")
    assert "too large for a resume token" in listed.stdout, listed.stdout
    history = History(daemon.client, daemon.database.name)
    expected: dict[str, dict[str, Any]] = {
        "before": {"_id": "before"},
        "after": {"_id": "after"},
        "beside": {"_id": "beside"},
    }
    expected |= {one: {"_id": one, "n": 1}, two: {"_id": two, "n": 2}}
    told = {found.document_id: found.document for found in history.collection(f"{database.name}.a").documents()}
    for document_id, document in expected.items():
        assert told[document_id] == document, document_id[:9]

    database.a.delete_one({"_id": one})
    database.a.insert_one({"_id": "last"})
    daemon.recorded(f"{database.name}.a", "last")
    reconciled(daemon, 2)
    assert one not in {found.document_id for found in history.collection(f"{database.name}.a").documents()}
    assert daemon.database.rejected.count_documents({}) == 0
    assert daemon.stop() == exit_codes.OK


def test_where_gaps_end_the_daemon_it_says_which_event_and_what_to_type(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """With WATCHER_ON_GAP=stop nothing is left out."""
    server = own_server(cache_gb=1)
    daemon = make_daemon(server.uri, "shop", on_gap="stop").start().ready()
    daemon.client["shop"].a.insert_one({"_id": big(1, 6 * MB)})

    assert daemon.wait() == exit_codes.POSITION_LOST
    assert "WATCHER_ON_GAP=reconcile" in daemon.log()
    assert gaps(daemon) == []


@pytest.mark.parametrize("pre_images", ["enable", "off"])
def test_an_id_of_every_size_up_to_a_megabyte_is_recorded_as_any_other(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon], pre_images: str
) -> None:
    """As baseline, live, and after a gap."""
    sizes = [1000, 1025, 16_000, 65_536, 250_000, 500_000, MB - 100, MB]
    ids: list[Any] = [big(number, size) for number, size in enumerate(sizes)]
    ids += [{"deep": {"text": each}} for each in ids[::2]] + [big(9, size).encode() for size in sizes[::3]]
    database.a.insert_many([{"_id": document_id, "n": 0} for document_id in ids[::2]])
    daemon = make_daemon(replica_set_uri, database.name, pre_images=pre_images).start().ready()
    for document_id in ids[1::2]:
        database.a.insert_one({"_id": document_id, "n": 0})
    for document_id in ids:
        database.a.update_one({"_id": document_id}, {"$set": {"n": 1}})
    for document_id in ids[::3]:
        database.a.delete_one({"_id": document_id})
    history = History(daemon.client, daemon.database.name)

    def assert_told(last: int) -> None:
        database.end.insert_one({"_id": last})
        daemon.recorded(f"{database.name}.end", last)
        told = [found.document for found in history.collection(f"{database.name}.a").documents()]
        there = list(database.a.find())
        assert len(told) == len(there)
        assert all(document in told for document in there)

    eventually(lambda: any(line["event"] == "backfill done" for line in daemon.log_lines()), "the baseline")
    assert_told(1)
    assert daemon.stop() == exit_codes.OK
    database.a.update_many({}, {"$set": {"n": 2}})
    database.a.insert_many([{"_id": document_id, "n": 0} for document_id in ids[::3]])
    database.a.delete_one({"_id": ids[1]})
    assert watcher(daemon, "checkpoint", "set", "--now", "--yes").returncode == exit_codes.OK
    daemon.start().ready()
    reconciled(daemon, 1)
    assert_told(2)
    assert daemon.database.rejected.count_documents({}) == 0
