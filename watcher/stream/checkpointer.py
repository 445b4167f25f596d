"""The last stage: save how far the stream is durably recorded.

A token is a position only in the deployment it came from, and only for a stream with the same options
(https://www.mongodb.com/docs/manual/changeStreams/#resume-a-change-stream), so both are stored with it and compared.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from bson import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference, WriteConcern

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_python
from change_history.reconstruct import scopes
from change_history.stored.names import CHECKPOINTS
from watcher.errors import PositionRefusedError
from watcher.stream import damage
from watcher.stream.batch import Position

if TYPE_CHECKING:
    from pymongo.database import Database
    from pymongo.results import UpdateResult

    from watcher.targets.identity import ReplicaSet
    from watcher.targets.scope import Scope

MAJORITY = WriteConcern("majority")
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class Term(Protocol):
    """The leader's term: only during it may a daemon write the stream's checkpoint."""

    def of(self, stream: str) -> dict[str, Any]:
        """A query that matches the checkpoint only while the term lasts."""

    def require(self, result: UpdateResult) -> None:
        """Raise `DeposedError` if the update matched nothing."""


class StoredPosition(NamedTuple):
    """A checkpoint as it was loaded.

    Attributes:
        position: where to resume.
        events: number of events recorded since the checkpoint was created.
        begun: since when the stream has had its present scope.
        intact: whether the position is the one that was saved. Resuming at a damaged one could silently skip events,
            so it counts as lost.
    """

    position: Position
    events: int
    begun: ClusterTime
    intact: bool = True


class Checkpointer:
    """Loads and saves the position of one stream.

    Args:
        term: the leader's term, outside of which nothing is saved; None: no other daemon works on this stream.
    """

    def __init__(
        self, database: Database[Any], stream: str, scope: Scope, replica_set: ReplicaSet, term: Term | None = None
    ) -> None:
        self._checkpoints = database.get_collection(
            CHECKPOINTS, write_concern=MAJORITY, codec_options=_RAW, read_preference=ReadPreference.PRIMARY
        )
        self._stream = stream
        self._options = scope.describe()
        self._replica_set = replica_set
        self._term = term

    def load(self) -> StoredPosition | None:
        """Where to resume; None: the stream has never run.

        Raises:
            PositionRefusedError: the position is another deployment's, or of a stream with other options; or the
                checkpoint is damaged so that `WATCHER_ON_GAP` does not help.
        """
        found = self._checkpoints.find_one({"_id": self._stream})
        if found is None:
            return None
        stored = raw.fields(bytes(found.raw))
        if b"token" not in stored and b"cluster_time" not in stored:
            return None  # it only has a lease or a backfill plan: the very first start was interrupted
        damage.refuse_unreadable(self._stream, stored)
        self._refuse_other_deployment(to_python(stored[b"replica_set"]))
        options = to_python(stored[b"options"])
        if to_python(stored[b"fingerprint"]) != fingerprint(options):
            raise damage.refusal(self._stream, "`fingerprint` is not that of `options`")
        if options != self._options:
            self._refuse_other_options(options)
        events = to_python(stored[b"events"]) if b"events" in stored else 0
        position = Position(stored[b"token"][1], ClusterTime.from_payload(stored[b"cluster_time"][1]))
        begun = ClusterTime.from_payload(stored[b"begun"][1]) if b"begun" in stored else position.cluster_time
        intact = b"digest" not in stored or to_python(stored[b"digest"]) == damage.digest(position)
        if not intact:
            damage.refuse_doubtful_time(self._stream, position)
        return StoredPosition(position, int(events), begun, intact)

    def save(self, position: Position, events: int) -> None:
        """Save the position. Returns once a majority has acknowledged it. Idempotent.

        Args:
            position: everything up to it is acknowledged by a majority.
            events: number of events recorded since the checkpoint was created.

        Raises:
            watcher.leadership.lease.DeposedError: the term is over; nothing was changed.
        """
        self._update({"$set": self.said(position, events), "$currentDate": {"updated_at": True}})

    def said(self, position: Position, events: int) -> dict[str, Any]:
        """The checkpoint's fields for a position; see `save`."""
        return {
            "token": RawBSONDocument(position.token),
            "cluster_time": position.cluster_time.timestamp,
            "digest": damage.digest(position),
            "fingerprint": fingerprint(self._options),
            "options": self._options,
            "replica_set": self._replica_set._asdict(),
            "events": events,
        }

    def begin(self, position: Position, options: dict[str, Any] | None = None) -> None:
        """Note that the stream has had its present scope only from this position on. Idempotent.

        Args:
            position: from where on.
            options: the stream's former options; None: the stream is new.

        Raises:
            watcher.leadership.lease.DeposedError: the term is over; nothing was changed.
        """
        since = position.cluster_time.timestamp
        kept = {"$addToSet": {"formerly": scopes.former(options, since)}} if options is not None else {}
        self._update({"$set": {"begun": since}, **kept})

    def _update(self, update: dict[str, Any]) -> None:
        if self._term is None:
            self._checkpoints.update_one({"_id": self._stream}, update, upsert=True)
        else:
            self._term.require(self._checkpoints.update_one(self._term.of(self._stream), update))

    def _refuse_other_deployment(self, stored: dict[str, Any]) -> None:
        mine = self._replica_set
        same = stored["id"] == mine.id if stored["id"] and mine.id else stored["name"] == mine.name
        if not same:
            raise PositionRefusedError(
                f"The checkpoint of stream {self._stream!r} belongs to replica set {stored['name']!r} "
                f"({stored['id'] or 'id unknown'}), but WATCHER_MONGODB_URI leads to {mine.name!r} "
                f"({mine.id or 'id unknown'}).",
                "Point WATCHER_MONGODB_URI back at the former deployment, or give this one a checkpoint of its own: "
                "WATCHER_STREAM=<another name>.",
            )

    def _refuse_other_options(self, stored: dict[str, Any]) -> None:
        changed = [
            f"{name}: {_shown(stored.get(name))} → {_shown(value)}"
            for name, value in self._options.items()
            if stored.get(name) != value
        ]
        raise PositionRefusedError(
            f"The checkpoint of stream {self._stream!r} was made with other options ({'; '.join(changed)}).",
            "Set WATCHER_INCLUDE, WATCHER_EXCLUDE and WATCHER_HISTORY_DATABASE back, or go on from this position with "
            "the new ones: `watcher checkpoint set --adopt-options`, or start a new stream from now on: "
            "WATCHER_STREAM=<another name>. History that is recorded already stays.",
        )


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)


def fingerprint(options: dict[str, Any]) -> str:
    """A digest of a stream's options, independent of their order."""
    return hashlib.blake2b(json.dumps(options, sort_keys=True).encode(), digest_size=8).hexdigest()
