"""Documents larger than a server stores, and events that cannot tell what they did."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from change_history.bson.values import document_to_python
from change_history.reconstruct import fold
from change_history.reconstruct.fold import DoesNotApplyError
from change_history.stored import chunks
from change_history.stored.event import to_event
from models import ABSENT, UNKNOWN
from tests.support.handmade_events import an_event
from watcher.events import record
from watcher.events.event import WITHOUT_VALUES
from watcher.stream.large_events import LIGHT_BYTES, Portion, Projection

MB = 1024 * 1024
BEFORE, AFTER = {"_id": 7, "text": "a" * 9 * MB, "n": 1}, {"text": "b" * 9 * MB}
LARGE = record.record(
    an_event("update", fullDocumentBeforeChange=BEFORE, rawUpdateDescription={"$v": 2, "diff": {"u": AFTER}})
)
IDENTITY = document_to_python(LARGE)["_id"]


def bare(operation: str) -> bytes:
    """The history of an event that was delivered without its values."""
    return record.record(an_event(operation, **{WITHOUT_VALUES: True}))


def test_parts_joined_are_the_document_to_the_byte() -> None:
    """Each fits into a document, and a document of any size is cut at the same places every time."""
    pieces = chunks.cut(IDENTITY, LARGE)
    assert b"".join(piece.data for piece in pieces) == LARGE
    assert max(len(piece.data) for piece in pieces) < chunks.LARGEST_DOCUMENT - 1024
    assert pieces == chunks.cut(IDENTITY, LARGE)


def test_parts_of_one_event_are_never_mixed_with_those_of_another_version_of_it() -> None:
    """A pre-image that expired between a kill and the redelivery makes another document; its parts have other ids."""
    ids = {piece.id for piece in chunks.cut(IDENTITY, LARGE)}
    assert ids.isdisjoint(piece.id for piece in chunks.cut(IDENTITY, LARGE[:-1] + b"\x01")[-1:])
    assert all(identity.startswith(IDENTITY) and len(identity) == 32 for identity in ids)
    two_alike = chunks.cut(IDENTITY, b"x" * 2 * chunks.CHUNK_BYTES)
    assert two_alike[0].data == two_alike[1].data
    assert two_alike[0].id != two_alike[1].id


def test_a_head_is_found_like_the_document_and_tells_no_values() -> None:
    """Everything that queries ask for stands in it."""
    pieces = chunks.cut(IDENTITY, LARGE)
    head, whole = document_to_python(chunks.head(LARGE, pieces)), document_to_python(LARGE)
    assert head.pop("parts") == [piece.id for piece in pieces]
    assert head.pop("change_count") == 1
    assert head.pop("changes") == [{"field": "text"}]
    assert head == {name: value for name, value in whole.items() if name != "changes"}


def test_a_head_whose_names_are_too_many_is_found_by_every_field() -> None:
    """An insert of very many fields: the names alone would not fit."""
    large = record.record(an_event("insert", fullDocument={f"f{number}": 1 for number in range(400_000)}))
    head = chunks.head(large, chunks.cut(IDENTITY, large))
    assert len(head) < 1024
    found = document_to_python(head)
    assert (found["change_count"], found["changes"]) == (400_000, [{"field": "", "path": []}])


def test_an_unread_head_does_not_pass_for_a_removal() -> None:
    """Who reads it without its parts is told that the values are unknown, not that they were absent."""
    event = to_event(RawBSONDocument(chunks.head(LARGE, chunks.cut(IDENTITY, LARGE))))
    assert [(change.old_value, change.new_value) for change in event.changes] == [(UNKNOWN, UNKNOWN)]
    with pytest.raises(DoesNotApplyError):
        fold.fold(bson.encode(BEFORE), [chunks.head(LARGE, chunks.cut(IDENTITY, LARGE))])


@pytest.mark.parametrize(
    ("operation", "old", "new"),
    [
        ("insert", ABSENT, UNKNOWN),
        ("update", UNKNOWN, UNKNOWN),
        ("replace", UNKNOWN, UNKNOWN),
        ("delete", UNKNOWN, ABSENT),
    ],
)
def test_an_event_without_its_values_is_recorded_as_unknown(operation: str, old: Any, new: Any) -> None:
    """Not as a removal, not as a null, and not as nothing at all."""
    event = to_event(RawBSONDocument(bare(operation)))
    assert event.operation == operation
    assert event.document_id == 7
    assert event.description is ABSENT
    assert [(change.path, change.old_value, change.new_value) for change in event.changes] == [([], old, new)]


@pytest.mark.parametrize("operation", ["insert", "update", "replace"])
def test_history_with_an_untold_event_does_not_fold_to_a_wrong_document(operation: str) -> None:
    """Nobody knows the document any more, until an event tells it whole."""
    with pytest.raises(DoesNotApplyError):
        fold.fold(bson.encode(BEFORE), [bare(operation)])
    assert fold.fold(bson.encode(BEFORE), [bare("delete")]) is None


def test_less_is_asked_for_until_the_refused_event_is_alone() -> None:
    """And of it alone as much as the server can deliver; then everything as usual."""
    portion = Portion(1000)
    seen = []
    while portion.projection is Projection.WHOLE:
        seen.append(portion.size)
        assert portion.refused()
    assert seen == [1000, 62, 3, 1]
    assert not portion.served(0)
    assert (portion.size, portion.projection) == (1, Projection.WITHOUT_IMAGES)
    assert portion.served(1)
    assert (portion.size, portion.projection) == (1000, Projection.WHOLE)


def test_small_portions_end_when_nothing_was_refused_after_all() -> None:
    """A pre-image that expired meanwhile makes the event small; the stream must not stay slow for it."""
    portion = Portion(1000)
    portion.refused()
    for _ in range(16):
        assert not portion.served(62)
        assert portion.size == 62
    portion.served(62)
    assert portion.size == 1000


def test_an_event_that_cannot_be_had_in_any_form_is_not_tried_forever() -> None:
    """Then the error is the daemon's."""
    portion = Portion(1)
    forms = [portion.projection]
    while portion.refused():
        forms.append(portion.projection)
    assert forms == [Projection.WHOLE, Projection.WITHOUT_IMAGES, Projection.BARE]


def test_a_batch_of_large_events_is_no_larger_than_memory_allows() -> None:
    """A thousand events of 16 KB, in every stage and queue at once, would be hundreds of megabytes."""
    portion = Portion(1000)
    sizes = [16_384] * 30 + [200] * 30 + [1_048_576] * 10 + [16_000_000] * 3
    asked = []
    for before, size in zip([16_384, *sizes], sizes, strict=False):
        asked.append(portion.events)
        portion.weighed(portion.events, portion.events * size)
        if size == before:
            assert asked[-1] * size <= max(LIGHT_BYTES, size)
    assert asked[29] == LIGHT_BYTES // 16_384
    assert asked[59] == 1000
    assert asked[-1] == 1


def test_an_empty_answer_says_nothing_of_what_events_weigh() -> None:
    """A quiet stream answers twice a second; it must be read at full speed when it wakes, and not stay at one event."""
    portion = Portion(1000)
    for _ in range(5):
        portion.weighed(1, 300)
    for _ in range(100):
        portion.weighed(0, 5)
    assert portion.events == 1000


def test_a_portion_made_smaller_stays_so_however_light_events_are() -> None:
    """The refused event must come to be alone."""
    portion = Portion(1000)
    for _ in range(5):
        portion.weighed(1, 300)
    portion.refused()
    assert portion.events == 62
