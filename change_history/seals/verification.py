"""Verify the chain of seals, then history against it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from bson import Timestamp

from change_history.bson.cluster_time import BEGINNING_OF_TIME, END_OF_TIME, ClusterTime
from change_history.seals.chain import Chain
from change_history.seals.comparison import Comparison
from change_history.seals.finding import Finding, Report
from change_history.seals.store import Store
from change_history.stored.names import CHECKPOINTS, HISTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pymongo.database import Database

    from change_history.seals.seal import Sealed

_AT_WORK = dt.timedelta(minutes=10)
"""A stream whose checkpoint has not moved for this long is considered stopped."""


def verify(
    database: Database[Any],
    *,
    against: Mapping[int, Sealed] | None = None,
    keys: Collection[str] = (),
    on_checked: Callable[[int], object] = lambda _: None,
    on_unsealed: Callable[[bytes], object] = lambda _: None,
) -> Report:
    """Verify that history matches its seals. Safe while daemons record, seal and legitimately amend it.

    Args:
        against: seals that were kept outside the database, by number.
        keys: public keys, hexadecimal, one of which each seal must be signed with; empty: any key is accepted.
        on_checked: called with the number of records, then of entries, checked; `work` estimates their sum.
        on_unsealed: called with each entry that no seal covers.
    """
    report = Report()
    store = Store(database)
    chain = Chain(store, report, against or {}, keys, on_checked)
    chain.check()
    bound = _bound(database, report)
    Comparison(database, store, chain.ranges, bound, report, on_checked, on_unsealed).compare()
    return report


def work(database: Database[Any]) -> int:
    """About how many events `on_checked` will be called for."""
    sealed = sum(count for count in Store(database).counts())
    return sealed + database[HISTORY].estimated_document_count()


def _bound(database: Database[Any], report: Report) -> ClusterTime:
    """The cluster time up to which every entry must be sealed, except those that a note covers.

    What a stream has recorded since its last seal is not sealed yet. A stream that has stopped, and was sealed up to
    its checkpoint, has no unsealed entries.
    """
    if report.last is None:
        return BEGINNING_OF_TIME
    now = dt.datetime.now(dt.UTC)
    open_: list[ClusterTime] = []
    closed = [BEGINNING_OF_TIME]
    checkpoints = {found["_id"]: found for found in database[CHECKPOINTS].find({"_id": {"$type": "string"}}, _WANTED)}
    for stream, text in report.last.streams.items():
        try:
            seconds, _, increment = text.partition(":")
            sealed = ClusterTime((int(seconds) << 32) | int(increment))
        except ValueError:
            report.findings.append(Finding("seal", f"the last seal names no position of {stream!r}", None))
            continue
        found = checkpoints.get(stream, {})
        if any(not isinstance(found[name], kind) for name, kind in _KINDS.items() if name in found):
            report.remarks.append(
                f"the checkpoint of {stream!r} cannot be read, so what it has recorded last may follow"
            )
            open_.append(sealed)
            continue
        moved = max((found[name] for name in ("updated_at", "expires_at") if name in found), default=None)
        resting = moved is None or moved.replace(tzinfo=dt.UTC) < now - _AT_WORK
        behind = "cluster_time" in found and ClusterTime.of(found["cluster_time"]) > sealed
        (closed if resting and not behind else open_).append(sealed)
    return min(open_) if open_ else min(max(closed), END_OF_TIME)


_KINDS = {"cluster_time": Timestamp, "updated_at": dt.datetime, "expires_at": dt.datetime}
_WANTED = dict.fromkeys(_KINDS, 1)
