"""One daemon leads a stream, by the server's clock; two at once would fight over the position."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.daemon import eventually
from watcher.leadership.lease import DeposedError, Lease

if TYPE_CHECKING:
    from pymongo.database import Database

ROUNDS = 50


def stored(database: Database[Any]) -> dict[str, Any]:
    """The checkpoint, which there is exactly one of."""
    (found,) = database.checkpoints.find()
    assert isinstance(found, dict)
    return found


def test_of_daemons_that_start_at_once_exactly_one_leads(database: Database[Any]) -> None:
    """On a stream that has never run and on one that has been led before, round after round."""
    last = 0
    with ThreadPoolExecutor(4) as pool:
        for turn in range(ROUNDS):
            if turn % 2:
                database.checkpoints.delete_many({})
                last = 0
            leases = [Lease(database, "default") for _ in range(4)]
            (term,) = filter(None, pool.map(Lease.acquire, leases))
            assert term.number > last
            assert stored(database)["lease"]["owner"] == term.owner
            leases[0].release(term)
            last = term.number


def test_a_lease_runs_out_by_the_clock_of_the_server(database: Database[Any]) -> None:
    """A leader that has vanished is replaced; it cannot come back under its old term."""
    one, other = Lease(database, "default", ttl_s=0.5), Lease(database, "default")
    first = one.acquire()
    assert first is not None
    assert other.acquire() is None
    holder = other.holder()
    assert holder is not None
    assert (holder.owner, holder.term, holder.pid) == (*first, os.getpid())

    second = eventually(other.acquire, "the end of a lease that nobody renews")

    assert second.number == first.number + 1
    with pytest.raises(DeposedError):
        one.renew(first)
    one.release(first)
    assert stored(database)["lease"]["owner"] == second.owner
    assert one.acquire() is None


def test_a_lease_that_ran_out_is_renewed_if_nobody_has_taken_it(database: Database[Any]) -> None:
    """A fail-over of the history server that takes longer than the lease must not depose a leader without a rival."""
    lease = Lease(database, "default", ttl_s=0.05)
    term = lease.acquire()
    assert term is not None
    eventually(lambda: lease.holder() is None, "its end")

    (again := Lease(database, "default")).renew(term)

    assert again.holder() is not None
    assert stored(database)["lease"]["term"] == term.number


def test_a_lease_given_up_is_free_at_once_and_its_term_stays(database: Database[Any]) -> None:
    """A stand-by does not wait for it to run out after an orderly stop; and terms never go back."""
    one, other = Lease(database, "default"), Lease(database, "default")
    first = one.acquire()
    assert first is not None
    one.release(first)

    assert stored(database)["lease"] == {"term": first.number}
    assert other.holder() is None
    second = other.acquire()
    assert second is not None
    assert second.number == first.number + 1


def test_the_lead_can_be_taken_by_force_and_from_the_dead(database: Database[Any]) -> None:
    """By an operator, and by a daemon on the same machine that sees that the leader's process is gone."""
    one, other = Lease(database, "default"), Lease(database, "default")
    first = one.acquire()
    assert first is not None
    assert other.acquire(dead="somebody else") is None

    second = other.acquire(dead=first.owner)
    third = one.acquire(by_force=True)

    assert second is not None
    assert third is not None
    assert [first.number, second.number, third.number] == [1, 2, 3]
    with pytest.raises(DeposedError):
        other.renew(second)


def test_a_term_that_was_taken_but_not_confirmed_can_be_taken_again(database: Database[Any]) -> None:
    """The answer of the server was lost: the daemon must not stand by behind itself."""
    lease = Lease(database, "default")
    first, again = lease.acquire(), lease.acquire()

    assert first is not None
    assert again is not None
    assert again.number == first.number + 1


def test_taking_the_lead_leaves_an_older_checkpoint_as_it_is(database: Database[Any]) -> None:
    """One from before there were leases: its position must not be lost, nor anything beside it."""
    before = {"_id": "default", "token": {"_data": "82"}, "events": 5, "survey": {"kind": "baseline"}}
    database.checkpoints.insert_one(before)
    lease = Lease(database, "default")
    assert lease.holder() is None
    assert lease.acquire() is not None

    after = stored(database)
    assert after.pop("lease")["term"] == 1
    assert after == before


def test_streams_have_leases_of_their_own(database: Database[Any]) -> None:
    """Two streams may keep history in one database."""
    assert Lease(database, "one").acquire() is not None
    assert Lease(database, "other").acquire() is not None
