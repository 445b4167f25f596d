"""Old values that history tells: sound, or unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson

from core import event, record
from models.values import document_to_python
from tests.events import an_event
from watcher.batch import Batch, Position
from watcher.memory import ROOM, Memory
from watcher.recorder import Recorder

if TYPE_CHECKING:
    from models.raw import Value
    from watcher.memory import Documents

AT = Position(b"", bytes(8))


def _told(recorder: Recorder, *events: bytes) -> list[dict[str, Any]]:
    """The first change of the last event's history."""
    entries = recorder.record(Batch(list(events), AT)).entries
    changes = document_to_python(entries[-1].document)["changes"]
    assert isinstance(changes, list)
    return changes


def _set(number: int, **more: Any) -> bytes:
    return an_event("update", rawUpdateDescription={"$v": 2, "diff": {"u": {"n": number}}}, **more)


def _insert(**document: Any) -> bytes:
    return an_event("insert", fullDocument={"_id": 7, **document})


def _nothing(_namespace: str, _ids: list[Value]) -> Documents:
    return {}


def test_a_recalled_document_tells_the_old_value() -> None:
    """Asked for once; what follows is known."""
    asked = []

    def recall(namespace: str, ids: list[Value]) -> Documents:
        asked.append((namespace, len(ids)))
        return dict.fromkeys(ids, bson.encode({"_id": 7, "n": 1}))

    recorder = Recorder(Memory(recall))

    assert _told(recorder, _set(2)) == [{"field": "n", "old_value": 1, "new_value": 2, "old_value_from": "history"}]
    assert _told(recorder, _set(3)) == [{"field": "n", "old_value": 2, "new_value": 3, "old_value_from": "history"}]
    assert asked == [("shop.users", 1)]


def test_an_insert_in_the_same_batch_is_not_overlooked() -> None:
    """It is not stored yet, so history cannot tell it."""
    recorder = Recorder(Memory(_nothing))

    assert _told(recorder, _insert(n=1), _set(2))[0]["old_value"] == 1


def test_the_image_of_the_server_is_believed_first() -> None:
    """And brings what is remembered up to date."""
    recorder = Recorder(Memory(_nothing))
    changes = _told(recorder, _insert(n=1), _set(2, fullDocumentBeforeChange={"_id": 7, "n": 1}))

    assert changes == [{"field": "n", "old_value": 1, "new_value": 2}]


def test_what_does_not_fit_is_unknown_and_forgotten() -> None:
    """History has a hole that it does not know of."""
    recorder = Recorder(Memory(lambda _namespace, ids: dict.fromkeys(ids, bson.encode({"_id": 7}))))
    gone = an_event("update", rawUpdateDescription={"$v": 2, "diff": {"d": {"x": False}}})

    assert _told(recorder, gone) == [{"field": "x", "old_value_from": "unknown"}]


def test_a_rejected_event_is_a_hole() -> None:
    """What it did is not known, so nothing that was remembered can be believed."""
    recorder = Recorder(Memory(_nothing))
    strange = an_event("update", rawUpdateDescription={"$v": 9})

    assert _told(recorder, _insert(n=1), strange, _set(3)) == [
        {"field": "n", "new_value": 3, "old_value_from": "unknown"}
    ]


def test_a_drop_ends_what_is_remembered() -> None:
    """The next document of that id is another one."""
    recorder = Recorder(Memory(_nothing))
    dropped = bson.encode({k: v for k, v in bson.decode(an_event("drop")).items() if k != "documentKey"})

    assert _told(recorder, _insert(n=1), _set(2), dropped, _set(3))[0]["old_value_from"] == "unknown"


def test_memory_is_bounded() -> None:
    """The documents of longest ago make room."""
    memory = Memory(_nothing)
    recorder = Recorder(memory)
    large = "x" * (ROOM // 8)
    for number in range(40):
        inserted = an_event("insert", documentKey={"_id": number}, fullDocument={"_id": number, "x": large})
        recorder.record(Batch([inserted, _set(1, documentKey={"_id": number})], AT))

    assert memory._size <= ROOM + 2 * len(large)


def test_the_same_event_is_recorded_alike_whoever_remembers() -> None:
    """With a pre-image memory has no say."""
    happened = _set(2, fullDocumentBeforeChange={"_id": 7, "n": 1})
    known = bson.encode({"_id": 7, "n": 99})

    assert record.document(event.parse(happened), known) == record.document(event.parse(happened))
