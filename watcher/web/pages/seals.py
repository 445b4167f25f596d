"""The page of seals: the last seal, and what is not sealed yet. It verifies nothing; `watcher verify` does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson import Binary

from change_history.bson.cluster_time import BEGINNING_OF_TIME, ClusterTime
from change_history.seals.store import Store
from change_history.stored.names import AMENDMENTS, HISTORY
from watcher.web.pages.page_request import Page
from watcher.words import times

if TYPE_CHECKING:
    from pymongo.database import Database

    from change_history.seals.seal import Seal, Sealed
    from watcher.web.pages.page_request import Answer, PageRequest

MOST_UNSEALED = 5000
"""Events that are checked at most for whether a seal covers them."""

_LATE_S = 180
"""Seconds; new entries are sealed at least every minute."""


@dataclass(frozen=True, slots=True)
class SealingView:
    """The state of sealing.

    Attributes:
        last: the last seal; None: there is none, or it cannot be read.
        wrong: why the last seal cannot be read; None: it can.
        made: when it was made; None: it has no valid time.
        age: time since then.
        unsealed: number of events that are not sealed yet.
        more: `unsealed` is a lower bound.
        amended: number of amendments that the next seal will cover.
        late: events have been unsealed for longer than they should be.
    """

    last: Sealed | None
    wrong: str | None
    made: datetime | None
    age: str | None
    unsealed: int
    more: bool
    amended: int
    late: bool


def page(request: PageRequest) -> Answer:
    """The page of seals, only for visitors who may read everything, since a seal covers all collections."""
    request.history.require_everything()
    return Page("seals.html", {"standing": _standing(request.reader.database_of_history)})


def _standing(database: Database[Any]) -> SealingView:
    store = Store(database)
    last, wrong = None, None
    try:
        last = store.last()
    except ValueError as error:
        wrong = str(error)
    made = _made(last.seal) if last is not None else None
    age_s = max((datetime.now(UTC) - made).total_seconds(), 0) if made is not None else None
    unsealed, more = _unsealed(database, store, last.seal if last is not None else None)
    return SealingView(
        last,
        wrong,
        made,
        times.span(age_s) if age_s is not None else None,
        unsealed,
        more,
        database[AMENDMENTS].estimated_document_count(),
        last is not None and unsealed > 0 and (age_s is None or age_s > _LATE_S),
    )


def _made(seal: Seal) -> datetime | None:
    """The time that a seal gives; None: it is invalid."""
    try:
        found = datetime.fromisoformat(seal.time)
        return found.astimezone(UTC) if found.tzinfo is not None else None
    except (ValueError, OverflowError, TypeError):
        return None


def _unsealed(database: Database[Any], store: Store, last: Seal | None) -> tuple[int, bool]:
    """The number of unsealed events after the position up to which all streams are sealed; whether there are more."""
    if last is None:
        return database[HISTORY].estimated_document_count(), False
    reached = min(map(_position, last.streams.values()), default=BEGINNING_OF_TIME)
    found = database[HISTORY].find({"_id": {"$gt": Binary(reached.last_id)}}, {"_id": 1}, sort=[("_id", 1)])
    with found.limit(MOST_UNSEALED + 1) as cursor:
        ids = [bytes(each["_id"]) for each in cursor if isinstance(each["_id"], bytes)]
    some = ids[:MOST_UNSEALED]
    return len(some) - len(store.records_of(some)), len(ids) > len(some)


def _position(text: object) -> ClusterTime:
    """A position in a seal, `seconds:increment`; the beginning of time if it cannot be read."""
    seconds, _, increment = str(text).partition(":")
    try:
        return ClusterTime((int(seconds) << 32) | int(increment))
    except (ValueError, OverflowError):
        return BEGINNING_OF_TIME
