"""Finds the database user of each event by its session, in a thread that never delays the stream.

An event in a transaction carries its session, and the session the digest of its user. So does the oplog entry of a
retryable write, but the change stream does not pass the session on: the entry is looked up by the event's cluster time,
which is unique. Stored history is completed if it has no actor, or if its actor has no database user. Events without a
session (an update of many documents, a TTL index, a moved chunk) stay as they are.

Progress is saved in the checkpoint, so that a restart continues there. Only events before the checkpoint are completed:
by then every actor from a context document is stored.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from bson import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import OperationFailure, PyMongoError

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.stored import actor
from change_history.stored.names import CHECKPOINTS, HISTORY
from change_history.stored.order import identity
from change_history.stored.reading import RAW
from watcher.errors import UNAUTHORIZED, Verdict, classify, name_of
from watcher.stream.actors.completion import NOBODY
from watcher.targets import partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from threading import Event

    from pymongo import MongoClient
    from pymongo.database import Database

    from watcher.stream.actors.completion import Completions
    from watcher.stream.actors.users import Users
    from watcher.stream.batch import SharedProgress
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)

PAGE = 1000
REACHED = "sessions_until"
"""Field of a checkpoint: the `_id` in history up to which sessions were looked up."""

_PAUSE_S = 0.5
_SAVE_EVERY_S = 5.0
_AFTER_FAILURE_S = 10.0
_REST_WHILE_BEHIND = 9
"""While the stream is behind, rest this many times as long as the last step took, to leave it the machine."""

_KINDS = {b"insert": b"i", b"update": b"u", b"replace": b"u", b"delete": b"d"}
"""Operation of an event to the `op` of its oplog entry."""
_UNNAMED: dict[str, Any] = {"actor": {"$exists": True}, "actor.database_user": {"$exists": False}}
_FIELDS = {"namespace": 1, "document_id": 1, "operation": 1, "cluster_time": 1, "transaction": 1, "actor.id": 1}
_ENTRY = {"ts": 1, "op": 1, "ns": 1, "o._id": 1, "o2._id": 1, "lsid.uid": 1}


class _Lacking(NamedTuple):
    """An event whose database user is to be found.

    Attributes:
        id: its `_id` in history.
        has_actor: it already has an actor, of which only the database user is missing.
        fields: the fields of the stored history document.
    """

    id: bytes
    has_actor: bool
    fields: dict[bytes, raw.Value]

    @property
    def time(self) -> ClusterTime:
        return ClusterTime.from_id(self.id)

    @property
    def digest(self) -> bytes | None:
        """The digest of the user if the event is in a transaction; None: it is not, or its session has no digest."""
        transaction = self.fields.get(b"transaction")
        return _digest_in(raw.fields(transaction[1]).get(b"session")) if transaction is not None else None

    @property
    def in_transaction(self) -> bool:
        return b"transaction" in self.fields


class Sessions:
    """Completes the actors of one stream's history, in a thread of its own.

    Args:
        checkpoint: `_id` of the checkpoint that keeps the progress.
        scope: what the stream covers.
        users: resolves digests to names.
        completions: updates the stored history.
        shared: holds the position up to which everything is recorded.
        behind: returns whether the stream cannot keep up at the moment.
    """

    def __init__(
        self,
        watched: MongoClient[Any],
        history: Database[Any],
        checkpoint: str,
        scope: Scope,
        users: Users,
        completions: Completions,
        shared: SharedProgress,
        behind: Callable[[], bool],
        stop: Event,
    ) -> None:
        self._oplog = watched.get_database("local").get_collection("oplog.rs", codec_options=RAW)
        self._history = history.get_collection(HISTORY, codec_options=RAW, read_preference=ReadPreference.PRIMARY)
        self._checkpoints = history.get_collection(CHECKPOINTS, write_concern=WriteConcern("majority"))
        self._checkpoint = checkpoint
        self._scope = scope
        self._users = users
        self._completions = completions
        self._shared = shared
        self._behind = behind
        self._stop = stop
        self._reads_oplog = True
        self._reached: bytes | None = None
        self._saved: bytes | None = None
        self._saved_at = 0.0
        self._failing = False

    def run(self) -> None:
        """Complete what is recorded, until the daemon stops."""
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                worked = self.step()
                self._failing = False
            except (PyMongoError, ValueError) as error:
                if not self._failing and not self._stop.is_set():
                    log.warning("database users are left out for now; they are looked up later", error=name_of(error))
                self._failing = True
                self._stop.wait(_AFTER_FAILURE_S)
                continue
            if not worked:
                self._stop.wait(_PAUSE_S)
            else:
                rest = _REST_WHILE_BEHIND if self._behind() else 1
                self._stop.wait(rest * (time.monotonic() - began))

    def step(self) -> bool:
        """Complete the next page of events. Returns whether there was one."""
        recorded = self._shared.recorded
        if recorded is None:
            return False
        if self._reached is None:
            self._reached = self._begin(recorded.cluster_time)
        until = recorded.cluster_time.first_id  # more events of exactly this time may still come
        if until <= self._reached:
            self._save()
            return False
        query: dict[str, Any] = {
            "_id": {"$gt": Binary(self._reached), "$lt": Binary(until)},
            "document_id": {"$exists": True},
            "resume_token": {"$exists": True},
            "actor.database_user": {"$exists": False},
        }
        if self._scope.partition is not None:
            query["$expr"] = partition.holds(self._scope.partition, "$document_id")
        page = [bytes(found.raw) for found in self._history.find(query, _FIELDS, sort=[("_id", 1)], limit=PAGE)]
        if page:
            self._complete([_lacking(document) for document in page])
        self._reached = until if len(page) < PAGE else identity(raw.fields(page[-1]))
        self._save()
        return bool(page)

    def _begin(self, recorded: ClusterTime) -> bytes:
        """Where to begin: where the last run ended, else at the oldest entry of the oplog, else now."""
        found = self._checkpoints.find_one({"_id": self._checkpoint}, {REACHED: 1})
        if found is not None and REACHED in found:
            return bytes(found[REACHED])
        try:
            first = self._oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
        except OperationFailure as error:
            self._without_oplog(error)
            first = None
        return (ClusterTime.of(first["ts"]) if first is not None else recorded).first_id

    def _save(self) -> None:
        now = time.monotonic()
        if self._reached == self._saved or self._reached is None or now - self._saved_at < _SAVE_EVERY_S:
            return
        self._checkpoints.update_one({"_id": self._checkpoint}, {"$max": {REACHED: Binary(self._reached)}})
        self._saved, self._saved_at = self._reached, now

    def _complete(self, lacking: list[_Lacking]) -> None:
        covered = [each for each in lacking if self._covers(each)]
        told = {each.id: each.digest for each in covered if each.in_transaction}
        told |= self._from_oplog([each for each in covered if not each.in_transaction])
        ids: dict[tuple[str, bool], list[bytes]] = {}
        for each in covered:
            digest = told.get(each.id)
            name = self._users.name_of(digest) if digest is not None else None
            if name is not None:
                ids.setdefault((name, each.has_actor), []).append(each.id)
        for (name, has_actor), some in ids.items():
            if has_actor:
                self._completions.give(some, {"actor.database_user": name}, _UNNAMED)
            else:
                value = (raw.STRING, raw.string(name.encode("utf-8", "surrogatepass")))
                who = actor.encode(value, actor.SESSION, database_user=name)
                self._completions.give(some, {"actor": RawBSONDocument(who)}, NOBODY)

    def _covers(self, event: _Lacking) -> bool:
        namespace = raw.text_of(event.fields[b"namespace"]).decode("utf-8", "replace")
        return self._scope.covers(*namespace.split(".", 1))

    def _from_oplog(self, events: list[_Lacking]) -> dict[bytes, bytes | None]:
        """The users' digests by event, for events whose own oplog entry can be identified."""
        if not events or not self._reads_oplog:
            return {}
        names = {raw.text_of(each.fields[b"namespace"]).decode("utf-8", "surrogateescape") for each in events}
        query = {
            "ts": {"$gte": events[0].time.timestamp, "$lte": events[-1].time.timestamp},
            "op": {"$in": ["i", "u", "d"]},
            "ns": {"$in": sorted(names)},
        }
        try:
            entries = list(self._oplog.find(query, _ENTRY))
        except OperationFailure as error:
            self._without_oplog(error)
            return {}
        found: dict[ClusterTime, list[dict[bytes, raw.Value]]] = {}
        for entry in entries:
            fields = raw.fields(bytes(entry.raw))
            found.setdefault(ClusterTime.from_payload(fields[b"ts"][1]), []).append(fields)
        return {each.id: _digest_of(each, found.get(each.time, ())) for each in events}

    def _without_oplog(self, error: OperationFailure) -> None:
        """Continue with the sessions in the events only, as the oplog cannot be read.

        Raises:
            pymongo.errors.OperationFailure: `error`, if it is transient.
        """
        if classify(error) is Verdict.TRANSIENT:
            raise error
        self._reads_oplog = False
        remedy = "grant find on local.oplog.rs: `watcher roles` says how" if error.code in UNAUTHORIZED else ""
        log.warning(
            "the oplog cannot be read; only what was written in transactions is told of its database user",
            error=name_of(error),
            remedy=remedy,
        )


def _lacking(document: bytes) -> _Lacking:
    fields = raw.fields(document)
    return _Lacking(identity(fields), b"actor" in fields, fields)


def _digest_of(event: _Lacking, entries: Iterable[dict[bytes, raw.Value]]) -> bytes | None:
    """The digest in an event's oplog entry; None: there is none, or the entry may be another event's."""
    all_of_them = list(entries)
    if len(all_of_them) != 1:
        return None
    (entry,) = all_of_them
    kind = raw.text_of(entry[b"op"])
    if _KINDS.get(raw.text_of(event.fields[b"operation"])) != kind or entry[b"ns"] != event.fields[b"namespace"]:
        return None
    holder = entry.get(b"o2" if kind == b"u" else b"o")
    document_id = raw.fields(holder[1]).get(b"_id") if holder is not None else None
    return _digest_in(entry.get(b"lsid")) if document_id == event.fields[b"document_id"] else None


def _digest_in(session: raw.Value | None) -> bytes | None:
    uid = raw.fields(session[1]).get(b"uid") if session is not None and session[0] == raw.DOCUMENT else None
    return uid[1][5:] if uid is not None and uid[0] == raw.BINARY else None
