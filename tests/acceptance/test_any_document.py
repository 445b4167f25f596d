"""Nothing that a server stores can stop the stream, be filed under another id, or make another document unreadable."""

from __future__ import annotations

import os
from copy import copy
from random import Random
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.errors import WriteError

from change_history import History
from change_history.bson import raw
from change_history.bson.values import CODEC, document_to_python
from tests.support.daemon import eventually, watcher
from tests.support.generated import unusual

if TYPE_CHECKING:
    from collections.abc import Callable

    from bson import Timestamp
    from pymongo.collection import Collection
    from pymongo.database import Database

    from tests.support.daemon import Daemon

RAW = CODEC.with_options(document_class=RawBSONDocument)
WRITES = int(os.environ.get("WATCHER_TEST_ANY_DOCUMENT", "150"))
NOT_SAID = ("a key that the document has more than once", "an array whose keys are not 0, 1, 2")
"""Why a state can be unknown: the event of an update does not say which of several equal keys it was."""
REFUSED = {raw.STRING, raw.TIMESTAMP, raw.DOCUMENT}
"""Types of `_id` that a validator on history refuses, where one does."""
REFUSES = {"document_id": {"$not": {"$type": ["string", "timestamp", "object"]}}}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "collated": {"collation": {"locale": "en", "strength": 1}},
    "capped": {"capped": True, "size": 64_000_000},
    "clustered": {"clusteredIndex": {"key": {"_id": 1}, "unique": True}},
}


def _raw(*elements: bytes) -> RawBSONDocument:
    return RawBSONDocument(unusual.document(elements), RAW)


class Written:
    """What a collection held after each write: the server's own bytes at a cluster time."""

    def __init__(self, database: Database[Any], kind: str) -> None:
        database.create_collection(kind, **KINDS[kind])
        self.collection: Collection[RawBSONDocument] = database.get_collection(kind, codec_options=RAW)
        self.namespace = self.collection.full_name
        self.states: list[tuple[bytes, Timestamp, bytes | None]] = []
        self.ids: list[bytes] = []
        self.refused: list[str] = []

    def write(self, write: Callable[[Any], object], document_id: bytes) -> None:
        """Write, and note what is there then; the server may refuse, and then nothing has happened."""
        client = self.collection.database.client
        with client.start_session() as session:
            try:
                write(session)
            except WriteError as error:
                self.refused.append(str(error.code))
                return
            now = session.operation_time
        assert now is not None
        self.states.append((document_id, now, self.stored(document_id)))

    def afresh(self) -> Written:
        """The same collection, of which only what is written from now on is compared."""
        later = copy(self)
        later.states = []
        return later

    def look_again(self) -> None:
        """Note what every document is now."""
        now = self.collection.database.client.admin.command("ping")["operationTime"]
        self.states += [(document_id, now, self.stored(document_id)) for document_id in self.ids]

    def stored(self, document_id: bytes) -> bytes | None:
        """The document of an `_id` (an encoded element), as the server has it."""
        found = self.collection.find_one(_raw(document_id))
        return bytes(found.raw) if found is not None else None


def _random_write(random: Random, written: Written) -> None:
    collection = written.collection
    choice = random.random()
    if choice < 0.5 or not written.ids:
        document_id = unusual.element("_id", random.choice(unusual.ids(random) + unusual.SINGULAR_IDS))
        if written.stored(document_id) is not None:
            return
        contents = unusual.contents(random)
        whole = _raw(document_id, *contents)
        written.write(lambda session: collection.insert_one(whole, session=session), document_id)
        if written.states and written.states[-1][0] == document_id:
            written.ids.append(document_id)
        return
    document_id = random.choice(written.ids)
    query = _raw(document_id)
    number = random.getrandbits(20)
    if choice < 0.6:
        replacement = _raw(*unusual.contents(random))
        written.write(lambda session: collection.replace_one(query, replacement, session=session), document_id)
    elif choice < 0.7 and "capped" not in written.namespace:
        written.write(lambda session: collection.delete_one(query, session=session), document_id)
    else:
        update: Any = random.choice(
            [
                {"$set": {"b": number}},
                {"$set": {"inner.n": number, "zero": bson.Timestamp(0, 0)}},
                {"$unset": {"a": 1}},
                {"$push": {"list": number}},
                {"$inc": {"counter": 1}},
                {"$rename": {"twice": "thrice"}},
                [{"$set": {"fresh": {"$literal": number}}}],
            ]
        )
        written.write(lambda session: collection.update_one(query, update, session=session), document_id)


def _assert_told(database: Database[Any], written: Written) -> None:
    """Each state is told as the server had it; only where an event does not say what it did, that is said instead."""
    history = History(database.client, database.name)
    wrong, unknown = [], 0
    for document_id, at, expected in written.states:
        state = history.state(written.namespace, _value(document_id), at)
        if state.unknown is not None and any(reason in state.unknown for reason in NOT_SAID):
            unknown += 1
        elif state.unknown is not None or state.data != expected:
            wrong.append((document_id[:60], at, state.unknown, expected, state.data))
    assert not wrong, (len(wrong), len(written.states), wrong[:3])
    assert unknown <= len(written.states) / 10


def _assert_only_refused_are_unknown(database: Database[Any], written: Written) -> None:
    """Whatever was rejected, each other document is told, alone and with all of its collection."""
    history = History(database.client, database.name)
    refused = [state for state in written.states if state[0][0] in REFUSED]
    written.states = [state for state in written.states if state[0][0] not in REFUSED]
    assert refused
    assert written.states
    _assert_told(database, written)
    for document_id, at, _ in refused:
        assert "rejected" in (history.state(written.namespace, _value(document_id), at).unknown or ""), document_id[:60]
    told = list(history.collection(written.namespace).documents())
    assert {found.raw_id[0] for found in told} >= {raw.STRING, raw.TIMESTAMP}
    for found in told:
        unknown = found.unknown is not None and not any(reason in found.unknown for reason in NOT_SAID)
        assert unknown == (found.raw_id[0] in REFUSED), (found.raw_id[:60], found.unknown)
    written.states += refused


def _value(document_id: bytes) -> Any:
    if document_id[0] == raw.DOCUMENT:  # it may have a key twice, which no dictionary can have
        return _raw(document_id)["_id"]
    return document_to_python(unusual.document([document_id]))["_id"]


def _random(*words: str) -> Random:
    return Random(" ".join((os.environ.get("WATCHER_TEST_SEED", "1"), *words)))


def _recorded(daemon: Daemon, database: Database[Any]) -> None:
    number = database.last.estimated_document_count()
    database.last.insert_one({"_id": number})
    daemon.recorded(f"{database.name}.last", number)
    assert daemon.database.rejected.count_documents({}) == 0, daemon.log()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pre_images", ["enable", "off"])
def test_any_document_that_is_written_is_told_as_it_was(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon], kind: str, pre_images: str
) -> None:
    """Live: each write is read from history as the server had it, whatever the others are."""
    random = _random("live", kind, pre_images)
    written = Written(database, kind)
    daemon = make_daemon(replica_set_uri, database.name, pre_images=pre_images).start().ready()
    for _ in range(WRITES):
        _random_write(random, written)
    _recorded(daemon, database)
    _assert_told(daemon.database, written)


@pytest.mark.parametrize("kind", KINDS)
def test_any_document_that_was_there_before_has_a_baseline(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon], kind: str
) -> None:
    """What cannot be stored in the usual way must not end the baseline, nor the daemon."""
    random = _random("baseline", kind)
    before, written = Written(database, kind), None
    for _ in range(WRITES):
        _random_write(random, before)
    daemon = make_daemon(replica_set_uri, database.name).start().ready()
    eventually(lambda: any(line["event"] == "backfill done" for line in daemon.log_lines()), "the baseline")
    written = before.afresh()
    for _ in range(WRITES // 3):
        _random_write(random, written)
    _recorded(daemon, database)
    written.look_again()
    _assert_told(daemon.database, written)


@pytest.mark.parametrize("kind", KINDS)
def test_any_document_that_was_written_in_a_gap_is_told_afterwards(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon], kind: str
) -> None:
    """What was lost is made up for, whatever the documents are, and nothing else is touched by it."""
    random = _random("gap", kind)
    written = Written(database, kind)
    daemon = make_daemon(replica_set_uri, database.name).start().ready()
    for _ in range(WRITES // 3):
        _random_write(random, written)
    _recorded(daemon, database)
    before = written.states[:]
    assert daemon.stop() == 0
    for _ in range(WRITES // 3):
        _random_write(random, written)
    moved = watcher(daemon, "checkpoint", "set", "--now", "--yes")
    assert moved.returncode == 0, moved.stderr
    daemon.start().ready()
    gap = {"operation": "gap", "description.level": True}
    eventually(lambda: daemon.database.history.count_documents(gap) == 1, "the reconciliation")
    written.states = before
    for _ in range(WRITES // 3):
        _random_write(random, written)
    _recorded(daemon, database)
    written.look_again()
    _assert_told(daemon.database, written)


def test_what_is_rejected_concerns_its_own_document_alone(
    replica_set_uri: str, database: Database[Any], make_daemon: Callable[..., Daemon]
) -> None:
    """Baselines and events of some documents are refused; the others are told, and in the end all are."""
    random = _random("rejected")
    written = Written(database, "plain")
    for _ in range(WRITES // 3):
        _random_write(random, written)
    daemon = make_daemon(replica_set_uri, database.name)
    daemon.database.create_collection("history", validator=REFUSES)
    daemon.start().ready()
    eventually(lambda: any(line["event"] == "backfill done" for line in daemon.log_lines()), "the baseline")
    written.states = []
    for _ in range(WRITES // 2):
        _random_write(random, written)
    number = database.last.estimated_document_count()
    database.last.insert_one({"_id": number})
    daemon.recorded(f"{database.name}.last", number)
    written.look_again()
    kept = daemon.database.rejected
    assert kept.count_documents({"entry": {"$exists": True}}) > 0
    assert kept.count_documents({"document_id": {"$exists": False}}) == 0
    _assert_only_refused_are_unknown(daemon.database, written)

    daemon.database.command({"collMod": "history", "validator": {}})
    retried = watcher(daemon, "rejected", "retry", "--all")
    assert retried.returncode == 0, retried.stderr
    _assert_told(daemon.database, written)
