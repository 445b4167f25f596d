"""Reads one collection of a plan, and records the state of its documents."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from pymongo.errors import OperationFailure

from change_history.bson import raw
from change_history.bson.equality import key_of
from watcher.backfill.entries import MOST_BYTES, Entries
from watcher.backfill.queue import RECONCILE, BackfillPlan
from watcher.backfill.readers import SNAPSHOT_GONE, AbsentReader, MajorityReader, Reading, SnapshotReader, last_id, now
from watcher.retry import Retry, StoppedError
from watcher.steps import Step
from watcher.targets.namespaces import COLLECTION, MovedError, kind_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from bson import Timestamp
    from pymongo import MongoClient
    from pymongo.database import Database

    from change_history.partition import Partition
    from watcher.events.redaction import Redaction
    from watcher.targets.namespaces import NamespaceKind

log = structlog.get_logger(__name__)

ATTEMPTS = 10
"""How often a document that changes while it is read is read again."""


_LOOK_EVERY_S = 0.2


@dataclass(kw_only=True)
class Scanner:
    """Reads a collection.

    Args:
        store: stores history documents; returns when a majority has them.
        recorded_until: the cluster time that the stream is durably recorded up to; None: not known yet.
        nudge: writes something into the history database, so that the stream's position moves on.
        redaction: withholds values; None: nothing is withheld.
        partition: only the documents of this partition of the stream; None: all.
        others_recorded: whether the other partitions are recorded up to a cluster time.
    """

    client: MongoClient[Any]
    history: Database[Any]
    store: Callable[[list[bytes]], None]
    recorded_until: Callable[[], Timestamp | None]
    nudge: Callable[[], None]
    retry: Retry
    stop: threading.Event
    redaction: Redaction | None
    partition: Partition | None = None
    others_recorded: Callable[[Timestamp], bool] = lambda _: True
    _absent: dict[str, tuple[Timestamp, Timestamp]] = field(default_factory=dict)

    def steps(self, plan: BackfillPlan, *, as_it_is: bool) -> Iterator[BackfillPlan]:
        """Read the first collection of a plan.

        Args:
            plan: what to read, and from where on.
            as_it_is: read what is there now instead of a snapshot.

        Yields:
            The plan after each batch, whose entries are stored.

        Raises:
            MovedError: the collection was dropped, renamed or replaced; begin again from the last step.
            pymongo.errors.OperationFailure: the server refuses; with a code of `SNAPSHOT_GONE`, the snapshot is gone.
            watcher.retry.StoppedError: a stop was requested.
        """
        namespace = plan.namespaces[0]
        if plan.kind == RECONCILE:
            self._wait_for_others(plan.at)
            self.recorded_up_to(plan.at)  # a gap of undeliverable events also has events that are still to come
        found = kind_of(self.client, namespace)
        reader = self._reader(plan, found, as_it_is=as_it_is)
        entries = Entries(self.history, plan, self.partition, self.redaction)
        for reading in reader.documents(plan.after):
            if reading.documents:
                plan = self._record(plan, entries, reader, reading)
                plan = replace(
                    plan, after=last_id(reading.documents), documents=plan.documents + len(reading.documents)
                )
                yield plan
        self._unless_moved(namespace, found)
        if not isinstance(reader, SnapshotReader):
            self.recorded_up_to(reading.until)  # until then the plan must stay queued for `after_rename`
        if reading.until > plan.at and entries.replaced(reading.until):
            plan = replace(plan, latest=max(plan.latest or plan.at, reading.until))
            yield plan
        if plan.kind != RECONCILE:
            return
        for ids in entries.known_ids(reader.chunk):
            reading = reader.these(ids, only_ids=True)
            self._unless_moved(namespace, found)
            missing = _missing(ids, reading.documents)
            if missing:
                plan = self._record(plan, entries, reader, reading._replace(documents=[]), missing)
                yield plan

    def one(self, plan: BackfillPlan, document_id: raw.Value) -> None:
        """Read a single document of a plan's collection, and record its state if history does not have it.

        Raises:
            watcher.retry.StoppedError: a stop was requested.
        """
        self._wait_for_others(plan.at)
        self.recorded_up_to(plan.at)
        for as_it_is in (False, True):
            reader = self._reader(plan, kind_of(self.client, plan.namespaces[0]), as_it_is=as_it_is)
            entries = Entries(self.history, plan, self.partition, self.redaction)
            try:
                reading = reader.these([document_id], only_ids=isinstance(reader, AbsentReader))
            except OperationFailure as error:
                if error.code not in SNAPSHOT_GONE or as_it_is:
                    raise
                continue
            found = _by_id(reading.documents) | dict.fromkeys(_missing([document_id], reading.documents))
            self._record_some(plan, entries, reader, reading, found)
            return

    def recorded_up_to(self, wanted: Timestamp) -> Timestamp:
        """Wait until the stream is recorded up to a cluster time. Returns the time that it is recorded up to.

        Raises:
            watcher.retry.StoppedError: a stop was requested.
        """
        nudged = False
        while (reached := self.recorded_until()) is None or reached < wanted:
            # A stream only advances with the oplog, and an idle server adds to it every ten seconds. If history is kept
            # in the watched deployment, any write to it advances the oplog at once.
            if not nudged:
                self.retry.call(Step.AWAIT_STREAM, self.nudge)
                nudged = True
            if self.stop.wait(_LOOK_EVERY_S):
                raise StoppedError(Step.AWAIT_STREAM)
        return reached

    def _wait_for_others(self, wanted: Timestamp) -> None:
        """Wait until all partitions are recorded up to a cluster time.

        This partition may have lost, in the gap, the event that ended a collection. Another partition may still record
        it, and then documents would be deleted in history that were found to agree with it.
        """
        said = False
        while not self.retry.call(Step.AWAIT_PARTITIONS, partial(self.others_recorded, wanted)):
            if not said:
                log.info(
                    "documents are compared with history once the other partitions are past the gap", at=str(wanted)
                )
                said = True
            if self.stop.wait(_LOOK_EVERY_S):
                raise StoppedError(Step.AWAIT_PARTITIONS)

    def _reader(self, plan: BackfillPlan, found: NamespaceKind | None, *, as_it_is: bool) -> MajorityReader:
        namespace = plan.namespaces[0]
        if found is None or found.type != COLLECTION:
            known = namespace in self._absent
            bounds = self._absent.pop(namespace) if known else self._look_for_absent(plan)
            return AbsentReader(self.client, namespace, *bounds)
        if as_it_is or found.capped:
            return MajorityReader(self.client, namespace, self.partition)
        return SnapshotReader(self.client, namespace, plan.read_at or plan.at, self.partition)

    def _look_for_absent(self, plan: BackfillPlan) -> tuple[Timestamp, Timestamp]:
        """The cluster times between which the plan's first collection did not exist; also notes the other absent ones.

        After each such check the stream has to catch up with it, so one check serves all collections of the plan.
        """
        since = now(self.client)
        kinds = {namespace: kind_of(self.client, namespace) for namespace in plan.namespaces}
        bounds = since, now(self.client)
        absent = (name for name, kind in kinds.items() if kind is None or kind.type != COLLECTION)
        self._absent = dict.fromkeys(absent, bounds)
        if self._absent.pop(plan.namespaces[0], None) is None:
            raise MovedError(plan.namespaces[0])
        return bounds

    def _unless_moved(self, namespace: str, found: NamespaceKind | None) -> None:
        """Raise `MovedError` if the collection is no longer the one that was read.

        Reading a collection that does not exist returns nothing, without an error, at any cluster time.
        """
        now = kind_of(self.client, namespace)
        if (now and now.uuid) != (found and found.uuid):
            raise MovedError(namespace)

    def _record(
        self,
        plan: BackfillPlan,
        entries: Entries,
        reader: MajorityReader,
        reading: Reading,
        missing: Iterable[raw.Value] = (),
    ) -> BackfillPlan:
        found = _by_id(reading.documents) | dict.fromkeys(missing)
        for some in _portions(found):
            plan = self._record_some(plan, entries, reader, reading, some)
        return plan

    def _record_some(
        self,
        plan: BackfillPlan,
        entries: Entries,
        reader: MajorityReader,
        reading: Reading,
        found: dict[raw.Value, bytes | None],
    ) -> BackfillPlan:
        for _ in range(ATTEMPTS):
            if reading.until > plan.at and plan.read_at != reading.until:
                self.recorded_up_to(reading.until)
            recorded = entries.about(found, reading.since, reading.until)
            if recorded.entries:
                self.store(recorded.entries)
            latest = max(plan.latest or plan.at, reading.until) if recorded.later else plan.latest
            plan = replace(plan, entries=plan.entries + len(recorded.entries), latest=latest)
            if not recorded.unsure:
                return plan
            reading = reader.these(recorded.unsure)
            found = _by_id(reading.documents) | dict.fromkeys(_missing(recorded.unsure, reading.documents))
        log.warning(
            "documents are written to all the time, so that their state could not be recorded; their events are",
            namespace=plan.namespaces[0],
            documents=len(found),
        )
        return replace(plan, whole=False)


def _portions(found: dict[raw.Value, bytes | None]) -> Iterator[dict[raw.Value, bytes | None]]:
    """Documents in groups whose ids fit into one query; at least one group, which may be empty."""
    portion: dict[raw.Value, bytes | None] = {}
    size = 0
    for key, document in found.items():
        if portion and size + len(key[1]) > MOST_BYTES:
            yield portion
            portion, size = {}, 0
        portion[key] = document
        size += len(key[1])
    yield portion


def _by_id(documents: Iterable[bytes]) -> dict[raw.Value, bytes | None]:
    return {raw.fields(document)[b"_id"]: document for document in documents}


def _missing(ids: Iterable[raw.Value], documents: Iterable[bytes]) -> list[raw.Value]:
    present = {key_of(key) for key in _by_id(documents)}
    return [key for key in ids if key_of(key) not in present]
