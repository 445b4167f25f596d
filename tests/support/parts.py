"""Daemons of the parts of one stream: started, stopped, written for, and held against a plain change stream."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from change_history import History
from tests.support import load, oracle
from tests.support.daemon import eventually
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from tests.support.daemon import Daemon

OPERATIONS = 400


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
