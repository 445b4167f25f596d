"""A stream in parts: together they record exactly what one daemon would, however often their number changes."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from change_history import History
from change_history.partition import Partition
from tests.support import load, oracle
from tests.support.daemon import eventually, watcher
from tests.support.several_daemons import OPERATIONS, agree, positions, started, stopped, write, writing
from watcher.cli import exit_codes
from watcher.targets.partition import holds

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.support.daemon import Daemon


def test_parts_record_what_one_daemon_would_though_they_are_killed(
    client: MongoClient[Any], database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: an event falls between the parts, or two record it, or a killed part leaves its documents behind."""
    load.make_collections(database)
    dice = random.Random(3)
    with oracle.PlainStream(client, database.name) as plain:
        daemons = started(parts(3))
        assert positions(daemons[0]) == ["default:1/3", "default:2/3", "default:3/3"]
        with writing(database, 12):
            for _ in range(6):
                time.sleep(dice.uniform(0.2, 0.8))
                unlucky = dice.choice(daemons)
                unlucky.kill()
                unlucky.start()
        recorded = agree(daemons[0], plain, database)
    assert len(recorded) > 12 * OPERATIONS
    stopped(daemons)
    for part in (Partition(1, 3), Partition(2, 3), Partition(3, 3)):
        mine = {"document_id": {"$exists": True}, "$expr": holds(part, "$document_id")}
        assert daemons[0].database.history.count_documents(mine) > OPERATIONS


def test_nothing_is_lost_or_doubled_when_the_number_of_parts_changes(
    client: MongoClient[Any], database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: what one part had not read yet when it ended is read by none of the new ones."""
    load.make_collections(database)
    dice = random.Random(5)
    with oracle.PlainStream(client, database.name) as plain:
        daemons = started(parts(1))
        with writing(database, 9):
            for number in (3, 2):
                time.sleep(0.7)
                for daemon in daemons:  # one after the other, so that each ends somewhere else
                    daemon.stop()
                    time.sleep(dice.uniform(0, 0.3))
                done = watcher(daemons[0], "partition", str(number), "--yes")
                assert done.returncode == exit_codes.OK, done.stderr
                refused = daemons[0].start().wait()
                assert refused == exit_codes.POSITION_REFUSED
                assert "watcher partition" in daemons[0].log()
                daemons = started(parts(number))
        agree(daemons[0], plain, database)
    assert positions(daemons[0]) == ["default:1/2", "default:2/2"]
    stopped(daemons)


def test_a_part_that_was_frozen_while_the_stream_was_split_anew_does_no_harm(
    client: MongoClient[Any], database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: it wakes up, takes itself for the leader, and saves a position that nobody should have any more."""
    load.make_collections(database)
    with oracle.PlainStream(client, database.name) as plain:
        former = started(parts(2))
        write(database, 0)
        former[0].send(signal.SIGSTOP)
        write(database, 1)
        stopped(former[1:])
        done = watcher(former[1], "partition", "3", "--yes", "--force")
        assert done.returncode == exit_codes.OK, done.stderr
        daemons = started(parts(3))
        write(database, 2)
        former[0].send(signal.SIGCONT)
        assert former[0].wait() == exit_codes.POSITION_REFUSED
        agree(daemons[0], plain, database)
    assert positions(daemons[0]) == ["default:1/3", "default:2/3", "default:3/3"]
    stopped(daemons)


def test_a_split_that_is_killed_is_done_or_not_done(
    client: MongoClient[Any], database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: half of the new checkpoints are there, and half of the old ones are gone."""
    load.make_collections(database)
    dice = random.Random(9)
    with oracle.PlainStream(client, database.name) as plain:
        first = started(parts(1))
        write(database, 0)
        stopped(first)
        whole = {number: [f"default:{i + 1}/{number}" for i in range(number)] for number in (2, 3)}
        for attempt in range(8):
            now = positions(first[0])
            wanted = 2 if len(now) == 3 else 3
            with first[0].command("partition", str(wanted), "--yes", "--force") as command:
                with suppress(subprocess.TimeoutExpired):
                    command.wait(dice.uniform(0.5, 2.5) if attempt else 20)
                command.kill()
            after = positions(first[0])
            assert after in (now, whole[wanted])
        # One that was killed before its commit has left a transaction open, which the server ends after a minute.
        put_together = ("partition", "1", "--yes", "--force")
        eventually(lambda: watcher(first[0], *put_together).returncode == exit_codes.OK, "one part again")
        started(first)
        agree(first[0], plain, database)
    stopped(first)


def test_documents_that_were_there_before_are_recorded_once(
    database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: every part takes the baseline of everything, or each misses what another one changes meanwhile."""
    ids: list[Any] = [*range(500), *(f"s{number}" for number in range(500)), {"a": 1}, 1.5, None]
    database.a.insert_many([{"_id": key, "n": 0} for key in ids])
    daemons = started(parts(3))
    assert database.a.options()["changeStreamPreAndPostImages"] == {"enabled": True}  # before the stream's beginning
    history = daemons[0].database.history
    eventually(lambda: history.count_documents({"operation": "baseline"}) >= len(ids), "the baseline")
    eventually(lambda: not daemons[0].database.checkpoints.count_documents({"survey": {"$exists": True}}), "its end")
    assert history.count_documents({"operation": "baseline"}) == len(ids)
    assert len(history.distinct("cluster_time", {"operation": "baseline"})) <= 1
    assert oracle.folded(oracle.history(daemons[0].database, {})) == oracle.live(database)
    stopped(daemons)


def test_a_baseline_that_was_asked_of_parts_that_are_no_more_is_taken_by_the_new_ones(
    database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: it was promised as soon as a daemon runs, and waits for ever for one that can no longer be started."""
    database.a.insert_many([{"_id": number} for number in range(60)])
    daemons = started(parts(2))
    kept = daemons[0].database
    eventually(lambda: kept.history.count_documents({"operation": "baseline"}) == 60, "the baseline")
    eventually(lambda: not kept.checkpoints.count_documents({"survey": {"$exists": True}}), "its end")
    stopped(daemons)
    kept.history.delete_many({"document_id": {"$exists": True}})
    for arguments in ((), ("7",)):
        assert "as soon as it runs" in watcher(daemons[0], "baseline", f"{database.name}.a", *arguments).stdout
    for number in (3, 1):
        done = watcher(daemons[0], "partition", str(number), "--yes")
        assert done.returncode == exit_codes.OK, done.stderr
    whole = started(parts(1))

    eventually(lambda: not kept.baselines.count_documents({}), "what was asked for")

    assert len(list(History(whole[0].client, kept.name).collection_as_of(f"{database.name}.a", None))) == 60
    stopped(whole)


def test_a_gap_of_one_part_is_made_good_for_its_own_documents_only(
    database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: a part compares documents of another one with a history that this one has not written yet."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    daemons = started(parts(2))
    database.a.insert_many([{"_id": number, "n": 0} for number in range(100)])
    history = daemons[0].database.history
    eventually(lambda: history.count_documents({"operation": "insert"}) == 100, "the inserts")
    stopped(daemons)
    database.a.update_many({}, {"$set": {"n": 1}})
    moved = watcher(daemons[0], "checkpoint", "set", "--now", "--yes")
    assert moved.returncode == exit_codes.OK, moved.stderr
    daemons[0].start()
    eventually(lambda: "once the other partitions are past the gap" in daemons[0].log(), "a partition that waits")
    assert not history.count_documents({"operation": "reconcile"})
    refused = watcher(daemons[0], "partition", "3", "--yes", "--force")
    assert refused.returncode == exit_codes.FATAL
    assert "default:2/2 has not come yet to where default:1/2 goes on" in refused.stderr
    daemons[1].start()
    eventually(lambda: history.count_documents({"operation": "gap", "description.level": True}), "a level history")
    reconciled = history.distinct("document_id", {"operation": "reconcile"})
    assert 20 < len(reconciled) < 80
    eventually(lambda: history.count_documents({"operation": "update"}) == 100 - len(reconciled), "the updates")
    assert not set(reconciled) & set(history.distinct("document_id", {"operation": "update"}))
    assert history.count_documents({"operation": "reconcile"}) == len(reconciled)
    gap = history.find_one({"operation": "gap"})
    assert gap is not None
    assert gap["description"]["stream"] == "default:1/2"
    stopped(daemons)
