"""Expiry by age in the running daemon: killed in the middle, beside the stream, and by the command."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from bson import Timestamp

from change_history.reader import Reader
from tests.support.daemon import eventually, watcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from tests.support.daemon import Daemon

_IMAGES: dict[str, Any] = {"changeStreamPreAndPostImages": {"enabled": True}}


def horizon(daemon: Daemon, namespace: str) -> Timestamp:
    """Up to where everything has gone."""
    found = daemon.database["horizons"].find_one({"_id": namespace}) or {}
    done: Timestamp = found.get("done", Timestamp(0, 0))
    return done


def test_history_expires_beside_the_stream_and_states_stay(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Killed again and again; deleted documents go whole, those alive keep their state, old values stay exact."""
    name = database.name
    for collection in ("kept", "users"):
        database.create_collection(collection, **_IMAGES)
    daemon = make_daemon(replica_set_uri, name, retention=f"{name}.users=2s", retention_rate=200, pre_images="off")
    daemon.start().ready()
    users = database["users"]
    users.insert_many([{"_id": n, "n": 0, "text": "é" * n} for n in range(100)])
    for n in range(100):
        users.update_one({"_id": n}, {"$set": {"n": 1}})
    with daemon.client.start_session() as session:
        daemon.client[name]["users"].delete_many({"_id": {"$gte": 90}}, session=session)
        last = session.operation_time
    assert last is not None
    database["kept"].insert_one({"_id": 1})
    daemon.recorded(f"{name}.kept", 1)
    for _ in range(3):
        eventually(lambda: daemon.database["horizons"].find_one({"_id": f"{name}.users"}), "the first horizon")
        time.sleep(0.3)
        daemon.kill()
        daemon.start().ready()
    eventually(lambda: horizon(daemon, f"{name}.users") > last, "everything to expire")

    left = list(daemon.database["history"].find({"namespace": f"{name}.users", "document_id": {"$exists": True}}))
    assert {each["operation"] for each in left} == {"baseline"}
    assert sorted(each["document_id"] for each in left) == list(range(90))
    with Reader(daemon.client, daemon.database.name) as history:
        assert history.as_of(f"{name}.users", 7, None) == {"_id": 7, "n": 1, "text": "é" * 7}
        users.update_one({"_id": 7}, {"$set": {"n": 2}})
        eventually(lambda: (history.as_of(f"{name}.users", 7, None) or {}).get("n") == 2, "the update")
        (change,) = next(reversed(list(history.log(f"{name}.users", 7)))).changes
        assert (change.old_value, change.new_value, change.old_value_from) == (1, 2, "history")
        assert len(list(history.log(f"{name}.kept"))) > 0
    beyond = watcher(daemon, "show", f"{name}.users", "7", "--at", f"{last.time - 60}:1")
    assert beyond.returncode == 10
    assert "has expired" in beyond.stderr


def test_the_command_shows_and_does_what_is_due(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Without --yes nothing goes; done, there is nothing due."""
    name = database.name
    database.create_collection("users", **_IMAGES)
    daemon = make_daemon(replica_set_uri, name, retention=f"{name}.*=1s", retention_by="command").start().ready()
    database["users"].insert_one({"_id": 1, "n": 0})
    for n in range(5):
        database["users"].update_one({"_id": 1}, {"$set": {"n": n + 1}})
    time.sleep(3)
    database["users"].insert_one({"_id": "last"})
    daemon.recorded(f"{name}.users", "last")

    def due() -> int:
        shown = watcher(daemon, "retention", "run", f"{name}.users", "--json")
        assert shown.returncode == 0, shown.stderr
        return int(json.loads(shown.stdout)["due_events"]["$numberLong"])

    eventually(lambda: due() >= 6, "the checkpoint")
    before = daemon.database["history"].count_documents({})
    assert before == daemon.database["history"].count_documents({})

    done = watcher(daemon, "retention", "run", f"{name}.users", "--yes")

    assert done.returncode == 0, done.stderr
    assert "events have expired" in done.stdout
    assert daemon.database["history"].count_documents({"document_id": 1}) == 1
    shown = watcher(daemon, "retention")
    assert f"{name}.users" in shown.stdout
    blamed = watcher(daemon, "blame", f"{name}.users", "1")
    assert "before the horizon" in blamed.stdout
    nothing = watcher(daemon, "retention", "run", "no.such", "--yes")
    assert (nothing.returncode, "no history of no.such fits a rule" in nothing.stderr) == (3, True)
    assert watcher(daemon, "retention", "run", "--yes", "--dry-run").returncode == 2


def test_the_seal_holds_after_expiry_and_erasure(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Both change what was sealed, and leave word of it; nobody is accused, and a forgery is still found."""
    name = database.name
    database.create_collection("users", **_IMAGES)
    settings = {"retention": f"{name}.*=2s", "retention_by": "command", "seal": "on", "seal_interval_s": 1}
    daemon = make_daemon(replica_set_uri, name, **settings).start().ready()
    users = database["users"]
    users.insert_many([{"_id": n, "name": f"secret {n}", "n": 0} for n in range(20)])
    for n in range(20):
        users.update_one({"_id": n}, {"$set": {"n": 1}})
    eventually(lambda: daemon.database["seals"].count_documents({}), "a seal")
    time.sleep(4)
    erased = watcher(daemon, "erase", f"{name}.users", "3", "--trail", "fields", "--yes")
    assert erased.returncode == 0, erased.stderr
    users.update_one({"_id": 3}, {"$set": {"n": 2}})
    users.insert_one({"_id": "last"})
    daemon.recorded(f"{name}.users", "last")

    def expired() -> bool:
        done = watcher(daemon, "retention", "run", f"{name}.users", "--yes")
        assert done.returncode == 0, done.stderr
        return daemon.database["history"].count_documents({"operation": "baseline"}) >= 20

    eventually(expired, "expiry")
    seals = daemon.database["seals"].count_documents({})
    users.insert_one({"_id": "after"})
    eventually(lambda: daemon.database["seals"].count_documents({}) > seals, "a later seal")
    verified = watcher(daemon, "verify")

    assert verified.returncode == 0, verified.stdout + verified.stderr
    with Reader(daemon.client, daemon.database.name) as history:
        assert "secret 3" not in str(history.as_of(f"{name}.users", 3, None))
        assert history.as_of(f"{name}.users", 4, None) == {"_id": 4, "name": "secret 4", "n": 1}
    forged = {"operation": "baseline", "document_id": 4}
    daemon.database["history"].update_one(forged, {"$set": {"changes.2.new_value": 7}})
    eventually(lambda: watcher(daemon, "verify").returncode == 11, "the forgery to be named")
