"""Retention: computes each namespace's horizon from the rules, and moves it there.

A horizon moves in steps of a hundredth of its rule's age, an hour at most. It never passes the position up to which the
stream has recorded, nor a time at which a backfill may still add entries.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from bson import Binary
from pymongo import WriteConcern
from pymongo.errors import PyMongoError

from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.reconstruct.trust import recorded_until
from change_history.stored.chunks import MissingChunkError
from change_history.stored.names import HISTORY, HORIZONS, NAMESPACE_TIMELINE, SNAPSHOTS
from config.ages import Rule, rule_for, seconds
from watcher.errors import name_of
from watcher.retention.claim import Claim, ClaimedError
from watcher.retention.expiry import EndedError, Expiry
from watcher.retention.stretches import first_pending, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from pymongo.database import Database

    from watcher.retention.expiry import Pace

log = structlog.get_logger(__name__)

_STEPS = 100
_LONGEST_STEP_S = 3600
_LONGEST_PAUSE_S = 60.0
_AT_ONCE = 1000
_AFTER_FAILURE_S = 10.0
_TURN_S = 0.0005
_NEVER = ClusterTime(2**63)


class Due(NamedTuple):
    """The state of retention for a namespace.

    Attributes:
        namespace: `db.coll`.
        rule: the rule that applies.
        horizon: up to where history has expired, or is expiring; None: nothing has expired.
        due: up to where history is due to expire; None: nothing is due yet.
        is_complete: whether everything up to the horizon is deleted.
        events: number of entries deleted so far.
    """

    namespace: str
    rule: Rule
    horizon: ClusterTime | None
    due: ClusterTime | None
    is_complete: bool
    events: int


class Size(NamedTuple):
    """The size of a part of history.

    Attributes:
        events: number of entries.
        bytes: their size in bytes, uncompressed.
    """

    events: int
    bytes: int


class RetentionRunner:
    """Keeps history for as long as the rules say.

    Args:
        rules: the first rule that matches a namespace applies.
        snapshot_age: maximum age of a snapshot; None: as old as its history.
    """

    def __init__(self, database: Database[Any], rules: tuple[Rule, ...], snapshot_age: str | None = None) -> None:
        self._database = database
        self._rules = rules
        self._snapshot_age = seconds(snapshot_age) if snapshot_age is not None else None
        self._swept: set[str] = set()

    def due(self) -> list[Due]:
        """The state of retention for every namespace that a rule matches."""
        known = {each["_id"]: each for each in self._database[HORIZONS].find()}
        now = _now(self._database)
        found = []
        for namespace in namespaces(self._database):
            rule = rule_for(self._rules, namespace)
            if rule is None:
                continue
            said = known.get(namespace, {})
            horizon, done = said.get("horizon"), said.get("done")
            age = rule.seconds
            found.append(
                Due(
                    namespace,
                    rule,
                    ClusterTime.of(horizon) if horizon is not None else None,
                    self._up_to(namespace, now - age) if age is not None else None,
                    horizon == done,
                    said.get("events", 0),
                )
            )
        return found

    def size(self, namespace: str, since: ClusterTime | None, until: ClusterTime | None) -> Size:
        """The size of the history between two cluster times; None: from the beginning, or to the end."""
        ids = {
            "$gt": Binary(since.last_id if since is not None else BEGINNING_OF_TIME.first_id),
            "$lte": Binary((until or _NEVER).last_id),
        }
        stages: list[dict[str, Any]] = [
            {"$match": {"namespace": namespace, "_id": ids}},
            {"$group": {"_id": None, "events": {"$sum": 1}, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}},
        ]
        for found in self._database[HISTORY].aggregate(stages, hint=dict(NAMESPACE_TIMELINE)):
            return Size(int(found["events"]), int(found["bytes"]))
        return Size(0, 0)

    def expire(self, due: Due, pace: Pace) -> Iterator[int]:
        """Expire the history of a namespace up to where it is due.

        Yields:
            Number of entries deleted, after each batch.

        Raises:
            watcher.retention.claim.ClaimedError: another process holds the claim.
            watcher.retention.expiry.EndedError: a stop was requested.
        """
        if due.due is None:
            return
        first = due.namespace not in self._swept
        with Claim(self._database, due.namespace) as claim:
            if claim.horizon > claim.done:  # an earlier run was interrupted
                yield from Expiry(self._database, claim, pace).run(claim.horizon, from_beginning=first)
            yield from Expiry(self._database, claim, pace).run(due.due, from_beginning=first)
        self._swept.add(due.namespace)

    def drop_snapshots(self, pace: Pace) -> int:
        """Delete snapshots older than `snapshot_age`. Returns how many."""
        if self._snapshot_age is None:
            return 0
        oldest = ClusterTime.start_of(_now(self._database) - self._snapshot_age)
        kept = self._database.get_collection(SNAPSHOTS, write_concern=WriteConcern("majority"))
        removed = 0
        while some := [
            each["_id"] for each in kept.find({"_id": {"$lt": Binary(oldest.first_id)}}, {"_id": 1}).limit(_AT_ONCE)
        ]:
            removed += kept.delete_many({"_id": {"$in": some}}).deleted_count
            pace.done(len(some))
        return removed

    def run(self, pace: Pace, stop: Event) -> None:
        """Expire what is due, periodically, until a stop is requested.

        Args:
            pace: limits the rate; ends when `stop` is set.
            stop: set when the daemon is to stop.
        """
        if not self._rules and self._snapshot_age is None:
            return
        try:
            while not stop.wait(self._look_every_s()):
                try:
                    for due in self.due():
                        if _is_worth_it(due):
                            self._expire(due, pace)
                    self.drop_snapshots(pace)
                except (PyMongoError, MissingChunkError, ValueError) as error:
                    log.warning(
                        "history does not expire for now; events are recorded all the same", error=name_of(error)
                    )
                    stop.wait(_AFTER_FAILURE_S)
        except EndedError:
            return

    def _look_every_s(self) -> float:
        """Seconds between two checks for what is due."""
        ages = [rule.seconds for rule in self._rules] + [self._snapshot_age]
        return min([_LONGEST_PAUSE_S, *(_step(age) for age in ages if age is not None)])

    def _expire(self, due: Due, pace: Pace) -> None:
        try:
            with short_turns():
                events = sum(self.expire(due, pace))
        except ClaimedError:
            log.info("another one is expiring this history", namespace=due.namespace)
            return
        if events and due.due is not None:
            until = datetime.fromtimestamp(due.due.seconds + 1, UTC).isoformat()
            log.info("history expired", namespace=due.namespace, before=until, events=events, rule=str(due.rule))

    def _up_to(self, namespace: str, second: int) -> ClusterTime | None:
        recorded = recorded_until(self._database, namespace)
        if recorded is not None:
            second = min(second, recorded.time - 1)
        pending = first_pending(self._database, namespace)
        if pending is not None:
            second = min(second, pending.seconds - 1)
        return ClusterTime.end_of(second) if second > 0 else None


@contextmanager
def short_turns() -> Iterator[None]:
    """Within the block, a computing thread yields the interpreter after half a millisecond.

    The default is five milliseconds: an event passes through three threads, and each would wait that long for expiry.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, _TURN_S))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _is_worth_it(due: Due) -> bool:
    age = due.rule.seconds
    if due.due is None or age is None:
        return False
    if due.horizon is None or not due.is_complete:
        return True
    return due.due.seconds - due.horizon.seconds >= _step(age)


def _step(age: int) -> int:
    """The step, in seconds, by which the horizon of a rule with this age (in seconds) moves."""
    return min(max(age // _STEPS, 1), _LONGEST_STEP_S)


def _now(database: Database[Any]) -> int:
    """The clock of the history deployment, in seconds since 1970 (UTC)."""
    return int(database.client.admin.command("hello")["localTime"].replace(tzinfo=UTC).timestamp())
