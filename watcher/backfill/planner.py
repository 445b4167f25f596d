"""Makes the plans for the backfill: at the start, after a gap, after a rename and after changed options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from pymongo.errors import OperationFailure

from change_history.stored.reading import recorded_collections
from watcher.backfill.queue import BASELINE, RECONCILE, BackfillPlan
from watcher.errors import Verdict, classify, name_of
from watcher.targets.namespaces import COLLECTION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pymongo import MongoClient
    from pymongo.database import Database

    from watcher.stream.batch import Lost, Position, Renamed
    from watcher.targets.scope import Scope

log = structlog.get_logger(__name__)


class Planner:
    """Makes the plans of one stream's backfill."""

    def __init__(self, client: MongoClient[Any], history: Database[Any], scope: Scope) -> None:
        self._client = client
        self._history = history
        self._scope = scope

    def baseline(self, start: Position) -> BackfillPlan:
        """The plan for a new stream: every watched document as it was just before the stream's first event."""
        return BackfillPlan(BASELINE, start.cluster_time.just_before.timestamp, self._live_namespaces())

    def reconcile(self, lost: Lost, now: Position) -> BackfillPlan:
        """The plan after a gap; it includes collections that history knows, but that no longer exist."""
        namespaces = tuple(sorted(self._known_namespaces().union(self._live_namespaces())))
        since = lost.position.cluster_time.timestamp
        return BackfillPlan(
            RECONCILE, now.cluster_time.just_before.timestamp, namespaces, since=since, closes_gaps=True
        )

    def after_rename(self, renamed: Renamed, waiting: Iterable[BackfillPlan]) -> BackfillPlan | None:
        """The plan for a collection that was renamed to a watched name; None: history has its documents already.

        Args:
            waiting: the plans not completed yet: they can no longer read the collection under its former name.
        """
        if not self._covers(renamed.target):
            return None
        at = renamed.cluster_time.timestamp
        kinds = {plan.kind for plan in waiting if renamed.source in plan.namespaces}
        if RECONCILE in kinds:
            return BackfillPlan(RECONCILE, at, (renamed.target,), since=at)
        if BASELINE in kinds or not self._covers(renamed.source):
            return BackfillPlan(BASELINE, at, (renamed.target,))
        return None

    def after_adoption(self, position: Position, former: Scope) -> list[BackfillPlan]:
        """The plans for collections that a stream covers only from a position on.

        For collections that history knows from an earlier time, documents deleted since then are found, too.
        """
        at = position.cluster_time.timestamp
        new = {name for name in self._live_namespaces() if not former.covers(*name.split(".", 1))}
        known = {name for name in self._known_namespaces() if not former.covers(*name.split(".", 1))}
        plans = [BackfillPlan(BASELINE, at, tuple(sorted(new - known)))]
        plans.append(BackfillPlan(RECONCILE, at, tuple(sorted(known)), since=at))
        return [plan for plan in plans if plan.namespaces]

    def _covers(self, namespace: str) -> bool:
        database, _, collection = namespace.partition(".")
        return bool(collection) and self._scope.covers(database, collection)

    def _known_namespaces(self) -> set[str]:
        return set(filter(self._covers, recorded_collections(self._history)))

    def _live_namespaces(self) -> tuple[str, ...]:
        try:
            names = [self._scope.database] if self._scope.database else self._client.list_database_names()
            return tuple(
                f"{name}.{info['name']}"
                for name in sorted(filter(self._scope.reaches, names))
                for info in sorted(self._client[name].list_collections(filter={"type": COLLECTION}), key=_name)
                if self._scope.covers(name, info["name"])
            )
        except OperationFailure as error:
            if classify(error) is Verdict.TRANSIENT:
                raise
            log.warning(
                "collections cannot be listed, so the state of existing documents is not recorded",
                error=name_of(error),
                remedy="grant listCollections (`watcher doctor` says where), or set WATCHER_BASELINE=off",
            )
            return ()


def _name(info: Mapping[str, Any]) -> str:
    name: str = info["name"]
    return name
