"""The change stream on a real server: whatever breaks it, nothing is lost, doubled or out of order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import bson
import pytest
from pymongo import MongoClient
from pymongo.errors import CursorNotFound, OperationFailure, PyMongoError

from core import event, record
from tests import oracle
from watcher import clients
from watcher.batch import Position
from watcher.errors import UnusablePositionError, Verdict, classify
from watcher.listener import Listener
from watcher.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from watcher.batch import Batch

Listen: TypeAlias = Callable[..., Listener]

MOST_READS = 400


@pytest.fixture
def listen(database: Database[Any]) -> Iterator[Listen]:
    """A function that opens a stream on the test's own database; all are closed at the end."""
    listeners: list[Listener] = []

    def start(
        include: str = "{db}.*", batch_size: int = 100, position: Position | None = None, **more: Any
    ) -> Listener:
        scope = Scope((include.format(db=database.name),), (), "history")
        options = {"pre_images": True, **more}
        listener = Listener(database.client, scope, batch_size, position, **options)
        listeners.append(listener)
        return listener

    yield start
    for listener in listeners:
        listener.close()


def batches_until(listener: Listener, enough: Callable[[list[bytes]], bool]) -> list[Batch]:
    """Read until the events are enough."""
    found: list[Batch] = []
    for _ in range(MOST_READS):
        found.append(listener.next_batch())
        if enough(events_of(found)):
            return found
    raise AssertionError(f"only {len(events_of(found))} events came")


def events_of(batches: list[Batch]) -> list[bytes]:
    """The events of batches, in order."""
    return [item for batch in batches for item in batch.events]


def until_insert_of(document_id: Any) -> Callable[[list[bytes]], bool]:
    """Whether the last event is the insert of a document."""

    def enough(events: list[bytes]) -> bool:
        return bool(events) and ids(events[-1:]) == [document_id]

    return enough


def ids(events: list[bytes]) -> list[Any]:
    """The ids of the inserted documents among events."""
    decoded = [bson.decode(item) for item in events]
    return [item["documentKey"]["_id"] for item in decoded if item["operationType"] == "insert"]


def operations(events: list[bytes]) -> list[str]:
    """What happened."""
    return [bson.decode(item)["operationType"] for item in events]


def test_every_batch_carries_the_position_after_it(database: Database[Any], listen: Listen) -> None:
    """Empty ones as well; tokens never go back, and no batch is larger than asked for."""
    listener = listen(batch_size=7)
    batches = [listener.next_batch()]
    database.a.insert_many([{"_id": number} for number in range(50)])
    batches += batches_until(listener, until_insert_of(49))
    batches.append(listener.next_batch())

    assert ids(events_of(batches)) == list(range(50))
    assert batches[0].events == batches[-1].events == []
    assert max(len(batch.events) for batch in batches) == 7
    tokens = [event.token_bytes(batch.position.token) for batch in batches]
    assert tokens == sorted(tokens)
    for batch in batches:
        assert batch.position.seconds > 1_600_000_000
        if batch.events:
            last = event.parse(batch.events[-1])
            assert event.token_bytes(batch.position.token) >= last.token
            assert batch.position.cluster_time == last.cluster_time


def test_going_on_from_any_batch_loses_nothing_and_doubles_nothing(database: Database[Any], listen: Listen) -> None:
    """Whatever batch was the last to be saved before a crash, also in the middle of a transaction."""
    database.create_collection("a")
    listener = listen(batch_size=5)
    first = listener.next_batch()
    database.a.insert_many([{"_id": number} for number in range(8)])
    with database.client.start_session() as session, session.start_transaction():
        database.a.insert_many([{"_id": number} for number in range(8, 20)], session=session)
    database.a.insert_one({"_id": 20})
    batches = [first, *batches_until(listener, until_insert_of(20))]
    events = events_of(batches)
    assert ids(events) == list(range(21))

    for number, batch in enumerate(batches):
        rest = events[len(events_of(batches[: number + 1])) :]
        again = listen(batch_size=3, position=batch.position)
        assert events_of(batches_until(again, until_insert_of(20))) == rest if rest else True


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


def test_a_collection_that_does_not_exist_yet_can_be_watched(database: Database[Any], listen: Listen) -> None:
    """Nor its database: the daemon may be there first."""
    listener = listen("{db}.later")
    listener.next_batch()
    database.other.insert_one({"_id": 0})
    database.later.insert_one({"_id": 1})

    assert ids(events_of(batches_until(listener, until_insert_of(1)))) == [1]


def test_hostile_names_are_watched_as_any_other(database: Database[Any], listen: Listen) -> None:
    """Dots, a line break, regex characters, not ASCII."""
    for number, name in enumerate(["a.b.c", "a\nb", "a+(b)|[c]^", "ünï 漢", "a\\b", "x" * 100]):
        listener = listen(f"{{db}}.{name}".replace("[c]", "[[]c]"))
        listener.next_batch()
        database["no"].insert_one({"_id": -1 - number})
        database[name].insert_one({"_id": number})
        assert ids(events_of(batches_until(listener, until_insert_of(number)))) == [number]


def test_a_transaction_beyond_one_oplog_entry_keeps_its_order(database: Database[Any], listen: Listen) -> None:
    """Over 16 MB: several entries, one commit; events of one cluster time, ordered by their tokens."""
    database.create_collection("a")
    listener = listen()
    listener.next_batch()
    with database.client.start_session() as session, session.start_transaction():
        for number in range(20):
            database.a.insert_one({"_id": number, "text": "x" * 1_000_000}, session=session)
        for number in range(19, -1, -1):
            database.a.update_one({"_id": number}, {"$set": {"n": number}}, session=session)
        database.a.insert_one({"_id": 20}, session=session)
    events = events_of(batches_until(listener, until_insert_of(20)))
    parsed = [event.parse(item) for item in events]

    assert ids(events) == list(range(21))
    updated = [bson.decode(item) for item in events if event.parse(item).operation == b"update"]
    assert [item["documentKey"]["_id"] for item in updated] == list(range(19, -1, -1))
    assert [item.token for item in parsed] == sorted(item.token for item in parsed)
    assert len({item.id for item in parsed}) == 41
    assert len({bson.encode(bson.decode(item)["lsid"]) for item in events}) == 1


def test_without_pre_images_none_are_asked_for(database: Database[Any], listen: Listen) -> None:
    """PRE_IMAGES=off spares the server reading them."""
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    streams = [listen(pre_images=images) for images in (True, False)]
    for listener in streams:
        listener.next_batch()
    database.a.insert_one({"_id": 0})
    database.a.delete_one({"_id": 0})
    database.a.insert_one({"_id": 1})
    found = [events_of(batches_until(listener, until_insert_of(1))) for listener in streams]

    assert [
        ["fullDocumentBeforeChange" in bson.decode(item) for item in events if b"delete" in item] for events in found
    ] == [[True], [False]]


UPDATES: list[Any] = [
    {"$set": {"n": 2}},
    {"$set": {"new": 1, "sub.new": 2}},
    {"$unset": {"n": 1, "sub.a": 1}},
    {"$set": {"list.1": "x"}},
    {"$push": {"list": 4}},
    {"$pull": {"list": 2}},
    {"$set": {"sub.0": "a key that looks like an index"}},
    {"$set": {"objects.1.k": 9}},
    [{"$set": {"list": {"$slice": ["$list", 1]}}}],
    [{"$set": {"whole": {"$literal": {"$set": 1, "a.b": 2}}}}],
    {"$rename": {"sub": "bus"}},
    {"$set": {"bus.b": None}},
]


def test_without_raw_update_descriptions_history_is_the_same(database: Database[Any], listen: Listen) -> None:
    """On a server that has none, or refuses to give them, history must say the same, byte for byte.

    They legitimately differ in `at_end` alone, the raw description's word that a field went to the end of its
    document though it had existed; none of these updates does that.
    """
    database.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
    streams = [listen(), listen()]
    streams[1]._raw_updates = False
    for listener in streams:
        listener.next_batch()
    whole = {
        "_id": 0,
        "n": 1,
        "list": [1, 2, 3],
        "sub": {"a": 1, "b": {"c": 2}, "0": 0},
        "objects": [{"k": 1}, {"k": 2}],
    }
    for number, update in enumerate(UPDATES):
        database.a.insert_one({**whole, "_id": number, "bus": {"b": 1}} if number > 10 else {**whole, "_id": number})
        assert database.a.update_one({"_id": number}, update).modified_count == 1
    database.a.insert_one({"_id": 99})
    with_raw, without = (events_of(batches_until(listener, until_insert_of(99))) for listener in streams)
    assert b"rawUpdateDescription" in b"".join(with_raw)
    assert b"rawUpdateDescription" not in b"".join(without)
    assert len(with_raw) == len(without)

    differing = [
        (bson.decode(one)["documentKey"], oracle.entry(record.record(one)), oracle.entry(record.record(other)))
        for one, other in zip(with_raw, without, strict=True)
        if record.record(one) != record.record(other)
    ]
    assert differing == []


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
    damaged = Position(bson.encode(token), bytes(8))
    with pytest.raises(PyMongoError) as caught:
        listen(position=damaged).next_batch()

    assert classify(caught.value) is Verdict.POSITION_LOST
    assert isinstance(caught.value, UnusablePositionError | OperationFailure)


def test_what_was_lost_is_told_once_with_the_first_batch(database: Database[Any], listen: Listen) -> None:
    """And the stream goes on from now."""
    damaged = Position(bson.encode({"_data": "82"}), bytes(8))
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
    uri = f"{replica_set_uri}{joint}timeoutMS=5000"
    with MongoClient[dict[str, Any]](uri, **clients.options(uri)) as client:
        listener = Listener(client, Scope((f"{database.name}.a",), (), "history"), 10, None, pre_images=True)
        listener.next_batch()
        began = time.monotonic()
        listener.next_batch()
        took = time.monotonic() - began
        listener.close()

    assert took < 4


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
