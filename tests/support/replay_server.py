"""A database on a real server, with what is done to it and what its two streams and its collections say then."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history.bson import raw
from tests.support.operations import COLLECTIONS
from tests.support.oracle import RAW
from tests.support.replay_clients import Clients
from tests.support.replay_events import MARKER, id_of, is_mark, moment_of
from watcher.stream.batch import timestamp
from watcher.stream.listener import Listener
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections import Counter

    from pymongo.database import Database

    from tests.support.operations import Operation
    from tests.support.replay_events import Key, Snapshots


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

    def live(self, only: str | None = None, at: bytes | None = None) -> dict[Key, bytes]:
        """The documents the server has, or had at a cluster time."""
        found = {}
        for collection in COLLECTIONS if only is None else [only]:
            command: dict[str, Any] = {"find": collection, "batchSize": 10_000}
            if at is not None:
                command["readConcern"] = {"level": "snapshot", "atClusterTime": timestamp(at)}
            answer: Any = self._raw.command(command, codec_options=RAW)
            reply = raw.fields(bytes(answer.raw))
            for _, data in raw.items(raw.fields(reply[b"cursor"][1])[b"firstBatch"][1]):
                found[collection, id_of(data)] = data
        return found
