"""A stream in parts: together they record exactly what one daemon would, however often their number changes."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from bson import json_util
from pymongo.errors import PyMongoError

from cli import exit_codes
from config.partition import Part
from history import History
from tests import load, oracle
from tests.commands import watcher
from tests.daemon import eventually
from watcher.partition import holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.daemon import Daemon

OPERATIONS = 400


@pytest.fixture
def parts(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> Callable[..., list[Daemon]]:
    """A function that makes the daemons of so many parts of one stream, not yet started; for 1, of the whole."""
    history = f"history_of_{database.name}"

    def make(number: int, **settings: Any) -> list[Daemon]:
        of_parts = [{"partition": f"{i + 1}/{number}"} for i in range(number)] if number > 1 else [{}]
        return [
            make_daemon(replica_set_uri, database.name, history_database=history, **one, **settings) for one in of_parts
        ]

    return make


def started(daemons: list[Daemon]) -> list[Daemon]:
    """Start daemons, and wait until every part has a position."""
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        daemon.ready()
    return daemons


def stopped(daemons: list[Daemon]) -> None:
    """Stop daemons in order."""
    assert [daemon.stop() for daemon in daemons] == [exit_codes.OK] * len(daemons)


def positions(daemon: Daemon) -> list[str]:
    """The names of the checkpoints that have a position."""
    return sorted(daemon.database.checkpoints.distinct("_id", {"token": {"$exists": True}}))


def write(database: Database[Any], turn: int) -> None:
    """Writes of all kinds, also to collections as a whole, and in transactions."""
    load.driver_load(database, OPERATIONS, turn)
    name = f"moved{turn % 3}"
    with suppress(PyMongoError):
        database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    database[name].insert_many([{"_id": f"{turn}m{number}", "n": 0} for number in range(20)])
    with database.client.start_session() as session, session.start_transaction():
        database[name].update_many({}, {"$inc": {"n": 1}}, session=session)
        database.users.update_many({"_id": {"$lt": 7}}, {"$set": {"turn": turn}}, session=session)
    database[name].rename(f"moved{(turn + 1) % 3}", dropTarget=True)
    if turn % 4 == 3:
        database[f"moved{(turn + 1) % 3}"].drop()


@contextmanager
def writing(database: Database[Any], turns: int) -> Iterator[None]:
    """Write in the background, and to the end."""
    failures: list[Exception] = []

    def run() -> None:
        try:
            for turn in range(turns):
                write(database, turn)
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)

    writer = threading.Thread(target=run)
    writer.start()
    try:
        yield
    finally:
        writer.join()
    assert not failures, failures


def agree(daemon: Daemon, plain: oracle.PlainStream, database: Database[Any]) -> list[bytes]:
    """Wait until all is recorded; then history is the stream of a plain client, and tells every document that is there.

    Returns:
        The history, in the order of the stream.
    """
    database.marker.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.marker", "end")
    token = oracle.entry(oracle.history(daemon.database, {"document_id": "end"})[-1])["resume_token"]
    eventually(lambda: any(oracle.token_of(event) == token for event in plain.events[-3:]), "the plain stream's end")
    recorded = {"operation": {"$ne": "baseline"}}
    eventually(lambda: daemon.database.history.count_documents(recorded) >= len(plain.events), "all events")
    found = oracle.history(daemon.database, recorded)
    oracle.compare(plain.events, found)
    history = History(daemon.client, daemon.database.name)
    for name in database.list_collection_names():
        documents = list(history.collection_as_of(f"{database.name}.{name}", None))
        assert documents == list(database[name].find().sort("_id"))
    return found


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
    for part in (Part(1, 3), Part(2, 3), Part(3, 3)):
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
        with writing(database, 16):
            for number in (3, 2, 1, 2):
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
        assert watcher(first[0], "partition", "1", "--yes", "--force").returncode == exit_codes.OK
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
    eventually(lambda: "once the other parts are past the gap" in daemons[0].log(), "a part that waits")
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


def test_the_command_says_how_a_stream_is_split_and_what_would_follow(
    database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """For people and for machines; nothing is done without --yes."""
    (daemon,) = started(parts(1))
    database.a.insert_one({"_id": 1})
    daemon.recorded(f"{database.name}.a", 1)
    shown = watcher(daemon, "partition")
    assert shown.returncode == exit_codes.OK, shown.stderr
    assert "default" in shown.stdout
    assert str(daemon.process.pid if daemon.process else "") in shown.stdout
    busy = watcher(daemon, "partition", "3", "--yes")
    assert busy.returncode == exit_codes.BUSY, busy.stdout
    assert "--force" in busy.stderr
    assert positions(daemon) == ["default"]
    stopped([daemon])
    planned = json_util.loads(watcher(daemon, "partition", "4", "--json").stdout)
    assert planned["target"]["parts"] == 4
    assert planned["done"] is False
    assert positions(daemon) == ["default"]
    same = watcher(daemon, "partition", "1", "--yes")
    assert same.returncode == exit_codes.OK
    assert "Done" not in same.stdout
    assert watcher(daemon, "partition", "65").returncode == exit_codes.USAGE
    done = watcher(daemon, "partition", "4", "--yes")
    assert "--partition I/4" in done.stdout
    assert [part["checkpoint"] for part in json_util.loads(watcher(daemon, "partition", "--json").stdout)["parts"]] == [
        f"default:{number}/4" for number in range(1, 5)
    ]


def test_a_daemon_of_another_division_does_not_start(
    database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: three daemons run as thirds, one as the whole, and everybody's position is wrong."""
    daemons = started(parts(2))
    for other in (*parts(1), *parts(3)):
        assert other.start().wait() == exit_codes.POSITION_REFUSED
        assert "is split into 2 parts" in other.log()
    assert positions(daemons[0]) == ["default:1/2", "default:2/2"]
    examined = watcher(daemons[0], "doctor", "--partition", "3/3")
    assert examined.returncode == exit_codes.UNHEALTHY
    assert "is split into 2 parts" in examined.stdout
    assert "default:1/2" in watcher(daemons[0], "doctor").stdout
    shown = watcher(daemons[0], "checkpoint", "show", "--stream", "default").stdout
    assert "default:1/2" in shown
    assert "default:2/2" in shown
    stopped(daemons)


def test_a_transaction_is_not_undone_by_halves_while_a_part_is_behind(
    client: MongoClient[Any], database: Database[Any], parts: Callable[..., list[Daemon]]
) -> None:
    """Disaster: what a stopped part would have told is left as the transaction made it, and nobody is told."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    database.a.insert_many([{"_id": number, "n": 0} for number in range(50)])
    daemons = started(parts(2))
    history = daemons[0].database.history
    eventually(lambda: history.count_documents({"operation": "baseline"}) == 50, "the baseline")
    assert daemons[1].stop() == exit_codes.OK
    with client.start_session() as session, session.start_transaction():
        database.a.update_many({}, {"$set": {"n": 1}}, session=session)
    seen = eventually(lambda: history.find_one({"operation": "update"}), "the first half")
    time.sleep(1)
    name = bytes(seen["_id"]).hex()
    refused = watcher(daemons[0], "revert", "--transaction", name, "--yes")
    assert refused.returncode == exit_codes.UNKNOWN, (refused.stdout, refused.stderr, seen)
    assert "default:2/2 has recorded up to" in refused.stderr
    assert database.a.count_documents({"n": 1}) == 50
    daemons[1].start()
    eventually(lambda: history.count_documents({"operation": "update"}) == 50, "the second half")
    done = eventually(
        lambda: (tried := watcher(daemons[0], "revert", "--transaction", name, "--yes")).returncode == 0 and tried,
        "all of it undone",
    )
    assert done
    assert database.a.count_documents({"n": 0}) == 50
    stopped(daemons)
