"""What becomes of history documents, on a real server that refuses some of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import CodecOptions, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, WriteConcern
from pymongo.errors import PyMongoError

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from tests.support.handmade_events import an_event
from tests.support.pipeline_stages import FixedHistory
from watcher.errors import Verdict, classify
from watcher.events import event
from watcher.stream import writer as module
from watcher.stream.batch import Batch, Position
from watcher.stream.listener import Listener
from watcher.stream.pre_image_cache import PreImageCache
from watcher.stream.recorder import Recorder
from watcher.stream.writer import LARGEST_DOCUMENT, Writer
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from pymongo.database import Database

    from watcher.stream.batch import Recorded

MB = 1024 * 1024
AT = Position(b"\x05\x00\x00\x00\x00", BEGINNING_OF_TIME)


@pytest.fixture
def writer(database: Database[Any]) -> Writer:
    """A writer into the test's own database."""
    return Writer(database, "default")


def an_insert(number: int, again: int | None = None, **fields: Any) -> bytes:
    """The event of an insert, each with its own token, perhaps of a document that another one inserted."""
    document_id = number if again is None else again
    return an_event(
        "insert",
        _id={"_data": f"826B04A8F9{number:08X}2B022C0100296E04"},
        clusterTime=Timestamp(1_795_467_513, number),
        documentKey={"_id": document_id},
        fullDocument={"_id": document_id, **fields},
    )


def recorded(*events: bytes) -> Recorded:
    """What the recorder makes of events."""
    return Recorder(PreImageCache(FixedHistory())).record(Batch(list(events), AT))


def ids(database: Database[Any], collection: str = "history") -> list[int]:
    """Which documents have an event there; of rejected ones, by their event."""
    if collection == "rejected":
        events = [bson.decode(item["event"]) for item in database.rejected.find()]
        return sorted(item["documentKey"]["_id"] for item in events)
    return sorted(item["document_id"] for item in database.history.find({}, {"document_id": 1}))


def test_a_redelivered_batch_is_a_no_op(database: Database[Any], writer: Writer) -> None:
    """Every crash reads again what was written since the checkpoint; none of it may be there twice, or anew."""
    batch = recorded(*(an_insert(number, n=1) for number in range(5)))
    assert writer.write(batch) == 0
    before = list(database.history.find().sort("_id"))
    for _ in range(3):
        assert writer.write(batch) == 0

    assert list(database.history.find().sort("_id")) == before
    assert len(before) == 5
    assert database.rejected.count_documents({}) == 0


def test_new_events_among_redelivered_ones_are_written(database: Database[Any], writer: Writer) -> None:
    """A kill in the middle of a batch leaves some of it written, in any order."""
    writer.write(recorded(an_insert(1), an_insert(3), an_insert(5)))
    writer.write(recorded(*(an_insert(number) for number in range(7))))

    assert ids(database) == list(range(7))


def test_what_is_written_is_what_was_recorded_byte_for_byte(database: Database[Any], writer: Writer) -> None:
    """The driver must not add, reorder or interpret anything on the way."""
    batch = recorded(an_insert(1, _cls="x", a={"$set": 1, "b.c": 2}, z=1, y=2))
    writer.write(batch)
    options: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
    (stored,) = database.get_collection("history", codec_options=options).find()

    assert bytes(stored.raw) == batch.entries[0].document


def test_an_oversize_history_document_is_kept_and_nothing_else_is_lost(database: Database[Any], writer: Writer) -> None:
    """A document of very many small fields: its history is many times as large as it is."""
    batch = recorded(an_insert(1), an_insert(2, **{f"f{number}": 1 for number in range(400_000)}), an_insert(3))
    assert max(len(entry.document) for entry in batch.entries) > LARGEST_DOCUMENT
    for _ in range(2):
        writer.write(batch)

    assert {1, 3} <= set(ids(database))
    assert database.history.count_documents({}) + database.rejected.count_documents({}) == 3


@pytest.mark.parametrize("beyond", [0, 1, 300, 16 * 1024])
def test_an_event_around_the_limit_is_kept(database: Database[Any], writer: Writer, beyond: int) -> None:
    """A server takes a document of 16 MB and delivers its event, of 16 MB and some bytes."""
    overhead = len(recorded(an_insert(1, text="")).entries[0].document)
    large = an_insert(1, text="x" * (LARGEST_DOCUMENT - overhead + beyond))
    assert len(recorded(large).entries[0].document) == LARGEST_DOCUMENT + beyond
    writer.write(recorded(large, an_insert(2)))

    assert 2 in ids(database)
    assert database.history.count_documents({}) + database.rejected.count_documents({}) == 2


@pytest.mark.parametrize("refused", [False, True])
def test_a_document_of_sixteen_megabytes_is_kept(database: Database[Any], writer: Writer, *, refused: bool) -> None:
    """The same with a real stream; also where its history is refused, and the whole event has to be set aside."""
    if refused:
        database.create_collection("history", validator={"operation": {"$ne": "insert"}})
    scope = Scope((f"{database.name}.large",), (), "none")
    listener = Listener(database.client, scope, 10, None, pre_images=True)
    listener.next_batch()
    empty = len(bson.encode({"_id": 1, "text": ""}))
    database.large.insert_one({"_id": 1, "text": "x" * (LARGEST_DOCUMENT - empty)})
    events: list[bytes] = []
    while not events or event.parse(events[-1]).operation != b"insert":
        events += listener.next_batch().events
    listener.close()
    for _ in range(2):
        writer.write(recorded(*events))

    assert database.rejected.count_documents({}) == refused
    assert database.history.count_documents({"operation": "insert"}) == (not refused)


def test_what_a_validator_refuses_goes_whole_to_rejected(database: Database[Any], writer: Writer) -> None:
    """Whatever an administrator puts on our collection, no event is lost and the rest goes on."""
    database.create_collection("history")
    database.command({"collMod": "history", "validator": {"document_id": {"$ne": 2}}})
    events = [an_insert(number) for number in range(4)]

    assert writer.write(recorded(*events)) == 1
    assert ids(database) == [0, 1, 3]
    (kept,) = database.rejected.find()
    assert kept["event"] == events[2]
    assert kept["error"] == "DocumentValidationFailure (121)"


def test_an_event_that_another_unique_index_refuses_is_not_taken_for_recorded(
    database: Database[Any], writer: Writer
) -> None:
    """A duplicate of something else than its `_id` is not this event, which would be gone."""
    database.history.create_index("document_id", unique=True)

    assert writer.write(recorded(an_insert(1), an_insert(2))) == 0
    assert writer.write(recorded(an_insert(1), an_insert(9, again=2))) == 1
    assert [item["error"] for item in database.rejected.find()] == ["DuplicateKey (11000)"]


def test_rejected_twice_is_kept_once(database: Database[Any], writer: Writer) -> None:
    """A redelivered poison event must not fill the collection."""
    database.create_collection("history", validator={"document_id": {"$ne": 2}})
    batch = recorded(an_insert(1), an_insert(2))
    for _ in range(3):
        assert writer.write(batch) == 1

    assert ids(database) == [1]
    assert ids(database, "rejected") == [2]


def test_what_the_recorder_cannot_read_goes_whole_to_rejected(database: Database[Any], writer: Writer) -> None:
    """An update in a form of a later server: kept, with its position, to be read by a later watcher."""
    strange = an_event("update", rawUpdateDescription={"$v": 3})

    assert writer.write(recorded(strange, an_insert(1))) == 1
    assert ids(database) == [1]
    (kept,) = database.rejected.find()
    assert kept["event"] == strange
    assert kept["error"].startswith("UnknownUpdateFormatError")


@pytest.mark.parametrize(
    "strange",
    [
        bson.encode({"operationType": "insert", "clusterTime": Timestamp(1, 1)}),
        bson.encode({"_id": {"_data": "82"}, "clusterTime": Timestamp(1, 1)}),
        bson.encode({"_id": {"_data": "82"}, "operationType": "insert"}),
        bson.encode({"_id": {"token": 1}, "operationType": "insert", "clusterTime": Timestamp(1, 1)}),
        b"\x10\x00\x00\x00\x0fbroken\x00....\x00",
    ],
    ids=["no token", "no operation", "no cluster time", "another token", "no BSON"],
)
def test_an_event_without_a_place_in_history_is_set_aside(
    database: Database[Any], writer: Writer, strange: bytes
) -> None:
    """Law 3: what cannot be stored goes whole to `rejected`, and the stream goes on."""
    batch = recorded(strange, an_insert(1))
    assert len(batch.rejected) == 1

    assert writer.write(batch) == 1
    assert writer.write(batch) == 1
    assert ids(database) == [1]
    (kept,) = database.rejected.find()
    assert kept["event"] == strange


def test_a_token_that_is_no_hexadecimal_is_set_aside() -> None:
    """One strange token must not end the daemon."""
    strange = an_event("insert", _id={"_data": "not hex"}, fullDocument={"_id": 1})

    assert len(recorded(strange).rejected) == 1


def _nested(levels: int) -> bytes:
    """A document with so many levels, BSON; the driver's encoder would not go so deep."""
    data = bson.encode({"v": 1})
    for _ in range(levels - 1):
        body = b"\x03a\x00" + data
        data = (len(body) + 5).to_bytes(4, "little") + body + b"\x00"
    return data


@pytest.mark.parametrize("levels", [150, 180])
def test_a_document_as_deep_as_a_server_allows_does_not_end_the_daemon(
    database: Database[Any], writer: Writer, levels: int
) -> None:
    """Any application can write it, and then no event after it would ever be recorded."""
    database.deep.insert_one(RawBSONDocument(_nested(levels)))
    strange = an_insert(1)
    fields = {**raw.fields(strange), b"fullDocument": (raw.DOCUMENT, _nested(levels))}

    writer.write(recorded(raw.from_fields(fields.items()), an_insert(2)))
    assert database.history.count_documents({}) + database.rejected.count_documents({}) == 2


def test_a_refusal_of_all_is_an_error_and_no_rejection(database: Database[Any], writer: Writer) -> None:
    """A missing privilege or a full disk is no property of the event: everything would end up in `rejected`."""
    database.create_collection("other")
    database.command({"create": "history", "viewOn": "other", "pipeline": []})
    with pytest.raises(PyMongoError):
        writer.write(recorded(an_insert(1)))

    assert database.rejected.count_documents({}) == 0


def test_a_missing_majority_is_transient_and_the_batch_is_repeated(
    database: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written on one member is not written: the checkpoint must wait, and so must the daemon, not end."""
    monkeypatch.setattr(module, "MAJORITY", WriteConcern(w=3, wtimeout=50))
    batch = recorded(an_insert(1), an_insert(2))
    with pytest.raises(PyMongoError) as caught:
        Writer(database, "default").write(batch)
    assert classify(caught.value) is Verdict.TRANSIENT
    with pytest.raises(PyMongoError) as caught:
        Writer(database, "default").write(batch)  # now all of them duplicates
    assert classify(caught.value) is Verdict.TRANSIENT
    monkeypatch.undo()

    assert Writer(database, "default").write(batch) == 0
    assert ids(database) == [1, 2]


def test_a_connection_string_cannot_weaken_the_write_concern(replica_set_uri: str, database: Database[Any]) -> None:
    """`w=0` in WATCHER_HISTORY_URI would make every acknowledgement a lie."""
    joint = "&" if "?" in replica_set_uri else "?"
    with MongoClient[dict[str, Any]](f"{replica_set_uri}{joint}w=0") as careless:
        writer = Writer(careless[database.name], "default")
        assert writer._history.write_concern == writer._rejected.write_concern == WriteConcern("majority")
        assert writer.write(recorded(an_insert(1))) == 0


def test_a_batch_larger_than_a_message_is_written_whole(database: Database[Any], writer: Writer) -> None:
    """The driver cuts it into several messages; each must be acknowledged."""
    batch = recorded(*(an_insert(number, text="x" * (10 * MB)) for number in range(6)))

    assert writer.write(batch) == 0
    assert writer.write(batch) == 0
    assert ids(database) == list(range(6))


def test_what_a_later_message_of_a_batch_refuses_is_set_aside_and_nothing_else(
    database: Database[Any], writer: Writer
) -> None:
    """The server counts from the first document of each message; an event beside the refused one would be lost."""
    database.create_collection("history", validator={"document_id": {"$nin": [4, 6]}})
    batch = recorded(*(an_insert(number, text="x" * (7 * MB if number < 4 else 9)) for number in range(8)))

    for _ in range(2):
        assert writer.write(batch) == 2
        assert ids(database) == [0, 1, 2, 3, 5, 7]
        assert ids(database, "rejected") == [4, 6]


def test_an_id_that_an_insert_would_change_is_stored_among_others(database: Database[Any], writer: Writer) -> None:
    """The server puts its own time into an empty timestamp; the others of the batch go the usual way."""
    fields = {"documentKey": {"_id": Timestamp(0, 0)}, "fullDocument": {"_id": Timestamp(0, 0), "n": 1}}
    strange = an_event("insert", **fields)
    batch = recorded(an_insert(1), strange, an_insert(2))

    for _ in range(2):
        assert writer.write(batch) == 0
    assert {str(item["document_id"]) for item in database.history.find()} == {"1", "2", str(Timestamp(0, 0))}


def test_the_drivers_own_log_does_not_stop_a_write(
    database: Database[Any], writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    """It shows every command, and looks into what is sent."""
    with caplog.at_level(logging.DEBUG, logger="pymongo"):
        assert writer.write(recorded(an_insert(1), an_insert(2))) == 0

    assert "insert" in caplog.text
    assert ids(database) == [1, 2]


def test_nothing_to_write_is_nothing(database: Database[Any], writer: Writer) -> None:
    """An idle stream's batches are empty."""
    assert writer.write(recorded()) == 0
    assert database.list_collection_names() == []
