"""A leader that is deposed, or cannot know whether it still leads, stops; and what came too late is not believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp

from change_history.bson import raw
from tests.support.daemon import eventually
from tests.support.several_daemons import SCOPE, entry, fence, position
from watcher.backfill.plan_store import PlanStore
from watcher.backfill.queue import RECONCILE, BackfillPlan
from watcher.gaps.gap import Gaps
from watcher.health.progress import Progress
from watcher.leadership.lead import Leadership, LeadersWriter, clock
from watcher.leadership.lease import DeposedError, Lease
from watcher.signals import AbortedError
from watcher.stream.batch import Entry, Lost, Recorded

if TYPE_CHECKING:
    from pymongo.database import Database

BATCH = Recorded([Entry(entry(1), b"")], [], position(9))


class Sink:
    """A writing stage that counts, and is slow where it is told to be."""

    def __init__(self, meanwhile: Any = None) -> None:
        self.writes = 0
        self._meanwhile = meanwhile

    def write(self, _recorded: Recorded) -> int:
        """Count a batch."""
        self.writes += 1
        if self._meanwhile is not None:
            self._meanwhile()
        return 0


def leadership(database: Database[Any], ttl_s: float) -> tuple[Lease, Leadership]:
    """A leadership that has just been taken."""
    lease = Lease(database, "default", ttl_s)
    asked = clock()
    term = lease.acquire()
    assert term is not None
    return lease, Leadership(lease, term, asked, Progress())


def test_a_lease_is_kept_up_and_given_up_at_the_end(database: Database[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Long after it would have run out nobody else can have it, and the moment after the end anybody can."""
    monkeypatch.setattr("watcher.leadership.lead.RENEW_EVERY_S", 0.05)
    lease, leading = leadership(database, 1.0)
    with leading:
        until = clock() + 2.0
        while clock() < until:
            assert Lease(database, "default").acquire() is None
        leading.assure()
    assert leading.stop.is_set()
    assert lease.holder() is None


def test_a_second_signal_does_not_wait_for_the_lease(database: Database[Any]) -> None:
    """At once means at once, also while the server is away."""
    lease, leading = leadership(database, 5.0)
    with pytest.raises(AbortedError), leading:
        raise AbortedError
    assert lease.holder() is not None


def test_whatever_works_for_a_deposed_leader_is_stopped(
    database: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it does not take the lease away from the next leader when it ends."""
    monkeypatch.setattr("watcher.leadership.lead.RENEW_EVERY_S", 0.05)
    _, leading = leadership(database, 5.0)
    with leading:
        second = Lease(database, "default").acquire(by_force=True)
        assert second is not None
        eventually(leading.stop.is_set, "the end")
        with pytest.raises(DeposedError):
            leading.raise_failure()
        with pytest.raises(DeposedError):
            leading.assure()
    held = Lease(database, "default").holder()
    assert held is not None
    assert held.owner == second.owner


def test_nothing_is_written_after_a_freeze_before_the_lease_is_known_to_be_held(database: Database[Any]) -> None:
    """Nobody has taken it: it is renewed first. Somebody has: the batch is not handed on."""
    lease, leading = leadership(database, 0.05)  # not entered: nothing renews it, as if the process were frozen
    sink = Sink()
    writes = LeadersWriter(sink, leading.assure, lambda _: pytest.fail("it was in time"))
    eventually(lambda: lease.holder() is None, "the end of the lease")
    writes.write(BATCH)
    assert sink.writes == 1

    eventually(Lease(database, "default").acquire, "another leader")
    with pytest.raises(DeposedError):
        writes.write(BATCH)
    assert sink.writes == 1


def test_what_was_written_too_late_is_told(database: Database[Any]) -> None:
    """Frozen between the look at the clock and the write: then, at the latest, it knows."""
    _, leading = leadership(database, 0.05)
    leading.assure()
    late: list[Recorded] = []
    writes = LeadersWriter(
        Sink(lambda: eventually(Lease(database, "default").acquire, "another leader")), leading.assure, late.append
    )
    with pytest.raises(DeposedError):
        writes.write(BATCH)
    assert late == [BATCH]


def test_a_gap_is_not_level_once_events_were_stored_in_it_too_late(database: Database[Any]) -> None:
    """The next leader has compared the documents with a history that did not have them: folding it would lie."""
    old = fence(database)
    new = fence(database)
    gaps, plans = Gaps(database, new, SCOPE), PlanStore(database, new)
    gaps.write(Lost(position(3), "around"), position(9))
    gaps.write(Lost(position(20), "elsewhere"), position(30))
    plan = BackfillPlan(RECONCILE, Timestamp(40, 1), (), closes_gaps=True)
    plans.close_gaps(plan, SCOPE)
    document = raw.from_fields([(b"_id", (raw.BINARY, raw.int32(16) + b"\x00" + (7).to_bytes(4, "big") + bytes(12)))])

    Gaps(database, old, SCOPE).distrust(Recorded([Entry(document, b"")], [], position(7)))
    plans.close_gaps(plan, SCOPE)

    level = {gap["description"]["cause"]: gap["description"].get("level") for gap in database.history.find()}
    assert level == {"around": None, "elsewhere": True}
