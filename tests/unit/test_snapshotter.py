"""What is noticed for snapshots, and what that costs the stream: never a wait, never more memory than there is room."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import bson
import pytest
from bson import Binary, Int64, Timestamp
from pymongo import MongoClient

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.bson.values import document_to_python, to_raw
from change_history.reconstruct.snapshot_maker import SHARE, SPACING, _spacing
from change_history.reconstruct.snapshots import read, written
from models import SnapshotModel
from tests.support.handmade_events import TOKEN, an_event
from watcher.events import record
from watcher.snapshotter import LARGEST_ID, NoticedWriter, Snapshotter, is_candidate
from watcher.stream.batch import Entry, Position, Recorded

PATIENCE_S = 60


def an_entry(document_id: Any = 7, operation: str = "update", digest: int = 0, **more: Any) -> Entry:
    """What is stored of an event, with a digest that ends with a byte."""
    event = an_event(operation, documentKey={"_id": document_id}, **more)
    fields = raw.fields(record.record(event))
    fields[b"_id"] = (raw.BINARY, fields[b"_id"][1][:-1] + bytes((digest,)))
    return Entry(raw.from_fields(fields.items()), event)


def an_update(document_id: Any = 7, digest: int = 0) -> Entry:
    """What is stored of an update."""
    delta = {"$v": 2, "diff": {"u": {"n": 1}}}
    return an_entry(document_id, digest=digest, rawUpdateDescription=delta)


@pytest.fixture
def snapshotter() -> Snapshotter:
    """Nobody works for it yet; the server that it would ask is not there."""
    client: MongoClient[Any] = MongoClient("mongodb://127.0.0.1:1", connect=False, serverSelectionTimeoutMS=1)
    return Snapshotter(client.history, lambda: True, Event(), room=10)


def waiting(snapshotter: Snapshotter) -> list[Any]:
    """The documents that wait for their turn, in its order."""
    found = []
    while (item := snapshotter._next()) is not None:
        found.append(document_to_python(raw.from_fields([(b"_id", item.document_id)]))["_id"])
    return found


def test_one_entry_of_sixteen_is_looked_at_and_the_same_whoever_looks() -> None:
    """The choice is the event's own: a redelivered one is chosen again, another daemon chooses the same."""
    chosen = [digest for digest in range(256) if is_candidate(an_update(digest=digest).document)]

    assert chosen == list(range(0, 256, 16))


def test_without_room_what_is_new_is_dropped_and_nobody_waits(snapshotter: Snapshotter) -> None:
    """Were the writing stage to wait here, snapshots would stand in the stream's way."""
    snapshotter.offer(an_update(number) for number in range(1000))

    assert waiting(snapshotter) == list(range(10))


def test_a_document_waits_once_and_is_looked_at_up_to_its_newest_entry(snapshotter: Snapshotter) -> None:
    """A document with thousands of updates a second must not push all others out."""
    later = Timestamp(1_795_467_600, 1)
    delta = {"$v": 2, "diff": {"u": {"n": 1}}}
    snapshotter.offer([an_update(1), an_update(2)])
    snapshotter.offer([an_update(1), an_entry(Int64(1), clusterTime=later, rawUpdateDescription=delta)])
    first, second = snapshotter._next(), snapshotter._next()

    assert first is not None
    assert second is not None
    assert first.until.cluster_time == ClusterTime.of(later)
    assert second.document_id == to_raw(2)
    assert snapshotter._next() is None


@pytest.mark.parametrize(
    "entry",
    [
        an_update(digest=1),
        an_entry(operation="insert", fullDocument={"_id": 7}),
        an_entry(operation="delete"),
        an_entry("x" * LARGEST_ID, rawUpdateDescription={"$v": 2, "diff": {"u": {"n": 1}}}),
        Entry(record.record(bson.encode({**bson.decode(an_event("drop")), "documentKey": None})), b""),
    ],
    ids=["another digest", "insert", "delete", "large id", "drop"],
)
def test_what_no_snapshot_can_stand_after_is_not_noticed(snapshotter: Snapshotter, entry: Entry) -> None:
    """And no id of megabytes is kept in memory."""
    fields = raw.fields(entry.document)
    if raw.text_of(fields[b"operation"]) == b"drop":
        fields[b"_id"] = (raw.BINARY, fields[b"_id"][1][:-1] + b"\x00")
        entry = Entry(raw.from_fields(fields.items()), b"")
    snapshotter.offer([entry])

    assert waiting(snapshotter) == []


def test_while_the_stream_is_behind_nothing_is_done_and_a_stop_is_heard() -> None:
    """The stream comes first; and a daemon that is told to stop while it catches up must not hang."""
    stop, looked = Event(), Event()

    def behind() -> bool:
        looked.set()
        return True

    client: MongoClient[Any] = MongoClient("mongodb://127.0.0.1:1", connect=False)
    busy = Snapshotter(client.history, behind, stop)
    busy.offer([an_update()])
    worker = Thread(target=busy.run)
    worker.start()
    assert looked.wait(PATIENCE_S)
    stop.set()
    worker.join(PATIENCE_S)

    assert not worker.is_alive()
    assert waiting(busy) == [7]


def test_what_was_not_acknowledged_is_not_noticed(snapshotter: Snapshotter) -> None:
    """A snapshot of history that is not there yet would lack events."""

    class Broken:
        def write(self, recorded: Recorded) -> int:
            raise OSError(len(recorded))

    class Works:
        def write(self, recorded: Recorded) -> int:
            return len(recorded) + 1

    batch = Recorded([an_update()], [], Position(b"", BEGINNING_OF_TIME))
    with pytest.raises(OSError, match="1"):
        NoticedWriter(Broken(), snapshotter).write(batch)
    assert waiting(snapshotter) == []

    assert NoticedWriter(Works(), snapshotter).write(batch) == 2
    assert waiting(snapshotter) == [7]


def test_large_documents_have_fewer_snapshots() -> None:
    """Else the snapshots of a document of megabytes, changed in one field, would dwarf its history."""
    assert _spacing(0) == _spacing(SPACING * SHARE) == SPACING
    assert _spacing(12 * 1024 * 1024) == 12 * 1024 * 1024 // SHARE


@pytest.mark.parametrize("token", [TOKEN, None])
def test_a_snapshot_is_written_as_the_model_would(token: bytes | None) -> None:
    """It is put together by hand; were it not the model's, `SnapshotModel` would read another one."""
    entry: dict[str, Any] = {"_id": Binary(b"t" * 16), "namespace": "shop.users", "document_id": None}
    entry |= {"resume_token": Binary(token)} if token is not None else {}
    state = {"_id": None, "$x": {"_cls": 1, "a.b": [1, {}]}, "": 2}
    stored = written(raw.fields(bson.encode(entry)), bson.encode(state), b"b" * 16)
    model = SnapshotModel(id=b"t" * 16, namespace="shop.users", document_id=None, base=b"b" * 16, document=state)
    model.resume_token = token

    assert bson.encode(model.to_mongo()) == stored
    assert bson.encode(SnapshotModel._from_son(document_to_python(stored)).to_mongo()) == stored
    start = read(raw.fields(stored))
    assert start is not None
    assert (start.document, start.base, start.id) == (bson.encode(state), b"b" * 16, b"t" * 16)
    model.since, model.changed = b"s" * 16, b"a\0a.b"
    told = written(raw.fields(bson.encode(entry)), bson.encode(state), b"b" * 16, (b"s" * 16, b"a\0a.b"))
    assert bson.encode(model.to_mongo()) == told
    start = read(raw.fields(told))
    assert start is not None
    assert (start.since, start.changed) == (b"s" * 16, b"a\0a.b")
