"""Whoever changes history outside the stream's order says so before, lest an honest change look like a forged one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Timestamp

from change_history.bson import raw
from change_history.stored.amendments import AmendmentKind, note, notes_of, read_note
from change_history.stored.names import AMENDMENTS, SEAL_LEAVES, SEALS
from change_history.stored.order import identity
from tests.support.handmade_events import an_event
from tests.support.several_daemons import SCOPE, entry, fence, own, position
from watcher.backfill.plan_store import PlanStore
from watcher.backfill.queue import RECONCILE, BackfillPlan
from watcher.gaps.gap import Gaps
from watcher.gaps.rejected import RejectedEvents
from watcher.sealing.notes import forget_unasked
from watcher.stream.batch import Entry, Lost, Recorded

if TYPE_CHECKING:
    from pymongo.database import Database


def noted(database: Database[Any]) -> list[tuple[str, list[bytes]]]:
    """The notes, oldest first."""
    notes = map(read_note, notes_of(database).find(sort=[("_id", 1)]))
    return [(str(each.kind), each.ids) for each in notes]


def _id(document: bytes) -> bytes:
    return identity(raw.fields(document))


def test_a_baseline_is_noted_once_however_often_it_is_stored(database: Database[Any]) -> None:
    """It stands before entries that are sealed already; a million of them are no million notes."""
    store = own(database, fence(database))
    store.store([entry(1), entry(2)])
    store.store([entry(2), entry(3)])

    assert noted(database) == [("late", [_id(entry(1)), _id(entry(2))]), ("late", [_id(entry(3))])]


def test_whatever_becomes_of_a_gap_is_noted(database: Database[Any]) -> None:
    """When it is recorded, when it is reconciled, and when that is taken back."""
    mine = fence(database)
    gaps = Gaps(database, mine, SCOPE)
    gaps.write(Lost(position(3), "around"), position(9))
    PlanStore(database, mine).close_gaps(BackfillPlan(RECONCILE, Timestamp(40, 1), (), closes_gaps=True), SCOPE)
    late = raw.from_fields([(b"_id", (raw.BINARY, raw.int32(16) + b"\x00" + (7).to_bytes(4, "big") + bytes(12)))])
    gaps.distrust(Recorded([Entry(late, b"")], [], position(7)))

    (gap,) = database.history.find()
    assert gap["description"]["late"]
    assert noted(database) == [("gap", [gap["_id"]])] * 2 + [("late", [_id(late)]), ("gap", [gap["_id"]])]


def test_a_rejected_event_that_is_brought_in_is_noted(database: Database[Any]) -> None:
    """It comes after all that has happened since."""
    event = an_event("insert", documentKey={"_id": 1}, fullDocument={"_id": 1})
    database.rejected.insert_one({"_id": Binary(b"r" * 16), "event": Binary(event), "error": "it was too early"})
    rejected = RejectedEvents(database, None)
    (outcome,) = rejected.retry(rejected.ids())

    assert outcome.error is None
    (stored,) = database.history.find()
    assert noted(database) == [("late", [stored["_id"]])]


def test_a_note_about_what_is_no_entry_is_refused(database: Database[Any]) -> None:
    """Ids lie packed in it: one of another length would shift all that follow."""
    with pytest.raises(ValueError, match="16 bytes"):
        note(database, AmendmentKind.ERASED, [b"a" * 16, b"b" * 12])
    assert noted(database) == []


def test_notes_that_nobody_will_ask_for_are_forgotten(database: Database[Any]) -> None:
    """Without seals they would pile up for ever; with any, a note is what tells an erasure from a forgery."""
    long_ago = datetime.now(UTC) - timedelta(days=1, minutes=1)
    notes = database[AMENDMENTS]

    def leave() -> None:
        notes.delete_many({})
        for each in (1, 2):
            note(database, AmendmentKind.ACTOR, [bytes([each]) * 16])
        notes.update_one({"ids": Binary(bytes([1]) * 16)}, {"$set": {"at": long_ago}})

    for place in (SEALS, SEAL_LEAVES):
        leave()
        database[place].insert_one({"_id": 1})
        assert forget_unasked(database) == 0
        assert notes.count_documents({}) == 2
        database[place].delete_many({})
    assert forget_unasked(database) == 1
    assert [kept["ids"] for kept in notes.find()] == [bytes([2]) * 16]
