"""A deposed leader can do no harm: what it writes under its old term is refused, and nothing is changed."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import Binary, CodecOptions, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.stored.chunks import whole
from tests.support.daemon import eventually
from tests.support.several_daemons import SCOPE, entry, fence, own, position
from watcher.backfill.plan_store import PlanStore
from watcher.backfill.queue import BASELINE, RECONCILE, BackfillPlan
from watcher.embedded.mongod import find_mongod
from watcher.events import baseline
from watcher.gaps.gap import Gaps
from watcher.gaps.rejected import RejectedEvents
from watcher.leadership.fence import Fence
from watcher.leadership.lease import DeposedError
from watcher.stream.batch import Lost
from watcher.stream.checkpointer import Checkpointer
from watcher.targets.identity import ReplicaSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pymongo.database import Database

AT = Timestamp(7, 1)
PLAN = BackfillPlan(BASELINE, AT, ("shop.a",))


def everything(database: Database[Any]) -> dict[str, list[Any]]:
    """All that is stored, but for the count of writes in `terms`."""
    names = set(database.list_collection_names()) - {"terms"}
    return {name: list(database[name].find()) for name in sorted(names)}


def late(database: Database[Any]) -> Iterator[Callable[[], object]]:
    """Whatever only a leader may write, each once, under a term that is over."""
    old = fence(database)
    old.hold()
    first = own(database, old)
    first.store([entry(1)])
    Gaps(database, old, SCOPE).write(Lost(position(1), "cause"), position(2))
    checkpointer = Checkpointer(database, "default", SCOPE, ReplicaSet("rs0", None), old.term)
    checkpointer.save(position(3), 3)
    fence(database).hold()
    yield lambda: checkpointer.save(position(2), 9)
    yield lambda: checkpointer.begin(position(2))
    plans = PlanStore(database, old)
    yield lambda: plans.save([PLAN])
    yield lambda: plans.save([])
    yield plans.nudge
    yield lambda: plans.close_gaps(BackfillPlan(RECONCILE, AT, (), closes_gaps=True), SCOPE)
    yield lambda: first.store([entry(2)])
    yield lambda: first.store([entry(1), entry(3)])
    yield lambda: Gaps(database, old, SCOPE).write(Lost(position(1), "another"), position(9))
    yield lambda: Gaps(database, old, SCOPE).write(Lost(position(5), "cause"), position(9))
    yield old.hold
    yield Fence(database, "default", old.term).hold


def test_whatever_a_leader_writes_is_refused_once_it_is_deposed(database: Database[Any]) -> None:
    """Position, plans, gaps, what a backfill has found; and no second document is made of any."""
    refused = 0
    for write in late(database):
        before = everything(database)
        if write.__name__ != "hold" or refused > 10:
            with pytest.raises(DeposedError):
                write()
        assert everything(database) == before
        refused += 1
    assert refused == 12
    assert [found["_id"] for found in database.checkpoints.find()] == ["default"]


def test_a_leader_writes_under_its_own_term(database: Database[Any]) -> None:
    """The same things, before it is deposed; and what is there already is not written twice."""
    mine = fence(database)
    store = own(database, mine)
    store.store([entry(1), entry(2)])
    store.store([entry(2), entry(3)])
    PlanStore(database, mine).save([PLAN])
    Gaps(database, mine, SCOPE).write(Lost(position(1), "cause"), position(2))
    PlanStore(database, mine).close_gaps(BackfillPlan(RECONCILE, AT, (), closes_gaps=True), SCOPE)

    assert database.history.count_documents({"operation": "baseline"}) == 3
    assert database.history.count_documents({"operation": "gap", "description.level": True}) == 1
    assert PlanStore(database, mine).load() == (PLAN,)


def test_a_transaction_that_a_frozen_leader_left_open_holds_nobody_up(database: Database[Any]) -> None:
    """It would keep its locks for a minute: neither the lead nor the backfill of the next leader waits for that."""
    old = fence(database)
    own(database, old).store([entry(1)])
    frozen, thawed = threading.Event(), threading.Event()

    def write(session: Any) -> None:
        database.history.insert_one({"_id": "half a truth"}, session=session)
        frozen.set()
        thawed.wait()

    failures: list[BaseException] = []

    def leader() -> None:
        try:
            old.run(write)
        except (PyMongoError, DeposedError) as error:
            failures.append(error)

    thread = threading.Thread(target=leader)
    thread.start()
    eventually(frozen.is_set, "a transaction that is open")
    new = fence(database)
    new.hold()
    own(database, new).store([entry(2)])
    thawed.set()
    thread.join()

    assert len(failures) == 1
    with pytest.raises(DeposedError):
        old.run(write)
    assert not database.history.count_documents({"_id": "half a truth"})
    assert database.history.count_documents({"operation": "baseline"}) == 2


def test_terms_go_on_where_a_checkpoint_was_removed(database: Database[Any]) -> None:
    """Begun again at one, every leader of the stream would count as deposed for ever."""
    fence(database).hold()
    fence(database).hold()
    database.checkpoints.delete_many({})

    mine = fence(database)
    own(database, mine).store([entry(1)])

    assert mine.term.number == 3


def test_what_nests_too_deep_goes_into_chunks_and_the_rest_is_stored(database: Database[Any]) -> None:
    """One refusal is the end of a transaction, and must not be the end of a backfill."""
    deep = bson.encode({"a": 1})
    for _ in range(177):
        deep = raw.from_fields([(b"a", (raw.DOCUMENT, deep))])
    document = raw.from_fields([(b"_id", (raw.DOCUMENT, bson.encode({"n": 1}))), (b"deep", (raw.DOCUMENT, deep))])
    refused = baseline.baseline(b"shop.a", document, baseline.SnapshotRead(ClusterTime(7), bytes(8)))

    own(database, fence(database)).store([entry(1), refused, entry(2)])

    assert database.history.count_documents({"document_id": {"$in": [1, 2]}}) == 2
    assert database.rejected.count_documents({}) == 0
    options: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
    history = database.get_collection("history", codec_options=options)
    head = history.find_one({"document_id": {"n": 1}})
    assert head is not None
    assert bytes(whole(database, head).raw) == refused


def test_a_refused_baseline_keeps_what_it_is_about_and_can_be_tried_again(database: Database[Any]) -> None:
    """It was kept without namespace, id and content, and made every document of every database unknown."""
    database.create_collection("history", validator={"document_id": {"$ne": Timestamp(0, 0)}})
    document = bson.encode({"_id": Timestamp(0, 0), "n": 1})
    refused = baseline.baseline(b"shop.a", document, baseline.SnapshotRead(ClusterTime(7), bytes(8)))

    own(database, fence(database)).store([entry(1), refused, entry(2)])

    (kept,) = database.rejected.find()
    assert (kept["namespace"], kept["document_id"], kept["operation"]) == ("shop.a", Timestamp(0, 0), "baseline")
    assert (kept["cluster_time"], kept["entry"], kept["error"]) == (
        ClusterTime(7).timestamp,
        refused,
        "DocumentValidationFailure (121)",
    )
    assert [found.error for found in RejectedEvents(database, None).retry([kept["_id"]])] == [kept["error"]]
    database.command({"collMod": "history", "validator": {}})
    assert [outcome.error for outcome in RejectedEvents(database, None).retry([kept["_id"]])] == [None]
    assert database.rejected.count_documents({}) == 0
    assert database.history.find_one({"_id": kept["_id"]})["document_id"] == Timestamp(0, 0)  # type: ignore[index]


def test_entries_of_many_megabytes_go_in_several_transactions(
    database: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for all could be larger than the server's cache."""
    monkeypatch.setattr("watcher.backfill.entry_store.PORTION", 2 * len(entry(1)))
    mine = fence(database)
    own(database, mine).store([entry(number) for number in range(5)])

    assert database.history.count_documents({}) == 5
    assert database.terms.find_one()["writes"] == 3  # type: ignore[index]


def test_history_on_a_server_without_transactions_is_fenced_too(tmp_path: Path, free_port: int) -> None:
    """A standalone server may keep it; there the term is looked at just before."""
    command = [find_mongod(), "--dbpath", tmp_path, "--port", str(free_port), "--bind_ip", "127.0.0.1"]
    standalone = subprocess.Popen([*map(str, command), "--wiredTigerCacheSizeGB", "0.25"], stdout=subprocess.DEVNULL)
    try:
        with MongoClient[dict[str, Any]](f"mongodb://127.0.0.1:{free_port}/?directConnection=true") as client:
            database = client.alone
            client.admin.command("ping")  # has all the time it takes to start; what follows has two seconds
            old = fence(database)
            own(database, old).store([entry(1)])
            own(database, fence(database)).store([entry(2)])
            with pytest.raises(DeposedError):
                own(database, old).store([entry(3)])
            stored = {bytes(Binary(found["_id"])) for found in database.history.find()}
            assert stored == {raw.fields(entry(number))[b"_id"][1][5:] for number in (1, 2)}
    finally:
        standalone.terminate()
        standalone.wait()
