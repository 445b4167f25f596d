"""No snapshot outlives what it was made from; and none is looked for but through an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, MinKey, ObjectId
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_raw
from change_history.reconstruct import document, snapshot_maker, snapshots
from change_history.reconstruct.document import reconstruct_one
from change_history.reconstruct.lineage import lineage_of
from change_history.reconstruct.snapshot_maker import SPACING, SnapshotMaker
from change_history.stored.names import DOCUMENT_TIMELINE, HISTORY, REJECTED
from change_history.stored.order import END, before
from tests.support.recording import Recording, check, fill, stored, with_snapshots
from watcher.events import record
from watcher.gaps.rejected import RejectedEvents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

FOUR = 4 * SPACING


class Remembering(Recording):
    """A recording that keeps the events too."""

    events: tuple[bytes, ...] = ()

    def _store(self, events: list[bytes]) -> list[bytes]:
        self.events = (*self.events, *events)
        return super()._store(events)


@pytest.fixture
def recording(client: MongoClient[Any], database: Database[Any]) -> Iterator[Remembering]:
    """A history of the test's own database, and room for snapshots."""
    with with_snapshots(client, database.name, Remembering) as found:
        yield found


@pytest.fixture
def namespace(database: Database[Any]) -> str:
    """Two documents that are changed often, in boundaries: the namespace."""
    for number in range(FOUR):
        for document_id in (1, 2):
            update = {"$set": {f"f{number % 50}": number}}
            database.a.update_one({"_id": document_id}, update, upsert=True)
    return f"{database.name}.a"


def take_out(recording: Recording, entry: bytes) -> None:
    """Make an entry one that has not been recorded yet."""
    recording.history[HISTORY].delete_one({"_id": Binary(raw.fields(entry)[b"_id"][1][5:])})


def of_document(entries: list[bytes], document_id: int) -> list[bytes]:
    """The entries of one document."""
    return [entry for entry in entries if raw.fields(entry).get(b"document_id") == to_raw(document_id)]


def test_an_entry_that_enters_late_removes_what_was_told_without_it_and_nothing_else(
    recording: Recording, namespace: str
) -> None:
    """Else as-of would go on to tell the document without that event, for good."""
    entries = recording.catch_up()
    late = of_document(entries, 1)[FOUR // 2 + 3]
    take_out(recording, late)
    assert fill(recording.history, namespace, 1) == 3
    fill(recording.history, namespace, 2)
    before_it = stored(recording.history, {"document_id": 1})[:2]
    others = stored(recording.history, {"document_id": 2})

    recording.put(late)
    snapshots.forget(recording.history, [late])

    assert check(recording.history, namespace, 1) == before_it
    assert stored(recording.history, {"document_id": 2}) == others
    fill(recording.history, namespace, 1)
    assert len(check(recording.history, namespace, 1)) == 4


def test_a_late_event_about_a_collection_leaves_no_later_snapshot_standing(
    recording: Recording, namespace: str
) -> None:
    """A rename that was rejected and comes now changes which documents there were."""
    entries = recording.catch_up()
    fill(recording.history, namespace, 1)
    fill(recording.history, namespace, 2)
    middle = raw.fields(entries[len(entries) // 2])
    of_collection = raw.from_fields((name, value) for name, value in middle.items() if name != b"document_id")

    snapshots.forget(recording.history, [of_collection])

    left = stored(recording.history)
    assert 0 < len(left) < 8
    assert all(snapshot.id[:8] < middle[b"_id"][1][5:13] for snapshot in left)


def test_an_entry_that_enters_while_a_snapshot_is_made_is_not_missed(
    recording: Recording, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its removal of snapshots finds none yet; the state that was made without it must not be stored afterwards."""
    late = of_document(recording.catch_up(), 1)[5]
    take_out(recording, late)
    on_their_way = [late]

    def reconstructed(*arguments: Any, **options: Any) -> Any:
        found = document.reconstruct_one(*arguments, **options)
        for entry in on_their_way:
            recording.put(entry)
            snapshots.forget(recording.history, [entry])
        on_their_way.clear()
        return found

    monkeypatch.setattr(snapshot_maker, "reconstruct_one", reconstructed)
    fill(recording.history, namespace, 1)

    assert not on_their_way
    assert check(recording.history, namespace, 1)
    assert recording.history.snapshots.count_documents({"document": {"$exists": False}}) == 0


def test_a_claim_that_a_kill_left_behind_tells_nothing_and_is_taken_over(recording: Recording, namespace: str) -> None:
    """It has no state; read as one, every answer after it would fail."""
    recording.catch_up()
    entry = SnapshotMaker(recording.history).due(namespace, to_raw(1), bytes(16), END)
    assert entry is not None
    claim = [(name, entry[name]) for name in (b"_id", b"namespace", b"document_id")]
    claim.append((b"claim", (raw.OBJECT_ID, ObjectId().binary)))
    recording.history.snapshots.insert_one(RawBSONDocument(raw.from_fields(claim)))
    found = reconstruct_one(recording.history, lineage_of(recording.history, namespace, END), to_raw(1)).reconstructed
    assert found is not None
    assert found.entries == FOUR

    assert fill(recording.history, namespace, 1) == 4
    assert len(check(recording.history, namespace, 1)) == 4


def test_two_who_make_the_same_snapshots_do_not_hinder_each_other(recording: Recording, namespace: str) -> None:
    """Two daemons, or a daemon and `watcher snapshots rebuild`."""
    recording.catch_up()
    one, other = (SnapshotMaker(recording.history).fill(namespace, to_raw(1)) for _ in range(2))
    assert [(next(one), next(other)) for _ in range(4)] == [(True, True)] * 4

    assert len(check(recording.history, namespace, 1)) == 4


def test_a_retried_event_removes_the_snapshots_after_it(recording: Remembering, namespace: str) -> None:
    """`watcher rejected retry` brings an event into the middle of what was told."""
    late = of_document(recording.catch_up(), 1)[SPACING + 5]
    take_out(recording, late)
    fill(recording.history, namespace, 1)
    identity = Binary(raw.fields(late)[b"_id"][1][5:])
    event = next(event for event in recording.events if record.record(event) == late)
    recording.history[REJECTED].insert_one({"_id": identity, "namespace": namespace, "event": Binary(event)})

    (outcome,) = RejectedEvents(recording.history, None).retry([identity])

    assert outcome.error is None
    assert len(check(recording.history, namespace, 1)) == 1


def test_a_position_moved_back_forgets_what_may_come_otherwise(recording: Recording, namespace: str) -> None:
    """What is read again may hold events that were lost the first time."""
    recording.catch_up()
    fill(recording.history, namespace, 1)
    second = stored(recording.history)[1]

    snapshots.forget_since(recording.history, ClusterTime.from_id(second.id))

    assert stored(recording.history) == stored(recording.history, {"_id": {"$lt": Binary(second.id)}})
    assert len(stored(recording.history)) == 1


def test_nothing_after_a_place_is_looked_at(recording: Recording, namespace: str) -> None:
    """What is being written now may be there in part, in any order: a state made from it would lack events."""
    (*_, last) = of_document(recording.catch_up(), 1)
    until = before(ClusterTime.from_id(raw.fields(last)[b"_id"][1][5:]))

    assert sum(SnapshotMaker(recording.history).fill(namespace, to_raw(1), until=until)) == 3


def test_indexes_answer_whether_anything_is_due(recording: Recording, namespace: str) -> None:
    """The daemon asks often; most documents have nothing due, and none of them may be fetched for that."""
    recording.catch_up()
    fill(recording.history, namespace, 1)
    query = {"namespace": namespace, "document_id": {"$eq": 1}, "_id": {"$gt": Binary(bytes(16))}}
    counting = [
        {"$match": {"namespace": namespace, "document_id": {"$gt": MinKey()}}},
        {"$group": {"_id": "$document_id", "entries": {"$sum": 1}}},
    ]
    history, kept = recording.history[HISTORY], recording.history.snapshots
    due = history.find(query, {"_id": 1}, sort=[("_id", 1)], hint=DOCUMENT_TIMELINE, skip=SPACING - 1, limit=1)
    latest = kept.find(query, sort=[("_id", -1)], hint=DOCUMENT_TIMELINE, limit=1)
    explained = recording.history.command(
        "explain", {"aggregate": HISTORY, "pipeline": counting, "cursor": {}, "hint": dict(DOCUMENT_TIMELINE)}
    )

    assert due.explain()["executionStats"]["totalDocsExamined"] == 0
    assert due.explain()["executionStats"]["totalKeysExamined"] == SPACING
    found = latest.explain()["executionStats"]
    assert (found["totalDocsExamined"], found["totalKeysExamined"]) == (1, 1)
    assert "document_timeline" in repr(explained)
    assert "FETCH" not in repr(explained)
    assert "COLLSCAN" not in repr(explained)
