"""Events recorded in rows, with documents that history tells, and one by one the readable way: the same to the byte.

Otherwise an event recorded twice, in two batches of other sizes, would be two documents, and an old value might be that
of another moment.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.redaction_rules import Rule
from tests.support.generated.events import Events
from tests.support.handmade_events import TOKEN, an_event
from watcher.events import event, fast_path, record
from watcher.stream import pre_image_cache
from watcher.stream.actors.contexts import Contexts
from watcher.stream.batch import Batch, Lost, Position
from watcher.stream.pre_image_cache import PreImageCache
from watcher.stream.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from change_history.bson.raw import Value
    from change_history.stored.order import HistoryPosition
    from watcher.events.event import DocumentKey
    from watcher.stream.batch import Recorded

BATCHES = int(os.environ.get("WATCHER_TEST_ROWS", "20"))
AT = Position(b"", BEGINNING_OF_TIME)
ROOMS = [2_000, 20_000, pre_image_cache.ROOM]
_IDS: list[Any] = [7, bson.Int64(7), 7.0, bson.Int64(-(2**60)), "seven", bson.ObjectId(b"o" * 12), {"a": 1, "b": [2.0]}]
_IDS += [bson.Binary(b"binary"), bson.Decimal128("7.00"), float("nan"), None, True, *range(100, 104)]
_IMAGES = {"users": 0.0, "items": 0.5, "boxes": 1.0}
"""How often events of a collection come with their pre-image."""
_DAMAGED_ID = raw.from_fields([(b"_id", (raw.DOCUMENT, b"\x08\x00\x00\x00\x63a\x00\x00"))])

pytestmark = pytest.mark.skipif(not fast_path.COMPILED, reason="installed without a C compiler")


class Stream:
    """Random events of a few documents, whose states it knows."""

    def __init__(self, dice: random.Random, odd: float) -> None:
        self._dice = dice
        self._events = Events(dice, odd)
        self._states: dict[DocumentKey, bytes | None] = {}
        self._number = 0
        self.before: dict[bytes, dict[DocumentKey, bytes | None]] = {}
        """What the documents were before an event, by its token."""

    def batch(self) -> Batch:
        """The next events; now and then something was lost before."""
        size = self._dice.choice([1, 2, 5, 20, 100])
        lost = Lost(AT, "ChangeStreamHistoryLost (286)") if self._dice.random() < 0.03 else None
        return Batch([self._event() for _ in range(size)], AT, lost)

    def _event(self) -> bytes:
        dice = self._dice
        self._number += 1
        token = TOKEN + self._number.to_bytes(4, "big")
        self.before[token] = dict(self._states)
        collection = dice.choice(list(_IMAGES))
        about: dict[str, Any] = {"_id": {"_data": token.hex()}, "ns": {"db": "shop", "coll": collection}}
        fate = dice.random()
        if fate < 0.1:
            return self._special(about)
        if fate < 0.13:
            about |= {"lsid": {"id": self._number // 9}, "txnNumber": bson.Int64(1)}
        if fate > 0.97:
            about["collectionUUID"] = bson.Binary(b"c" * 16, 4)
        about["documentKey"] = {"_id": dice.choice(_IDS)}
        key = event.parse(an_event("delete", **about)).key()
        assert key is not None
        state = self._states.get(key)
        data, _ = self._events.event(state, _IMAGES[collection], **about)
        try:
            self._states[key] = record.followed(event.parse(data), state)[1]
        except ValueError:
            self._states[key] = None
        return data

    def _special(self, about: dict[str, Any]) -> bytes:
        """An event that is no usual one of a document, or that cannot be recorded."""
        context = {"ns": {"db": "shop", "coll": "contexts"}, "fullDocument": {"_id": 1, "actor": "Ann"}}
        within = {"lsid": {"id": self._number // 9}, "txnNumber": bson.Int64(1)}
        update = {"rawUpdateDescription": {"$v": 2, "diff": {"u": {"n": 1}}}}
        made = [
            an_event("drop", **about, documentKey=None),
            an_event("rename", **about, to={"db": "shop", "coll": "boxes"}, documentKey=None),
            an_event("create", **about, documentKey=None),
            an_event("update", **about, rawUpdateDescription={"$v": 3}),
            an_event("update", **about, rawUpdateDescription={"$v": 2, "diff": {"x": {}}}),
            an_event("update", **about, valuesLeftOut=True),
            an_event("delete", **about, documentKey=RawBSONDocument(_DAMAGED_ID)),
            an_event("insert", **about, documentKey=RawBSONDocument(_DAMAGED_ID), fullDocument={"_id": 1}),
            an_event("update", **about, **update, documentKey={"shard": 1, "_id": 7}),
            an_event("update", **about | {"_id": {"_data": "8"}}, **update),
            an_event("insert", **about | context, **within),
            an_event("delete", **about | context),
            an_event("update", **about, **update)[:-3],
            b"\x05\x00\x00\x00\x00",
        ]
        return self._dice.choice(made)


class Told:
    """A history that knows most documents of a stream, some of them wrongly, and the same whenever it is asked."""

    def __init__(self, stream: Stream, seed: int) -> None:
        self._stream = stream
        self._seed = seed
        self._begun = 0
        self.asked: list[tuple[tuple[DocumentKey, ...], HistoryPosition]] = []

    def begin(self, _recorded: Recorded, _stored: int) -> None:
        """Nothing is kept in sight."""
        self._begun += 1

    def learned(self) -> bool:
        """Now and then."""
        return self._begun % 7 == 0

    def documents(
        self, keys: Mapping[DocumentKey, Value], position: HistoryPosition
    ) -> Iterator[tuple[DocumentKey, bytes | None]]:
        """What they were before an event."""
        self.asked.append((tuple(keys), position))
        for key in keys:
            fate = random.Random(f"{self._seed} {key} {position.token.hex()}").random()
            told = self._stream.before[position.token].get(key)
            yield key, None if fate < 0.1 else bson.encode({"_id": 7, "a": fate}) if fate < 0.15 else told


@pytest.mark.parametrize("rules", [(), ("shop.*:a=drop", "shop.users:name=mask")], ids=["as it is", "redacted"])
@pytest.mark.parametrize("odd", [0.0, 0.3], ids=["usual", "odd"])
@pytest.mark.parametrize("seed", range(6))
def test_rows_of_events_are_recorded_as_they_are_one_by_one(
    monkeypatch: pytest.MonkeyPatch, seed: int, odd: float, rules: tuple[str, ...]
) -> None:
    """Hits, misses and what has no room; deleted and inserted anew; refused, lost, dropped in the middle of a batch."""
    dice = random.Random(f"{seed} {odd} {rules}")
    monkeypatch.setattr(pre_image_cache, "ROOM", ROOMS[seed % len(ROOMS)])
    monkeypatch.setattr(pre_image_cache, "PATIENCE", 3)
    stream, all_lack = Stream(dice, odd), seed % 2 == 0

    def recorder() -> tuple[Recorder, PreImageCache, Told]:
        told = Told(stream, seed)
        cache = PreImageCache(told, all_lack=all_lack)
        redaction = fast_path.redaction([Rule.parse(rule) for rule in rules], None)
        return Recorder(cache, Contexts("contexts"), None, redaction), cache, told

    short, short_cache, short_told = recorder()
    readable, readable_cache, readable_told = recorder()
    in_rows = events = 0
    rows = fast_path.record_some

    def counted(*arguments: Any) -> Any:
        nonlocal in_rows
        found = rows(*arguments)
        in_rows += len(found[0])
        return found

    for _ in range(BATCHES):
        batch = stream.batch()
        events += len(batch.events)
        with monkeypatch.context() as patch:
            patch.setattr(fast_path, "record_some", counted)
            recorded = short.record(batch)
        with monkeypatch.context() as patch:
            patch.setattr(fast_path, "_compiled", None)
            expected = readable.record(batch)
        assert recorded == expected
        assert list(short_cache.documents.known.items()) == list(readable_cache.documents.known.items())
        assert short_cache.documents.size == readable_cache.documents.size
        assert short_told.asked == readable_told.asked
    assert in_rows > events // 4
