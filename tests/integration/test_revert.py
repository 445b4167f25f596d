"""Putting documents back: what is refused, what stays, what is brought back; on a real server."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from bson.raw_bson import RawBSONDocument

from change_history import History, UnknownStateError
from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import ABSENT, to_raw
from change_history.query.transactions import name_of
from change_history.revert.errors import NoSuchFieldError, NothingRecordedError
from change_history.revert.merge import InsideArrayError
from change_history.stored.names import HISTORY, REJECTED
from watcher.gaps import gap

if TYPE_CHECKING:
    from collections.abc import Callable

    from bson import Timestamp
    from pymongo import MongoClient
    from pymongo.database import Database

    from tests.support.recording import Recording

    Transact = Callable[[Callable[[Any], None]], str]


@pytest.fixture
def transact(client: MongoClient[Any], recording: Recording, history: History) -> Transact:
    """A function that does something in a transaction, and records it; the name of the transaction."""

    def run(what: Callable[[Any], None]) -> str:
        with client.start_session() as session, session.start_transaction():
            what(session)
        recording.catch_up()
        events = history.log(None, reverse=True)
        return name_of(next(event.transaction for event in events if event.transaction is not None))

    return run


def test_a_change_that_is_not_recorded_yet_is_not_overwritten(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """The daemon is behind; the rest is put back, and the conflict says what is there."""
    database.a.insert_one({"_id": 1, "price": 1, "name": "a", "address": {"city": "x", "zip": 1}})
    database.a.update_one({"_id": 1}, {"$set": {"price": 2, "name": "b", "address.city": "y"}})
    recording.catch_up()
    database.a.update_one({"_id": 1}, {"$set": {"address.city": "new"}})

    found = history.revert(namespace, 1, to=1)

    assert [(c.path, c.expected, c.actual, c.target) for c in found.conflicts] == [
        (("address", "city"), "y", "new", "x")
    ]
    assert [change.field for change in found.changes] == ["price", "name"]
    assert found.applied
    assert not found.complete
    assert found.lag is not None
    expected = {"_id": 1, "price": 1, "name": "a", "address": {"city": "new", "zip": 1}}
    assert database.a.find_one() == expected
    forced = history.revert(namespace, 1, to=1, force=True)
    assert [conflict.actual for conflict in forced.documents[0].overwritten] == ["new"]
    assert database.a.find_one() == {"_id": 1, "price": 1, "name": "a", "address": {"city": "x", "zip": 1}}


def test_what_was_written_after_the_dry_run_counts_as_a_conflict_if_wanted(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """Somebody looked at the dry run for a while; meanwhile a change came, and was recorded."""
    database.a.insert_one({"_id": 1, "n": 1, "m": 1})
    database.a.update_one({"_id": 1}, {"$set": {"n": 2, "m": 2}})
    recording.catch_up()
    shown = history.revert(namespace, 1, to=1, dry_run=True)
    database.a.update_one({"_id": 1}, {"$set": {"n": 3}})
    recording.catch_up()

    found = history.revert(namespace, 1, to=1, seen=shown.seen)

    assert (shown.applied, len(shown.changes)) == (False, 2)
    assert [conflict.path for conflict in found.conflicts] == [("n",)]
    assert database.a.find_one() == {"_id": 1, "n": 3, "m": 1}


def test_only_the_fields_that_are_named_are_put_back(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """And a field within an array cannot be named: its index may mean another element by now."""
    database.a.insert_one({"_id": 1, "a": {"b": 1, "c": 1}, "d": 1, "l": [{"x": 1}]})
    database.a.update_one({"_id": 1}, {"$set": {"a.c": 2, "d": 2, "l.0.x": 2}, "$unset": {"a.b": 1}})
    recording.catch_up()

    assert history.revert(namespace, 1, to=1, fields=["a.b", "l"]).complete
    assert database.a.find_one() == {"_id": 1, "a": {"c": 2, "b": 1}, "d": 2, "l": [{"x": 1}]}
    with pytest.raises(InsideArrayError, match="arrays are put back as wholes"):
        history.revert(namespace, 1, to=1, fields=["l.0.x"])
    with pytest.raises(NoSuchFieldError, match="no field nonsense"):
        history.revert(namespace, 1, to=1, fields=["nonsense"])


def test_fields_come_back_in_the_order_that_they_had(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """They came in another one each time, as the process happened to hash their names; a dry run showed yet another."""
    document = {"_id": 1, **dict.fromkeys("hgfedcba", 1), "in": dict.fromkeys("zyxwv", 1)}
    database.a.insert_one(document)
    database.a.replace_one({"_id": 1}, {"_id": 1, "in": {}})
    recording.catch_up()

    fields = [*"abcdefgh", *(f"in.{name}" for name in "vwxyz")]
    assert history.revert(namespace, 1, to=1, fields=fields).complete
    found = database.a.find_one()
    assert found is not None
    assert [*found] == ["_id", "in", *"hgfedcba"]
    assert [*found["in"]] == [*"zyxwv"]


def test_a_string_is_the_name_of_one_field(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """`fields="ab"` put back `a` and `b`, which nobody had named, and left `ab`."""
    database.a.insert_one({"_id": 1, "a": 1, "b": 1, "ab": 1})
    database.a.update_one({"_id": 1}, {"$set": {"a": 2, "b": 2, "ab": 2}})
    recording.catch_up()

    assert history.revert(namespace, 1, to=1, fields="ab").complete
    assert database.a.find_one() == {"_id": 1, "a": 2, "b": 2, "ab": 1}


def test_a_document_comes_back_after_it_was_deleted_and_after_its_collection_was_dropped(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """Unless another one has its id by now."""
    database.a.insert_one({"_id": 1, "n": 1})
    recording.catch_up()
    before = next(iter(history.log(namespace, 1))).cluster_time
    database.a.delete_one({"_id": 1})
    recording.catch_up()
    assert history.revert(namespace, 1, to=before).complete
    assert database.a.find_one() == {"_id": 1, "n": 1}
    recording.catch_up()
    database.drop_collection("a")
    recording.catch_up()
    assert history.revert(namespace, 1, to=before).complete
    assert database.a.find_one() == {"_id": 1, "n": 1}
    database.a.replace_one({"_id": 1}, {"another": True})
    found = history.revert(namespace, 1, to=before)
    assert [(c.path, c.expected, c.actual) for c in found.conflicts] == [((), ABSENT, {"_id": 1, "another": True})]
    assert database.a.find_one() == {"_id": 1, "another": True}


def test_a_document_that_may_have_been_there_is_not_deleted(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """Before watching began nothing is recorded of it, which does not mean that it was not there."""
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    database.a.insert_many([{"_id": 1, "n": 1}, {"_id": 2, "n": 1}])
    recording.catch_up()
    recording.history[HISTORY].update_one({"document_id": 1}, {"$set": {"operation": "baseline"}})

    with pytest.raises(UnknownStateError, match="it may have been there"):
        history.revert(namespace, 1, to=long_ago, force=True)
    assert history.revert(namespace, 2, to=long_ago).complete  # it was inserted later
    assert [found["_id"] for found in database.a.find()] == [1]
    with pytest.raises(NothingRecordedError):
        history.revert(namespace, 3, to=long_ago)


def test_what_history_cannot_tell_is_not_put_back(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """An event is rejected: nobody knows what it did, and force does not help."""
    database.a.insert_one({"_id": 1, "n": 1})
    database.a.update_one({"_id": 1}, {"$set": {"n": 2}})
    recording.catch_up()
    entries = list(history.log(namespace, 1))
    recording.history[REJECTED].insert_one(
        {"_id": b"x" * 16, "namespace": namespace, "cluster_time": entries[1].cluster_time}
    )

    with pytest.raises(UnknownStateError, match="rejected"):
        history.revert(namespace, 1, to=2, force=True)
    with pytest.raises(UnknownStateError, match=r"what it is now.*rejected"):
        history.revert(namespace, 1, to=1)
    assert history.revert(namespace, 1, to=1, force=True).complete  # what it was then is known
    assert database.a.find_one() == {"_id": 1, "n": 1}


def test_across_a_gap_it_is_refused_unless_forced(
    database: Database[Any], recording: Recording, history: History, namespace: str
) -> None:
    """In the gap it may have become something else."""
    database.a.insert_one({"_id": 1, "n": 1})
    recording.catch_up()
    since = next(iter(history.log(namespace, 1))).cluster_time
    database.a.update_one({"_id": 1}, {"$set": {"n": 2}})
    recording.catch_up()
    until = next(iter(history.log(namespace, 1, reverse=True))).cluster_time
    _put_gap(recording, database.name, since, until)
    database.a.update_one({"_id": 1}, {"$set": {"n": 3}})
    recording.catch_up()

    found = history.revert(namespace, 1, to=2)
    assert (found.applied, found.complete, len(found.documents[0].gaps)) == (False, False, 1)
    assert "events were lost" in str(found.documents[0].refused)
    assert history.revert(namespace, 1, to=1).complete  # the state then does not rest on it
    recording.catch_up()
    assert history.revert(namespace, 1, to=2, force=True).complete
    assert database.a.find_one() == {"_id": 1, "n": 2}


def test_a_transaction_is_undone_in_all_its_documents(
    database: Database[Any], recording: Recording, history: History, transact: Transact
) -> None:
    """Changed, inserted, deleted, in two collections; what was changed later in other fields stays."""
    database.a.insert_many([{"_id": 1, "n": 1, "m": 1}, {"_id": 2, "n": 2}])

    def work(session: Any) -> None:
        database.a.update_one({"_id": 1}, {"$set": {"n": 10}}, session=session)
        database.a.delete_one({"_id": 2}, session=session)
        database.b.insert_one({"_id": 3}, session=session)
        database.b.insert_one({"_id": 4}, session=session)
        database.b.delete_one({"_id": 4}, session=session)
        database.a.update_one({"_id": 1}, {"$inc": {"n": 1}}, session=session)

    name = transact(work)
    database.a.update_one({"_id": 1}, {"$set": {"m": 2}})
    recording.catch_up()

    shown = history.revert_transaction(name, dry_run=True)
    assert [document.refused for document in shown.documents] == [None] * 4
    assert shown.conflicts == []
    assert not shown.applied
    found = history.revert_transaction(name)
    assert (found.complete, found.applied) == (True, True)
    assert list(database.a.find()) == [{"_id": 1, "n": 1, "m": 2}, {"_id": 2, "n": 2}]
    assert list(database.b.find()) == []
    recording.catch_up()
    assert found.transaction is not None
    assert history.revert_transaction(name_of(found.transaction)).complete  # and the undoing is undone
    assert list(database.a.find()) == [{"_id": 1, "n": 11, "m": 2}]
    assert list(database.b.find()) == [{"_id": 3}]


def test_a_transaction_is_undone_as_a_whole_or_not_at_all(
    database: Database[Any], history: History, transact: Transact
) -> None:
    """Half of a transfer undone would be money from nowhere. With `partial` it is what was asked for."""
    database.a.insert_many([{"_id": 1, "n": 100}, {"_id": 2, "n": 0}])

    def transfer(session: Any) -> None:
        database.a.update_one({"_id": 1}, {"$inc": {"n": -30}}, session=session)
        database.a.update_one({"_id": 2}, {"$inc": {"n": 30}}, session=session)

    name = transact(transfer)
    database.a.update_one({"_id": 2}, {"$inc": {"n": 5}})  # not recorded, which does not matter

    found = history.revert_transaction(name)
    assert (found.applied, [conflict.actual for conflict in found.conflicts]) == (False, [35])
    assert list(database.a.find()) == [{"_id": 1, "n": 70}, {"_id": 2, "n": 35}]
    assert history.revert_transaction(name, partial=True).applied
    assert list(database.a.find()) == [{"_id": 1, "n": 100}, {"_id": 2, "n": 35}]


def test_a_transaction_whose_collection_was_renamed_since_is_not_said_to_be_undone(
    database: Database[Any], recording: Recording, history: History, transact: Transact
) -> None:
    """What it inserted is gone from the former name, and lives on under the new one."""
    database.b.insert_one({"_id": 0, "n": 0})

    def work(session: Any) -> None:
        database.a.insert_one({"_id": 1}, session=session)
        database.b.update_one({"_id": 0}, {"$set": {"n": 1}}, session=session)

    name = transact(work)
    database.a.rename("z")
    database.a.insert_one({"_id": 1, "another": True})
    database.drop_collection("a")
    recording.catch_up()

    found = history.revert_transaction(name)

    assert (found.applied, found.complete) == (False, False)
    said = [document.refused for document in found.documents if document.refused]
    assert len(said) == 1
    assert f"renamed to {database.name}.z since" in said[0]
    assert history.revert_transaction(name, partial=True).applied
    assert database.b.find_one() == {"_id": 0, "n": 0}
    assert database.z.find_one() == {"_id": 1}


def _put_gap(recording: Recording, database: str, since: Timestamp, until: Timestamp) -> None:
    bounds = (ClusterTime.of(since), ClusterTime.of(until))
    recording.put(gap.document(gap.Gap("test", b"token", *bounds, "test", (f"{database}.*",), ()), bytes(8)))


def _handed_on(database: Database[Any], session: Any) -> None:
    """A value goes from one document to another, and with a document that goes, to one that comes."""
    database.a.update_one({"_id": 1}, {"$unset": {"email": 1, "tags": 1}}, session=session)
    database.a.delete_one({"_id": 2}, session=session)
    database.a.update_one({"_id": 3}, {"$set": {"email": "1", "tags": ["1"]}}, session=session)
    database.a.insert_one({"_id": 9, "email": "2", "tags": ["2", "x"]}, session=session)


def _swapped(database: Database[Any], session: Any) -> None:
    """Two documents exchange their values, and the others hand theirs on in a ring."""
    for each in range(6):
        database.a.update_one({"_id": each}, {"$set": {"email": f"t{each}"}, "$unset": {"tags": 1}}, session=session)
    for each, to in ((0, 1), (1, 0), (2, 3), (3, 4), (4, 5), (5, 2)):
        database.a.update_one({"_id": each}, {"$set": {"email": f"{to}", "tags": [f"{to}"]}}, session=session)


def _moved_up(database: Database[Any], session: Any) -> None:
    """The places of a list: a new first, so that each of the others is one further."""
    for each in reversed(range(6)):
        database.a.update_one({"_id": each}, {"$inc": {"place.of": 1}}, session=session)
    database.a.insert_one({"_id": 9, "place": {"of": 0}}, session=session)


@pytest.mark.parametrize("work", [_handed_on, _swapped, _moved_up])
def test_a_transaction_that_handed_unique_values_on_is_undone_as_a_whole(
    database: Database[Any], recording: Recording, history: History, transact: Transact, work: Callable[..., None]
) -> None:
    """The server refused a value that another document gives up in the same revert; then nothing was undone."""
    for keys in ([("email", 1)], [("tags", 1)], [("place.of", 1), ("list", 1)]):
        database.a.create_index(keys, unique=True, sparse=True)
    database.a.insert_many(
        [{"_id": each, "email": f"{each}", "tags": [f"{each}"], "place": {"of": each}} for each in range(6)]
    )
    before = list(database.a.find().sort("_id"))
    name = transact(lambda session: work(database, session))
    after = list(database.a.find().sort("_id"))

    found = history.revert_transaction(name)

    assert [document.refused for document in found.documents if document.refused] == []
    assert list(database.a.find().sort("_id")) == before
    recording.catch_up()
    assert list(history.collection_as_of(f"{database.name}.a", None)) == before
    assert found.transaction is not None
    assert history.revert_transaction(name_of(found.transaction)).complete
    assert list(database.a.find().sort("_id")) == after


def test_a_unique_value_that_somebody_else_has_by_now_stops_the_undoing_of_a_transaction(
    database: Database[Any], history: History, transact: Transact
) -> None:
    """Nothing is undone, and it says of which document; with `partial`, the others are."""
    database.a.create_index("email", unique=True)
    database.a.insert_many([{"_id": each, "email": f"{each}"} for each in range(3)])

    def work(session: Any) -> None:
        for each in range(3):
            database.a.update_one({"_id": each}, {"$set": {"email": f"new {each}"}}, session=session)

    name = transact(work)
    database.a.insert_one({"_id": 9, "email": "1"})

    found = history.revert_transaction(name)

    assert not found.applied
    assert [document.document_id for document in found.documents if document.refused] == [1]
    assert "change or revert that one first" in str(next(d.refused for d in found.documents if d.refused))
    assert history.revert_transaction(name, partial=True).applied
    assert [each["email"] for each in database.a.find()] == ["0", "new 1", "2", "1"]


COLLATED: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "clustered": {"clusteredIndex": {"key": {"_id": 1}, "unique": True}},
}


@pytest.mark.parametrize("kind", COLLATED)
def test_a_document_of_a_collection_with_a_collation_is_put_back_and_never_its_namesake(
    client: MongoClient[Any], database: Database[Any], recording: Recording, kind: str
) -> None:
    """Of a clustered one, all seemed to be gone: a server finds no text there if it is told another collation."""
    database.create_collection("put", collation={"locale": "en", "strength": 1}, **COLLATED[kind])
    history, namespace = History(client, recording.history.name), f"{database.name}.put"
    zero = raw.from_fields([(b"_id", to_raw("zero")), (b"t", (raw.TIMESTAMP, bytes(8))), (b"n", to_raw(1))])
    database.put.insert_one({"_id": "zero"})
    database.put.update_one({"_id": "zero"}, [{"$replaceWith": {"$literal": RawBSONDocument(zero)}}])
    database.put.insert_many([{"_id": "plain", "n": 1}, {"_id": {"a": "x"}, "n": 1}, {"_id": "", "n": 1}])
    ids: dict[Any, int] = {"zero": 2, "plain": 1, "": 1}
    for each in ids:
        database.put.update_one({"_id": each}, {"$set": {"n": 2}})
    recording.catch_up()
    for each, version in ids.items():
        assert history.revert(namespace, each, to=version).complete, each
    assert sorted(each["n"] for each in database.put.find()) == [1, 1, 1, 1]
    recording.catch_up()

    for each in (*ids, {"a": "x"}):
        database.put.delete_one({"_id": each})
    recording.catch_up()
    for each in (*ids, {"a": "x"}):
        assert history.undelete(namespace, each).complete, each
    assert sorted(each["n"] for each in database.put.find()) == [1, 1, 1, 1]
    recording.catch_up()

    for each in ("zero", "plain"):
        database.put.delete_one({"_id": each})
        database.put.insert_one({"_id": each.upper(), "another": True})
    recording.catch_up()
    for each in ("zero", "plain"):
        found = history.undelete(namespace, each)
        assert re.search(REASONS["collated"].replace("'A'", repr(each.upper())), found.documents[0].refused or "")
        assert history.revert(namespace, each.upper(), to=1).complete
        assert database.put.find_one({"_id": each}) == {"_id": each.upper(), "another": True}


REFUSING: dict[str, dict[str, Any]] = {
    "capped": {"capped": True, "size": 1_000_000},
    "collated": {"collation": {"locale": "en", "strength": 1}},
    "validated": {},
    "unique": {},
    "view": {},
    "time series": {},
}
REASONS = {
    "capped": "capped",
    "collated": "collation takes its _id for that of another document, 'A'",
    "validated": "Document failed validation.*collMod",
    "unique": "E11000.*change or revert that one first",
    "view": "view",
    "time series": "time-series",
}


@pytest.mark.parametrize("kind", REFUSING)
def test_what_the_server_will_never_store_is_refused_at_once(
    client: MongoClient[Any], database: Database[Any], recording: Recording, kind: str
) -> None:
    """It was taken for a race: "others write to it all the time; try again", after 16 seconds, also as a dry run."""
    database.create_collection("put", **REFUSING[kind])
    database.put.insert_one({"_id": "a", "n": 1})
    recording.catch_up()
    if kind == "capped":
        database.put.update_one({"_id": "a"}, {"$set": {"n": 2}})
    else:
        database.put.delete_one({"_id": "a"})
    recording.catch_up()
    if kind == "collated":
        database.put.insert_one({"_id": "A", "n": 3})
    elif kind == "validated":
        database.command({"collMod": "put", "validator": {"n": 0}})
    elif kind == "unique":
        database.put.create_index("n", unique=True)
        database.put.insert_one({"_id": "b", "n": 1})
    elif kind == "view":
        database.put.drop()
        database.create_collection("put", viewOn="other")
    elif kind == "time series":
        database.put.drop()
        database.create_collection("put", timeseries={"timeField": "t"})
    history = History(client, recording.history.name)
    begun = time.monotonic()

    found = history.revert(f"{database.name}.put", "a", to=1)

    assert time.monotonic() - begun < 10
    assert not found.applied
    assert not found.complete
    assert re.search(REASONS[kind], found.documents[0].refused or ""), found.documents[0].refused
    assert not history.revert(f"{database.name}.put", "a", to=1, dry_run=True).applied
