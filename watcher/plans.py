"""What is surveyed when: plans are made here, kept in the checkpoint, and handed to the survey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from bson import Binary, CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from models import raw
from models.connection import CHECKPOINTS, HISTORY
from models.values import to_python
from watcher.batch import timestamp
from watcher.errors import Verdict, classify, name_of
from watcher.survey import BASELINE, RECONCILE, Plan, before, sortable

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

    from watcher.batch import Lost, Position
    from watcher.scope import Scope

log = structlog.get_logger(__name__)

_MAJORITY = WriteConcern("majority")
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


class Plans:
    """Makes, keeps and finds the plan of one stream's survey.

    Args:
        client: the watched deployment.
        history: the history database.
        stream: name of the stream, whose checkpoint keeps the plan.
        scope: what is watched.
    """

    def __init__(self, client: MongoClient[Any], history: Database[Any], stream: str, scope: Scope) -> None:
        self._client = client
        self._history = history.get_collection(HISTORY, write_concern=_MAJORITY)
        self._checkpoints = history.get_collection(CHECKPOINTS, write_concern=_MAJORITY, codec_options=_RAW)
        self._stream = stream
        self._scope = scope

    def baseline(self, start: Position) -> Plan:
        """The plan for a stream that begins: every watched document as it was just before the stream's first event."""
        return Plan(BASELINE, _just_before(start), self._live_namespaces())

    def reconcile(self, lost: Lost, now: Position) -> Plan:
        """The plan after a gap: also what history knows of and no longer exists."""
        known = {name for name in self._history.distinct("namespace") if name and self._covers(name)}
        namespaces = tuple(sorted(known.union(self._live_namespaces())))
        return Plan(RECONCILE, _just_before(now), namespaces, since=timestamp(lost.position.cluster_time))

    def done(self, plan: Plan) -> None:
        """Note that a plan is carried out: gaps before it are level now, if nothing had to be left out."""
        if plan.since is not None and plan.whole:
            before_it = {"$lte": Binary(sortable(plan.since) + b"\xff" * 8)}
            mine = {"operation": "gap", "_id": before_it, "description.stream": self._stream}
            self._history.update_many(mine, {"$set": {"description.level": True}})
        self._checkpoints.update_one({"_id": self._stream}, {"$unset": {"survey": 1}})

    def save(self, plan: Plan) -> None:
        """Keep a plan. Returns once a majority has it; safe to repeat."""
        kept = {
            "kind": plan.kind,
            "at": plan.at,
            "namespaces": list(plan.namespaces),
            "documents": plan.documents,
            "entries": plan.entries,
            "whole": plan.whole,
            **({"after": plan.after} if plan.after is not None else {}),
            **({"since": plan.since} if plan.since is not None else {}),
        }
        self._checkpoints.update_one({"_id": self._stream}, {"$set": {"survey": kept}}, upsert=True)

    def load(self) -> Plan | None:
        """The plan that was under way when the daemon ended."""
        found = self._checkpoints.find_one({"_id": self._stream, "survey": {"$exists": True}})
        if found is None:
            return None
        kept = raw.fields(raw.fields(bytes(found.raw))[b"survey"][1])
        after = kept.get(b"after")
        return Plan(
            to_python(kept[b"kind"]),
            to_python(kept[b"at"]),
            tuple(to_python(kept[b"namespaces"])),
            RawBSONDocument(after[1]) if after is not None else None,
            to_python(kept[b"since"]) if b"since" in kept else None,
            int(to_python(kept[b"documents"])),
            int(to_python(kept[b"entries"])),
            bool(to_python(kept[b"whole"])),
        )

    def _covers(self, namespace: str) -> bool:
        database, _, collection = namespace.partition(".")
        return bool(collection) and self._scope.covers(database, collection)

    def _live_namespaces(self) -> tuple[str, ...]:
        try:
            names = [self._scope.database] if self._scope.database else self._client.list_database_names()
            return tuple(
                f"{name}.{info['name']}"
                for name in sorted(filter(self._scope.reaches, names))
                for info in self._client[name].list_collections(filter={"type": "collection"})
                if self._scope.covers(name, info["name"])
            )
        except OperationFailure as error:
            if classify(error) is Verdict.TRANSIENT:
                raise
            log.warning(
                "collections cannot be listed, so the state of existing documents is not recorded",
                error=name_of(error),
                remedy="grant listDatabases and listCollections, or set WATCHER_BASELINE=off",
            )
            return ()


def _just_before(position: Position) -> Any:
    """The moment before the first event that a newly opened stream can deliver: its high-water mark less one tick."""
    return before(position.cluster_time)
