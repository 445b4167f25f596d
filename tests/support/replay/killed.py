"""A load of random operations beside a daemon that is killed, and the replay of what it recorded."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any, Self

from hypothesis import HealthCheck, Phase, given, seed, settings
from pymongo.errors import PyMongoError

from change_history.bson import raw
from change_history.bson.image import Image
from change_history.bson.values import document_to_python
from change_history.reconstruct import fold
from change_history.stored.changes import UNKNOWN
from tests.support import oracle
from tests.support.generated.operations import Operation, operations
from tests.support.replay.checks import Difference
from tests.support.replay.lab import Clients

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Future

    from pymongo.database import Database

BULK = "bulk"
"""A collection large enough that its baseline takes a while."""


def examples(number: int, chosen: int) -> list[list[Operation]]:
    """So many random sequences of operations, the same for the same seed."""
    found: list[list[Operation]] = []

    @seed(chosen)
    @settings(
        max_examples=number,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operations(switching=True))
    def collect(wanted: list[Operation]) -> None:
        found.append(wanted)

    collect()
    return found


class Load:
    """Clients at work in threads, until the block is left; a server that is away does not disturb them.

    Args:
        uri: the server.
        database: name of the database.
        wanted: what each thread does, again and again.
        bulk: number of documents in the collection `BULK`, one thread more writes to these.
        chosen: seed of what that thread does.
    """

    def __init__(self, uri: str, database: str, wanted: list[list[Operation]], bulk: int, chosen: int) -> None:
        self.counts: Counter[str] = Counter()
        self._uri, self._database = uri, database
        self._bulk, self._dice = bulk, Random(chosen)
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(len(wanted) + 1)
        self._wanted = wanted
        self._futures: list[Future[None]] = []

    def __enter__(self) -> Self:
        self._futures = [self._pool.submit(self._work, each) for each in self._wanted]
        self._futures.append(self._pool.submit(self._work_on_bulk))
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for future in self._futures:
            future.result()
        self._pool.shutdown()

    def _work(self, wanted: list[Operation]) -> None:
        counts: Counter[str] = Counter()
        with Clients(self._uri, self._database, counts) as clients:
            while not self._end.is_set():
                for operation in wanted:
                    if self._end.is_set():
                        break
                    counts["operations"] += 1
                    with suppress(PyMongoError):
                        counts["operations with effect"] += clients.run(operation)
        self.counts += counts

    def _work_on_bulk(self) -> None:
        dice = self._dice
        with Clients(self._uri, self._database, Counter()) as clients:
            bulk = clients.first[self._database][BULK]
            while not self._end.is_set():
                number = dice.randrange(self._bulk)
                with suppress(PyMongoError):
                    bulk.update_one({"_id": number}, {"$inc": {"n": 1}, "$unset": {"text": 1}})
                    bulk.replace_one({"_id": dice.randrange(self._bulk)}, {"m": number})
                    bulk.delete_one({"_id": dice.randrange(self._bulk)})
                    bulk.update_one({"_id": f"new {number}"}, {"$set": {"n": number}}, upsert=True)


_OURS = (b"baseline", b"reconcile")


def events_after(database: Database[Any], token: Any, last: str) -> list[bytes]:
    """What a plain change stream tells from a position to the insert of a document, that included."""
    found: list[bytes] = []
    with database.watch(
        resume_after=token,
        full_document_before_change="whenAvailable",
        show_expanded_events=True,
        max_await_time_ms=100,
    ) as stream:
        while not found or not _inserts(found[-1], last):
            event: Any = stream.next()
            found.append(bytes(event.raw))
    return found


def _inserts(event: bytes, document_id: str) -> bool:
    fields = raw.fields(event)
    key = fields.get(b"documentKey")
    wanted = raw.STRING, raw.string(document_id.encode())
    return key is not None and raw.fields(key[1]).get(b"_id") == wanted


class Replay:
    """Folds the history of a database and compares it, event by event, with the server's pre-images.

    Attributes:
        state: the documents as history has them after what has been replayed; None: deleted.
        counts: how much was compared.
    """

    def __init__(self) -> None:
        self.state: dict[tuple[str, bytes], bytes | None] = {}
        self.counts: Counter[str] = Counter()

    def replay(self, recorded: Iterable[bytes], events: dict[bytes, bytes]) -> None:
        """Replay entries in the order of the stream.

        Args:
            recorded: history.
            events: the events it is of, by their tokens.

        Raises:
            Difference: history says something else than the server.
        """
        for stored in recorded:
            fields = raw.fields(stored)
            if b"document_id" not in fields:
                continue
            kind, payload = fields[b"document_id"]
            key = raw.text_of(fields[b"namespace"]).decode(), bytes((kind,)) + payload
            if raw.text_of(fields[b"operation"]) in _OURS:
                self._statement(key, stored)
            else:
                self._event(key, stored, events[fields[b"resume_token"][1][5:]])

    def _statement(self, key: tuple[str, bytes], stored: bytes) -> None:
        """An entry of ours must say what is known already, if anything is."""
        said = fold.fold(None, [stored])
        self.counts["statements"] += 1
        if key in self.state and self.state[key] != said:
            raise Difference("a statement of another document", stored, folded=self.state[key], stated=said)
        self.state[key] = said

    def _event(self, key: tuple[str, bytes], stored: bytes, event: bytes) -> None:
        image = raw.fields(event).get(b"fullDocumentBeforeChange", raw.NULL_VALUE)
        if image[0] == raw.DOCUMENT:
            self.counts["pre-images"] += 1
            if self.state.setdefault(key, image[1]) != image[1]:
                raise Difference("another document before it", event, stored, folded=self.state[key], image=image[1])
        entry = fold.read(stored)
        before = self.state.get(key)
        if before is not None:
            self._old_values(entry, Image(before), event, stored)
        if key in self.state or fold.tells_all(entry):
            self.state[key] = fold.fold(before, [stored])
        else:
            self.counts["before any statement"] += 1

    def _old_values(self, entry: fold.Entry, before: Image, event: bytes, stored: bytes) -> None:
        for change in entry.changes:
            self.counts[f"old values {(change.old_from or b'from images').decode()}"] += 1
            if change.old_from != UNKNOWN and change.old != before.get(change.path):
                raise Difference(f"the old value of {change.path}", event, stored)


def compare_with_stream(events: list[bytes], recorded: list[bytes]) -> None:
    """Fail unless each event of the stream is in history once, in its place."""
    expected = [oracle.token_of(event) for event in events]
    found = [raw.fields(stored)[b"resume_token"][1][5:] for stored in recorded if b"resume_token" in raw.fields(stored)]
    assert len(found) == len(set(found)), "an event was recorded twice"
    lost = set(expected) - set(found)
    assert not lost, [document_to_python(event) for event in events if oracle.token_of(event) in lost]
    never = set(found) - set(expected)
    assert not never, [entry for stored in recorded if (entry := oracle.entry(stored)).get("resume_token") in never]
    assert found == expected, "the history is not in the order of the stream"
