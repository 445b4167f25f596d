"""Erasure: no byte of what was to go is left in the history database, and everything else is what it was."""

from __future__ import annotations

import random
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, ObjectId
from bson.raw_bson import RawBSONDocument

from change_history import UnknownStateError
from change_history.bson import raw
from change_history.bson.redacted import How, Redacted
from change_history.bson.values import document_to_python, to_raw
from change_history.reader import Reader
from change_history.stored.names import BASELINES, ERASURES, HISTORY, IMPORTED, PARTS, REJECTED, REVERTS, SNAPSHOTS
from change_history.stored.order import position_of
from change_history.stored.reading import RAW
from tests.support.daemon import FULL_SIZE
from tests.support.erasing import MARK, asked, erase, holding, recorded, recorded_only
from tests.support.recording import Recording, fill, make_index
from tests.support.recording import stored as stored_snapshots
from watcher.erasure.active import LASTS_S, Active, ErasingWriter
from watcher.erasure.matching import ever_matched
from watcher.erasure.requests import DONE, ENDED, STANDING, WORKING, Erasures
from watcher.erasure.values import Trail
from watcher.erasure.work import ErasureWork
from watcher.stream.batch import Entry, Position, Recorded, RejectedEvent
from watcher.stream.large_documents import LargeDocuments
from watcher.stream.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pymongo import MongoClient
    from pymongo.database import Database


PEOPLE = 3000 if FULL_SIZE else 150
_IMAGES: dict[str, Any] = {"changeStreamPreAndPostImages": {"enabled": True}}


@pytest.fixture
def recording(client: MongoClient[Any], database: Database[Any]) -> Iterator[Recording]:
    """A history of the test's own database."""
    for name in ("users", "orders"):
        database.create_collection(name, **_IMAGES)
    with Recording(client, database.name) as found:
        make_index(found.history)
        yield found


def states(history: Reader, namespace: str, ids: Iterable[Any]) -> dict[Any, Any]:
    """What documents are, and were after each event."""
    found = {}
    for each in ids:
        count = len(list(history.log(namespace, each)))
        found[each] = [history.state(namespace, each, number).data for number in range(1, count + 1)]
    return found


class People:
    """Documents of people, one of whom is to be forgotten, written to at random."""

    def __init__(self, database: Database[Any], seed: int) -> None:
        self.dice = random.Random(seed)
        self.database = database
        self.secret = 7
        self.ids = list(range(PEOPLE))

    def text(self, number: int) -> str:
        """A text about a person."""
        return f"{MARK}{self.dice.randrange(1000)}" if number == self.secret else f"plain{self.dice.randrange(1000)}"

    def insert(self) -> None:
        """Everybody, and orders that name them."""
        for number in self.ids:
            text = self.text(number)
            self.database["users"].insert_one(
                {
                    "_id": number,
                    "name": text,
                    "address": {"street": text, "more": [text, {"deep": text}, []]},
                    "bytes": text.encode(),
                    "list": [{"_id": 1, "v": text}, {"_id": 2, "v": number}],
                    "text": text,
                    "n": number,
                }
            )
            self.database["orders"].insert_one({"_id": number, "customer": number, "note": f"dear {text}, thanks"})

    def change(self, times: int) -> None:
        """Write to anybody, and to the one often."""
        users = self.database["users"]
        for _ in range(times):
            number = self.secret if self.dice.random() < 0.3 else self.dice.choice(self.ids)
            text, where = self.text(number), {"_id": number}
            match self.dice.randrange(9):
                case 0:
                    users.update_one(where, {"$set": {"address.street": text}})
                case 1:
                    users.update_one(where, {"$push": {"address.more": text}})
                case 2:
                    users.update_one(where, {"$set": {"address": {"street": text, "more": []}}})
                case 3:
                    users.update_one(where, {"$unset": {"name": 1}})
                case 4:
                    users.update_one(
                        where, [{"$set": {"name": text, "address.more": {"$slice": ["$address.more", 1]}}}]
                    )
                case 5:
                    users.replace_one(
                        where, {"name": text, "list": [{"_id": 1, "v": text}], "address": {"more": [text]}}
                    )
                case 6:
                    users.update_one(where, {"$rename": {"name": "called"}})
                case 7:
                    users.delete_one(where)
                    users.insert_one({**where, "name": text, "address": {"more": []}})
                case _:
                    users.update_one(where, {"$set": {"list.0.v": text, f"map.{self.dice.randrange(3)}": text}})


@pytest.mark.timeout(0)
@pytest.mark.parametrize("trail", list(Trail))
def test_of_one_among_thousands_no_byte_is_left(
    client: MongoClient[Any], database: Database[Any], recording: Recording, trail: Trail
) -> None:
    """In history, chunks, snapshots, rejected and imported; under two names; and all others are what they were."""
    people = People(database, seed=3)
    people.insert()
    recording.catch_up()
    people.change(PEOPLE)
    recording.catch_up()
    database["users"].rename("people")
    database.create_collection("users", **_IMAGES)
    recording.catch_up()
    database["people"].update_one({"_id": 7}, {"$set": {"again": MARK}})
    for number in range(40):
        database["people"].update_one({"_id": 7}, {"$set": {"often": f"{MARK}{number}"}})
    recording.catch_up()
    history, namespace = recording.history, f"{database.name}.people"
    assert fill(history, namespace, 7) > 0
    large = list(history.get_collection(HISTORY, codec_options=RAW).find({"document_id": 7}, limit=3))
    for stored in large:
        head = LargeDocuments(history).in_parts(bytes(stored.raw))
        history[HISTORY].replace_one({"_id": stored["_id"]}, RawBSONDocument(head))
    event = {"operationType": "update", "ns": {"db": database.name, "coll": "people"}, "documentKey": {"_id": 7}}
    about = {"namespace": namespace, "document_id": 7, "operation": "update", "cluster_time": large[0]["cluster_time"]}
    kept = Binary(to_raw({**event, "fullDocument": {"name": MARK}})[1])
    history[REJECTED].insert_one({"_id": Binary(bytes(16)), **about, "event": kept, "error": "TooLarge"})
    change = {"field": "name", "old_value": MARK, "new_value": {"in": [MARK]}}
    history[IMPORTED].insert_one({**about, "_id": Binary(bytes(15) + b"1"), "changes": [change], "user": "ann"})
    others = [number for number in range(20) if number != 7]
    with Reader(client, history.name) as reader:
        before = states(reader, namespace, others)
        length = len(list(reader.log(namespace, 7)))
        places_of_mark = {name for name, _ in holding(history, MARK)}
        assert places_of_mark == {HISTORY, PARTS, SNAPSHOTS, REJECTED, IMPORTED}

        first = erase(history, namespace, [7], values=[MARK], trail=trail)

        assert holding(history, MARK, MARK.encode().hex()) == []
        assert not first.in_ids
        assert states(reader, namespace, others) == before
        left = list(reader.log(namespace, 7))
        if trail is Trail.NOTHING:
            assert left == []
            assert history[HISTORY].count_documents({"document_id": 7, "namespace": f"{database.name}.users"}) == 0
        else:
            assert len(left) == length
        if trail is Trail.FIELDS:
            told = reader.as_of(namespace, 7, None)
            assert told is not None
            assert told["again"] == Redacted(How.ERASED)
            assert told["_id"] == 7
        if trail is Trail.TIMES:
            with pytest.raises(UnknownStateError, match="erased"):
                reader.as_of(namespace, 7, None)
            assert not any("address" in change.field for each in left for change in each.changes)
        again = ErasureWork(history, asked(history, namespace, [7], values=[MARK], trail=trail), bytes(32)).run()
        assert not +again.counts, "what is erased already was written again"


def test_every_version_of_an_erased_document_is_told_in_the_same_form(
    client: MongoClient[Any], database: Database[Any], recording: Recording
) -> None:
    """What is left must fold as before, or `log --stat`, `diff` and snapshots of it would break."""
    people = People(database, seed=5)
    people.ids = [7]
    people.insert()
    people.change(120)
    recording.catch_up()
    namespace = f"{database.name}.users"
    with Reader(client, recording.history.name) as reader:
        before = [raw_form(data) for data in states(reader, namespace, [7])[7]]

        erase(recording.history, namespace, [7])

        after = states(reader, namespace, [7])[7]
    assert [raw_form(data) for data in after] == before
    assert holding(recording.history, MARK)  # in orders, which nobody named


def raw_form(data: bytes | None) -> Any:
    """A document without its values."""
    return form((raw.DOCUMENT, data)) if data is not None else None


def form(value: raw.Value) -> Any:
    """The names and containers of a value."""
    kind, payload = value
    if kind not in {raw.DOCUMENT, raw.ARRAY}:
        return None
    return kind, [(key, form((sub, part))) for key, sub, part in raw.elements(payload)]


def test_one_field_goes_and_the_others_stay(
    client: MongoClient[Any], database: Database[Any], recording: Recording
) -> None:
    """Also where an event has set what is around it, and in each element of an array."""
    users = database["users"]
    users.insert_one({"_id": 1, "card": {"number": MARK, "kind": "visa"}, "items": [{"sku": MARK, "n": 1}], "n": 1})
    users.update_one({"_id": 1}, {"$set": {"card.number": MARK + "2"}})
    users.update_one({"_id": 1}, {"$set": {"card": {"number": MARK, "kind": "amex"}, "items.0.sku": MARK}})
    recording.catch_up()

    erase(recording.history, f"{database.name}.users", [1], fields=["card.number", "items.sku"])

    assert holding(recording.history, MARK) == []
    gone = Redacted(How.ERASED)
    with Reader(client, recording.history.name) as reader:
        assert reader.as_of(f"{database.name}.users", 1, None) == {
            "_id": 1,
            "card": {"number": gone, "kind": "amex"},
            "items": [{"sku": gone, "n": 1}],
            "n": 1,
        }


def test_a_value_goes_from_names_and_numbers_too_and_an_id_is_named(
    database: Database[Any], recording: Recording
) -> None:
    """A map by e-mail address has the address as the name of a field; an `_id` cannot be changed, so it is said."""
    users, orders = database["users"], database["orders"]
    users.insert_one({"_id": 1, "contacts": {f"{MARK}@x.org": 1}, "number": 4711, "order": {"number": 4711.0}})
    users.update_one({"_id": 1}, {"$set": {"contacts": {f"{MARK}@x.org": 2, "b": 1}}})
    users.replace_one({"_id": 1}, {"b": 1, f"{MARK}@x.org": 1, "contacts": {f"{MARK}@x.org": 3}})
    orders.insert_one({"_id": MARK, "n": 1})
    users.insert_one({"_id": 2})
    for number in range(70):  # that the name was there for a while, only a snapshot's `changed` tells
        users.update_one({"_id": 2}, {"$unset" if number % 2 else "$set": {MARK if 40 < number < 60 else "a": number}})
    recording.catch_up()
    fill(recording.history, f"{database.name}.users", 2)
    assert any(MARK.encode() in snapshot.changed for snapshot in stored_snapshots(recording.history))

    outcome = erase(recording.history, "", values=[MARK, 4711])

    (left,) = {name for name, _ in outcome.in_ids}
    assert left == f"{database.name}.orders"
    assert all(b"orders" in data for _, data in holding(recording.history, MARK))
    for stored in recording.history[HISTORY].find({"document_id": 1}):
        assert "4711" not in str(stored)
    (erasure,) = Erasures(recording.history).all()
    assert (erasure.state, erasure.values) == (DONE, ())


def test_killed_in_the_middle_it_goes_on(database: Database[Any], recording: Recording) -> None:
    """What was asked for is written down before anything is removed, and forgotten when all is."""
    database["users"].insert_many([{"_id": n, "name": f"{MARK}{n}"} for n in range(1200)])
    recording.catch_up()
    history, namespace = recording.history, f"{database.name}.users"
    erasure = asked(history, namespace, range(20), values=[MARK])

    class KilledError(Exception):
        pass

    def killed(_: int) -> None:
        raise KilledError

    with pytest.raises(KilledError):
        ErasureWork(history, erasure, Erasures(history).key(), advance=killed).run()
    assert holding(history, MARK)
    (left,) = Erasures(history).all({"state": WORKING})

    outcome = ErasureWork(history, left, Erasures(history).key()).run()
    Erasures(history).finish(left, dict(outcome.counts))

    assert holding(history, MARK) == []
    (done,) = Erasures(history).all()
    assert (done.state, done.documents, done.said["reason"], done.said["documents"]) == (
        STANDING,
        (),
        "asked for",
        20,
    )


def test_what_arrives_later_is_erased_too_until_the_end(database: Database[Any], recording: Recording) -> None:
    """Still written; written while nobody knew of the erasure yet; set aside; and after a rename."""
    users = database["users"]
    users.insert_one({"_id": 1, "name": MARK})
    entries = recording.catch_up()
    history, namespace = recording.history, f"{database.name}.users"
    now = [1000.0]
    active = Active(history, lambda: now[0])
    slow = Slow(Writer(history, "test"))
    writer = ErasingWriter(history, slow, active)
    writer.write(recorded([entries[0]]))  # it is there already; the erasures are read

    users.update_one({"_id": 1}, {"$set": {"name": MARK + "2"}})
    (entry,) = entries = recorded_only(recording)

    def meanwhile() -> None:
        erase(history, namespace, [1])
        now[0] += LASTS_S + 1

    slow.meanwhile = meanwhile
    writer.write(recorded([entry]))
    assert holding(history, MARK) == []

    slow.meanwhile = None
    history[HISTORY].delete_many({})
    rejected = RejectedEvent(b"", "TooLarge", entry)
    writer.write(Recorded([Entry(entry, b"event")], [rejected], _NOWHERE))
    assert history[REJECTED].count_documents({}) == 1
    assert holding(history, MARK) == []
    stored: list[bytes] = []
    writer.storing(stored.extend)([entry])
    assert MARK.encode() not in b"".join(stored)

    history[HISTORY].delete_many({})
    Writer(history, "test").write(recorded([entry]))  # a daemon that was killed before it looked again
    assert holding(history, MARK)
    writer.start(position_of(raw.fields(entry)).cluster_time)
    assert holding(history, MARK) == []

    assert Erasures(history).end(namespace, to_raw(1.0), "test") == 1
    now[0] += LASTS_S + 1
    history[HISTORY].delete_many({})
    writer.write(recorded([entry]))
    assert holding(history, MARK)
    (erasure,) = Erasures(history).all()
    assert erasure.state == ENDED


_NOWHERE = Position(b"", position_of(raw.fields(to_raw({"_id": Binary(bytes(16))})[1])).cluster_time)


class Slow:
    """A writing stage in which something happens while it writes."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.meanwhile: Any = None

    def write(self, batch: Recorded) -> int:
        """Write a batch, after something else has happened."""
        if self.meanwhile is not None:
            self.meanwhile()
        return self._writer.write(batch)


def test_a_filter_finds_whoever_ever_matched(database: Database[Any], recording: Recording) -> None:
    """A person who has changed the address since is found by the former one."""
    users = database["users"]
    users.insert_many([{"_id": n, "mail": f"{n}@x"} for n in range(10)])
    users.update_one({"_id": 3}, {"$set": {"mail": "new@x"}})
    users.delete_one({"_id": 4})
    users.update_one({"_id": 5}, {"$set": {"mail": "3@x"}})
    recording.catch_up()

    found = ever_matched(recording.history, f"{database.name}.users", {"mail": {"$in": ["3@x", "4@x"]}})

    assert found.unknown == []
    assert sorted(int.from_bytes(payload, "little") for _, payload in found.documents) == [3, 4, 5]


def test_no_digest_is_found_without_the_key(recording: Recording) -> None:
    """Whoever reads the list of erasures must not be able to try names."""
    history = recording.history
    erasure = asked(history, "a.b", [ObjectId(), MARK, uuid.uuid4().hex])
    Erasures(history).finish(erasure, {})
    stored = history[ERASURES].find_one({"_id": erasure.id}) or {}
    assert "work" not in stored
    assert all(len(each) == 16 for each in stored["targets"][0]["documents"])
    key = Erasures(history).key()
    history[ERASURES].delete_one({"_id": "key"})
    assert Erasures(history).key() != key


@pytest.mark.parametrize("document_id", [MARK, {"mail": MARK, "k": 1}, 7], ids=str)
def test_an_id_goes_from_the_notes_of_reverts_and_of_baselines_too(
    database: Database[Any], recording: Recording, document_id: Any
) -> None:
    """It may be somebody's address; who asks for nothing to stay means that."""
    users, history, namespace = database["users"], recording.history, f"{database.name}.users"
    users.insert_many([{"_id": document_id, "n": 1, "of": MARK}, {"_id": "other", "n": 1}])
    users.update_many({}, {"$set": {"n": 2}})
    recording.catch_up()
    named = [{"namespace": namespace, "document_id": each} for each in (document_id, "other")]
    named.append({"namespace": f"{database.name}.orders", "document_id": 7})
    revert = {"_id": bytes(24), "state": "done", "documents": named, "count": 3}
    history[REVERTS].insert_one(revert)
    request = {"_id": 1, "namespace": namespace, "streams": [], "document": {"_id": document_id}}
    history[BASELINES].insert_many([request, {**request, "_id": 2, "document": {"_id": "other"}}])

    erase(history, namespace, [document_id], trail=Trail.FIELDS)
    assert history[REVERTS].find_one() == revert  # the _id stays then, as it does in history

    outcome = erase(history, namespace, [document_id], trail=Trail.NOTHING)
    assert holding(history, MARK) == []
    assert (outcome.counts["reverts"], outcome.counts["baselines"], outcome.left) == (1, 1, {})
    (stored,) = history.get_collection(REVERTS, codec_options=RAW).find()
    left = [each["document_id"] for each in document_to_python(stored)["documents"]]
    assert left[1:] == ["other", 7]
    assert isinstance(left[0], Redacted)
    assert [each["_id"] for each in history[BASELINES].find()] == [2]
