"""Clients at work on a real server that may be killed under them."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Self

from hypothesis import HealthCheck, Phase, given, seed, settings
from pymongo.errors import PyMongoError

from tests.support.operations import Operation, operations
from tests.support.replay_clients import Clients

if TYPE_CHECKING:
    from concurrent.futures import Future

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
        deadline=None,
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
