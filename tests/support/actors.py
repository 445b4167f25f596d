"""The stages of a daemon that records who wrote, in the test's own process, batch by batch, and killed between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from change_history.partition import Partition
from change_history.stored.event import Event, to_event
from change_history.stored.names import HISTORY
from change_history.stored.reading import RAW
from tests.support.recording import make_indexes
from watcher.stream.actors.completion import CompletingWriter, Completions
from watcher.stream.actors.contexts import Contexts
from watcher.stream.actors.stamps import Stamps
from watcher.stream.listener import Listener
from watcher.stream.pre_image_cache import PreImageCache
from watcher.stream.recorder import Recorder
from watcher.stream.writer import Writer
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pymongo import MongoClient
    from pymongo.database import Database

    from change_history.bson.raw import Value
    from change_history.stored.order import HistoryPosition
    from watcher.events.event import DocumentKey
    from watcher.stream.batch import Position, Recorded

CONTEXTS = "watcher_context"
MARKER = "end"


def said(database: Database[Any]) -> list[tuple[Any, ...]]:
    """What the context documents say, in the order in which they were written."""
    return [
        (found["actor"], found.get("reason"), found.get("request"))
        for found in database[CONTEXTS].find().sort("_id", 1)
    ]


class NoHistory:
    """No document is known from history."""

    def begin(self, _recorded: Recorded, _stored: int) -> None:
        """Nothing is remembered."""

    def learned(self) -> bool:
        """Never."""
        return False

    def documents(
        self, keys: Mapping[DocumentKey, Value], _position: HistoryPosition
    ) -> Iterator[tuple[DocumentKey, bytes | None]]:
        """None is known."""
        return ((key, None) for key in keys)


class Daemon:
    """Records one database from now on.

    Args:
        client: the deployment, which keeps the history too.
        watched: name of the database.
        batch_size: events in a batch.
        include: collections that are watched.
        partition: what is recorded.
        fields: as `ACTOR_FIELDS`.
        history: name of the history database.
    """

    def __init__(
        self,
        client: MongoClient[Any],
        watched: str,
        batch_size: int = 100,
        *,
        include: Sequence[str] = ("*",),
        partition: str | None = None,
        fields: Sequence[str] = (),
        history: str | None = None,
    ) -> None:
        self._client = client
        self.watched = watched
        self._batch_size = batch_size
        self._fields = fields
        self.history: Database[Any] = client[history or f"{watched}_history"]
        globs = tuple(f"{watched}.{name}" for name in include)
        share = Partition.parse(partition) if partition else None
        self.scope = Scope(globs, (), self.history.name, share, CONTEXTS)
        self.safe: Position | None = None
        self.writes = CompletingWriter(Writer(self.history, "test"), Completions(self.history))
        make_indexes(self.history)
        self.start()
        self.step()

    def start(self) -> None:
        """Go on from the position that was saved, knowing nothing else."""
        self._listener = Listener(self._client, self.scope, self._batch_size, self.safe, pre_images=True)
        self._recorder = Recorder(PreImageCache(NoHistory()), Contexts(CONTEXTS), Stamps(self._fields))

    def kill(self) -> None:
        """End without a word, and start again."""
        self._listener.close()
        self.start()

    def step(self, *, killed_before_completion: bool = False) -> list[bytes]:
        """Record one batch; its events."""
        batch = self._listener.next_batch()
        recorded = self._recorder.record(batch)
        if killed_before_completion:
            Writer(self.history, "test").write(recorded)
            return batch.events
        self.writes.write(recorded)
        self.safe = recorded.safe or self.safe
        return batch.events

    def until(self, document_id: Any) -> None:
        """Record until a document is inserted whose `_id` this is; it is inserted now."""
        self._client[self.watched][MARKER].insert_one({"_id": document_id})
        found = {"namespace": f"{self.watched}.{MARKER}", "document_id": document_id}
        for _ in range(2000):
            self.step()
            if self.history[HISTORY].find_one(found):
                return
        raise AssertionError("it was not recorded")

    def events(self, collection: str) -> list[Event]:
        """What is recorded of a collection, in the order of `_id`."""
        found = self.history.get_collection(HISTORY, codec_options=RAW).find(
            {"namespace": f"{self.watched}.{collection}", "document_id": {"$exists": True}}, sort=[("_id", 1)]
        )
        return [to_event(each) for each in found]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._client.drop_database(self.history.name)
