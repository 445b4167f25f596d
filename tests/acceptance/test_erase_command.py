"""`watcher erase` beside a running daemon: shown first, done, kept up while the document is written, ended."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from change_history.stored.reading import RAW
from tests.support.daemon import eventually, watcher

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.daemon import Daemon

MARK = "m4rk"


def holding(daemon: Daemon) -> list[str]:
    """Where a mark stands in the history database, byte by byte."""
    database = daemon.database
    return [
        f"{name}: {bytes(stored.raw)[:200]!r}"
        for name in database.list_collection_names(filter={"type": "collection"})
        for stored in database.get_collection(name, codec_options=RAW).find()
        if MARK.encode() in bytes(stored.raw)
    ]


def test_a_person_is_erased_while_the_document_is_written(database: Database[Any], daemon: Daemon) -> None:
    """Written all the time, the daemon killed and started again: nothing of it comes back, until it is said to end."""
    users, namespace = database["users"], f"{database.name}.users"
    users.insert_many([{"_id": 1, "name": MARK, "n": 0}, {"_id": 2, "name": "Bob"}])
    database["orders"].insert_one({"_id": 1, "note": f"for {MARK}"})
    daemon.recorded(f"{database.name}.orders", 1)

    shown = watcher(daemon, "erase", namespace, "1")
    assert shown.returncode == 0, shown.stderr
    assert f"{namespace}: 1 event to be erased" in shown.stdout
    assert "Nothing was changed" in shown.stdout
    assert len(holding(daemon)) == 2
    assert watcher(daemon, "erase", namespace, "7").returncode == 3
    assert watcher(daemon, "erase", namespace).returncode == 2

    end = threading.Event()

    def write() -> None:
        number = 0
        while not end.is_set():
            number += 1
            users.update_one({"_id": 1}, {"$set": {"name": f"{MARK}{number}", "n": number}})

    writing = threading.Thread(target=write)
    writing.start()
    try:
        done = watcher(daemon, "erase", namespace, "1", "--value", MARK, "--reason", "request 7", "--yes", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["done"] is True
        assert holding(daemon) == []
        daemon.kill()
        daemon.start().ready()
    finally:
        end.set()
        writing.join()
    users.insert_one({"_id": "last"})
    daemon.recorded(namespace, "last")
    assert holding(daemon) == []
    listed = watcher(daemon, "erase", "--list")
    assert "request 7" in listed.stdout
    assert "standing" in listed.stdout
    assert "\u2039erased\u203a" in watcher(daemon, "log", namespace, "1").stdout
    assert "No erasure was interrupted" in watcher(daemon, "erase", "--continue").stdout

    assert watcher(daemon, "erase", namespace, "1", "--end", "--yes").returncode == 0
    assert watcher(daemon, "erase", namespace, "1", "--end", "--yes").returncode == 3

    def recorded_again() -> bool:
        users.update_one({"_id": 1}, {"$set": {"name": f"{MARK} again"}, "$inc": {"n": 1}})
        return bool(holding(daemon))

    eventually(recorded_again, "the end")


def test_what_is_left_is_said(database: Database[Any], daemon: Daemon) -> None:
    """A value in a collection that is not gone through, and an event of which only the time stays."""
    namespace = f"{database.name}.users"
    database["users"].insert_one({"_id": 1})
    database["users"].update_one({"_id": 1}, {"$set": {"name": MARK}})
    database["users"].insert_one({"_id": 2, "name": MARK})
    daemon.recorded(namespace, 2)
    assert watcher(daemon, "erase", "--value", "", "--yes").returncode == 2, "it stands everywhere"
    daemon.database["of_others"].insert_one({"_id": 1, "note": MARK})
    daemon.database["history"].delete_one({"namespace": namespace, "document_id": 1, "operation": "insert"})

    who = ("--where", json.dumps({"name": MARK}))
    bare = watcher(daemon, "erase", namespace, *who, "--value", MARK, "--trail", "times", "--yes")

    assert bare.returncode == 9, bare.stderr
    assert "of_others: 1 document" in bare.stderr
    assert "1 document may have matched" in bare.stderr
    assert "what it did was erased on request" in watcher(daemon, "log", namespace, "2").stdout
    assert watcher(daemon, "show", namespace, "2").returncode == 10
