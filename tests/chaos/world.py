"""All there is in a run: the watched replica set, where history is kept, the daemons, the writers and their ledger."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from bson import Timestamp
from pymongo.errors import DuplicateKeyError, PyMongoError

from change_history.bson import raw
from tests.chaos.cluster import PATIENCE_S, Cluster
from tests.chaos.ledger import Ledger, RememberedCollection
from tests.chaos.steps import MARKS, NAMESPACES
from tests.chaos.verify import Verifier
from tests.chaos.writer import Writer
from tests.support.daemon import Daemon, eventually
from tests.support.oracle import RAW

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

HISTORY = "chaos_history"
_FIRST_STEPS_S = 2.0
_AGAIN_S = 0.1


class Size(NamedTuple):
    """How much there is to do.

    Attributes:
        writers: number of clients at work.
        documents: number of documents of each, in each collection.
        pause_s: mean time between two writes of a client.
        delay_ms: how long a delayed command waits.
        freeze_s: how long a daemon is frozen: longer than a lease.
    """

    writers: int = 3
    documents: int = 40
    pause_s: float = 0.03
    delay_ms: int = 30_000
    freeze_s: float = 8.0


class World:
    """The whole of it, running while the block lasts.

    Args:
        folder: everything on disk.
        dice: what decides.
        size: how much there is to do.
        apart: keep history on a deployment of its own.
    """

    def __init__(self, folder: Path, dice: Random, size: Size, *, apart: bool) -> None:
        self.dice, self.size, self.apart = dice, size, apart
        self.folder = folder
        self.watched = Cluster(folder / "watched")
        self.keeper = Cluster(folder / "keeper", 1, name="keeper") if apart else self.watched
        self.ledger = Ledger()
        self.daemons: list[Daemon] = []
        self._marks = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.watched)
            if self.apart:
                stack.enter_context(self.keeper)
            self.client = stack.enter_context(self.watched.client())
            keeper = stack.enter_context(self.keeper.client())
            for namespace in (*NAMESPACES, MARKS):
                database, _, name = namespace.partition(".")
                self.client[database].create_collection(name, changeStreamPreAndPostImages={"enabled": True})
            self.writers = [self._writer(stack, number) for number in range(self.size.writers)]
            stack.callback(self.stop_writing)
            self._first_steps()
            for name in ("one", "two"):
                daemon = Daemon(
                    keeper,
                    self.folder / f"{name}.log",
                    uri=self.watched.uri,
                    history_database=HISTORY,
                    include=",".join({f"{namespace.partition('.')[0]}.*" for namespace in NAMESPACES}),
                    seal="on",
                    seal_interval_s=2,
                    **({"history_uri": self.keeper.uri} if self.apart else {}),
                )
                stack.callback(daemon.__exit__)
                self.daemons.append(daemon)
            self.database = keeper[HISTORY]
            self.verifier = Verifier(self.client, keeper, HISTORY, self.ledger, dict(self.ledger.states))
            self.daemons[0].start().ready()
            done = {"token": {"$exists": True}, "survey": {"$exists": False}}
            eventually(lambda: self.database.checkpoints.count_documents(done), "the end of the baseline", PATIENCE_S)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _writer(self, stack: ExitStack, number: int) -> Writer:
        client = stack.enter_context(self.watched.client())
        return Writer(
            client, self.ledger, f"w{number}", self.size.documents, type(self.dice)(number), self.size.pause_s
        )

    def _first_steps(self) -> None:
        """Documents that exist before there is a daemon."""
        self.write()
        time.sleep(_FIRST_STEPS_S)
        self.stop_writing()
        for writer in self.writers:
            writer.settle_all()
        self.ledger.verified()

    # Writing

    def write(self) -> None:
        """Let the writers write."""
        for writer in self.writers:
            writer.start()

    def stop_writing(self) -> None:
        """Let them stop."""
        for writer in self.writers:
            writer.stop()

    def mark(self) -> str:
        """Insert a document and return its id, once a majority has it."""
        self._marks += 1
        name = f"mark {self._marks}"
        database, _, collection = MARKS.partition(".")
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.client[database][collection].insert_one({"_id": name})
            except DuplicateKeyError:  # an attempt of unknown outcome had succeeded
                pass
            except PyMongoError:
                if time.monotonic() > until:
                    raise
                time.sleep(_AGAIN_S)
                continue
            self.ledger.marks.add(name)
            return name

    def recorded(self, mark: str) -> None:
        """Wait until history has a mark."""

        def there() -> bool:
            self.alive()
            with suppress(PyMongoError):  # the deployment of the history may be the one that is in trouble
                return self.database.history.find_one({"namespace": MARKS, "document_id": mark}) is not None
            return False

        eventually(there, f"{mark} in history", PATIENCE_S)

    def alive(self) -> None:
        """Fail if a daemon has ended that nobody has ended."""
        for daemon in self.daemons:
            if daemon.process is not None and daemon.process.poll() is not None:
                tail = "\n".join(daemon.log().splitlines()[-20:])
                raise AssertionError(f"a daemon ended by itself with {daemon.process.returncode}\n{tail}")

    def remember_collections(self) -> None:
        """Note what each collection is at a cluster time, if the deployment can tell."""
        for namespace in NAMESPACES:
            database, _, name = namespace.partition(".")
            command = {"find": name, "batchSize": 100_000, "readConcern": {"level": "snapshot"}}
            with suppress(PyMongoError):
                reply: Any = self.client[database].command(command, codec_options=RAW)
                cursor = raw.fields(raw.fields(bytes(reply.raw))[b"cursor"][1])
                at = int.from_bytes(cursor[b"atClusterTime"][1], "little")
                documents = {data for _, data in raw.items(cursor[b"firstBatch"][1])}
                self.ledger.collections.append(
                    RememberedCollection(namespace, Timestamp(at >> 32, at & 0xFFFFFFFF), documents)
                )

    def catch_up(self) -> None:
        """Let everything come to rest: no writes, a whole replica set, and all that happened in history."""
        self.stop_writing()
        self.watched.level()
        if self.apart:
            self.keeper.level()
        for writer in self.writers:
            writer.settle_all()
        self.recorded(self.mark())
        self.recorded(self.mark())  # what precedes it was written in an earlier write, which is acknowledged
