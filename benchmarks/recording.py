"""What recording one event costs, by kind of event, in microseconds: the compiled way and the readable one.

No server is needed. Documents are of 1 KB, with an embedded document and an array of ten.

Usage: python benchmarks/recording.py
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bson

from watcher import garbage
from watcher.events import event, fast_path, record
from watcher.stream.batch import Batch, Position
from watcher.stream.pre_image_cache import PreImageCache
from watcher.stream.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from change_history.bson.raw import Value
    from change_history.stored.order import HistoryPosition
    from watcher.events.event import DocumentKey
    from watcher.stream.batch import Recorded

_TIMES = 20_000
_BATCH = 1000


def document(**more: Any) -> dict[str, Any]:
    """An order of 1 KB."""
    return {
        "_id": 7,
        "name": "customer 7",
        "email": "c7@example.com",
        "addr": {"street": "Rua Augusta 1", "city": "Lisbon", "zip": "1100-048", "geo": {"lat": 38.7, "lon": -9.1}},
        "total": 0.5,
        "n": 1,
        "items": [{"_id": number, "product": f"product {number}", "qty": number} for number in range(10)],
        "text": "words and more words " * 15,
        **more,
    }


def kinds() -> dict[str, bytes]:
    """An event of every kind."""
    before = document()
    items = before["items"]
    after = document(name="other", addr={**before["addr"], "city": "Porto"}, n=2)

    def update(**diff: Any) -> bytes:
        return an_event("update", rawUpdateDescription={"$v": 2, "diff": diff}, fullDocumentBeforeChange=before)

    return {
        "$set of three fields": update(u={"name": "other", "total": 1.5, "n": 2}),
        "nested $set": update(u={"name": "other", "n": 2}, saddr={"u": {"city": "Porto"}}),
        "$set five levels deep": update(saddr={"sgeo": {"i": {"a": {"b": 1}}, "u": {"lat": 1.0}}}),
        "$unset": update(d={"text": False}),
        "$push": update(sitems={"a": True, "u10": {"_id": 10, "product": "product 10", "qty": 1}}),
        "$pull": update(u={"items": items[1:]}),
        "element of an array": update(sitems={"a": True, "s3": {"u": {"qty": 9}}}),
        "truncation": update(sitems={"a": True, "l": 5}),
        "dotted and $ keys": update(u={"n": 2}, i={"a.b": 1, "$c": 2}),
        "thirty paths": update(i={f"field_{number}": number for number in range(30)}),
        "replace": an_event("replace", fullDocument=after, fullDocumentBeforeChange=before),
        "insert": an_event("insert", fullDocument=before),
        "delete": an_event("delete", fullDocumentBeforeChange=before),
        "100 KB, one small change": an_event(
            "update",
            rawUpdateDescription={"$v": 2, "diff": {"u": {"n": 2}}},
            fullDocumentBeforeChange=document(filler=["x" * 100] * 900),
        ),
    }


def an_event(operation: str, **more: Any) -> bytes:
    """An event with its envelope."""
    return bson.encode(
        {
            "_id": {"_data": "826B04A8F90000001F2B042C0100296E5A1004D6C1A8E0F1B34F0BA3A9B1C2D3E4F5A646645F6964006400"},
            "operationType": operation,
            "clusterTime": bson.Timestamp(1_795_467_513, 31),
            "wallTime": bson.datetime_ms.DatetimeMS(1_795_467_513_000),
            "ns": {"db": "shop", "coll": "orders"},
            "documentKey": {"_id": 7},
            **more,
        }
    )


def without_image(data: bytes) -> bytes:
    """The event as a server without pre-images sends it."""
    fields = bson.decode(data)
    fields.pop("fullDocumentBeforeChange", None)
    return bson.encode(fields)


class _NoHistory:
    """A history in which every document is as before the events."""

    def begin(self, recorded: Recorded, _stored: int) -> None:
        """Nothing is stored."""

    def learned(self) -> bool:
        """There are no news."""
        return False

    def documents(
        self, keys: Mapping[DocumentKey, Value], _position: HistoryPosition
    ) -> Iterator[tuple[DocumentKey, bytes | None]]:
        """All are the same."""
        yield from dict.fromkeys(keys, bson.encode(document())).items()


def main() -> None:
    """Measure and print."""
    garbage.search_less()
    print(f"{'microseconds an event':28} {'compiled':>9} {'recorder':>9} {'without image':>14} {'readable':>9}")
    for name, data in kinds().items():
        read = fast_path.read(data)
        note = "" if not isinstance(read, event.StreamEvent) and read.history() is not None else "  declined"
        recorder = Recorder(PreImageCache(_NoHistory()))
        blind = Recorder(PreImageCache(_NoHistory()))
        bare = without_image(data)
        figures = (
            _took(partial(_history, data)),
            _batch(recorder, data),
            _batch(blind, bare),
            _took(partial(record.record, data), _TIMES // 20),
        )
        print(f"{name:28} {figures[0]:9.2f} {figures[1]:9.2f} {figures[2]:14.2f} {figures[3]:9.2f}{note}")


def _history(data: bytes) -> bytes:
    return fast_path.history(fast_path.read(data))


def _took(work: Callable[[], Any], times: int = _TIMES) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        for _ in range(times):
            work()
        best = min(best, time.process_time() - began)
    return best / times * 1e6


def _batch(recorder: Recorder, data: bytes) -> float:
    batch = Batch([data] * _BATCH, Position(b"", event.parse(data).cluster_time))
    return _took(lambda: recorder.record(batch, 10**9), _TIMES // _BATCH) / _BATCH


if __name__ == "__main__":
    main()
