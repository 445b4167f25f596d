"""Writers: each has documents of its own, so it knows what they must be."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from pymongo import DeleteOne, InsertOne, ReadPreference, ReplaceOne, UpdateOne
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from tests.chaos.ledger import Remembered
from tests.chaos.steps import NAMESPACES, Key, following
from tests.support.oracle import RAW

if TYPE_CHECKING:
    from random import Random

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from tests.chaos.ledger import Ledger
    from tests.chaos.steps import Step

_LINEARIZABLE = ReadConcern("linearizable")
_REMEMBERED = 0.1
_BULK, _TRANSACTION = 0.1, 0.25
_AGAIN_S = 0.2
_COMMITS = 5


class Writer:
    """One client at work in its own thread, until it is told to stop; trouble does not disturb it.

    Args:
        client: its client, with majority write concern; closed by whoever made it.
        ledger: where it enters what it has done.
        name: prefix of its documents' ids.
        documents: number of them in each collection.
        dice: decides what it does when.
        pause_s: the mean time between two writes.
    """

    def __init__(
        self, client: MongoClient[Any], ledger: Ledger, name: str, documents: int, dice: Random, pause_s: float
    ) -> None:
        self._client, self._ledger, self._dice, self._pause_s = client, ledger, dice, pause_s
        self.keys = [Key(ns, f"{name}-{number}") for ns in NAMESPACES for number in range(documents)]
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.unknown = 0
        """Number of writes whose outcome had to be looked up."""

    def start(self) -> None:
        """Begin to write, or go on."""
        self._end.clear()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop writing; then the outcome of every write is known, unless the deployment still makes its mind up.

        Raises:
            tests.chaos.ledger.LedgerError: a document is not what it can be.
        """
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            while not self._end.wait(self._dice.expovariate(1 / self._pause_s)):
                self._turn(self._dice.random())
        except BaseException as error:  # noqa: BLE001 - handed to whoever stops it
            self._failure = error

    def _turn(self, chance: float) -> None:
        keys = self._dice.sample(self.keys, self._dice.randint(2, 6)) if chance < _TRANSACTION else []
        try:
            if chance < _BULK:
                self._bulk(keys)
            elif keys:
                self._transaction([*keys, keys[0]])  # one of them twice
            else:
                keys = [self._dice.choice(self.keys)]
                self._single(keys[0])
                if self._dice.random() < _REMEMBERED:
                    self._remember(keys[0])
        except (PyMongoError, _NothingDoneError):
            self.unknown += 1
            for key in keys:
                self._settle(key)

    def _single(self, key: Key) -> None:
        step = following(key, self._ledger.state(key))
        if not _perform(self._collection(key), key, step):
            raise _NothingDoneError
        self._ledger.done(key, step)

    def _bulk(self, keys: list[Key]) -> None:
        for namespace in sorted({key.namespace for key in keys}):
            of_it = [(key, following(key, self._ledger.state(key))) for key in keys if key.namespace == namespace]
            operations = [_OPERATIONS[step.operation](key, step) for key, step in of_it]
            result = self._collection(of_it[0][0]).bulk_write(operations, ordered=self._dice.random() < 0.5)
            if result.matched_count + result.inserted_count + result.deleted_count < len(of_it):
                raise _NothingDoneError
            for key, step in of_it:
                self._ledger.done(key, step)

    def _transaction(self, keys: list[Key]) -> None:
        states = {key: self._ledger.state(key) for key in keys}
        done: list[tuple[Key, Step]] = []
        with self._client.start_session() as session, session.start_transaction():
            for key in keys:
                step = following(key, states[key])
                if not _perform(self._collection(key), key, step, session):
                    raise _NothingDoneError
                states[key] = step.after
                done.append((key, step))
            _commit(session)
        for key, step in done:
            self._ledger.done(key, step)

    def _remember(self, key: Key) -> None:
        """Note what the document is at some cluster time. Nobody else writes to it."""
        collection = self._collection(key).with_options(codec_options=RAW)
        with self._client.start_session() as session:
            found: Any = collection.find_one({"_id": key.document_id}, session=session)
            if session.operation_time is not None:
                document = bytes(found.raw) if found is not None else None
                self._ledger.remembered.append(Remembered(key, session.operation_time, document))

    def _settle(self, key: Key) -> None:
        """Look up what has become of a document, as soon as anybody can tell."""
        collection = self._collection(key).with_options(read_concern=_LINEARIZABLE)
        while not self._end.is_set():
            try:
                found = collection.find_one({"_id": key.document_id}, {"life": 1, "n": 1}, max_time_ms=10_000)
            except PyMongoError:
                time.sleep(_AGAIN_S)
            else:
                self._ledger.settle(key, found)
                return

    def settle_all(self) -> None:
        """Look up every document; call it when the deployment is whole and nobody writes."""
        for namespace in NAMESPACES:
            database, _, name = namespace.partition(".")
            collection = self._client.get_database(database, read_preference=ReadPreference.PRIMARY)[name]
            mine = [key for key in self.keys if key.namespace == namespace]
            wanted = {"_id": {"$in": [key.document_id for key in mine]}}
            found = {each["_id"]: each for each in collection.find(wanted, {"life": 1, "n": 1})}
            for key in mine:
                self._ledger.settle(key, found.get(key.document_id))

    def _collection(self, key: Key) -> Collection[Any]:
        database, _, name = key.namespace.partition(".")
        return self._client[database][name]


class _NothingDoneError(Exception):
    """A document is not where it was thought to be: an earlier write of unknown outcome has happened after all."""


_OPERATIONS: dict[str, Any] = {
    "insert": lambda _, step: InsertOne(step.argument),
    "update": lambda key, step: UpdateOne(_one(key, step), step.argument, array_filters=step.array_filters),
    "replace": lambda key, step: ReplaceOne(_one(key, step), step.argument),
    "delete": lambda key, step: DeleteOne(_one(key, step)),
}


def _one(key: Key, step: Step) -> dict[str, Any]:
    return {"_id": key.document_id, **step.filter}


def _perform(collection: Collection[Any], key: Key, step: Step, session: ClientSession | None = None) -> bool:
    """Do a step; whether the document was as expected."""
    result = collection.bulk_write([_OPERATIONS[step.operation](key, step)], session=session)
    return result.matched_count + result.inserted_count + result.deleted_count == 1


def _commit(session: ClientSession) -> None:
    """Commit, asking again while nobody knows whether it has happened."""
    for left in reversed(range(_COMMITS)):
        try:
            session.commit_transaction()
        except PyMongoError as error:
            if not left or not error.has_error_label("UnknownTransactionCommitResult"):
                raise
        else:
            return
