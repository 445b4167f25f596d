"""What documents were before an event, as history tells it: what is stored, then what is in flight, where believed."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from change_history.reconstruct import trust
from change_history.reconstruct.lineage import lineage_of
from change_history.reconstruct.states import Reconstructed, Unknown, follow, reconstruct_many
from change_history.reconstruct.trust import Gap, trusted_since
from watcher.steps import Step
from watcher.stream.inflight import InFlight

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from change_history.bson.raw import Value
    from change_history.reconstruct.lineage import Incarnation
    from change_history.stored.order import HistoryPosition
    from watcher.retry import Retry
    from watcher.stream.batch import Lost, Position, Recorded
    from watcher.stream.inflight import Key
    from watcher.targets.scope import Scope

_AT_ONCE = 20
"""Documents reconstructed in one question; each may be of 16 MB."""


class Past:
    """History as one stream may rely on it.

    Args:
        database: the history database.
        stream: name of the stream.
        scope: what the stream covers.
        begun: since when it has covered that.
        retry: tries again what fails for passing reasons.
    """

    def __init__(self, database: Database[Any], stream: str, scope: Scope, begun: ClusterTime, retry: Retry) -> None:
        self._in_flight = InFlight()
        self._database = database
        self._stream = stream
        self._scope = scope
        self._begun = begun
        self._retry = retry
        self._holes: dict[tuple[str, ClusterTime], Gap] = {}
        self._changed = True
        self._load_holes()

    def begin(self, recorded: Recorded) -> None:
        """Keep in sight what is recorded and not stored yet."""
        if self._in_flight.add(recorded):
            self._changed = True

    def stored(self, number: int) -> None:
        """Batches up to this number are acknowledged by a majority. May be called from another thread."""
        self._in_flight.stored(number)

    def lose(self, lost: Lost, resumed: Position) -> None:
        """Note a hole that may not stand in history yet."""
        hole = Gap(lost.position.cluster_time, resumed.cluster_time, None, self._stream)
        self._holes[hole.checkpoint, hole.since] = hole

    def change(self) -> None:
        """History has come to tell more: a backfill has got somewhere. May be called from any thread."""
        self._changed = True

    def learned(self) -> bool:
        """Whether history has come to tell more than when this was last asked."""
        changed, self._changed = self._changed, False
        if changed:
            self._load_holes()
        return changed

    def documents(self, keys: Mapping[Key, Value], place: HistoryPosition) -> Iterator[tuple[Key, bytes | None]]:
        """What documents of one collection were before a place; None: unknown.

        Raises:
            pymongo.errors.PyMongoError: the history deployment refuses.
            watcher.retry.StoppedError: a stop was asked for.
        """
        since = trusted_since(place.cluster_time, self._begun, self._holes.values())
        stored = min(self._in_flight.start() or place, place)
        namespace = next(iter(keys)).namespace.decode("utf-8", "surrogateescape")
        incarnations = self._ask(lambda: list(lineage_of(self._database, namespace, stored, self._covers)))
        rest = iter(keys.items())
        while some := dict(islice(rest, _AT_ONCE)):
            told = self._reconstructed(incarnations, some)
            for key in some:
                reconstructed = self._followed(key, told.get(key))
                base = reconstructed.base_time if reconstructed is not None else None
                known = (
                    reconstructed.document if reconstructed is not None and base is not None and base >= since else None
                )
                yield key, known if not isinstance(known, Unknown) else None

    def _reconstructed(self, incarnations: list[Incarnation], keys: Mapping[Key, Value]) -> dict[Key, Reconstructed]:
        found = self._ask(lambda: reconstruct_many(self._database, incarnations, list(keys.values())))
        return {key: found[key.document] for key in keys if key.document in found}

    def _followed(self, key: Key, reconstructed: Reconstructed | None) -> Reconstructed | None:
        for entry in self._in_flight.of(key):
            reconstructed = follow([entry], reconstructed) if entry is not None else None
        return reconstructed

    def _covers(self, namespace: str) -> bool:
        database, _, collection = namespace.partition(".")
        return self._scope.covers(database, collection)

    def _load_holes(self) -> None:
        for hole in self._ask(lambda: trust.gaps(self._database, stream=self._stream)):
            self._holes[hole.checkpoint, hole.since] = hole

    def _ask(self, question: Any) -> Any:
        return self._retry.call(Step.READ_HISTORY, question)
