"""Fragments of large events, made as the server's documentation shows them."""

from __future__ import annotations

from typing import Any

import bson
import pytest
from bson import Int64, Timestamp

from change_history.bson.values import document_to_python
from tests.support.handmade_events import TOKEN, an_event
from watcher.errors import Verdict, classify
from watcher.events import event
from watcher.stream.fragments import BrokenFragmentsError, Fragments

WHOLE = {"_id": {"_data": TOKEN.hex()}, "operationType": "insert", "clusterTime": Timestamp(9, 1)}


def a_fragment(number: int, of: int, **fields: Any) -> bytes:
    """One fragment, with a token of its own."""
    token = {"_data": f"{TOKEN.hex()[:-2]}{number:02X}04"}
    return bson.encode({"_id": token, **fields, "splitEvent": {"fragment": number, "of": of}})


FIRST = a_fragment(1, 3, operationType="update", clusterTime=Timestamp(9, 1), documentKey={"_id": 7})
SECOND = a_fragment(2, 3, fullDocumentBeforeChange={"_id": 7, "a": 1})
THIRD = a_fragment(3, 3, rawUpdateDescription={"$v": 2, "diff": {"u": {"a": 2}}})
BEFORE, AFTER = an_event("insert", fullDocument={"_id": 1}), an_event("delete")


def test_ordinary_events_pass_untouched() -> None:
    """The hot path: not even the list is copied."""
    events = [BEFORE, AFTER]
    assert Fragments().join(events) is events


def test_fragments_become_the_event_that_was_split() -> None:
    """Every field once, the first fragment's token, no trace of the splitting; its neighbours as they were."""
    fragments = Fragments()
    before, joined, after = fragments.join([BEFORE, FIRST, SECOND, THIRD, AFTER])

    assert (before, after) == (BEFORE, AFTER)
    found = document_to_python(joined)
    assert list(found) == [
        "_id",
        "operationType",
        "clusterTime",
        "documentKey",
        "fullDocumentBeforeChange",
        "rawUpdateDescription",
    ]
    assert found["_id"] == document_to_python(FIRST)["_id"]
    assert event.parse(joined).operation == b"update"
    assert not fragments.pending


@pytest.mark.parametrize("cut", [1, 2])
def test_an_event_that_reaches_across_batches_is_pending_until_it_is_whole(cut: int) -> None:
    """While it is, no position may be taken: one would lie within the event."""
    fragments = Fragments()
    every = [FIRST, SECOND, THIRD]

    assert fragments.join([BEFORE, *every[:cut]]) == [BEFORE]
    assert fragments.pending
    joined, after = fragments.join([*every[cut:], AFTER])
    assert not fragments.pending
    assert after == AFTER
    assert joined == Fragments().join(every)[0]


@pytest.mark.parametrize(
    "events",
    [
        [FIRST, THIRD],
        [FIRST, AFTER],
        [SECOND],
        [FIRST, FIRST],
        [THIRD, AFTER],
    ],
    ids=["one missing", "another event in the middle", "begun in the middle", "twice", "only the last"],
)
def test_a_broken_sequence_is_read_again_from_before_it(events: list[bytes]) -> None:
    """Half an event in history would be worse than none; the error is one that the listener opens anew after."""
    fragments = Fragments()
    with pytest.raises(BrokenFragmentsError) as broken:
        fragments.join(events)

    assert classify(broken.value) is Verdict.TRANSIENT
    assert not fragments.pending
    assert len(fragments.join([FIRST, SECOND, THIRD])) == 1


def test_silence_in_the_middle_of_an_event_does_not_wait_forever() -> None:
    """Its fragments lie ready together; a stop would wait for one that never comes."""
    fragments = Fragments()
    fragments.join([FIRST])
    with pytest.raises(BrokenFragmentsError):
        fragments.join([])


def test_what_has_begun_is_forgotten_when_the_stream_is_opened_anew() -> None:
    """After a restart in the middle the event comes again from its first fragment."""
    fragments = Fragments()
    fragments.join([FIRST, SECOND])
    fragments.forget()
    (joined,) = fragments.join([FIRST, SECOND, THIRD])
    assert joined == Fragments().join([FIRST, SECOND, THIRD])[0]


def test_a_field_of_a_document_called_like_the_mark_is_no_fragment() -> None:
    """An application may call a field `splitEvent`."""
    ordinary = an_event("insert", fullDocument={"_id": 1, "splitEvent": {"fragment": Int64(1), "of": 2}})
    assert Fragments().join([ordinary]) == [ordinary]
