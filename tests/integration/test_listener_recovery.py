"""The change stream on a real server: whatever breaks it, nothing is lost, doubled or out of order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.errors import CursorNotFound, OperationFailure, PyMongoError

from change_history.bson.cluster_time import BEGINNING_OF_TIME
from tests.support.change_stream import batches_until, events_of, ids, operations, until_insert_of
from watcher import clients
from watcher.errors import UnusablePositionError, Verdict, classify
from watcher.stream.batch import Position
from watcher.stream.listener import Listener
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from pymongo.database import Database

    from tests.support.change_stream import Listen
    from watcher.stream.batch import Batch


def test_a_killed_cursor_is_opened_anew_without_loss(database: Database[Any], listen: Listen) -> None:
    """An operator's killCursors, or the server's own clean-up, after a long pause of ours."""
    listener = listen(batch_size=2)
    listener.next_batch()
    database.a.insert_many([{"_id": number} for number in range(6)])
    found = [listener.next_batch()]
    for _ in range(3):
        name = listener._cursor_name
        database.client[database.name].command({"killCursors": name, "cursors": [listener._cursor]})
        with pytest.raises(CursorNotFound) as caught:
            listener.next_batch()
        assert classify(caught.value) is Verdict.TRANSIENT
        found.append(listener.next_batch())
    found += batches_until(listener, until_insert_of(5))

    assert ids(events_of(found)) == list(range(6))


def test_a_session_killed_under_the_stream_is_opened_anew(database: Database[Any], listen: Listen) -> None:
    """Sessions end after half an hour, or when somebody ends them all."""
    listener = listen()
    listener.next_batch()
    assert listener._session is not None
    database.client.admin.command({"killSessions": [{"id": listener._session.session_id["id"]}]})
    database.a.insert_one({"_id": 1})
    found: list[Batch] = []
    for _ in range(20):
        try:
            found.append(listener.next_batch())
        except PyMongoError as error:
            assert classify(error) is Verdict.TRANSIENT  # noqa: PT017 - it may or may not fail first
        if ids(events_of(found)):
            break

    assert ids(events_of(found)) == [1]


@pytest.mark.parametrize("end", ["drop", "rename", "drop the database"])
@pytest.mark.parametrize("include", ["{db}.a", "{db}.*"])
def test_the_stream_goes_on_after_its_collection_has_gone(
    database: Database[Any], listen: Listen, end: str, include: str
) -> None:
    """The server closes the cursor; what happens in the meantime is still told, after a restart too."""
    listener = listen(include)
    first = listener.next_batch()
    for number in range(3):
        database.a.insert_one({"_id": number})
        if end == "drop":
            database.a.drop()
        if end == "rename":
            database.a.rename(f"b{number}")
        if end == "drop the database":
            database.client.drop_database(database.name)
    database.a.insert_one({"_id": 3})
    batches = batches_until(listener, until_insert_of(3))

    assert ids(events_of(batches)) == [0, 1, 2, 3]
    if include == "{db}.a" or end == "drop the database":
        assert operations(events_of(batches)).count("invalidate") == 3
    for number, batch in enumerate([first, *batches]):
        rest = events_of(batches[number:])
        if rest:
            again = listen(include, position=batch.position)
            assert events_of(batches_until(again, until_insert_of(3))) == rest


@pytest.mark.parametrize(
    "token",
    [
        {"_data": "82"},
        {"_data": "zz"},
        {"_data": ""},
        {"_data": "82" + "00" * 40},
        {"_data": 5},
        {"no": "token"},
        {},
    ],
    ids=str,
)
def test_a_damaged_position_is_a_lost_one_and_no_loop(listen: Listen, token: dict[str, Any]) -> None:
    """Neither tried again for ever, nor a riddle about options."""
    damaged = Position(bson.encode(token), BEGINNING_OF_TIME)
    with pytest.raises(PyMongoError) as caught:
        listen(position=damaged).next_batch()

    assert classify(caught.value) is Verdict.POSITION_LOST
    assert isinstance(caught.value, UnusablePositionError | OperationFailure)


def test_what_was_lost_is_told_once_with_the_first_batch(database: Database[Any], listen: Listen) -> None:
    """And the stream goes on from now."""
    damaged = Position(bson.encode({"_data": "82"}), BEGINNING_OF_TIME)
    listener = listen(position=damaged, skip_what_is_lost=True)
    batches = [listener.next_batch()]
    database.a.insert_one({"_id": 1})
    batches += batches_until(listener, until_insert_of(1))

    assert batches[0].lost is not None
    assert batches[0].lost.position == damaged
    assert [batch.lost for batch in batches[1:]] == [None] * (len(batches) - 1)


def test_no_cursor_is_left_on_the_server(database: Database[Any], listen: Listen) -> None:
    """Each holds resources for ten minutes; a daemon that reopens often would pile them up."""
    for _ in range(5):
        listener = listen()
        listener.next_batch()
        listener.close()
        listener.close()
    pipeline: list[dict[str, Any]] = [
        {"$currentOp": {"idleCursors": True, "allUsers": True}},
        {"$match": {"type": "idleCursor"}},
    ]
    idle = list(database.client.admin.aggregate([*pipeline, {"$match": {"ns": {"$regex": f"^{database.name}"}}}]))

    assert idle == []


def test_a_timeout_in_the_connection_string_does_not_hold_back_a_stop(
    replica_set_uri: str, database: Database[Any]
) -> None:
    """With timeoutMS=60000 an idle stream answers once a minute: the watchdog bites, and a stop waits as long."""
    joint = "&" if "?" in replica_set_uri else "?"
    uri = f"{replica_set_uri}{joint}timeoutMS=60000"
    with MongoClient[dict[str, Any]](uri, **clients.options(uri)) as client:
        listener = Listener(client, Scope((f"{database.name}.a",), (), "history"), 10, None, pre_images=True)
        listener.next_batch()
        began = time.monotonic()
        listener.next_batch()
        took = time.monotonic() - began
        listener.close()

    assert took < 30  # of sixty


def test_a_closed_stream_goes_on_where_it_was(database: Database[Any], listen: Listen) -> None:
    """`close` after trouble is no end."""
    listener = listen(batch_size=1)
    listener.next_batch()
    database.a.insert_many([{"_id": number} for number in range(3)])
    found: list[Batch] = []
    while len(ids(events_of(found))) < 3:
        found.append(listener.next_batch())
        if found[-1].events:
            listener.close()

    assert ids(events_of(found)) == [0, 1, 2]
