"""Random operations on a real server, by its clients, and the history that must replay them."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from change_history.bson import raw
from change_history.bson.values import document_to_python
from change_history.reconstruct import fold
from tests.support.generated.operations import CLIENTS, COLLECTIONS, on_the_wire
from tests.support.oracle import RAW
from tests.support.replay.checks import MARKER, Difference, Folded, id_of, is_mark, moment_of
from watcher.stream.listener import Listener
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from tests.support.generated.operations import Command, Operation
    from tests.support.replay.checks import Key, Snapshots


class Clients:
    """As many clients as operations know of; a context manager.

    Args:
        uri: the server.
        name: the database.
        counts: told of what is refused.
    """

    def __init__(self, uri: str, name: str, counts: Counter[str]) -> None:
        self._stack = ExitStack()
        self._clients = [self._stack.enter_context(MongoClient[dict[str, Any]](uri)) for _ in range(CLIENTS)]
        self._name = name
        self._counts = counts

    @property
    def first(self) -> MongoClient[dict[str, Any]]:
        """One of them."""
        return self._clients[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, operation: Operation) -> bool:
        """Run one operation; whether it changed anything."""
        client = self._clients[operation.client]
        if operation.commit is None:
            return any([self._send(client, command) for command in operation.commands])  # noqa: C419 - every command is sent
        with client.start_session() as session:
            session.start_transaction()
            changed = any([self._send(client, command, session) for command in operation.commands[:1]])  # noqa: C419 - every command is sent
            if operation.between is not None:
                self._send(self._clients[(operation.client + 1) % CLIENTS], operation.between)
            changed |= any([self._send(client, command, session) for command in operation.commands[1:]])  # noqa: C419 - every command is sent
            if session.in_transaction and operation.commit:
                try:
                    session.commit_transaction()
                except OperationFailure:
                    return False
                return changed
        return False

    def _send(self, client: MongoClient[Any], command: Command, session: ClientSession | None = None) -> bool:
        """Send one command; whether it changed anything. What the server refuses is skipped."""
        if session is not None and not session.in_transaction:
            return False
        try:
            reply: Any = client[self._name].command(on_the_wire(command), session=session, codec_options=RAW)
        except OperationFailure:
            self._counts["commands refused"] += 1
            if session is not None and session.in_transaction:
                session.abort_transaction()
            return False
        answer = document_to_python(bytes(reply.raw))
        self._counts["statements refused"] += len(answer.get("writeErrors", ()))
        if "nModified" in answer:
            return bool(answer["nModified"] or answer.get("upserted"))
        if "lastErrorObject" in answer:
            return bool(answer["lastErrorObject"]["n"])
        return bool(answer.get("n", 1))


class Mode(NamedTuple):
    """What the server keeps and what the listener asks for."""

    raw_updates: bool
    images: bool
    switching: bool = False


MODES = {
    "raw descriptions, images": Mode(raw_updates=True, images=True),
    "raw descriptions, no images": Mode(raw_updates=True, images=False),
    "raw descriptions, images switched": Mode(raw_updates=True, images=True, switching=True),
    "ordinary descriptions, images": Mode(raw_updates=False, images=True),
    "ordinary descriptions, no images": Mode(raw_updates=False, images=False),
    "ordinary descriptions, images switched": Mode(raw_updates=False, images=True, switching=True),
}


class Server:
    """A database, its clients, and the two streams that follow it."""

    def __init__(self, uri: str, name: str, mode: Mode, counts: Counter[str]) -> None:
        self._stack = ExitStack()
        self._clients = self._stack.enter_context(Clients(uri, name, counts))
        self._client = self._clients.first
        self._name = name
        self._raw: Database[Any] = self._client.get_database(name, codec_options=RAW)
        self.history = self._client.get_database(f"{name}_history", codec_options=RAW).history
        for collection in COLLECTIONS:
            self._client[name].create_collection(collection, changeStreamPreAndPostImages={"enabled": mode.images})
        self._listener = Listener(
            self._client, Scope((f"{name}.*",), (), f"{name}_history"), 1000, None, pre_images=True
        )
        self._listener._raw_updates = mode.raw_updates
        self._stack.callback(self._listener.close)
        self._plain = self._stack.enter_context(
            self._raw.watch(
                full_document="whenAvailable",
                full_document_before_change="whenAvailable",
                show_expanded_events=True,
                max_await_time_ms=500,
            )
        )
        self._listener.next_batch()
        self._markers = 0

    def close(self) -> None:
        """Drop the history and close the streams and the clients."""
        self._client.drop_database(self.history.database.name)
        self._stack.close()

    # Doing

    def clear(self) -> None:
        """Empty the collections."""
        for collection in COLLECTIONS:
            self._client[self._name][collection].delete_many({})

    def run(self, operation: Operation) -> bool:
        """Run one operation; whether it changed anything."""
        return self._clients.run(operation)

    # Reading

    def _mark(self) -> int:
        self._markers += 1
        self._raw.command(
            {"insert": MARKER, "documents": [{"_id": self._markers}], "writeConcern": {"w": "majority", "j": True}}
        )
        return self._markers

    def truths(self, snapshots: Snapshots) -> list[bytes]:
        """What the plain stream has until now, and what the collections held at each of its events."""
        mark, found = self._mark(), []
        while True:
            event: Any = self._plain.next()
            if is_mark(bytes(event.raw), mark):
                break
            found.append(bytes(event.raw))
        for data in found:
            moment, collection = moment_of(data)
            if (moment, collection) not in snapshots and collection != MARKER:
                snapshots[moment, collection] = self.live(collection, moment)
        return [data for data in found if not is_mark(data)]

    def events(self) -> list[bytes]:
        """What the listener has until now."""
        found: list[bytes] = []
        while not found or not is_mark(found[-1], self._markers):
            found += self._listener.next_batch().events
        return [data for data in found if not is_mark(data)]

    def live(self, only: str | None = None, at: ClusterTime | None = None) -> dict[Key, bytes]:
        """The documents the server has, or had at a cluster time."""
        found = {}
        for collection in COLLECTIONS if only is None else [only]:
            command: dict[str, Any] = {"find": collection, "batchSize": 10_000}
            if at is not None:
                command["readConcern"] = {"level": "snapshot", "atClusterTime": at.timestamp}
            answer: Any = self._raw.command(command, codec_options=RAW)
            reply = raw.fields(bytes(answer.raw))
            for _, data in raw.items(raw.fields(reply[b"cursor"][1])[b"firstBatch"][1]):
                found[collection, id_of(data)] = data
        return found


class Lab:
    """A database, its clients, the two streams, and what history makes of it."""

    def __init__(self, uri: str, name: str, mode: Mode) -> None:
        self.counts: Counter[str] = Counter()
        self.untold: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._folded = Folded(self.counts, self.untold, self.examples)
        self._server = Server(uri, name, mode, self.counts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def run(self, wanted: Iterable[Operation]) -> None:
        """Run operations on empty collections and check every event of theirs.

        Raises:
            Difference: the first difference found, after everything has been read.
        """
        self._folded.start(self._server.live())  # the baseline
        truths: list[bytes] = []
        snapshots: Snapshots = {}
        self._server.clear()
        for operation in wanted:
            if operation.kind == "switch":
                truths += self._server.truths(snapshots)
            self.counts["operations"] += 1
            self.counts["operations with effect"] += self._server.run(operation)
        truths += self._server.truths(snapshots)
        events = self._server.events()
        self.counts["events"] += len(events)
        recorded = self._folded.check(events, truths, snapshots)
        self._check_stored(recorded)
        live, state = self._server.live(), self._folded.state
        for key in live.keys() | state.keys():
            if live.get(key) != state.get(key):
                raise Difference("at the end", events[-1], live=live.get(key), folded=state.get(key))

    def _check_stored(self, recorded: list[tuple[Key, bytes, bytes | None]]) -> None:
        """Write the history down, read it back, and fold it again from each document's baseline."""
        self._server.history.delete_many({})
        resync, self._folded.resync = self._folded.resync, set()
        if not recorded:
            return
        self._server.history.insert_many([RawBSONDocument(stored) for _, stored, _ in recorded])
        back = {id_of(data): data for data in (bytes(item.raw) for item in cast("Any", self._server.history.find()))}
        timelines: dict[Key, list[bytes]] = defaultdict(list)
        baselines: dict[Key, bytes | None] = {}
        for key, stored, before in recorded:
            assert back.get(id_of(stored)) == stored, "the server changed what was stored"
            baselines.setdefault(key, before)
            timelines[key].append(back[id_of(stored)])
        for key in timelines.keys() - resync:
            assert fold.fold(baselines[key], timelines[key]) == self._folded.state.get(key), (
                "folded twice, two documents"
            )
