"""The queue of plans: what one plan means for those that wait."""

from __future__ import annotations

from dataclasses import replace

from bson import Timestamp
from bson.raw_bson import RawBSONDocument

from change_history.bson import raw
from watcher.backfill.queue import BASELINE, RECONCILE, BackfillPlan, enqueue, finish

_DONE = RawBSONDocument(raw.from_fields([(b"_id", (raw.INT32, raw.int32(1)))]))


def _at(seconds: int) -> Timestamp:
    return Timestamp(seconds, 0)


def _after_gap(since: int, until: int, *namespaces: str) -> BackfillPlan:
    return BackfillPlan(RECONCILE, _at(until), namespaces, since=_at(since), closes_gaps=True)


BEGUN = BackfillPlan(BASELINE, _at(1), ("db.b", "db.c"), after=_DONE, documents=7)


def test_a_gap_does_not_cost_the_rest_of_the_baseline() -> None:
    """The collections that were not read yet would never be."""
    queue = enqueue((BEGUN,), _after_gap(5, 9, "db.a", "db.b"))

    assert queue == (BEGUN, _after_gap(5, 9, "db.a", "db.b"))


def test_a_second_gap_moves_what_the_first_left_over() -> None:
    """Compared at the first gap's end it would be stale at once; compared with the state before the second, wrong."""
    first = replace(_after_gap(5, 9, "db.b", "db.c"), after=_DONE, read_at=_at(10), documents=3)

    queue = enqueue((first,), _after_gap(12, 20, "db.a", "db.b", "db.c", "db.d"))

    assert queue == (
        replace(first, at=_at(20), after=None, read_at=None),
        _after_gap(12, 20, "db.a", "db.d"),
    )


def test_a_plan_made_again_is_the_same_plan() -> None:
    """An event that is read again after a kill, a call that is tried again, a gap that is found again later."""
    renamed = BackfillPlan(BASELINE, _at(3), ("db.n",))
    once = enqueue((BEGUN,), renamed)
    found_again = _after_gap(5, 11, "db.a", "db.new")

    assert enqueue(once, renamed) == once
    assert enqueue((replace(renamed, documents=9),), renamed) == (replace(renamed, documents=9),)
    assert enqueue((_after_gap(5, 9, "db.a"),), found_again) == (found_again,)
    first, second = _after_gap(5, 9, "db.a"), _after_gap(12, 20, "db.a", "db.b")
    twice = enqueue(enqueue((first,), second), second)
    assert [plan.namespaces for plan in twice] == [("db.a",), ("db.b",)]


def test_gaps_are_level_only_when_all_is_compared() -> None:
    """Level too early, old values would be told from a history that has a hole."""
    first, second = _after_gap(5, 9, "db.a"), _after_gap(12, 20, "db.b")
    queue = enqueue((first,), second)
    moved = replace(queue[0], namespaces=(), latest=_at(25))

    rest, leveller = finish((moved, queue[1]), moved)
    assert leveller is None
    last = replace(rest[0], namespaces=())
    assert finish((last,), last) == ((), last)
    assert last.reconciled_at == _at(25)


def test_what_was_left_out_is_not_level() -> None:
    """Whether it was left out by the last plan, or by one before."""
    first, second = _after_gap(5, 9), _after_gap(12, 20)
    partly = replace(first, whole=False)

    assert finish((partly,), partly) == ((), None)
    (rest,), _ = finish((partly, second), partly)
    assert finish((rest,), rest) == ((), None)


def test_a_baseline_levels_nothing() -> None:
    """It says nothing of documents that are gone."""
    assert finish((BEGUN,), BEGUN) == ((), None)
    assert finish((BEGUN, _after_gap(5, 9)), BEGUN) == ((_after_gap(5, 9),), None)
