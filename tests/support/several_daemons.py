"""Several daemons on one stream: which of them leads, what only a leader writes, and daemons of partitions."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any

import bson
from bson import Timestamp
from pymongo.errors import PyMongoError

from change_history import History
from change_history.bson.cluster_time import ClusterTime
from tests.support import load, oracle
from tests.support.background import running
from tests.support.daemon import eventually
from watcher.backfill.entry_store import EntryStore
from watcher.cli import exit_codes
from watcher.events import baseline
from watcher.leadership.fence import Fence
from watcher.leadership.lease import Lease, Term
from watcher.stream.batch import Position
from watcher.stream.writer import Writer
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    import threading
    from contextlib import AbstractContextManager

    from pymongo.database import Database

    from tests.support.daemon import Daemon


def beside(daemon: Daemon, name: str) -> Daemon:
    """Another daemon with the same settings, not yet started; its log goes to a file of that name."""
    other = copy(daemon)
    other._log_file = daemon._log_file.with_name(f"{name}.log")
    other._log_file.touch()
    other.process = None
    return other


def lease(daemon: Daemon) -> dict[str, Any]:
    """The lease as it is stored, once there is one."""
    found = eventually(lambda: daemon.database.checkpoints.find_one({"lease": {"$exists": True}}), "a lease")
    return dict(found["lease"])


def leads(daemon: Daemon) -> bool:
    """Whether a daemon holds the lease."""
    assert daemon.process is not None
    assert daemon.process.poll() is None, daemon.log()
    return bool(lease(daemon).get("pid") == daemon.process.pid)


def says(daemon: Daemon, event: str) -> int:
    """How often a daemon has logged something."""
    return sum(line["event"].startswith(event) for line in daemon.log_lines())


def stands_by(daemon: Daemon) -> Daemon:
    """Wait until a daemon that was just started stands by."""
    eventually(lambda: says(daemon, "standing by"), f"a stand-by\n{daemon.log()}")
    return daemon


def from_afar(daemon: Daemon) -> None:
    """Make the lease look like that of another machine, whose processes nobody here can know of."""
    daemon.database.checkpoints.update_many({}, {"$unset": {"lease.place": ""}})


SCOPE = Scope(("shop.*",), (), "history")


def position(number: int) -> Position:
    """A position."""
    return Position(bson.encode({"_data": f"82{number:08X}"}), ClusterTime.of(Timestamp(number, 1)))


def entry(number: int) -> bytes:
    """What a backfill records of a document."""
    document = bson.encode({"_id": number, "n": number})
    return baseline.baseline(b"shop.a", document, baseline.SnapshotRead(ClusterTime(7), bytes(8)))


def term(database: Database[Any]) -> Term:
    """A term that has begun, and ended every earlier one."""
    taken = Lease(database, "default").acquire(by_force=True)
    assert taken is not None
    return taken


def fence(database: Database[Any]) -> Fence:
    """Writes under a term that has just begun."""
    return Fence(database, "default", term(database))


def own(database: Database[Any], mine: Fence) -> EntryStore:
    """Stores what a backfill records."""
    return EntryStore(database, mine, Writer(database, "default"))


OPERATIONS = 400


def started(daemons: list[Daemon]) -> list[Daemon]:
    """Start daemons, and wait until every partition has a position."""
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


def writing(database: Database[Any], turns: int) -> AbstractContextManager[None]:
    """Write in the background, and to the end."""

    def run(_: threading.Event) -> None:
        for turn in range(turns):
            write(database, turn)

    return running(run)


def agree(daemon: Daemon, plain: oracle.PlainStream, database: Database[Any]) -> list[bytes]:
    """Wait until all is recorded; then history is the stream of a plain client, and tells every document that is there.

    Returns:
        The history, in the order of the stream.
    """
    oracle.both_have_ended(daemon, plain, database)
    found = oracle.history(daemon.database, {"operation": {"$ne": "baseline"}})
    oracle.compare(plain.events, found)
    history = History(daemon.client, daemon.database.name)
    for name in database.list_collection_names():
        documents = list(history.collection_as_of(f"{database.name}.{name}", None))
        assert documents == list(database[name].find().sort("_id"))
    return found
