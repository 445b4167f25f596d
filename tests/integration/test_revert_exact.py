"""A revert to any moment gives the document as of that moment, to the byte, and history stays true.

``WATCHER_TEST_REVERT_EXAMPLES`` is the number of random histories.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from change_history import History, UnknownStateError
from change_history.bson import raw
from change_history.bson.values import to_raw
from change_history.stored.reading import RAW
from tests.support.generated.collections import World, lineages, python_id
from tests.support.generated.documents import every_type
from tests.support.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from tests.support.generated.operations import Operation

EXAMPLES = int(os.environ.get("WATCHER_TEST_REVERT_EXAMPLES", "6"))
MOMENTS = 3


def live(database: Database[Any], name: str, document_id: Any = 1) -> bytes | None:
    """A document as the server has it."""
    found = database.get_collection(name, codec_options=RAW).find_one({"_id": {"$eq": document_id}})
    return bytes(found.raw) if found is not None else None


@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_a_revert_to_any_moment_gives_the_document_as_of_then(replica_set_uri: str) -> None:
    """After random writes of every kind, deletions, drops and renames; then history says what the server has."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with (
        MongoClient[dict[str, Any]](replica_set_uri) as client,
        Recording(client, name) as recording,
        History.connect(replica_set_uri, recording.history.name) as history,
    ):
        world = World(client, name, recording)
        done: Counter[bool] = Counter()

        @settings(
            max_examples=EXAMPLES,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(lineages(), st.data())
        def holds(wanted: list[Operation], data: st.DataObject) -> None:
            world.begin()
            for operation in wanted:
                world.run(operation)
            capped = {each["name"] for each in client[name].list_collections() if each["options"].get("capped")}
            for moment in data.draw(st.lists(st.sampled_from(world.moments), min_size=1, max_size=MOMENTS)):
                for collection in moment.collections.keys() - capped:  # those no transaction may write to
                    documents = moment.collections[collection]
                    done.update(_put_back_all(client[name], history, documents, collection, moment.time))
                recording.catch_up()
                for collection in moment.collections.keys() - capped:
                    _told(client[name], history, collection)

        try:
            holds()
        finally:
            client.drop_database(name)
    assert done[True] > done[False]


def _put_back_all(
    database: Database[Any], history: History, documents: dict[bytes, bytes], name: str, time: ClusterTime
) -> Iterator[bool]:
    """Every document that was there at a moment, and every one that is there now: whether it was put back."""
    namespace = f"{database.name}.{name}"
    there = database.get_collection(name, codec_options=RAW).find({}, {"_id": 1})
    now = {bytes((kind,)) + payload for kind, payload in (raw.fields(bytes(one.raw))[b"_id"] for one in there)}
    for key in documents.keys() | now:
        before = live(database, name, python_id(key))
        reason = None
        try:
            assert history.revert(namespace, python_id(key), to=time.timestamp).complete
        except UnknownStateError as error:
            reason = error.reason
        if reason is not None:
            # A rename brought the collection later, or from where nothing is recorded: an empty one, or not watched.
            assert key not in documents or "a rename brought it" in reason
            assert live(database, name, python_id(key)) == before
            yield False
            continue
        assert live(database, name, python_id(key)) == documents.get(key)
        yield True


def _told(database: Database[Any], history: History, name: str) -> None:
    """History tells what the server has, now too."""
    namespace = f"{database.name}.{name}"
    told = {to_raw(one.document_id): one.data for one in history.collection(namespace).documents()}
    there = database.get_collection(name, codec_options=RAW).find()
    assert told == {raw.fields(data)[b"_id"]: data for data in (bytes(one.raw) for one in there)}


STRANGE = {
    "every type": every_type(),
    "dollars first": raw.from_fields([(b"$a", to_raw(1)), (b"$set", to_raw({"$b": 1}))]),
    "keys with dots": raw.from_fields([(b"a.b", to_raw(1)), (b"a", to_raw({"b": 2})), (b"", to_raw({"": 3}))]),
    "a time of zero": raw.from_fields([(b"t", to_raw(Timestamp(0, 0))), (b"n", to_raw({"t": Timestamp(0, 0)}))]),
    "an odd array": raw.from_fields([(b"l", (raw.ARRAY, raw.from_fields([(b"7", to_raw(1)), (b"x", to_raw(2))])))]),
    "no UTF-8": raw.from_fields([(b"s", (raw.STRING, raw.string(b"\xff\xfe"))), (b"k\xff", to_raw(1))]),
    "nine megabytes": raw.from_fields([(b"s", to_raw("x" * 9 * 1024 * 1024))]),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_document_comes_back_as_it_was(
    client: MongoClient[Any], database: Database[Any], recording: Recording, kind: str
) -> None:
    """Deleted, or turned into something else: no writing command may read anything into it."""
    fields = [(key, value) for key, value in raw.fields(STRANGE[kind]).items() if key != b"_id"]
    was = raw.from_fields([(b"_id", to_raw(1)), *fields])
    literal = {"$literal": RawBSONDocument(was)}
    database.a.update_one({"_id": 1}, [{"$replaceWith": literal}], upsert=True)
    assert live(database, "a") == was
    database.a.delete_one({"_id": 1})
    recording.catch_up()
    history = History(client, recording.history.name)
    namespace = f"{database.name}.a"

    assert history.revert(namespace, 1, to=1).complete
    assert live(database, "a") == was
    database.a.replace_one({"_id": 1}, {"else": 1, "s": "short"})
    recording.catch_up()
    assert history.revert(namespace, 1, to=1).complete
    assert live(database, "a") == was


def test_a_document_that_repeats_a_key_does_not_make_the_server_fall(
    client: MongoClient[Any], database: Database[Any], recording: Recording
) -> None:
    """`$literal` with such a document ends a server of 6.0.5."""
    database.a.insert_one({"_id": 1, "a": 1})
    recording.catch_up()
    twice = raw.from_fields([(b"_id", to_raw(1)), (b"a", to_raw(2)), (b"a", to_raw(3))])
    database.a.replace_one({"_id": 1}, RawBSONDocument(twice))
    history = History(client, recording.history.name)

    found = history.revert(f"{database.name}.a", 1, to=1)
    assert not found.complete
    assert live(database, "a") == twice
    assert history.revert(f"{database.name}.a", 1, to=1, force=True).complete
    assert live(database, "a") == to_raw({"_id": 1, "a": 1})[1]


def test_what_repeats_a_key_comes_back_as_it_was_or_is_refused(
    client: MongoClient[Any], database: Database[Any], recording: Recording
) -> None:
    """A document without the first of its keys was written, without a word."""
    twice = raw.from_fields([(b"_id", to_raw(1)), (b"a", to_raw(1)), (b"a", to_raw(2)), (b"b", to_raw(0))])
    zero = raw.from_fields([(b"_id", to_raw(2)), (b"a", to_raw(1)), (b"a", to_raw(2)), (b"t", to_raw(Timestamp(0, 0)))])
    for document in (twice, zero):
        database.a.insert_one(RawBSONDocument(document))
    database.a.update_one({"_id": 2}, {"$set": {"t": Timestamp(0, 0)}})  # as inserted, it is the server's time
    recording.catch_up()
    assert (live(database, "a", 1), live(database, "a", 2)) == (twice, zero)
    database.a.delete_many({})
    recording.catch_up()
    history = History(client, recording.history.name)
    namespace = f"{database.name}.a"

    assert history.undelete(namespace, 1).complete
    assert live(database, "a", 1) == twice
    assert "byte for byte" in (history.undelete(namespace, 2).documents[0].refused or "")
    assert live(database, "a", 2) is None
    recording.catch_up()
    database.a.update_one({"_id": 1}, {"$set": {"a": 5}})
    database.a.delete_one({"_id": 1})
    recording.catch_up()
    with pytest.raises(UnknownStateError, match="more than once"):
        history.revert(namespace, 1, to=-2)
    assert live(database, "a", 1) is None
