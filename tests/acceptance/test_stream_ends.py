"""A stream of one collection or one database that ends, because what it follows goes away, is gone on with.

The server's word for the end is an `invalidate` event, after which only `startAfter` goes on.
https://www.mongodb.com/docs/manual/changeStreams/#resume-a-change-stream
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support import oracle
from tests.support.daemon import Daemon, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

SCOPES = {"database": "{}.*", "collection": "{}.coll"}
ENDED_BY = {"database": "dropDatabase", "collection": "drop"}


@pytest.fixture(params=SCOPES)
def scope(request: pytest.FixtureRequest) -> str:
    """What the daemon follows."""
    name: str = request.param
    return name


@pytest.fixture
def narrow(scope: str, replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon, started, of a database that does not exist yet. It leaves images alone: nothing else happens.

    It reads no context documents, for which a stream of one collection would be one of its database.
    """
    options = {"include": SCOPES[scope].format(database.name), "pre_images": "use", "context_collection": ""}
    return make_daemon(replica_set_uri, database.name, **options).start().ready()


def _write(daemon: Daemon, database: Database[Any], key: str) -> None:
    database.coll.insert_one({"_id": key})
    daemon.recorded(f"{database.name}.coll", key)


def _said(daemon: Daemon) -> list[str]:
    """Everything recorded, in the order of the stream."""
    entries = map(oracle.entry, oracle.history(daemon.database, {}))
    return [f"{entry['operation']} {entry.get('document_id', '')}".strip() for entry in entries]


def _end_it(scope: str, daemon: Daemon, database: Database[Any]) -> list[str]:
    """Let what is followed go away, and wait until the end is recorded; what is to be said of it."""
    if scope == "database":
        database.client.drop_database(database.name)
    else:
        database.coll.drop()
    eventually(lambda: daemon.database.history.find_one({"operation": "invalidate"}), "the end of the stream")
    return ["drop", *(["dropDatabase"] if scope == "database" else []), "invalidate"]


def test_a_database_that_does_not_exist_yet_is_recorded_from_its_first_write(
    scope: str, narrow: Daemon, database: Database[Any]
) -> None:
    """Also when the daemon was stopped and started again before there was anything."""
    assert database.name not in database.client.list_database_names()
    assert narrow.stop() == 0
    narrow.start().ready()
    _write(narrow, database, "first")
    end = _end_it(scope, narrow, database)
    _write(narrow, database, "second")

    assert _said(narrow) == ["create", "insert first", *end, "create", "insert second"]


@pytest.mark.parametrize("position", ["at the end", "just before the end"])
def test_a_daemon_that_stopped_where_the_stream_ended_goes_on_behind_the_end(
    scope: str, narrow: Daemon, database: Database[Any], position: str
) -> None:
    """A position at the end cannot be resumed, only started after; one before it leads to the end once more."""
    _write(narrow, database, "before")
    end = _end_it(scope, narrow, database)
    assert narrow.stop() == 0
    last = "invalidate" if position == "at the end" else ENDED_BY[scope]
    (event,) = narrow.database.history.find({"operation": last})
    token = {"_data": bytes(event["resume_token"]).hex().upper()}
    moved = {"$set": {"token": token, "cluster_time": event["cluster_time"]}, "$unset": {"digest": ""}}
    narrow.database.checkpoints.update_one({}, moved)
    database.coll.insert_one({"_id": "while it was down"})
    narrow.start()
    _write(narrow, database, "after")

    expected = ["create", "insert before", *end, "create", "insert while it was down", "insert after"]
    assert _said(narrow) == expected


def test_a_collection_that_went_and_came_back_while_the_daemon_was_down_costs_no_event(
    scope: str, narrow: Daemon, database: Database[Any]
) -> None:
    """The position is of a collection that is no more, whose collation nobody can look up any longer."""
    database.create_collection("coll", collation={"locale": "fr"})
    _write(narrow, database, "before")
    narrow.kill()
    database.coll.insert_one({"_id": "last"})
    database.coll.drop()
    database.create_collection("coll", collation={"locale": "fr"})
    database.coll.insert_one({"_id": "first"})
    database.coll.rename("away")
    database.coll.insert_one({"_id": "second"})
    narrow.start()
    _write(narrow, database, "after")

    lived = ["create", "insert before", "insert last", "drop", "create", "insert first", "rename", "create"]
    expected = [*lived, "insert second", "insert after"]
    assert [said for said in _said(narrow) if said != "invalidate"] == expected
    assert _said(narrow).count("invalidate") == (2 if scope == "collection" else 0)
