"""Old values that history tells: sound, or unknown; and never more memory than there is room for."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.equality import key_of
from change_history.bson.values import document_to_python, to_raw
from tests.support.handmade_events import an_event
from tests.support.pipeline_stages import FixedHistory
from watcher.events.event import DocumentKey
from watcher.stream import pre_image_cache
from watcher.stream.batch import Batch, Lost, Position
from watcher.stream.pre_image_cache import ROOM, PreImageCache
from watcher.stream.recorder import Recorder

AT = Position(b"", BEGINNING_OF_TIME)
UNKNOWN = {"field": "n", "new_value": 3, "old_value_from": "unknown"}
SEVEN = DocumentKey(b"shop.users", key_of(to_raw(7)))


def _told(recorder: Recorder, *events: bytes, lost: Lost | None = None) -> list[dict[str, Any]]:
    """The changes of the last event's history."""
    entries = recorder.record(Batch(list(events), AT, lost)).entries
    changes = document_to_python(entries[-1].document)["changes"]
    assert isinstance(changes, list)
    return changes


def _set(number: int, **more: Any) -> bytes:
    return an_event("update", rawUpdateDescription={"$v": 2, "diff": {"u": {"n": number}}}, **more)


def _insert(**document: Any) -> bytes:
    return an_event("insert", fullDocument={"_id": 7, **document})


def _from_history(old: int, new: int) -> list[dict[str, Any]]:
    return [{"field": "n", "old_value": old, "new_value": new, "old_value_from": "history"}]


def test_a_recalled_document_tells_the_old_value() -> None:
    """Asked for once; what follows is known."""
    history = FixedHistory(bson.encode({"_id": 7, "n": 1}))
    recorder = Recorder(PreImageCache(history))

    assert _told(recorder, _set(2)) == _from_history(1, 2)
    assert _told(recorder, _set(3)) == _from_history(2, 3)
    assert history.asked == [(SEVEN,)]


def test_an_insert_in_the_same_batch_is_not_overlooked() -> None:
    """It is not stored yet, so history cannot tell it."""
    recorder = Recorder(PreImageCache(FixedHistory()))

    assert _told(recorder, _insert(n=1), _set(2)) == _from_history(1, 2)


def test_a_pre_image_comes_first_and_keeps_what_is_known_up_to_date() -> None:
    """The server's own word needs no marking; an event with an image changes the document too."""
    recorder = Recorder(PreImageCache(FixedHistory(bson.encode({"_id": 7, "n": 0}))))

    assert _told(recorder, _set(1)) == _from_history(0, 1)
    image = {"fullDocumentBeforeChange": {"_id": 7, "n": 1}}
    assert _told(recorder, _set(2, **image)) == [{"field": "n", "old_value": 1, "new_value": 2}]
    assert _told(recorder, _set(3)) == _from_history(2, 3)


def test_what_cannot_have_happened_shows_a_hole_and_is_not_believed() -> None:
    """History said there was no array; the event truncates one. Neither its old values nor the next ones are told."""
    recorder = Recorder(PreImageCache(FixedHistory(bson.encode({"_id": 7, "n": 1}))))
    truncation = an_event("update", rawUpdateDescription={"$v": 2, "diff": {"sn": {"a": True, "l": 1}}})

    assert _told(recorder, truncation) == [{"field": "n", "truncated_to": 1, "old_value_from": "unknown"}]
    assert _told(recorder, _set(3)) == [UNKNOWN]


def test_the_unknown_is_not_asked_for_again_until_there_is_news() -> None:
    """A hot document that history does not know would have its whole history read for every batch."""
    history = FixedHistory()
    recorder = Recorder(PreImageCache(history))
    for _ in range(5):
        assert _told(recorder, _set(3)) == [UNKNOWN]
    assert history.asked == [(SEVEN,)]

    history.told, history.news = bson.encode({"_id": 7, "n": 3}), True
    assert _told(recorder, _set(4)) == _from_history(3, 4)


@pytest.mark.parametrize(
    "ending",
    [
        an_event("drop", documentKey=None),
        an_event("rename", to={"db": "shop", "coll": "old"}, documentKey=None),
        an_event("rename", ns={"db": "shop", "coll": "x"}, to={"db": "shop", "coll": "users"}, documentKey=None),
        an_event("dropDatabase", ns={"db": "shop"}, documentKey=None),
    ],
    ids=["drop", "rename away", "rename onto", "dropDatabase"],
)
def test_the_end_of_a_collection_is_the_end_of_what_is_known(ending: bytes) -> None:
    """No event tells that its documents are gone, or others: the next of the same id is another document."""
    history = FixedHistory(bson.encode({"_id": 7, "n": 1}))
    recorder = Recorder(PreImageCache(history))
    assert _told(recorder, _set(2)) == _from_history(1, 2)
    _told(recorder, ending)
    history.told = None

    assert _told(recorder, _set(3)) == [UNKNOWN]


def test_nothing_is_known_any_more_after_a_gap() -> None:
    """Whatever was lost may have changed any document."""
    history = FixedHistory(bson.encode({"_id": 7, "n": 1}))
    recorder = Recorder(PreImageCache(history))
    assert _told(recorder, _set(2)) == _from_history(1, 2)
    history.told = None
    lost = Lost(AT, "ChangeStreamHistoryLost (286)")

    assert _told(recorder, _set(3), lost=lost) == [UNKNOWN]
    assert history.lost == [lost]


def test_an_event_set_aside_leaves_nothing_known() -> None:
    """It may have changed the document; only what is said after it counts."""
    history = FixedHistory(bson.encode({"_id": 7, "n": 1}))
    recorder = Recorder(PreImageCache(history))
    assert _told(recorder, _set(2)) == _from_history(1, 2)
    history.told = None
    unreadable = an_event("update", rawUpdateDescription={"$v": 3})

    assert _told(recorder, unreadable, _set(3)) == [UNKNOWN]


def test_an_event_without_values_leaves_the_document_unknown() -> None:
    """It was too large to be delivered: what it did is not told."""
    recorder = Recorder(PreImageCache(FixedHistory(bson.encode({"_id": 7, "n": 1}))))
    assert _told(recorder, _set(2)) == _from_history(1, 2)
    _told(recorder, an_event("update", valuesLeftOut=True))

    assert _told(recorder, _set(3)) == [UNKNOWN]


def test_numbers_of_other_types_are_the_same_document() -> None:
    """To the server, 7 and 7.0 are one id: a deleted 7 and a new 7.0 are one timeline."""
    history = FixedHistory(bson.encode({"_id": 7, "n": 1}))
    recorder = Recorder(PreImageCache(history))
    assert _told(recorder, _set(2)) == _from_history(1, 2)

    assert _told(recorder, _set(3, documentKey={"_id": 7.0})) == _from_history(2, 3)
    assert len(history.asked) == 1


def test_memory_is_bounded_by_bytes_also_of_what_is_unknown_or_gone() -> None:
    """A million documents pass; what does not fit is recalled again."""
    history = FixedHistory(bson.encode({"_id": 7, "n": 1, "text": "x" * (ROOM // 10)}))
    cache = PreImageCache(history)
    recorder = Recorder(cache)
    events = [_set(2, documentKey={"_id": number}) for number in range(40)]

    recorded = recorder.record(Batch(events, AT))
    changes = [document_to_python(entry.document)["changes"] for entry in recorded.entries]
    assert changes == [_from_history(1, 2)] * 40
    assert cache.documents.size <= ROOM

    history.told = None
    for first in range(0, 200_000, 10_000):
        recorder.record(Batch([_set(2, documentKey={"_id": f"{first + n}"}) for n in range(10_000)], AT))
    assert cache.documents.size <= ROOM
    assert len(cache.documents.known) < 150_000


def test_a_collection_that_has_its_pre_images_again_is_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """One event without, perhaps from before they were switched on, would make all of its events slow for good."""
    monkeypatch.setattr(pre_image_cache, "PATIENCE", 2)
    history = FixedHistory(bson.encode({"_id": 7, "n": 0}))
    recorder = Recorder(followed := PreImageCache(history))
    assert _told(recorder, _set(1)) == _from_history(0, 1)
    for number in range(3):
        assert followed._followed.keys() == {b"shop.users"}
        image = {"fullDocumentBeforeChange": {"_id": 7, "n": 1 + number}}
        assert _told(recorder, _set(2 + number, **image))[0]["old_value"] == 1 + number
    assert not followed._followed

    # What was known of it then is not what it is now.
    history.told = bson.encode({"_id": 7, "n": 9})
    assert _told(recorder, _set(10)) == _from_history(9, 10)
    assert history.asked == [(SEVEN,), (SEVEN,)]


def test_an_id_that_cannot_be_read_is_set_aside() -> None:
    """It would end the daemon, again after every start."""
    recorder = Recorder(PreImageCache(FixedHistory()))
    key = RawBSONDocument(raw.from_fields([(b"_id", (raw.DOCUMENT, b"\x08\x00\x00\x00\x63a\x00\x00"))]))
    damaged = an_event("delete", documentKey=key)

    assert [each.event for each in recorder.record(Batch([damaged], AT)).rejected] == [damaged]


def test_without_pre_images_a_document_is_known_from_its_insert_on() -> None:
    """Its first update would have it read from history again, a question for every new document."""
    history = FixedHistory()
    recorder = Recorder(PreImageCache(history, all_lack=True))
    _told(recorder, _insert(n=1))

    assert _told(recorder, _set(2)) == _from_history(1, 2)
    assert history.asked == []
