"""Several daemons on one stream: one leads, the others stand by, and whichever ends, nothing is lost or doubled."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from change_history.bson import raw
from tests.support import load, oracle
from tests.support.daemon import PATIENCE_S, Daemon, eventually, watcher
from tests.support.several_daemons import beside, from_afar, leads, lease, says, stands_by
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

DOCUMENTS = 20_000
FREEZES = 2


@pytest.fixture
def standby(daemon: Daemon) -> Iterator[Daemon]:
    """A second daemon on the stream of one that leads."""
    with beside(daemon, "standby") as other:
        yield stands_by(other)


def records(daemon: Daemon, database: Database[Any], document_id: str) -> None:
    """Write a document and wait until it is recorded."""
    database.a.insert_one({"_id": document_id})
    query = {"namespace": f"{database.name}.a", "document_id": document_id}
    eventually(lambda: daemon.database.history.find_one(query), f"history of {document_id}")


def test_a_second_daemon_stands_by_and_takes_over_after_a_kill(
    daemon: Daemon, standby: Daemon, database: Database[Any]
) -> None:
    """With nothing but the lease to tell it: the leader's machine may be gone."""
    assert leads(daemon)
    from_afar(daemon)
    daemon.kill()
    records(standby, database, "after")

    assert leads(standby)
    assert lease(standby)["term"] == 2
    assert standby.stop() == exit_codes.OK


def test_a_leader_that_is_known_to_be_dead_is_not_waited_for(
    daemon: Daemon, standby: Daemon, database: Database[Any]
) -> None:
    """On one machine, a kill costs no more than the next look at the lease."""
    daemon.kill()
    ends = datetime.now(UTC) + timedelta(seconds=PATIENCE_S / 2)
    daemon.database.checkpoints.update_one({}, {"$set": {"lease.expires_at": ends}})
    records(standby, database, "after")
    assert datetime.now(UTC) < ends


def test_an_orderly_stop_hands_over_at_once(daemon: Daemon, standby: Daemon, database: Database[Any]) -> None:
    """A rolling deployment: back and forth, each time without waiting for a lease to run out."""
    first, second = daemon, standby
    for turn in range(6):
        first.send(signal.SIGTERM)
        eventually(lambda: leads(second), "the other to lead")  # noqa: B023
        records(second, database, f"turn {turn}")
        assert first.wait() == exit_codes.OK
        stood_by = says(first, "standing by")
        first.start()
        eventually(lambda: says(first, "standing by") > stood_by, "a stand-by")  # noqa: B023
        first, second = second, first
    assert lease(daemon)["term"] == 7
    assert second.stop() == first.stop() == exit_codes.OK
    assert lease(daemon).keys() == {"term"}  # nothing that a third would wait for


def test_a_standby_ends_without_touching_the_leader(daemon: Daemon, standby: Daemon, database: Database[Any]) -> None:
    """It is asked to stop while another leads, and so is one whose leader's server it cannot know."""
    before = lease(daemon)
    assert standby.stop() == exit_codes.OK

    records(daemon, database, "still")
    assert {**before, "expires_at": 0} == {**lease(daemon), "expires_at": 0}
    assert says(standby, "leading") == 0


def test_a_standby_that_could_never_lead_says_so_at_once(daemon: Daemon) -> None:
    """Not on the night when it is needed."""
    other = beside(daemon, "other options")
    other._environment = other._environment | {"WATCHER_INCLUDE": "elsewhere.*"}

    assert other.start().wait() == exit_codes.POSITION_REFUSED
    assert leads(daemon)


def test_two_daemons_started_at_once_on_a_fresh_stream_are_one_leader_and_one_standby(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Neither gives up, and what there was before is told once."""
    database.a.insert_many([{"_id": number} for number in range(1000)])
    first = make_daemon(replica_set_uri, database.name)
    with ExitStack() as stack:
        others = [stack.enter_context(beside(first, f"daemon {number}")) for number in range(3)]
        first.start().ready()
        eventually(lambda: sum(bool(says(each, "standing by")) for each in (first, *others)) == 3, "three stand-bys")
        records(first, database, "new")
        done = {"survey": {"$exists": False}, "token": {"$exists": True}}
        eventually(lambda: first.database.checkpoints.count_documents(done), "the end of the backfill")
        assert [leads(each) for each in (first, *others)].count(True) == 1
        assert first.database.checkpoints.count_documents({}) == 1
        assert first.database.history.count_documents({"operation": "baseline"}) == 1000
        assert first.database.history.count_documents({"document_id": "new"}) == 1


def test_a_frozen_leader_that_thaws_does_no_harm(
    client: MongoClient[Any], replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """SIGSTOP for longer than the lease, again and again, amid load, a backfill, and events that are rejected."""
    load.make_collections(database)
    database.create_collection("old", changeStreamPreAndPostImages={"enabled": True})
    database.old.insert_many([{"_id": number, "text": "x" * 100} for number in range(DOCUMENTS)])
    first = make_daemon(replica_set_uri, database.name)
    first.database.create_collection("history", validator={"document_id": {"$nin": ["0i0", "1i500", "2i200"]}})
    done = threading.Event()
    first.start().ready()
    with beside(first, "second") as second, oracle.PlainStream(client, database.name) as plain:
        writer = threading.Thread(target=_write, args=(database, done))
        writer.start()
        try:
            eventually(lambda: first.database.history.find_one({"operation": "baseline"}), "a backfill under way")
            assert first.database.checkpoints.count_documents({"survey": {"$exists": True}})
            for turn in range(FREEZES):
                eventually(lambda: leads(first) or leads(second), "a leader")
                leader, other = (first, second) if leads(first) else (second, first)
                leader.send(signal.SIGSTOP)
                try:
                    eventually(lambda: leads(other), "a new leader")  # noqa: B023
                    records(other, database, f"turn {turn}")
                finally:
                    leader.send(signal.SIGCONT)
                eventually(lambda: says(leader, "deposed"), "the old leader to notice")  # noqa: B023
                eventually(lambda: lease(first)["pid"] == other.process.pid, "the same leader")  # type: ignore[union-attr] # noqa: B023
        finally:
            done.set()
            writer.join()
        _check(first, plain, database)
        assert [each.process.poll() for each in (first, second) if each.process] == [None, None]


def _write(database: Database[Any], done: threading.Event) -> None:
    turn = 0
    while not done.is_set():
        load.driver_load(database, 400, turn)
        database.old.update_many({"_id": {"$gte": turn * 100, "$lt": turn * 100 + 100}}, {"$set": {"text": "y"}})
        turn += 1
        done.wait(0.2)


def _check(daemon: Daemon, plain: oracle.PlainStream, database: Database[Any]) -> None:
    """Every event once and in order, no gap, one baseline for each document, and history level with the documents."""
    database.a.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.a", "end")
    done = {"survey": {"$exists": False}}
    eventually(lambda: daemon.database.checkpoints.count_documents(done), "the end of the backfill")
    assert daemon.database.rejected.count_documents({})
    daemon.database.command({"collMod": "history", "validator": {}})
    assert watcher(daemon, "rejected", "retry", "--all").returncode == exit_codes.OK
    oracle.both_have_ended(daemon, plain, database)
    recorded = oracle.history(daemon.database, {})
    oracle.compare(plain.events, [each for each in recorded if b"resume_token" in raw.fields(each)])
    assert {key: data for key, data in oracle.folded(recorded).items() if data is not None} == oracle.live(database)
    assert not daemon.database.history.count_documents({"operation": "gap"})
    told = list(daemon.database.history.find({"operation": "baseline"}, {"document_id": 1}))
    assert len(told) == len({each["document_id"] for each in told}) == DOCUMENTS


def test_a_position_set_by_force_deposes_the_leader_and_stays(
    daemon: Daemon, standby: Daemon, database: Database[Any]
) -> None:
    """The running daemon would save its own over it a second later; instead it goes on from the new one."""
    records(daemon, database, "first")
    records(daemon, database, "second")
    first: Any = daemon.database.history.find_one({"document_id": "first"})
    at = f"{first['cluster_time'].time}:{first['cluster_time'].inc}"
    saved = {"cluster_time": {"$gt": first["cluster_time"]}}
    eventually(lambda: daemon.database.checkpoints.count_documents(saved), "a position to go back from")
    daemon.database.history.delete_one({"_id": first["_id"]})

    moved = watcher(daemon, "checkpoint", "set", "--at", at, "--yes", "--force")

    assert (moved.returncode, moved.stderr) == (exit_codes.OK, "")
    assert f"(pid {daemon.process.pid}) is deposed" in moved.stdout  # type: ignore[union-attr]
    daemon.recorded(f"{database.name}.a", "first")
    records(daemon, database, "after")
    assert says(daemon, "deposed") == 1
    assert leads(daemon) is not leads(standby)
    assert not daemon.database.history.count_documents({"operation": "gap"})
    assert daemon.database.history.count_documents({"document_id": {"$in": ["first", "second", "after"]}}) == 3
    shown = watcher(daemon, "checkpoint", "show").stdout
    assert f"leader      {lease(daemon)['host']} (pid {lease(daemon)['pid']}), term {lease(daemon)['term']}" in shown
