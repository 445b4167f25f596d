"""Old values that history tells are the true ones, proved by machine.

Random writes, with drops, renames onto one another, `$out`, `$merge` and conversions to capped; the server's pre-images
are the truth. Most of them are withheld from the recorder, which must then tell the very same old values, or none:
whatever the sizes of the batches, however late history is stored, after restarts that read events again, with events
set aside, and after gaps. ``WATCHER_TEST_OLD_VALUES`` is the number of writes for each seed.
"""

from __future__ import annotations

import os
import random
import threading
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.bson.values import document_to_python
from models import HistoryModel, connect, disconnect
from tests.support.generated.collections import RandomWrites
from watcher.events import event, record
from watcher.gaps import gap
from watcher.retry import Retry
from watcher.stream.batch import Batch, Entry, Lost, Position, Recorded, SharedProgress
from watcher.stream.listener import Listener
from watcher.stream.pre_image_cache import PreImageCache
from watcher.stream.pre_images_from_history import PreImagesFromHistory
from watcher.stream.recorder import Recorder
from watcher.stream.writer import Writer
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

WRITES = int(os.environ.get("WATCHER_TEST_OLD_VALUES", "600"))
NOWHERE = Position(b"\x05\x00\x00\x00\x00", BEGINNING_OF_TIME)
IMAGE = b"fullDocumentBeforeChange"


@pytest.fixture
def watched(replica_set_uri: str) -> Iterator[Database[Any]]:
    """A database of its own, with one beside it for its history."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with MongoClient[Any](replica_set_uri) as client:
        connect(replica_set_uri, f"{name}_history")
        HistoryModel.ensure_indexes()
        try:
            yield client[name]
        finally:
            disconnect()
            client.drop_database(name)
            client.drop_database(f"{name}_history")


class Track:
    """Records events again and again, as a daemon would that is slow, is killed, loses events and sets some aside."""

    def __init__(self, history: Database[Any], scope: Scope, begun: ClusterTime, dice: random.Random) -> None:
        self._history, self._scope, self._begun, self._dice = history, scope, begun, dice
        self._writer = Writer(history, "default")
        self.made: dict[bytes, bytes] = {}
        self._waiting: list[Recorded] = []
        self.start()

    def start(self) -> None:
        """Start, knowing nothing but what is stored."""
        self._waiting = []
        retry = Retry(threading.Event(), lambda *_: None, lambda *_: None)
        self._stored = 0
        self._recorder = Recorder(
            PreImageCache(
                PreImagesFromHistory(self._history, "default", self._scope, self._begun, SharedProgress(), retry, None)
            )
        )

    def record(self, events: list[bytes], lost: Lost | None = None) -> None:
        """Record a batch; store what waits, now or later, whole or in part."""
        at = Position(NOWHERE.token, event.parse(events[0]).cluster_time)
        recorded = self._recorder.record(Batch(events, at, lost), self._stored)
        for entry in recorded.entries:
            fields = raw.fields(entry.document)
            self.made.setdefault(fields[b"_id"][1][5:], entry.document)
        self._waiting.append(recorded)
        if self._dice.random() < 0.3:  # some of it reaches the server, not acknowledged
            some = [entry for entry in recorded.entries if self._dice.random() < 0.5]
            self._writer.write(Recorded(some, [], at))
        while self._waiting and self._dice.random() < 0.6:
            self._store(self._waiting.pop(0))

    def _store(self, recorded: Recorded) -> None:
        if recorded.lost is not None:
            lost, until = recorded.lost.position.cluster_time, recorded.position.cluster_time
            hole = gap.Gap("default", b"", lost, until, recorded.lost.cause, ("*.*",), ())
            self._writer.write(Recorded([Entry(gap.document(hole, bytes(8)), b"")], [], recorded.position))
        self._writer.write(recorded)
        self._stored = recorded.number

    @property
    def unstored(self) -> int:
        """How many batches are not acknowledged."""
        return len(self._waiting)


def _without_image(data: bytes) -> bytes:
    return raw.from_fields((key, value) for key, value in raw.fields(data).items() if key != IMAGE)


def _broken(data: bytes) -> bytes:
    """An event that cannot become history."""
    fields = dict(raw.fields(data))
    fields[b"rawUpdateDescription"] = (raw.DOCUMENT, raw.from_fields([(b"$v", (raw.INT32, raw.int32(9)))]))
    return raw.from_fields(fields.items())


def _compare(truth: bytes, made: bytes) -> tuple[int, int]:
    """How many of the old values are told, and how many are not; none may be wrong."""
    told = untold = 0
    expected = document_to_python(record.record(truth))["changes"]
    changes = document_to_python(made)["changes"]
    sources = {change.get("old_value_from") for change in changes}
    if "unknown" in sources:
        return 0, len(changes)
    if "history" in sources:
        told = len(changes)
        changes = [{key: value for key, value in change.items() if key != "old_value_from"} for change in changes]
    assert changes == expected, f"told {changes}, but it was {expected}: {document_to_python(truth)}"
    return told, untold


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("trouble", [False, True], ids=["calm", "gaps and rejected"])
def test_no_old_value_that_history_tells_is_wrong(
    watched: Database[Any], monkeypatch: pytest.MonkeyPatch, record_property: Any, seed: int, *, trouble: bool
) -> None:
    """A wrong old value is worse than none: somebody would write it back."""
    dice = random.Random(f"{seed} {trouble}")
    scope = Scope((f"{watched.name}.*",), (), f"{watched.name}_history")
    listener = Listener(watched.client, scope, 1000, None, pre_images=True)
    start = listener.next_batch().position
    RandomWrites(watched, dice).do(WRITES)
    watched.end.insert_one({})
    events: list[bytes] = []
    while not events or b"\x04coll\x00\x00\x00end" in events[-1] or event.parse(events[-1]).namespace[-4:] != b".end":
        events += listener.next_batch().events
    listener.close()
    monkeypatch.setattr("watcher.stream.pre_image_cache.ROOM", 20_000)
    given = [data if dice.random() < 0.2 else _without_image(data) for data in events]

    history = watched.client[f"{watched.name}_history"]
    track = Track(history, scope, start.cluster_time, dice)
    position, skipped, batches = 0, set(), [0]
    while position < len(given):
        size = dice.choice([1, 2, 5, 20, 100])
        batch, lost = given[position : position + size], None
        if trouble and dice.random() < 0.04 and position > 0:
            lost = Lost(Position(b"", event.parse(given[position - 1]).cluster_time), "ChangeStreamHistoryLost (286)")
            skip = dice.randrange(1, 6)
            skipped |= set(range(position, position + skip))
            position += skip
            batch = given[position : position + size]
            if not batch:
                break
            first, last = event.parse(batch[0]).cluster_time, event.parse(given[position - 1]).cluster_time
            if first == last:  # no position lies within a transaction
                lost = None
                break
        if trouble and dice.random() < 0.2 and event.parse(batch[-1]).operation == b"update":
            batch = [*batch[:-1], _broken(batch[-1])]
        track.record(batch, lost)
        position += len(batch)
        batches.append(position)
        if dice.random() < 0.05 and not trouble:  # killed: what is not acknowledged is read again
            position = batches[max(0, len(batches) - 1 - track.unstored)]
            batches = [number for number in batches if number <= position]
            track.start()

    told = untold = 0
    for data, stripped in zip(events, given, strict=True):
        made = track.made.get(event.parse(data).id)
        if made is not None and IMAGE in raw.fields(data) and data is not stripped:
            counts = _compare(data, made) if event.parse(data).document(IMAGE) is not None else (0, 0)
            told, untold = told + counts[0], untold + counts[1]
    record_property("old values", f"{told} told, {untold} not")
    assert told > (0 if trouble else 2 * untold)
