"""The thread that takes snapshots: what is due is made, what cannot be is let go, and no trouble ends it."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient
from structlog.testing import capture_logs

from change_history.reconstruct.snapshot_maker import SPACING
from tests.support.daemon import PATIENCE_S, eventually
from tests.support.handmade_events import an_event
from tests.support.recording import Recording, check, stored, with_snapshots
from watcher import snapshotter as module
from watcher.events import record
from watcher.snapshotter import Snapshotter, is_candidate
from watcher.stream.batch import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.database import Database

MANY = 20 * SPACING
"""So many entries have a candidate among them: all but one in 10^18 documents."""


@pytest.fixture
def recording(client: MongoClient[Any], database: Database[Any]) -> Iterator[Recording]:
    """A history of the test's own database, and room for snapshots."""
    with with_snapshots(client, database.name, Recording) as found:
        yield found


@pytest.fixture
def start() -> Iterator[Callable[[Database[Any]], tuple[Snapshotter, Event]]]:
    """A function that starts a snapshotter. At the end all are told to stop, and no thread may be left."""
    stops, threads = [], []

    def begin(history: Database[Any]) -> tuple[Snapshotter, Event]:
        stop = Event()
        snapshotter = Snapshotter(history, lambda: False, stop)
        thread = Thread(target=snapshotter.run)
        thread.start()
        stops.append(stop)
        threads.append(thread)
        return snapshotter, stop

    yield begin
    for stop in stops:
        stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def updates(recording: Recording, database: Database[Any], document_id: int = 1) -> list[Entry]:
    """Change a document often; what is stored of that."""
    for number in range(MANY):
        database.a.update_one({"_id": document_id}, {"$set": {f"f{number % 30}": number}}, upsert=True)
    return [Entry(document, b"") for document in recording.catch_up()]


def test_one_word_is_enough_for_all_that_is_due(
    recording: Recording, database: Database[Any], start: Callable[..., tuple[Snapshotter, Event]]
) -> None:
    """Of a burst, most candidates find no room or replace each other; the last makes good for all."""
    entries = updates(recording, database)
    last = max(number for number, entry in enumerate(entries) if is_candidate(entry.document))
    snapshotter, _ = start(recording.history)
    snapshotter.offer([entries[last]])

    eventually(lambda: len(stored(recording.history)) == last // SPACING, "the snapshots")
    assert len(check(recording.history, f"{database.name}.a", 1)) == last // SPACING


def test_a_document_that_history_does_not_tell_is_let_alone_for_a_while(
    recording: Recording, database: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a baseline that goes for every old document: each of its updates would have its whole history read."""
    entries = updates(recording, database)
    recording.history.history.delete_one({"operation": "insert"})
    snapshotter = Snapshotter(recording.history, lambda: False, Event())
    monkeypatch.setattr(module, "_IN_VAIN_SHARE", 10_000)
    for _ in range(2):
        snapshotter.offer(entries)
        waiting = snapshotter._next()
        assert waiting is not None
        snapshotter._attend(waiting)
        monkeypatch.setattr(snapshotter._maker, "fill", None)  # were it called, it would fail

    assert stored(recording.history) == []


def test_a_server_that_is_away_is_said_once_and_ends_nothing(
    free_port: int, start: Callable[..., tuple[Snapshotter, Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon without snapshots is as good as before; one that dies of them, or fills the log, is not."""
    monkeypatch.setattr(module, "_AFTER_FAILURE_S", 0.01)
    happened = record.record(_an_update())
    with (
        MongoClient[Any](f"mongodb://127.0.0.1:{free_port}", serverSelectionTimeoutMS=1) as away,
        capture_logs() as said,
    ):
        snapshotter, _ = start(away.history)
        for _ in range(3):
            snapshotter.offer([Entry(happened, b"")])
            eventually(lambda: not snapshotter._waiting, "the attempt")
        eventually(lambda: snapshotter._failing, "the failure")

    assert [line["event"] for line in said] == ["snapshots are left out for now; history is not touched"]


def _an_update() -> bytes:
    for number in range(1000):
        token = {"_data": f"826B04A8F9{number:08X}2B022C0100296E04"}
        event = an_event("update", _id=token, rawUpdateDescription={"$v": 2, "diff": {"u": {"n": 1}}})
        if is_candidate(record.record(event)):
            return event
    raise AssertionError("no digest of a thousand ends so")
