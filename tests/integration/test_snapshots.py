"""Snapshots on a real server: the word of folding, only quicker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Int64, Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_python, to_raw
from change_history.reconstruct import snapshot_maker
from change_history.reconstruct.document import reconstruct_one
from change_history.reconstruct.lineage import lineage_of
from change_history.reconstruct.snapshot_maker import SPACING
from change_history.stored.order import END, identity, position_of
from change_history.stored.reading import RAW
from tests.support.generated.documents import every_type
from tests.support.recording import Recording, check, fill, folded, stored, with_snapshots
from watcher.gaps import gap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

FIVE = 5 * SPACING


@pytest.fixture
def recording(client: MongoClient[Any], database: Database[Any]) -> Iterator[Recording]:
    """A history of the test's own database, and room for snapshots."""
    with with_snapshots(client, database.name, Recording) as found:
        yield found


def live(database: Database[Any], document_id: Any = 1, updates: int = FIVE - 1, first: int = 0) -> str:
    """Make a document of every type and change it often, in many ways; its namespace."""
    if not first:
        strange = RawBSONDocument(every_type())
        database.a.insert_one({"_id": document_id, "n": 0, "list": [], "d": {}, "strange": strange})
    for number in range(first, first + updates):
        setting = {"$setField": {"field": "a.b", "input": "$$ROOT", "value": number}}
        update: Any = [
            {
                "$set": {"rev": number},
                "$inc": {"n": 1},
                "$push": {"list": {"$each": [number, {"x": number}], "$slice": -9}},
            },
            {"$set": {f"d.f{number % 7}": Int64(number), "at.the.end": number, "rev": number}},
            {"$unset": {f"d.f{(number + 3) % 7}": 1, "at": 1}, "$set": {"rev": number}},
            [{"$replaceWith": setting}, {"$set": {"rev": number}}],
            [{"$set": {"list": {"$slice": ["$list", 3]}, "rev": number}}],
        ][number % 5]
        database.a.update_one({"_id": document_id}, update)
    return f"{database.name}.a"


def places(recording: Recording, namespace: str, document_id: Any) -> Iterator[tuple[Any, bytes]]:
    """The place of every entry of a document, with its `_id`."""
    query = {"namespace": namespace, "document_id": document_id}
    for item in recording.history.get_collection("history", codec_options=RAW).find(query):
        fields = raw.fields(bytes(item.raw))
        yield position_of(fields), identity(fields)


def agree(recording: Recording, namespace: str, document_id: Any) -> None:
    """Fail unless recalling from snapshots gives at every entry of a document what folding gives."""
    expected = folded(recording.history, namespace, document_id)
    for place, entry in places(recording, namespace, document_id):
        within = lineage_of(recording.history, namespace, place.following)
        found = reconstruct_one(recording.history, within, to_raw(document_id)).reconstructed
        assert found is not None
        assert (found.base, found.document, found.last) == (*expected[entry], entry)


def test_every_snapshot_is_what_folding_gives_and_so_is_every_answer_from_it(
    recording: Recording, database: Database[Any]
) -> None:
    """Byte for byte: a snapshot that forgot a type or an order would spoil all answers after it."""
    namespace = live(database)
    recording.catch_up()

    assert fill(recording.history, namespace, 1) == 5
    assert len(check(recording.history, namespace, 1)) == 5
    agree(recording, namespace, 1)
    last = reconstruct_one(recording.history, lineage_of(recording.history, namespace, END), to_raw(1)).reconstructed
    assert last is not None
    assert (last.entries, last.document) == (0, _stored(database, 1))


def test_asking_again_finds_nothing_to_do_and_new_entries_are_gone_on_with(
    recording: Recording, database: Database[Any]
) -> None:
    """The daemon asks for every sixteenth entry; the work must not be done twice."""
    namespace = live(database)
    recording.catch_up()
    fill(recording.history, namespace, 1)
    before = stored(recording.history)
    fill(recording.history, namespace, 1)
    assert stored(recording.history) == before
    live(database, updates=SPACING, first=FIVE)
    recording.catch_up()

    assert fill(recording.history, namespace, 1) == 6
    assert stored(recording.history)[:5] == before
    check(recording.history, namespace, 1)


def test_documents_with_few_entries_have_none(recording: Recording, database: Database[Any]) -> None:
    """Most documents of the world; a snapshot of each would double the history."""
    namespace = live(database, updates=SPACING - 2)
    recording.catch_up()

    assert fill(recording.history, namespace, 1) == 0
    assert recording.history.snapshots.count_documents({}) == 0


def test_no_snapshot_is_filed_under_an_id_that_the_server_invents(
    recording: Recording, database: Database[Any]
) -> None:
    """A server puts its own time into an empty timestamp at the top of a document that is inserted or replaced."""
    namespace = live(database, Timestamp(0, 0))
    live(database, 2)
    recording.catch_up()

    for document_id in (Timestamp(0, 0), 2):
        fill(recording.history, namespace, document_id)

    assert recording.history.snapshots.distinct("document_id") == [2]
    agree(recording, namespace, Timestamp(0, 0))


def test_a_transaction_puts_many_entries_at_one_cluster_time_and_the_snapshot_knows_its_place(
    recording: Recording, database: Database[Any], client: MongoClient[Any]
) -> None:
    """Ids within it are no order; a snapshot taken for a later one would swallow events, or have them twice."""
    namespace = live(database, updates=3)
    with client.start_session() as session, session.start_transaction():
        for number in range(3 * SPACING):
            database.a.update_one({"_id": 1}, {"$push": {"list": number}, "$inc": {"n": 1}}, session=session)
            if number % 10 == 0:
                database.a.replace_one({"_id": 1}, {"list": [number], "n": -number}, session=session)
    recording.catch_up()

    assert fill(recording.history, namespace, 1) >= 3
    check(recording.history, namespace, 1)
    agree(recording, namespace, 1)


def test_a_document_that_was_renamed_along_with_its_collection_keeps_its_snapshots(
    recording: Recording, database: Database[Any]
) -> None:
    """Those before lie under the former name; those after stand on entries of it."""
    namespace = live(database)
    database.a.rename("b")
    for number in range(2 * SPACING):
        database.b.update_one({"_id": 1}, {"$set": {"renamed": number}})
    recording.catch_up()
    fill(recording.history, namespace, 1)

    assert fill(recording.history, f"{database.name}.b", 1) == 2
    check(recording.history, namespace, 1)
    check(recording.history, f"{database.name}.b", 1)
    agree(recording, f"{database.name}.b", 1)


def test_a_drop_begins_a_new_life_without_the_old_ones_snapshots(recording: Recording, database: Database[Any]) -> None:
    """A document of the same id in a collection of the same name is another document."""
    namespace = live(database)
    database.a.drop()
    live(database, updates=2 * SPACING)
    recording.catch_up()

    assert fill(recording.history, namespace, 1) == 7
    check(recording.history, namespace, 1)
    agree(recording, namespace, 1)


def test_where_history_does_not_tell_the_document_there_is_no_snapshot_and_no_endless_search(
    recording: Recording, database: Database[Any]
) -> None:
    """Watched without a baseline: nothing until it is told whole, everything from there on."""
    database.a.insert_one({"_id": 2, "before": "watching", "n": 0, "list": []})
    recording.catch_up()
    recording.history.history.delete_many({})
    for number in range(FIVE):
        database.a.update_one({"_id": 2}, {"$set": {"n": number}})
    recording.catch_up()
    assert fill(recording.history, f"{database.name}.a", 2) == 0
    database.a.delete_one({"_id": 2})
    live(database, 2, updates=FIVE)
    recording.catch_up()

    assert fill(recording.history, f"{database.name}.a", 2) >= 5
    assert recording.history.snapshots.count_documents({"document": {"$exists": False}}) == 0
    check(recording.history, f"{database.name}.a", 2)


@pytest.mark.parametrize("level", [False, True])
def test_no_snapshot_hides_a_gap(recording: Recording, database: Database[Any], *, level: bool) -> None:
    """A state derived across lost events is no state; once it was compared with the document it is one again."""
    namespace = live(database, updates=SPACING)
    (*_, last) = recording.catch_up()
    moment = ClusterTime.from_payload(raw.fields(last)[b"cluster_time"][1])
    lost = gap.Gap("test", b"token", moment, moment, "lost", (f"{database.name}.*",), ())
    document = raw.fields(gap.document(lost, bytes(8)))
    if level:
        said = to_python(document[b"description"]) | {"level": True, "level_at": moment.timestamp}
        document[b"description"] = to_raw(said)
    recording.put(raw.from_fields(document.items()))
    live(database, updates=2 * SPACING, first=SPACING)
    recording.catch_up()
    fill(recording.history, namespace, 1)

    after = [snapshot for snapshot in stored(recording.history) if ClusterTime.from_id(snapshot.id) > moment]
    assert bool(after) == level
    assert len(stored(recording.history)) == 1 + 2 * level


def test_states_beyond_the_limit_are_left_out(
    recording: Recording, database: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of 16 MB would be refused, and as much be read for every answer."""
    monkeypatch.setattr(snapshot_maker, "LARGEST", 20_000)
    namespace = live(database, updates=SPACING)
    database.a.update_one({"_id": 1}, {"$set": {"text": "x" * 20_000}})
    live(database, updates=SPACING, first=SPACING)
    database.a.update_one({"_id": 1}, {"$unset": {"text": 1}})
    live(database, updates=3 * SPACING, first=2 * SPACING)
    recording.catch_up()

    assert 2 <= fill(recording.history, namespace, 1) <= 4
    assert all(len(snapshot.document) < 20_000 for snapshot in check(recording.history, namespace, 1))
    agree(recording, namespace, 1)


def test_what_the_server_refuses_is_left_out(recording: Recording, database: Database[Any]) -> None:
    """Whatever an administrator puts on our collection, the next document has its turn."""
    recording.history.command({"collMod": "snapshots", "validator": {"document.n": {"$not": {"$gt": 15}}}})
    namespace = live(database)
    recording.catch_up()

    assert 1 <= fill(recording.history, namespace, 1) < 5
    assert recording.history.snapshots.count_documents({"document": {"$exists": False}}) == 0
    agree(recording, namespace, 1)


def _stored(database: Database[Any], document_id: Any) -> bytes:
    (found,) = database.get_collection("a", codec_options=RAW).find({"_id": document_id})
    return bytes(found.raw)
