"""Reading every watched document once, beside the stream: the baseline at the start, the reconciliation after a gap.

The stream is opened first, then the documents are read as they were just before its first event: a snapshot at that
cluster time, whatever is written meanwhile. So a document's entry stands before all of its events, and folding them
from it is exact. A snapshot can be read for a few minutes only; for a collection that takes longer, or that was altered
meanwhile, the rest is read at a later moment, and its entries stand there.

A survey is planned in the checkpoint and notes there how far it is, so it goes on after a kill. Its entries are made
from the documents and the moment alone: read again, they are the same.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from core import baseline
from models import raw
from watcher.errors import name_of
from watcher.recollection import UNKNOWN, Recollection, Unknown
from watcher.retry import Retry, StoppedError
from watcher.snapshot import CHUNK, SNAPSHOT_GONE, SnapshotReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo import MongoClient
    from pymongo.database import Database

log = structlog.get_logger(__name__)

BASELINE, RECONCILE = "baseline", "reconcile"
SAY_EVERY_S = 5.0
_MILLISECONDS = 1000


@dataclass(frozen=True)
class Plan:
    """What is to be surveyed, and how far it is.

    Attributes:
        kind: `BASELINE` or `RECONCILE`.
        at: the moment to read.
        namespaces: what remains, the first of it being under way.
        after: `{_id: …}` of the last document that is done in the first namespace.
        since: of a reconciliation, up to when history was whole.
        documents: how many are done.
        entries: how many were recorded.
        whole: nothing had to be left out.
    """

    kind: str
    at: Timestamp
    namespaces: tuple[str, ...]
    after: RawBSONDocument | None = None
    since: Timestamp | None = None
    documents: int = 0
    entries: int = 0
    whole: bool = True


@dataclass
class Survey:
    """Carries out plans, one after the other, in a thread of its own.

    Args:
        client: the watched deployment.
        history: the history database.
        store: stores history documents; returns when a majority has them.
        save: keeps the plan in the checkpoint.
        done: notes that a plan is carried out.
        retry: tries again what fails for passing reasons.
        stop: set when the daemon is asked to stop.
    """

    client: MongoClient[Any]
    history: Database[Any]
    store: Callable[[list[bytes]], None]
    save: Callable[[Plan], None]
    done: Callable[[Plan], None]
    retry: Retry
    stop: threading.Event
    _plan: Plan | None = None
    _wake: threading.Condition = field(default_factory=threading.Condition)
    _said_at: float = 0.0

    def assign(self, plan: Plan) -> None:
        """Carry out this plan instead of the one under way."""
        with self._wake:
            self._plan = plan
            self._wake.notify_all()

    def run(self) -> None:
        """Carry out what is assigned, until the daemon stops."""
        while not self.stop.is_set():
            with self._wake:
                if self._plan is None:
                    self._wake.wait(0.5)
                    continue
                plan = self._plan
            try:
                self._carry_out(plan)
            except StoppedError:
                return
            except Exception as error:  # noqa: BLE001 - the stream must go on
                log.error(  # noqa: TRY400
                    "the survey of existing documents ended early; events are recorded all the same",
                    kind=plan.kind,
                    error=name_of(error),
                    remedy="grant find on what is watched and start again, or set WATCHER_BASELINE=off",
                )
                self._finish(plan, save=False)

    def _carry_out(self, plan: Plan) -> None:
        if plan.namespaces:
            log.info("survey of existing documents", kind=plan.kind, at=str(plan.at), collections=len(plan.namespaces))
        while plan.namespaces:
            try:
                reached = self._collection(plan)
            except OperationFailure as error:
                log.error(  # noqa: TRY400 - the name says it
                    "existing documents of a collection could not be read; its events are recorded all the same",
                    kind=plan.kind,
                    namespace=plan.namespaces[0],
                    error=name_of(error),
                )
                reached = replace(plan, whole=False)
            if reached is None:
                return
            plan = replace(reached, namespaces=reached.namespaces[1:], after=None)
        log.info("survey done", kind=plan.kind, documents=plan.documents, entries=plan.entries)
        self._finish(plan, save=True)

    def _collection(self, plan: Plan) -> Plan | None:
        """Survey the first namespace of a plan; the plan after it, or None if there is no more need.

        What fails for passing reasons goes on where it was. A moment that can no longer be read gives way to a later
        one, as often as that gets any further.
        """
        reached = plan

        def go_on() -> bool:
            nonlocal reached
            for step in self._at_one_moment(reached):
                if self.stop.is_set() or self._replaced(step):
                    return False
                reached = step
                self.retry.call("noting how far the survey is", partial(self.save, step))
                self._say(step)
            return True

        tried_at: Plan | None = None
        while True:
            try:
                return reached if self.retry.call("reading existing documents", go_on) else None
            except OperationFailure as error:
                if error.code not in SNAPSHOT_GONE or reached == tried_at:
                    raise
                reached = tried_at = replace(reached, at=self._now())
                log.info("a moment can no longer be read; a later one is", at=str(reached.at), error=name_of(error))

    def _replaced(self, plan: Plan) -> bool:
        with self._wake:
            assigned = self._plan
        return assigned is None or (assigned.kind, assigned.since) != (plan.kind, plan.since)

    def _finish(self, plan: Plan, *, save: bool) -> None:
        with self._wake:
            if self._plan is not None and (self._plan.kind, self._plan.since) == (plan.kind, plan.since):
                self._plan = None
                if save:
                    self.retry.call("noting that the survey is done", partial(self.done, plan))

    def _at_one_moment(self, plan: Plan) -> Iterator[Plan]:
        namespace = plan.namespaces[0]
        database, _, collection = namespace.partition(".")
        reader = SnapshotReader(self.client, plan.at)
        recollection = Recollection(self.history, sortable(plan.since or plan.at))
        for documents in reader.documents(database, collection, plan.after):
            entries = self._entries(plan, namespace, documents, recollection)
            self._store(entries)
            last = raw.from_fields([(b"_id", raw.fields(documents[-1])[b"_id"])])
            plan = replace(
                plan,
                after=RawBSONDocument(last),
                documents=plan.documents + len(documents),
                entries=plan.entries + len(entries),
            )
            yield plan
        if plan.kind == RECONCILE:
            for ids in recollection.ids(namespace, CHUNK):
                missing = sorted(set(ids) - reader.present(database, collection, ids))
                entries = self._gone(plan, namespace, missing, recollection)
                self._store(entries)
                plan = replace(plan, entries=plan.entries + len(entries))
                yield plan

    def _store(self, entries: list[bytes]) -> None:
        if entries:
            self.retry.call("recording existing documents", lambda: self.store(entries))

    def _entries(self, plan: Plan, namespace: str, documents: list[bytes], recollection: Recollection) -> list[bytes]:
        moment, name = _moment(plan.at), namespace.encode()
        if plan.kind == BASELINE:
            return [baseline.baseline(name, document, moment) for document in documents]
        by_id = {raw.fields(document)[b"_id"]: document for document in documents}
        known = recollection.recall(namespace, list(by_id))
        made = (_level(name, key, known.get(key, UNKNOWN), document, moment) for key, document in by_id.items())
        return [entry for entry in made if entry is not None]

    def _gone(self, plan: Plan, namespace: str, ids: list[raw.Value], recollection: Recollection) -> list[bytes]:
        known = recollection.recall(namespace, ids) if ids else {}
        made = (_level(namespace.encode(), key, known.get(key), None, _moment(plan.at)) for key in ids)
        return [entry for entry in made if entry is not None]

    def _now(self) -> Timestamp:
        reply = self.retry.call("asking for the time", lambda: self.client.admin.command("ping"))
        now: Timestamp = reply["operationTime"]
        return now

    def _say(self, plan: Plan) -> None:
        if time.monotonic() - self._said_at > SAY_EVERY_S:
            self._said_at = time.monotonic()
            log.info(
                "survey under way",
                kind=plan.kind,
                namespace=plan.namespaces[0],
                documents=plan.documents,
                entries=plan.entries,
                collections_left=len(plan.namespaces),
            )


def before(cluster_time: bytes) -> Timestamp:
    """The moment just before a cluster time, given as the payload of a BSON timestamp."""
    ticks = int.from_bytes(cluster_time, "little") - 1
    return Timestamp(ticks >> 32, ticks & 0xFFFFFFFF)


def _level(
    namespace: bytes, key: raw.Value, known: bytes | Unknown | None, found: bytes | None, moment: baseline.Snapshot
) -> bytes | None:
    if isinstance(known, Unknown):
        return baseline.replaced(namespace, key, found, moment)
    return baseline.reconcile(namespace, key, known, found, moment)


def sortable(moment: Timestamp) -> bytes:
    """A cluster time as the first 8 bytes of the ids of history."""
    return moment.time.to_bytes(4, "big") + moment.inc.to_bytes(4, "big")


def _moment(at: Timestamp) -> baseline.Snapshot:
    read_at = at.time * _MILLISECONDS
    return baseline.Snapshot(sortable(at)[::-1], read_at.to_bytes(8, "little", signed=True))
