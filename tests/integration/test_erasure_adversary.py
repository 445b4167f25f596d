"""What an adversary finds after an erasure: in races, under other names, and in what was set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import DatetimeMS, Timestamp

from change_history.bson import raw
from change_history.bson.values import to_raw
from change_history.stored.names import CHECKPOINTS, HISTORY, IMPORTED, PARTS, REJECTED
from change_history.stored.order import position_of
from change_history.stored.reading import RAW
from tests.support.erasing import MARK, NOWHERE, erase, holding, recorded, recorded_only
from tests.support.recording import Recording
from watcher.erasure.active import LASTS_S, Active, ErasingWriter
from watcher.erasure.intervals import intervals_of
from watcher.erasure.matching import ever_matched
from watcher.erasure.values import Trail
from watcher.operations.importing import Import, Mapping
from watcher.stream.batch import Entry, Recorded, RejectedEvent
from watcher.stream.large_documents import LargeDocuments
from watcher.stream.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo import MongoClient
    from pymongo.database import Database


@pytest.fixture
def recording(client: MongoClient[Any], database: Database[Any]) -> Iterator[Recording]:
    """A history of the test's own database."""
    database.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
    with Recording(client, database.name) as found:
        yield found


@pytest.fixture
def history(recording: Recording) -> Database[Any]:
    """Where it is kept."""
    return recording.history


@pytest.fixture
def namespace(database: Database[Any]) -> str:
    """Whose history it is."""
    return f"{database.name}.users"


class LateWriter:
    """A writing stage in which something happens before it writes."""

    def __init__(self, history: Database[Any], before: Callable[[], object]) -> None:
        self._writer = Writer(history, "test")
        self._before = before

    def write(self, batch: Recorded) -> int:
        """Write a batch, its documents in chunks."""
        self._before()
        large = LargeDocuments(self._writer._history.database)
        entries = [Entry(large.in_parts(entry.document), entry.event) for entry in batch.entries]
        return self._writer.write(Recorded(entries, batch.rejected, NOWHERE))


def erased_meanwhile(history: Database[Any], namespace: str) -> tuple[Active, LateWriter]:
    """A writing stage before which document 1 is erased, and what is known of erasures by then: nothing."""
    now = [1000.0]
    active = Active(history, lambda: now[0])
    active.refresh()

    def meanwhile() -> None:
        erase(history, namespace, [1])
        now[0] += LASTS_S + 1

    return active, LateWriter(history, meanwhile)


def event_of(database: Database[Any], document_id: Any, **more: Any) -> bytes:
    """An event that lacks a resume token, so that it has no identity."""
    names = {"db": database.name, "coll": "users"}
    head = {"operationType": "update", "ns": names, "documentKey": {"_id": document_id}}
    return bson.encode({**head, "clusterTime": Timestamp(1_700_000_000, 1), **more})


def test_an_erased_document_under_a_new_name_is_erased_from_its_first_event_on(
    database: Database[Any], recording: Recording, history: Database[Any], namespace: str
) -> None:
    """Events that come with the rename, before anybody can read of it in history."""
    database["users"].insert_one({"_id": 1, "name": "x"})
    recording.catch_up()
    erase(history, namespace, [1])
    writer = ErasingWriter(history, Writer(history, "test"), Active(history, lambda: 1000.0))
    writer.write(recorded([]))

    database["users"].rename("people")
    database["people"].update_one({"_id": 1}, {"$set": {"name": MARK}})
    database["people"].rename("persons")
    database["persons"].update_one({"_id": 1}, {"$set": {"name": MARK}})
    database["persons"].insert_one({"_id": 2, "name": "Bob"})
    writer.write(recorded(recorded_only(recording)))

    assert holding(history, MARK) == []
    assert holding(history, "Bob")


@pytest.mark.parametrize("killed", [False, True])
def test_chunks_of_what_was_erased_while_it_was_written_go_too(
    database: Database[Any], recording: Recording, history: Database[Any], namespace: str, *, killed: bool
) -> None:
    """A document in chunks has none of its values in its head, where they were looked for."""
    database["users"].insert_one({"_id": 1, "name": MARK})
    recording.catch_up()
    (entry,) = history.get_collection(HISTORY, codec_options=RAW).find()
    history[HISTORY].delete_many({})
    active, late = erased_meanwhile(history, namespace)
    document = bytes(entry.raw)
    if killed:
        late.write(recorded([document]))
        assert holding(history, MARK)
        ErasingWriter(history, late, active).start(position_of(raw.fields(document)).cluster_time)
    else:
        ErasingWriter(history, late, active).write(recorded([document]))

    assert holding(history, MARK) == []
    (left,) = history[HISTORY].find()
    assert ("parts" in left, left["changes"][1]["field"]) == (False, "name")
    assert history[PARTS].count_documents({}) == 0


def test_what_was_set_aside_while_it_was_erased_keeps_no_value(
    database: Database[Any], recording: Recording, history: Database[Any], namespace: str
) -> None:
    """It is no history, and is looked at again all the same."""
    database["users"].insert_one({"_id": 1, "name": MARK})
    (entry,) = recorded_only(recording)
    active, late = erased_meanwhile(history, namespace)
    rejected = [
        RejectedEvent(b"", "TooLarge", entry),
        RejectedEvent(event_of(database, 1, fullDocument={"name": MARK}), "Odd"),
    ]
    ErasingWriter(history, late, active).write(Recorded([], rejected, NOWHERE))

    assert history[REJECTED].count_documents({"erased": True}) == 2
    assert holding(history, MARK) == []


def test_an_event_that_is_refused_keeps_no_field_that_is_erased(
    database: Database[Any], recording: Recording, history: Database[Any], namespace: str
) -> None:
    """Its entry has nothing of the field; the event that is set aside has the whole document before it."""
    database["users"].insert_one({"_id": 1, "name": MARK})
    recording.catch_up()
    erase(history, namespace, [1], fields=["name"])
    database["users"].update_one({"_id": 1}, {"$set": {"n": 1}})
    (entry,) = recorded_only(recording)
    history[HISTORY].create_index([("namespace", 1), ("document_id", 1)], unique=True)  # somebody's own

    event = event_of(database, 1, fullDocumentBeforeChange={"name": MARK})
    ErasingWriter(history, Writer(history, "test"), Active(history)).write(Recorded([Entry(entry, event)], [], NOWHERE))

    assert history[REJECTED].count_documents({}) == 1
    assert holding(history, MARK) == []


def test_what_was_set_aside_loses_a_value_in_its_actor_and_tells_of_one_in_its_id(
    database: Database[Any], recording: Recording, history: Database[Any], namespace: str
) -> None:
    """Nor does its own `_id` digest what it held: whoever guesses that could see that he is right."""
    database["users"].insert_one({"_id": 1})
    recording.catch_up()
    who = bson.encode({"id": "eve", "reason": f"for {MARK}"})
    writer = Writer(history, "test")
    writer.write(
        Recorded([], [RejectedEvent(event_of(database, 1, fullDocument={"pin": MARK}), "Odd", actor=who)], NOWHERE)
    )
    guessed = next(history[REJECTED].find())["_id"]

    assert erase(history, "", values=[MARK]).in_ids == []

    assert holding(history, MARK) == []
    (left,) = history[REJECTED].find()
    assert (left["erased"], left["actor"]["id"]) == (True, "eve")
    assert left["_id"] != guessed
    writer.write(Recorded([], [RejectedEvent(event_of(database, MARK), "Odd")], NOWHERE))
    for _ in range(2):
        assert erase(history, "", values=[MARK]).in_ids == [(namespace, to_raw(MARK))]


def test_rejected_events_that_cannot_be_read_are_counted(
    database: Database[Any], recording: Recording, history: Database[Any], namespace: str
) -> None:
    """They may be about anybody. By a value they are found, whatever they are about."""
    database["users"].insert_one({"_id": 1})
    recording.catch_up()
    damaged = event_of(database, 1, fullDocument={"name": MARK, "more": "x" * 100})[4:-30]
    Writer(history, "test").write(Recorded([], [RejectedEvent(damaged, "Unreadable")], NOWHERE))

    assert erase(history, namespace, [1]).vague == 1
    assert erase(history, namespace, [1], values=[MARK]).vague == 0
    assert holding(history, MARK) == []
    assert erase(history, namespace, [1], values=[MARK]).vague == 0


def test_documents_are_found_by_what_they_were_under_other_names(
    database: Database[Any], recording: Recording, history: Database[Any], namespace: str
) -> None:
    """Before a rename, after one, and with nothing recorded since; by either name; watched still or not."""
    users = database["users"]
    users.insert_many([{"_id": 1, "name": MARK}, {"_id": 2, "name": MARK}, {"_id": 3, "name": "Bob"}])
    users.update_one({"_id": 2}, {"$set": {"name": "Ann"}})
    recording.catch_up()
    users.rename("people")
    database["people"].update_one({"_id": 2}, {"$set": {"n": 1}})
    database["people"].update_one({"_id": 3}, {"$set": {"name": MARK}})
    users.insert_one({"_id": 9, "name": "Cid"})
    recording.catch_up()

    people = f"{database.name}.people"
    everybody = [to_raw(number) for number in (1, 2, 3)]
    for name in (people, namespace):
        assert sorted(ever_matched(history, name, {"name": MARK}).documents) == everybody
    assert ever_matched(history, people, {"name": "Cid"}) == ([], [])
    options = {"include": [people], "exclude": []}
    history[CHECKPOINTS].insert_one({"_id": "now", "options": options})
    assert namespace in [place.namespace for place in intervals_of(history, people)]
    erase(history, people, [1, 2, 3])
    assert holding(history, MARK) == []


@pytest.mark.parametrize("trail", list(Trail))
def test_what_is_imported_of_an_erased_document_comes_in_without_values_and_once(
    client: MongoClient[Any],
    database: Database[Any],
    recording: Recording,
    history: Database[Any],
    namespace: str,
    trail: Trail,
) -> None:
    """An application's own history of the person outlives the erasure, and is brought in afterwards."""
    change = {"field": "name", "new_value": MARK, "timestamp": DatetimeMS(1_700_000_000_000)}
    database["users"].insert_one({"_id": 1, "history": [change, {**change, "new_value": f"{MARK}2"}]})
    recording.catch_up()
    erase(history, namespace, [1], trail=trail)

    outcomes = [
        Import(client, history, namespace, "history", Mapping(), None, erased=Active(history).entry).run()
        for _ in range(2)
    ]

    assert holding(history, MARK) == []
    stored = 0 if trail is Trail.NOTHING else 2
    assert history[IMPORTED].count_documents({}) == stored
    assert [outcome.imported for outcome in outcomes] == [stored, 0]


def test_documents_that_may_have_matched_are_named(
    database: Database[Any], recording: Recording, history: Database[Any], namespace: str
) -> None:
    """Where history does not know them whole. Of what was erased there is nothing left to be found."""
    users = database["users"]
    users.insert_many([{"_id": number, "name": "x"} for number in range(4)])
    recording.catch_up()
    history[HISTORY].delete_many({"document_id": {"$in": [1, 2]}})
    for number in range(4):
        users.update_one({"_id": number}, {"$set": {"name": MARK}})
    recording.catch_up()
    users.delete_one({"_id": 2})
    users.insert_one({"_id": 2, "name": MARK})
    recording.catch_up()
    erase(history, namespace, [3], trail=Trail.TIMES)

    found = ever_matched(history, namespace, {"name": MARK})
    assert (sorted(found.documents), found.unknown) == ([to_raw(0), to_raw(2)], [to_raw(1)])
