"""Expiry by age: what history tells from the horizon on is what it told before, whatever happened to collections.

``WATCHER_TEST_FULL_SIZE=1`` asks at 5,000 random moments, ``WATCHER_TEST_RETENTION_SEED`` makes the histories the same.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import Binary, ObjectId
from bson.raw_bson import RawBSONDocument
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from change_history import Selection, UnknownStateError
from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.equality import key_of
from change_history.bson.values import to_raw
from change_history.reader import Reader
from change_history.reconstruct.snapshot_maker import SnapshotMaker
from change_history.stored.names import AMENDMENTS, HISTORY, HORIZONS, IMPORTED, PARTS, REJECTED, SNAPSHOTS
from change_history.stored.order import position_of
from change_history.stored.reading import RAW
from tests.support.generated.collections import NAMES, World, id_of, lineages, python_id
from tests.support.recording import Recording, check, fill, make_index
from watcher.cli.rendering import not_found
from watcher.events import folding
from watcher.gaps.gap import Gap
from watcher.gaps.gap import document as gap_document
from watcher.retention.claim import Claim, ClaimedError
from watcher.retention.expiry import Expiry, Pace
from watcher.retention.runner import RetentionRunner
from watcher.stream.large_documents import LargeDocuments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo.database import Database

    from tests.support.generated.collections import StateAt
    from tests.support.generated.operations import Operation

FULL = os.environ.get("WATCHER_TEST_FULL_SIZE") == "1"
EXAMPLES = int(os.environ.get("WATCHER_TEST_RETENTION_EXAMPLES", "40" if FULL else "3"))
SEED = os.environ.get("WATCHER_TEST_RETENTION_SEED")

FAST = Pace(1_000_000_000, lambda _: False)


def expire(history: Database[Any], namespace: str, at: ClusterTime, most: int | None = None) -> int:
    """Expire the history of a namespace; of at most so many portions."""
    with Claim(history, namespace) as claim:
        expiry = Expiry(history, claim, FAST)
        if claim.horizon > claim.done:
            sum(expiry.run(claim.horizon))
        return sum(islice(expiry.run(at), most))


class Asked:
    """A world, asked after its histories have expired."""

    def __init__(self, world: World, name: str, history: Reader) -> None:
        self._world, self._name, self._history = world, name, history
        self.asked = 0

    def namespace(self, name: str) -> str:
        """Its namespace."""
        return f"{self._name}.{name}"

    def check(self, horizons: dict[str, ClusterTime]) -> None:
        """Fail unless every answer from the horizon on is what the server had, and every earlier one is refused."""
        for moment in self._world.moments:
            for name, documents in moment.collections.items():
                self._check(moment, name, documents, horizons.get(name))

    def _check(self, moment: StateAt, name: str, documents: dict[bytes, bytes], horizon: ClusterTime | None) -> None:
        namespace, at = self.namespace(name), moment.time.timestamp
        state = self._history.collection(namespace, at)
        if horizon is not None and moment.time < horizon:
            assert "has expired" in (state.unknown or "")
            for key in documents:
                with pytest.raises(UnknownStateError, match="has expired"):
                    self._history.as_of(namespace, python_id(key), at)
            return
        assert state.unknown is None
        found = list(state.documents())
        assert [told.unknown for told in found if told.unknown] == []
        assert {id_of(told.data): told.data for told in found if told.data} == documents, (name, at)
        for key, document in documents.items():
            told = self._history.as_of(namespace, python_id(key), at)
            assert told is not None
            assert to_raw(told)[1] == document
            self.asked += 1

    def blamed(self) -> dict[tuple[str, bytes], dict[Any, tuple[bytes, Any]]]:
        """By document, which event each leaf that there is at the end is from."""
        last = self._world.moments[-1]
        found = {}
        for name, documents in last.collections.items():
            for key in documents:
                leaves = self._history.blame_leaves(self.namespace(name), python_id(key), None)
                found[name, key] = {tuple(leaf.path): (bytes(leaf.event.id), leaf.event) for leaf in leaves}
        return found


@pytest.fixture
def client(replica_set_uri: str) -> Iterator[MongoClient[dict[str, Any]]]:
    """The deployment."""
    with MongoClient[dict[str, Any]](replica_set_uri) as found:
        yield found


@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_as_of_and_blame_from_the_horizon_on_are_what_they_were(replica_set_uri: str) -> None:
    """For any namespaces and horizons, in any order, left in the middle and gone on with, across drops and renames."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with MongoClient[dict[str, Any]](replica_set_uri) as client, Recording(client, name) as recording:
        world = World(client, name, recording)
        asked_in_all = 0

        @settings(
            max_examples=EXAMPLES,
            phases=[Phase.generate],
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(lineages(), st.integers(0, 2**32))
        def holds(wanted: list[Operation], number: int) -> None:
            nonlocal asked_in_all
            dice = random.Random(number)
            recording.history[HORIZONS].delete_many({})
            world.begin()
            for operation in wanted:
                world.run(operation)
            if not world.moments:
                return
            with Reader.connect(replica_set_uri, recording.history.name) as history:
                asked = Asked(world, name, history)
                before = asked.blamed()
                horizons: dict[str, ClusterTime] = {}
                for _ in range(dice.randrange(1, 6)):
                    one = dice.choice(NAMES)
                    moment = dice.choice(world.moments).time
                    at = dice.choice([moment, moment.just_before, moment.just_after])
                    if at <= horizons.get(one, ClusterTime(0)):
                        continue
                    if dice.random() < 0.3:
                        expire(recording.history, asked.namespace(one), at, dice.randrange(4))
                        asked.check(
                            {**horizons, one: at}
                            if horizon_of(recording.history, asked.namespace(one)) == at
                            else horizons
                        )
                    expire(recording.history, asked.namespace(one), at)
                    horizons[one] = at
                    asked.check(horizons)
                    check_gone(recording.history, asked.namespace(one), at)
                check_blame(before, asked.blamed(), horizons)
                asked_in_all += asked.asked

        try:
            while not asked_in_all or (FULL and asked_in_all < 5000):
                (seed(int(SEED))(holds) if SEED else holds)()
        finally:
            client.drop_database(name)


def horizon_of(history: Database[Any], namespace: str) -> ClusterTime | None:
    """The horizon that is announced."""
    found = history[HORIZONS].find_one({"_id": namespace}) or {}
    return ClusterTime.of(found["horizon"]) if "horizon" in found else None


def check_gone(history: Database[Any], namespace: str, at: ClusterTime) -> None:
    """Before the horizon there is nothing but one state of a document, or what says which documents there were."""
    seen = set()
    query = {"namespace": namespace, "_id": {"$lte": Binary(at.last_id)}}
    for stored in history.get_collection(HISTORY, codec_options=RAW).find(query):
        fields = raw.fields(bytes(stored.raw))
        operation = raw.text_of(fields[b"operation"]).decode()
        if b"document_id" in fields:
            assert operation == "baseline"
            key = key_of(fields[b"document_id"]), fields[b"cluster_time"]
            assert key not in seen
            seen.add(key)
        else:
            assert operation in {"create", "drop", "dropDatabase", "rename", "gap"}


def check_blame(before: dict[Any, Any], after: dict[Any, Any], horizons: dict[str, ClusterTime]) -> None:
    """Whoever set a leaf within the horizon is still named; else it is a base."""
    assert before.keys() == after.keys()
    for key, leaves in before.items():
        assert leaves.keys() == after[key].keys()
        for path, (event_id, event) in leaves.items():
            now_id, now = after[key][path]
            if now_id == event_id:
                continue
            assert now.operation == "baseline"
            assert "horizon" in now.description
            mine = [at for name, at in horizons.items() if now.namespace.endswith(f".{name}")]
            assert ClusterTime.of(event.cluster_time) <= mine[0], "a setter within the horizon was lost"


@pytest.fixture
def recording(client: MongoClient[dict[str, Any]]) -> Iterator[Recording]:
    """A history of a database of its own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with Recording(client, name) as found:
        make_index(found.history)
        yield found
    client.drop_database(name)


def written(recording: Recording, *changes: Callable[[Any], object]) -> list[ClusterTime]:
    """Do things to a collection with pre-images, and record each; their cluster times."""
    users = watched(recording)
    times = []
    for change in changes:
        change(users)
        times += [position_of(raw.fields(entry)).cluster_time for entry in recording.catch_up()]
    return times


def watched(recording: Recording) -> Any:
    """The collection that is written to; made when it is first asked for."""
    database = recording._client[recording._watched]
    if "users" not in database.list_collection_names():
        database.create_collection("users", changeStreamPreAndPostImages={"enabled": True})
        recording.catch_up()
    return database["users"]


@pytest.mark.parametrize("order", [("users", "people"), ("people", "users")])
@pytest.mark.parametrize("between", ["converted", "renamed"])
def test_documents_outlive_the_history_of_every_name_that_they_had(
    recording: Recording, between: str, order: tuple[str, ...]
) -> None:
    """They are told by what lies under a name that they had before the last one, and by which nothing happened."""
    database = watched(recording).database
    admin = database.client.admin

    def renamed(source: str, target: str) -> None:
        admin.command("renameCollection", f"{database.name}.{source}", to=f"{database.name}.{target}")

    times = written(recording, lambda users: users.insert_many([{"_id": n, "n": 0} for n in (1, 2)]))
    if between == "converted":
        database.command("convertToCapped", "users", size=1_000_000)
    else:
        renamed("users", "people")
        renamed("people", "users")
    times += written(recording, lambda users: users.update_one({"_id": 2}, {"$set": {"n": 5}}))
    renamed("users", "people")
    renamed("people", "staff")
    database["users"].insert_one({"_id": 3})
    times += [position_of(raw.fields(entry)).cluster_time for entry in recording.catch_up()]

    for name in order:
        expire(recording.history, f"{database.name}.{name}", times[-1])

    with Reader(recording._client, recording.history.name) as history:
        told = history.collection(f"{database.name}.staff", None)
        assert told.unknown is None
        assert [each.unknown for each in told.documents() if each.unknown] == []
        assert [bson.decode(each.data) for each in told.documents() if each.data] == [
            {"_id": 1, "n": 0},
            {"_id": 2, "n": 5},
        ]
        assert history.as_of(f"{database.name}.staff", 1, None) == {"_id": 1, "n": 0}
        assert history.as_of(f"{database.name}.users", 3, None) == {"_id": 3}


def test_a_document_in_chunks_keeps_its_state_and_loses_its_chunks(recording: Recording) -> None:
    """Chunks of expired events would lie there for ever."""
    times = written(
        recording,
        lambda users: users.insert_one({"_id": 1, "text": "a" * 1000, "n": 0}),
        lambda users: users.update_one({"_id": 1}, {"$set": {"text": "b" * 1000}}),
        lambda users: users.update_one({"_id": 1}, {"$set": {"n": 1}}),
    )
    history = recording.history
    for stored in list(history.get_collection(HISTORY, codec_options=RAW).find({"document_id": 1})):
        head = LargeDocuments(history).in_parts(bytes(stored.raw))
        history[HISTORY].replace_one({"_id": stored["_id"]}, RawBSONDocument(head))
    assert history[PARTS].count_documents({}) == 3
    namespace = watched(recording).database.name + ".users"

    assert expire(history, namespace, times[1]) == 2

    assert history[PARTS].count_documents({}) == 1
    with Reader(recording._client, history.name) as reader:
        assert reader.as_of(namespace, 1, times[1].timestamp) == {"_id": 1, "text": "b" * 1000, "n": 0}
        assert reader.as_of(namespace, 1, times[2].timestamp) == {"_id": 1, "text": "b" * 1000, "n": 1}


def test_snapshots_within_the_horizon_stay_right_and_older_ones_go(recording: Recording) -> None:
    """`snapshots verify` after expiry would otherwise name every one of them."""
    times = written(
        recording,
        lambda users: users.insert_one({"_id": 1, "n": 0}),
        *(lambda users, n=n: users.update_one({"_id": 1}, {"$set": {f"f{n % 5}": n}}) for n in range(100)),
    )
    namespace = watched(recording).database.name + ".users"
    history = recording.history
    assert fill(history, namespace, 1) == 3
    with Reader(recording._client, history.name) as reader:
        before = [reader.as_of(namespace, 1, at.timestamp) for at in times[50:]]

        expire(history, namespace, times[50])

        assert history[SNAPSHOTS].count_documents({}) == 2
        assert [reader.as_of(namespace, 1, at.timestamp) for at in times[50:]] == before
    check(history, namespace, 1)


def test_a_gap_before_the_horizon_still_counts(recording: Recording) -> None:
    """A base would otherwise vouch for a state that nobody has seen whole since events were lost."""
    times = written(
        recording,
        lambda users: users.insert_one({"_id": 1, "n": 0}),
        lambda users: users.insert_one({"_id": 2, "n": 0}),
        lambda users: users.update_one({"_id": 1}, {"$set": {"n": 1}}),
        lambda users: users.delete_one({"_id": 2}),
        lambda users: users.insert_one({"_id": 2, "n": 3}),
    )
    namespace = watched(recording).database.name + ".users"
    lost = Gap("test", b"", times[2], times[3], "test", ("*.*",), ())
    recording.put(gap_document(lost, bytes(8)))
    with Reader(recording._client, recording.history.name) as reader:
        before = [len(reader.state(namespace, key, None).gaps) for key in (1, 2)]
        assert before == [1, 0]

        expire(recording.history, namespace, times[4])

        assert [reader.as_of(namespace, key, None) for key in (1, 2)] == [{"_id": 1, "n": 1}, {"_id": 2, "n": 3}]
        assert [len(reader.state(namespace, key, None).gaps) for key in (1, 2)] == before


def test_an_expired_rejected_event_goes_and_leaves_its_document_unknown(recording: Recording) -> None:
    """It holds values as old as the others; and what it has done nobody knows."""
    times = written(
        recording,
        lambda users: users.insert_one({"_id": 1, "n": 0}),
        lambda users: users.update_one({"_id": 1}, {"$set": {"n": 1}}),
        lambda users: users.update_one({"_id": 1}, {"$set": {"n": 2}}),
        lambda users: users.delete_one({"_id": 1}),
        lambda users: users.insert_one({"_id": 1, "n": 3}),
    )
    namespace = watched(recording).database.name + ".users"
    history = recording.history
    taken = history[HISTORY].find_one_and_delete({"cluster_time": times[1].timestamp, "document_id": 1})
    assert taken is not None
    about = {name: taken[name] for name in ("_id", "namespace", "document_id", "operation", "cluster_time")}
    history[REJECTED].insert_one({**about, "event": b"secret", "error": "TooLarge"})
    names, later = dict(zip(("db", "coll"), namespace.split("."), strict=True)), ObjectId().binary + b"late"
    for name, at in ((ObjectId().binary + b"soon", times[1]), (later, times[4])):  # only the event tells what it is
        event = {"operationType": "update", "ns": names, "documentKey": {"_id": 9}, "clusterTime": at.timestamp}
        history[REJECTED].insert_one({"_id": Binary(name), "event": Binary(bson.encode(event)), "error": "of old"})

    for when in (times[0].seconds - 3600, times[4].seconds + 3600):
        entry = {"_id": Binary(when.to_bytes(16, "big")), "timestamp": datetime.fromtimestamp(when, UTC)}
        history[IMPORTED].insert_one({**entry, "namespace": namespace, "document_id": 1, "changes": []})

    expire(history, namespace, times[1])

    assert [bytes(each["_id"]) for each in history[REJECTED].find()] == [later]
    assert history[IMPORTED].count_documents({}) == 1
    assert history[AMENDMENTS].count_documents({}) == 0, "nobody would ever take these notes away"
    with Reader(recording._client, history.name) as reader:
        for at in times[1:3]:
            with pytest.raises(UnknownStateError, match="horizon"):
                reader.as_of(namespace, 1, at.timestamp)
        assert reader.as_of(namespace, 1, times[4].timestamp) == {"_id": 1, "n": 3}


def test_one_at_a_time_and_who_was_frozen_brings_nothing_back(recording: Recording) -> None:
    """A base that is stored an hour late would bring a deleted document back."""
    times = written(recording, lambda users: users.insert_one({"_id": 1}), lambda users: users.delete_one({"_id": 1}))
    namespace = watched(recording).database.name + ".users"
    history = recording.history
    with Claim(history, namespace) as frozen:
        with pytest.raises(ClaimedError), Claim(history, namespace):
            pass
        history[HORIZONS].update_one({"_id": namespace}, {"$unset": {"until": 1}})  # its time has passed
        expire(history, namespace, times[1])
        with pytest.raises(ClaimedError):
            sum(Expiry(history, frozen, FAST).run(times[0]))
    assert history[HISTORY].count_documents({"document_id": 1}) == 0


def test_a_document_that_nothing_happens_to_is_not_written_again(recording: Recording) -> None:
    """Else moving the horizon would cost as much as there are documents, every hour."""
    times = written(
        recording,
        lambda users: users.insert_many([{"_id": n} for n in range(50)]),
        lambda users: users.update_one({"_id": 1}, {"$set": {"n": 1}}),
        lambda users: users.update_one({"_id": 1}, {"$set": {"n": 2}}),
    )
    namespace = watched(recording).database.name + ".users"
    history = recording.history
    expire(history, namespace, times[-3])
    bases = {each["_id"] for each in history[HISTORY].find({"operation": "baseline"})}
    assert len(bases) == 50

    expire(history, namespace, times[-2])

    now = {each["_id"] for each in history[HISTORY].find({"operation": "baseline"})}
    assert (len(bases - now), len(now - bases)) == (1, 1)
    with Reader(recording._client, history.name) as reader:
        assert len(list(reader.collection(namespace, times[-2].timestamp).documents())) == 50


def test_entries_go_in_small_slices(recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delete of thousands holds up every write of the stream that comes behind it."""
    times = written(recording, lambda users: users.insert_many([{"_id": n} for n in range(600)]))
    slices: list[int] = []
    monkeypatch.setattr(Pace, "done", lambda _, events: slices.append(events))

    expire(recording.history, watched(recording).database.name + ".users", times[-1])

    assert (sum(slices), max(slices)) == (600, 250)


def test_old_snapshots_go_and_are_not_made_again(recording: Recording) -> None:
    """Else they would be made and removed again, with every update of a long-lived document."""
    times = written(
        recording,
        lambda users: users.insert_one({"_id": 1, "n": 0}),
        *(lambda users, n=n: users.update_one({"_id": 1}, {"$set": {"n": n}}) for n in range(70)),
    )
    namespace = watched(recording).database.name + ".users"
    history = recording.history
    assert fill(history, namespace, 1) == 2

    time.sleep(2)
    assert RetentionRunner(history, (), "1s").drop_snapshots(FAST) == 2

    maker = SnapshotMaker(history, lambda: times[-1])
    assert list(maker.fill(namespace, to_raw(1), onwards=True)) == []
    assert history[SNAPSHOTS].count_documents({}) == 0


def test_an_answer_that_is_empty_says_that_history_has_expired(recording: Recording) -> None:
    """Nobody should take what has gone for what has never been."""
    times = written(recording, lambda users: users.insert_one({"_id": 1}), lambda users: users.delete_one({"_id": 1}))
    namespace = watched(recording).database.name + ".users"
    expire(recording.history, namespace, times[1])
    with Reader(recording._client, recording.history.name) as reader:
        said = not_found.message(reader, Selection(namespace, 1))
    assert "has expired: see `watcher retention`" in said


def test_usual_documents_are_followed_quickly_also_from_their_bases_on(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else expiry takes the processor away from the stream, and nothing but the time tells."""
    if folding.COMPILED is None:
        pytest.skip("installed without a C compiler")
    slowly: list[int] = []
    followed = Expiry._followed

    def counted(self: Expiry, incarnation: Any, ids: Any, *others: Any) -> Any:
        slowly.append(len(ids))
        return followed(self, incarnation, ids, *others)

    monkeypatch.setattr(Expiry, "_followed", counted)
    times = written(
        recording,
        lambda users: users.insert_one({"_id": 1, "n": 0, "of": {"list": [1]}}),
        *(lambda users, n=n: users.update_one({"_id": 1}, {"$set": {"n": n}, "$push": {"of.list": n}}) for n in (1, 2)),
        *(lambda users, n=n: users.update_one({"_id": 1}, {"$set": {"n": n}, "$push": {"of.list": n}}) for n in (3, 4)),
    )
    namespace = watched(recording).database.name + ".users"
    halfway, last = times[2], times[-1]

    assert expire(recording.history, namespace, ClusterTime(halfway + 1)) == 3
    assert expire(recording.history, namespace, ClusterTime(last + 1)) == 3

    assert slowly == []
    (base,) = recording.history[HISTORY].find({"document_id": 1})
    assert {each["field"]: each["new_value"] for each in base["changes"]} == {
        "_id": 1,
        "n": 4,
        "of": {"list": [1, 1, 2, 3, 4]},
    }
