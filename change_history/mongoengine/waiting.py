"""Waiting until the daemon has recorded what an application has written."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bson import Timestamp
from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern

from change_history import globs
from change_history.errors import HistoryError
from change_history.reconstruct.trust import recorded_until
from change_history.stored.names import CHECKPOINTS
from change_history.stored.reading import RAW, as_query

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history.history import History

_EVERY_S = 0.05
_SETTLED_S = 0.5


class NotRecordedYetError(HistoryError, TimeoutError):
    """The daemon has not recorded a document's last write in time; the message says why, and what to do."""


def wait(history: History, watched: Database[Any], namespace: str, document_id: Any, timeout_s: float) -> None:
    """Wait until the last write to a document is recorded.

    Args:
        history: the history of the document.
        watched: the database of the document.
        document_id: exact.
        timeout_s: maximum wait in seconds.

    Raises:
        NotRecordedYetError: it is not recorded in time.
        pymongo.errors.PyMongoError: a deployment does not answer.
    """
    now = _operation_time(watched)
    kept = history._database  # noqa: SLF001 - one library
    until = time.monotonic() + timeout_s
    equal_since: float | None = None
    while True:
        reached = recorded_until(kept, namespace)
        if reached is not None and reached >= now:
            return
        newest = next(history.log(namespace, document_id, limit=1), None)
        if newest is not None and newest.cluster_time >= now:
            return
        if reached is not None and _as_recorded(history, watched, namespace, document_id):
            equal_since = time.monotonic() if equal_since is None else equal_since
            if time.monotonic() - equal_since >= _SETTLED_S:
                return
        else:
            equal_since = None
        if time.monotonic() > until:
            raise NotRecordedYetError(_why(kept, namespace, reached, now, timeout_s))
        time.sleep(_EVERY_S)


def _operation_time(watched: Database[Any]) -> Timestamp:
    """A cluster time that is not before any acknowledged write of the deployment."""
    found = watched.client.admin.command("ping", read_preference=ReadPreference.PRIMARY).get("operationTime")
    if not isinstance(found, Timestamp):
        raise NotRecordedYetError(
            "the deployment is no replica set, so it has no change streams and nothing is recorded. Start mongod with "
            "--replSet, or let `watcher doctor` look at it"
        )
    return found


def _as_recorded(history: History, watched: Database[Any], namespace: str, document_id: Any) -> bool:
    state = history.state(namespace, document_id)
    if state.unknown is not None or state.entry is None:
        return False
    _, _, name = namespace.partition(".")
    collection = watched.get_collection(
        name, codec_options=RAW, read_concern=ReadConcern("majority"), read_preference=ReadPreference.PRIMARY
    )
    found = collection.find_one(as_query({"_id": {"$eq": document_id}}))
    return (bytes(found.raw) if found is not None else None) == state.data


def _why(kept: Database[Any], namespace: str, reached: Timestamp | None, now: Timestamp, timeout_s: float) -> str:
    said = f"the last write is not recorded after {timeout_s:g} s: "
    leads = {"$gt": ["$lease.expires_at", "$$NOW"]}
    stages: list[dict[str, Any]] = [
        {"$project": {"options": 1, "leads": {"$and": [leads, {"$ne": [{"$type": "$lease.owner"}, "missing"]}]}}}
    ]
    streams = [
        found
        for found in kept[CHECKPOINTS].aggregate(stages)
        if (options := found.get("options")) is None or globs.covers(options["include"], options["exclude"], namespace)
    ]
    if not any(found["leads"] for found in streams):
        return f"{said}no daemon is running that records {namespace}. Start one: watcher run"
    if reached is None:
        return f"{said}the daemon that records {namespace} has only just started. Wait longer, or look: watcher health"
    behind = max(now.time - reached.time, 0)
    return f"{said}the daemon is {behind} s behind. Wait longer, or look at its log and at: watcher health"
