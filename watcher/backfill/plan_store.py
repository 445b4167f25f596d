"""Stores the backfill's plans in the checkpoint of their stream, so that they survive a restart.

Only the stream's leader writes: every write names its term. The stored names are older than the names in the code: the
queue is the field `survey`, `BackfillPlan.closes_gaps` is `levels`, and a reconciled gap has `level`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import Binary, CodecOptions, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.bson.values import to_python
from change_history.reconstruct import trust
from change_history.stored.amendments import AmendmentKind, note
from change_history.stored.names import CHECKPOINTS, HISTORY
from change_history.stored.reading import history_collection, recorded_collections
from watcher.backfill.queue import BASELINE, RECONCILE, BackfillPlan, enqueue
from watcher.gaps.gap import NOT_WATCHED, narrower
from watcher.stream.damage import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from watcher.leadership.fence import Fence
    from watcher.targets.scope import Scope

_MAJORITY = WriteConcern("majority")
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_OPTIONAL = ("after", "since", "read_at", "latest")


class PlanStore:
    """Saves and loads the plans of one stream's backfill."""

    def __init__(self, history: Database[Any], fence: Fence) -> None:
        self._database = history
        self._history = history.get_collection(HISTORY, write_concern=_MAJORITY)
        self._gaps = history_collection(history)
        self._checkpoints = history.get_collection(CHECKPOINTS, write_concern=_MAJORITY, codec_options=_RAW)
        self._stream = fence.stream
        self._fence = fence

    def save(self, queue: Sequence[BackfillPlan]) -> None:
        """Replace the stored plans. Returns once a majority has acknowledged it.

        Raises:
            watcher.leadership.lease.DeposedError: the term is over; nothing was changed.
        """
        self._update({"$set": {"survey": [document(plan) for plan in queue]}} if queue else {"$unset": {"survey": 1}})

    def nudge(self) -> None:
        """Write only a timestamp, so that the oplog moves on. Raises as `save` does."""
        self._update({"$currentDate": {"surveyed_at": True}})

    def add(self, plan: BackfillPlan) -> None:
        """Append a plan to the stored queue; only while no backfill runs. Raises as `save` does."""
        self.save(enqueue(self.load(), plan))

    def load(self) -> tuple[BackfillPlan, ...]:
        """The plans that are not completed, in their order.

        Raises:
            watcher.errors.PositionRefusedError: the stored plans are damaged.
        """
        found = self._checkpoints.find_one({"_id": self._stream, "survey": {"$exists": True}})
        if found is None:
            return ()
        kind, payload = raw.fields(bytes(found.raw))[b"survey"]
        kept = raw.items(payload) if kind == raw.ARRAY else [(kind, payload)]  # the first versions stored only one plan
        try:
            return tuple(_sound(_plan(raw.fields(payload))) for _, payload in kept)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise refusal(self._stream, "`survey` cannot be read") from error

    def close_gaps(self, plan: BackfillPlan, scope: Scope) -> None:
        """Mark the gaps before a reconciliation as reconciled. Idempotent; raises as `save` does.

        Options may have been narrowed since a gap. It stays open for the known collections that the scope leaves out,
        since these were not compared: as a gap of its own, where it concerns others too. A reconciliation of only some
        collections closes only the gap in which these were not watched.

        Args:
            scope: what the reconciliation has compared.
        """
        mine = {
            "operation": "gap",
            "_id": {"$lte": Binary(ClusterTime.of(plan.at).last_id)},
            "description.stream": self._stream,
            "description.level": {"$ne": True},
            "description.late": {"$ne": True},
            **({} if plan.closes_gaps else {"description.cause": NOT_WATCHED, "description.to": plan.at}),
        }
        said = {"description.level": True, "description.level_at": plan.reconciled_at}
        known = recorded_collections(self._database) if plan.closes_gaps else []

        def close(session: ClientSession | None) -> None:
            closed, narrowed = [], []
            for gap in self._gaps.find(mine, session=session):
                concerned = [name for name in known if trust.concerns(gap, name)]
                left_out = [name for name in concerned if not scope.covers(*name.split(".", 1))]
                if left_out and left_out == concerned:
                    continue
                closed.append(gap["_id"])
                if left_out:
                    narrowed.append(RawBSONDocument(narrower(gap, left_out)))
            note(self._database, AmendmentKind.GAP, [*closed, *(gap["_id"] for gap in narrowed)], session)
            for gap in narrowed:
                self._history.replace_one({"_id": gap["_id"]}, gap, upsert=True, session=session)
            self._history.update_many({**mine, "_id": {"$in": closed}}, {"$set": said}, session=session)

        self._fence.run(close)

    def _update(self, update: dict[str, Any]) -> None:
        term = self._fence.term
        term.require(self._checkpoints.update_one(term.of(self._stream), update))


def document(plan: BackfillPlan) -> dict[str, Any]:
    """A plan as it is stored in a checkpoint."""
    return {
        "kind": plan.kind,
        "at": plan.at,
        "namespaces": list(plan.namespaces),
        "documents": plan.documents,
        "entries": plan.entries,
        "whole": plan.whole,
        "levels": plan.closes_gaps,
        **{name: value for name in _OPTIONAL if (value := getattr(plan, name)) is not None},
    }


def _sound(plan: BackfillPlan) -> BackfillPlan:
    """The plan, if it is valid.

    Raises:
        TypeError: it is not.
    """
    times = [plan.at, *(each for each in (plan.since, plan.read_at, plan.latest) if each is not None)]
    if plan.kind not in {BASELINE, RECONCILE} or not all(isinstance(each, Timestamp) for each in times):
        raise TypeError(plan.kind)
    if not all(isinstance(each, str) and "." in each for each in plan.namespaces):
        raise TypeError(plan.namespaces)
    return plan


def _plan(kept: dict[bytes, raw.Value]) -> BackfillPlan:
    known = {key.decode(): value for key, value in kept.items()}
    after = known.pop("after", None)
    values = {name: to_python(value) for name, value in known.items()}
    return BackfillPlan(
        values["kind"],
        values["at"],
        tuple(values["namespaces"]),
        RawBSONDocument(after[1]) if after is not None else None,
        values.get("since"),
        int(values["documents"]),
        int(values["entries"]),
        bool(values["whole"]),
        bool(values.get("levels", values["kind"] == RECONCILE)),
        values.get("read_at"),
        values.get("latest"),
    )
