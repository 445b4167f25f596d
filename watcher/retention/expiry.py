"""Expires the history of one namespace up to a horizon, in time order, in batches.

First the horizon is announced: from then on, queries for earlier times are refused. Then, batch by batch, every
document that was alive at the horizon gets a base document there (`change_history.reconstruct.horizon`), and once a
majority has acknowledged it, the entries that it replaces are deleted. A document that has a base already, and no entry
since, is not read: the cost of moving the horizon depends only on the events in between.

A kill at any moment does no harm. An existing base is never made again, since some of the entries that it was made from
may be deleted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from bson import Binary, DatetimeMS
from pymongo import WriteConcern

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME
from change_history.bson.equality import key_of
from change_history.reconstruct import horizon as horizons
from change_history.reconstruct import trust
from change_history.reconstruct.entries import timelines
from change_history.reconstruct.reads import in_ids
from change_history.stored import amendments, exact
from change_history.stored.names import (
    DOCUMENT_TIMELINE,
    HISTORY,
    IMPORTED,
    NAMESPACE_TIMELINE,
    PARTS,
    REJECTED,
    SEAL_LEAVES,
    SEALS,
    SNAPSHOTS,
)
from change_history.stored.order import identity
from change_history.stored.reading import RAW, documents_in
from change_history.stored.rejected import FIELDS, concern
from watcher.retention.following import AT_ONCE, Expired, ExpiringDocument, ExpiryHorizon, quickly
from watcher.retention.stretches import STAYS, stretches
from watcher.stream.large_documents import LargeDocuments

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from change_history.reconstruct.lineage import Incarnation
    from watcher.retention.claim import Claim
    from watcher.retention.stretches import ExpiringStretch

    Fields = dict[bytes, raw.Value]

_MAJORITY = WriteConcern("majority")
_RENEW_EVERY_S = 5.0
_WALKED = 4000
"""Entries read at once, without their values, to find the documents that they belong to."""
_TOGETHER = 50
"""Documents of a renamed collection that are reconstructed at once; each may have 16 MB."""
_MOST_ENTRIES = 4000
_MOST_BASES = 500
_MOST_BYTES = 4 * 1024 * 1024
"""Batch limits: entries deleted, base documents written, and bytes of these. Larger batches need fewer claims and
notes."""
_SLICE = 250
"""Entries deleted by one command; the stream's writes wait for one such command at most."""
_BURST_S = 0.1
_PATIENCE_S = 0.025
"""Delay of an event in the stream, in seconds, above which expiry pauses to let it pass."""
_LONGEST_REST_S = 0.25
"""Longest pause for delayed events, in seconds: a majority may always take that long."""
_LOOK_AGAIN_S = 0.005


@dataclass
class Pace:
    """Limits the rate of expiry, so that it does not slow the stream.

    Args:
        rate: maximum number of entries deleted per second.
        wait: waits for a number of seconds; returns whether a stop was requested.
        behind: returns whether the stream cannot keep up at the moment.
        delay_s: returns how long the oldest event in the pipeline has waited, in seconds.
    """

    rate: int
    wait: Callable[[float], bool]
    behind: Callable[[], bool] = lambda: False
    delay_s: Callable[[], float] = lambda: 0.0
    _due: float = field(default_factory=time.monotonic)

    def done(self, events: int) -> None:
        """Wait as the rate requires after deleting entries, while the stream is behind, and briefly if events wait.

        Args:
            events: number of entries deleted.

        Raises:
            EndedError: a stop was requested.
        """
        self._due = max(self._due, time.monotonic() - _BURST_S) + events / self.rate
        stopped = self.wait(max(self._due - time.monotonic(), 0))
        rested = 0.0
        while not stopped and (self.behind() or (self.delay_s() > _PATIENCE_S and rested < _LONGEST_REST_S)):
            stopped = self.wait(_LOOK_AGAIN_S)
            rested += _LOOK_AGAIN_S
        if stopped:
            raise EndedError


class EndedError(Exception):
    """A stop was requested; finished batches stay finished."""


class Expiry:
    """Expires the history of one namespace.

    Args:
        claim: the claim on the namespace.
        pace: limits the rate.
    """

    def __init__(self, database: Database[Any], claim: Claim, pace: Pace) -> None:
        self._database = database
        self._history = database.get_collection(HISTORY, codec_options=RAW, write_concern=_MAJORITY)
        # A deletion without a majority may be rolled back; then the horizon is not marked as done either.
        self._soon = database.get_collection(HISTORY, write_concern=WriteConcern(1))
        self._renewed = 0.0
        self._snapshots = database.get_collection(SNAPSHOTS, write_concern=_MAJORITY)
        self._rejected = database.get_collection(REJECTED, write_concern=_MAJORITY)
        self._parts = database.get_collection(PARTS, write_concern=_MAJORITY)
        self._large = LargeDocuments(database)
        self._claim = claim
        self._pace = pace
        self._namespace = claim.namespace
        self._name = claim.namespace.encode("utf-8", "surrogateescape")

    def run(self, horizon: ClusterTime, *, from_beginning: bool = False) -> Iterator[int]:
        """Expire everything up to a horizon. Idempotent.

        Args:
            horizon: the last cluster time of a second, up to which everything is recorded.
            from_beginning: also process the time before the last horizon: entries may have been added there late.

        Yields:
            Number of entries deleted, after each batch.

        Raises:
            watcher.retention.claim.ClaimedError: another process holds the claim.
            EndedError: a stop was requested.
        """
        if horizon <= self._claim.done:
            return
        done = BEGINNING_OF_TIME if from_beginning else self._claim.done
        events = 0
        self._claim.announce(horizon)
        for stretch in stretches(self._database, self._namespace, done, horizon):
            for removed in self._stretch(stretch, max(stretch.since, done)):
                events += removed
                yield removed
        events += (others := self._beside(horizon))
        yield others
        self._claim.finish(events)

    def _stretch(self, stretch: ExpiringStretch, since: ClusterTime) -> Iterator[int]:
        for ids in self._brought(stretch):
            yield from self._documents(stretch, ids)
        for ids, others in self._walk(since, stretch.until):
            yield from self._documents(stretch, ids)
            if others:
                yield self._remove(others)

    def _walk(self, since: ClusterTime, until: ClusterTime) -> Iterator[tuple[list[raw.Value], list[bytes]]]:
        """The documents that have entries in an interval, and the collection events to delete."""
        last = since.first_id
        while True:
            query = {"namespace": self._namespace, "_id": {"$gte": Binary(last), "$lte": Binary(until.last_id)}}
            wanted = {"document_id": 1, "operation": 1, "description.horizon": 1}
            order: dict[str, Any] = {"sort": [("_id", 1)], "hint": NAMESPACE_TIMELINE, "limit": _WALKED}
            order["batch_size"] = AT_ONCE
            with self._history.find_raw_batches(query, wanted, **order) as cursor:
                found = [entry for batch in cursor for entry in documents_in(batch)]
            ids: dict[Hashable, raw.Value] = {}
            others: list[bytes] = []
            for stored in found:
                fields = raw.fields(stored)
                last = identity(fields)
                operation = raw.text_of(fields[b"operation"]).decode()
                if b"document_id" not in fields:
                    others += [last] if operation not in STAYS else []
                elif not horizons.is_base(fields):
                    ids[key_of(fields[b"document_id"])] = fields[b"document_id"]
            yield list(ids.values()), others
            if len(found) < _WALKED:
                return
            last = (int.from_bytes(last, "big") + 1).to_bytes(16, "big")

    def _brought(self, stretch: ExpiringStretch) -> Iterator[list[raw.Value]]:
        """The documents that came from another namespace with a rename: their history continues under this one."""
        for incarnation in stretch.brought:
            query = {
                "namespace": incarnation.namespace,
                "document_id": {"$exists": True},
                "_id": incarnation.ids(),
            }
            stages: list[dict[str, Any]] = [
                {"$match": query},
                {"$sort": {"namespace": 1, "document_id": 1}},
                {"$group": {"_id": "$document_id"}},
            ]
            with self._history.aggregate(stages, allowDiskUse=True, hint=dict(DOCUMENT_TIMELINE)) as cursor:
                ids = (raw.fields(bytes(found.raw))[b"_id"] for found in cursor)
                while some := list(islice(ids, _WALKED)):
                    yield some

    def _documents(self, stretch: ExpiringStretch, ids: Sequence[raw.Value]) -> Iterator[int]:
        """Write the documents' bases, and delete the entries that these replace."""
        bases: list[bytes] = []
        gone: list[bytes] = []
        size = 0
        for expired in self._expired(stretch, ids) if stretch.lineage else self._all_of(stretch, ids):
            if expired.base is not None:
                bases.append(expired.base)
                size += len(expired.base)
            gone += expired.gone
            if len(gone) >= _MOST_ENTRIES or len(bases) >= _MOST_BASES or size >= _MOST_BYTES:
                self._store(bases)
                yield self._remove(gone)
                bases, gone, size = [], [], 0
        self._store(bases)
        yield self._remove(gone)

    def _expired(self, stretch: ExpiringStretch, ids: Sequence[raw.Value]) -> Iterator[Expired]:
        lineage = stretch.lineage
        names = [each.namespace for each in lineage]
        horizon = ExpiryHorizon(self._name, stretch.until, trust.rejected(self._database, names))
        if len(lineage) == 1:
            odd: list[raw.Value] = []
            yield from quickly(self._database, lineage[0], ids, horizon, odd)
            documents: dict[Hashable, ExpiringDocument] = {}
            for key, document in self._followed(lineage[0], odd, horizon, documents) if odd else ():
                yield document.expired(horizon, key)
                documents.clear()
            return
        for start in range(0, len(ids), _TOGETHER):
            documents = {}
            for incarnation in reversed(lineage):
                for _ in self._followed(incarnation, ids[start : start + _TOGETHER], horizon, documents):
                    pass
            for key, document in documents.items():
                yield document.expired(horizon, key)

    def _followed(
        self,
        incarnation: Incarnation,
        ids: Sequence[raw.Value],
        horizon: ExpiryHorizon,
        documents: dict[Hashable, ExpiringDocument],
    ) -> Iterator[tuple[Hashable, ExpiringDocument]]:
        for document_id, entries in timelines(self._database, incarnation, ids):
            key = key_of(document_id)
            document = documents.setdefault(key, ExpiringDocument(document_id))
            for fields in entries:
                document.add(fields, horizon.at, mine=incarnation.namespace == self._namespace)
            yield key, document

    def _all_of(self, stretch: ExpiringStretch, ids: Sequence[raw.Value]) -> Iterator[Expired]:
        """Documents whose entries are all deleted, without a base."""
        within = {"$gte": Binary(stretch.since.first_id), "$lte": Binary(stretch.until.last_id)}
        query = {"namespace": self._namespace, "document_id": in_ids(ids), "_id": within}
        for stored in self._history.find(query, {"_id": 1}, hint=DOCUMENT_TIMELINE):
            yield Expired(None, [identity(raw.fields(bytes(stored.raw)))])

    def _store(self, bases: list[bytes]) -> None:
        if not bases:
            return
        documents = {identity(raw.fields(each)): self._large.fitted(each) for each in bases}
        self._note(amendments.AmendmentKind.LATE, list(documents))

        def insert(session: ClientSession | None) -> None:
            new = dict(documents)
            among = {"_id": {"$in": [Binary(each) for each in documents]}}
            for found in self._history.find(among, {"_id": 1}, session=session):
                del new[identity(raw.fields(bytes(found.raw)))]
            if new:
                exact.insert(self._history, list(new.values()), session)

        self._claim.run(insert)
        self._pace.done(0)

    def _remove(self, ids: list[bytes]) -> int:
        if ids:
            if time.monotonic() - self._renewed > _RENEW_EVERY_S:
                self._claim.renew()
                self._renewed = time.monotonic()
            self._note(amendments.AmendmentKind.EXPIRED, ids)
            for start in range(0, len(ids), _SLICE):
                some = [Binary(each) for each in ids[start : start + _SLICE]]
                self._claim.together(partial(self._gone, some))
                self._pace.done(len(some))
        return len(ids)

    def _gone(self, ids: list[Binary], session: ClientSession | None) -> None:
        self._soon.delete_many({"_id": {"$in": ids}}, session=session)

    def _note(self, kind: amendments.AmendmentKind, ids: list[bytes]) -> None:
        """Note an amendment of entries for the sealers, if sealing was ever begun: otherwise no one removes the notes.

        A sealer that has not sealed anything yet may already have records of these entries.
        """
        sealing = {"name": {"$in": [SEALS, SEAL_LEAVES]}}
        if self._database.list_collection_names(filter=sealing, authorizedCollections=True):
            amendments.note(self._database, kind, ids)

    def _beside(self, horizon: ClusterTime) -> int:
        """Delete the snapshots, rejected events and imports from before the horizon."""
        upto = {"$lte": Binary(horizon.last_id)}
        self._snapshots.delete_many({"namespace": self._namespace, "_id": upto})
        known = {"namespace": self._namespace, "cluster_time": {"$lte": horizon.timestamp}}
        removed = self._rejected.delete_many(known).deleted_count + self._remove_untold(horizon)
        imported = self._database.get_collection(IMPORTED, write_concern=_MAJORITY)
        older = {"namespace": self._namespace, "timestamp": {"$lte": DatetimeMS(horizons.wall_ms(horizon))}}
        removed += imported.delete_many(older).deleted_count
        self._orphans(horizon)
        return removed

    def _remove_untold(self, horizon: ClusterTime) -> int:
        """Delete rejected events without a namespace or cluster time beside them: both are read from the event."""
        untold = {"$or": [{"namespace": {"$exists": False}}, {"cluster_time": {"$exists": False}}]}
        concerns = [
            concern(self._database, bytes(stored.raw))
            for stored in self._rejected.with_options(RAW).find(untold, FIELDS)
        ]
        gone = [Binary(each.id) for each in concerns if each.namespace == self._name and each.until <= horizon]
        return self._rejected.delete_many({"_id": {"$in": gone}}).deleted_count if gone else 0

    def _orphans(self, horizon: ClusterTime) -> None:
        """Delete chunks whose owner is neither in history nor in `rejected` any more."""
        upto = {"$lte": Binary(horizon.last_id + b"\xff" * 16)}
        owners: dict[bytes, list[Binary]] = {}
        for chunk in self._parts.find({"_id": upto}, {"_id": 1}):
            owners.setdefault(bytes(chunk["_id"])[:16], []).append(Binary(chunk["_id"]))
        ids = list(owners)
        for start in range(0, len(ids), _WALKED):
            some = {"_id": {"$in": [Binary(each) for each in ids[start : start + _WALKED]]}}
            there = {bytes(found["_id"]) for found in self._database[HISTORY].find(some, {"_id": 1})}
            there |= {bytes(found["_id"]) for found in self._rejected.find(some, {"_id": 1})}
            for owner in ids[start : start + _WALKED]:
                if owner not in there:
                    self._parts.delete_many({"_id": {"$in": owners[owner]}})
