"""The end of a test with a real daemon: wait until all is recorded, then compare history with the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support import oracle
from tests.support.daemon import eventually

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.daemon import Daemon

END = "end of the test"


def settled(daemon: Daemon, plain: oracle.PlainStream, database: Database[Any]) -> list[bytes]:
    """Wait for a last write and compare history with a plain stream, and its folding with the live documents.

    Returns:
        The history of the database in the order of the stream, without that last write.
    """
    database.create_collection(END, changeStreamPreAndPostImages={"enabled": True})  # nothing is left to be done to it
    database[END].insert_one({"_id": END})
    daemon.recorded(f"{database.name}.{END}", END)
    token = oracle.entry(oracle.history(daemon.database, {"document_id": END})[-1])["resume_token"]
    eventually(lambda: any(oracle.token_of(event) == token for event in plain.events[-3:]), "the plain stream's end")
    eventually(lambda: daemon.database.history.count_documents({}) >= len(plain.events), "all events", patience_s=10)
    recorded = oracle.history(daemon.database, {"operation": {"$ne": "baseline"}})
    oracle.compare(plain.events, recorded)
    whole = oracle.history(daemon.database, {})
    documents = {key: data for key, data in oracle.folded(whole).items() if data is not None}
    assert documents == oracle.live(database)
    return [stored for stored in recorded if oracle.entry(stored).get("namespace") != f"{database.name}.{END}"]
