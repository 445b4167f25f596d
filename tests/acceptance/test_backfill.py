"""Documents that existed before watching, and documents after a gap: history is level with them."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

from bson.raw_bson import RawBSONDocument

from tests.support import oracle
from tests.support.backfill import backfilled
from tests.support.daemon import eventually
from tests.support.generated.documents import every_type
from tests.support.servers import overrun
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from watcher.embedded.mongod import Mongod

DOCUMENTS = 3000


def _level(daemon: Daemon, database: Database[Any]) -> bool:
    """Whether folding all of history gives the live documents, byte for byte."""
    recorded = oracle.history(daemon.database, {})
    return {key: data for key, data in oracle.folded(recorded).items() if data is not None} == oracle.live(database)


def _fill(database: Database[Any]) -> None:
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    database.a.insert_many([{"_id": number, "n": 0, "text": "x" * 200} for number in range(DOCUMENTS)])
    database.a.insert_many([{"_id": f"text {number}"} for number in range(600)])
    database.a.insert_one({"_id": {"of": "a kind"}, "a.b": 1, "": 2})
    database.b.insert_one(RawBSONDocument(every_type()))


def test_existing_documents_get_one_baseline_while_they_are_written_to(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Updates, replacements and deletes of the very documents being read; kills in the middle of it."""
    _fill(database)
    daemon = make_daemon(replica_set_uri, database.name, pre_images="off").start()
    dice = random.Random(3)
    end = threading.Event()

    def write() -> None:
        while not end.is_set():
            number = dice.randrange(DOCUMENTS)
            database.a.update_one({"_id": number}, {"$inc": {"n": 1}, "$unset": {"text": 1}})
            database.a.replace_one({"_id": dice.randrange(DOCUMENTS)}, {"m": number})
            database.a.delete_one({"_id": dice.randrange(DOCUMENTS)})
            database.a.update_one({"_id": f"new {number}"}, {"$set": {"n": number}}, upsert=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            eventually(daemon.database.history.estimated_document_count, "a first entry")
            daemon.kill()
            daemon.start()
        eventually(lambda: backfilled(daemon), "the end of the backfill")
    finally:
        end.set()
        writer.join()
    database.end.insert_one({"_id": "end"})
    daemon.recorded(f"{database.name}.end", "end")

    eventually(lambda: _level(daemon, database), "history to be level")
    baselines = list(daemon.database.history.find({"operation": "baseline"}, {"document_id": 1, "namespace": 1}))
    assert len(baselines) == len({(item["namespace"], str(item["document_id"])) for item in baselines})
    assert any("backfill done" in line["event"] for line in daemon.log_lines())
    assert daemon.stop() == exit_codes.OK


def test_a_baseline_can_be_declined(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Then history begins with the first event."""
    database.a.insert_one({"_id": 1})
    daemon = make_daemon(replica_set_uri, database.name, baseline="off").start().ready()
    database.a.insert_one({"_id": 2})
    daemon.recorded(f"{database.name}.a", 2)

    assert daemon.database.history.count_documents({"operation": "baseline"}) == 0


def test_after_a_gap_history_is_level_with_every_document(
    own_server: Callable[..., Mongod], make_daemon: Callable[..., Daemon]
) -> None:
    """Changed, new, deleted, in a collection made or dropped meanwhile: one gap, and as-of is the live collection."""
    server = own_server(oplog_mb=4, extra_args=("--syncdelay", "1"))
    daemon = make_daemon(server.uri, "shop")
    shop = daemon.client.shop
    shop.a.insert_many([{"_id": number, "n": 0, "m": {"x": 1}} for number in range(200)])
    shop.dropped.insert_many([{"_id": number} for number in range(3)])
    daemon.start().ready()
    eventually(lambda: backfilled(daemon), "the baseline")
    shop.a.update_one({"_id": 0}, {"$set": {"seen": True}})
    daemon.recorded("shop.a", 0)
    assert daemon.stop() == exit_codes.OK
    shop.a.update_many({"_id": {"$lt": 20}}, {"$inc": {"n": 1}, "$set": {"m.y": 2}})
    shop.a.delete_many({"_id": {"$gte": 190}})
    shop.a.insert_many([{"_id": f"new {number}"} for number in range(10)])
    shop.made.insert_one({"_id": 1})
    shop.dropped.drop()
    overrun(daemon.client)

    daemon.start()
    level = {"operation": "gap", "description.level": True}
    eventually(lambda: daemon.database.history.find_one(level), "the gap to be reconciled")
    shop.a.update_one({"_id": 1}, {"$set": {"later": True}})
    shop.end.insert_one({"_id": "end"})
    daemon.recorded("shop.end", "end")

    assert daemon.database.history.count_documents({"operation": "gap"}) == 1
    eventually(lambda: _level(daemon, shop), "history to be level")
    entries = [oracle.entry(item) for item in oracle.history(daemon.database, {"operation": "reconcile"})]
    assert len(entries) == 20 + 10 + 10 + 1 + 3
    one = next(entry for entry in entries if entry["document_id"] == 5)
    assert one["changes"] == [
        {"field": "n", "old_value": 0, "new_value": 1, "old_value_from": "history"},
        {"field": "m.y", "new_value": 2, "old_value_from": "history"},
    ]
    assert daemon.stop() == exit_codes.OK
