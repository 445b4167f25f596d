"""Cluster times: one order, whatever the form they come in."""

from __future__ import annotations

import bson
import pytest
from bson import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.cluster_time import BEGINNING_OF_TIME, END_OF_TIME, ClusterTime

halves = st.integers(0, 2**32 - 1)
stamps = st.builds(Timestamp, halves, halves)


@given(stamps, stamps)
def test_every_form_has_the_order_of_the_server(one: Timestamp, other: Timestamp) -> None:
    """A time that is read the wrong way round puts history out of order, and old values with it."""
    a, b = ClusterTime.of(one), ClusterTime.of(other)
    assert (a < b, a == b) == (one < other, one == other)
    assert (a.prefix < b.prefix) == (a.last_id < b.first_id) == (one < other)


@given(stamps)
def test_no_form_is_read_back_as_another_time(stamp: Timestamp) -> None:
    """The server's bytes, the ids of history, and the driver's object all mean one moment."""
    time = ClusterTime.of(stamp)
    assert (time.seconds, time.increment, time.timestamp) == (stamp.time, stamp.inc, stamp)
    assert time.payload == raw.fields(bson.encode({"t": stamp}))[b"t"][1]
    assert ClusterTime.from_payload(time.payload) == time
    assert ClusterTime.from_id(time.first_id) == ClusterTime.from_id(time.last_id) == time
    assert str(time) == f"{stamp.time}:{stamp.inc}"


@given(stamps)
def test_between_a_time_and_the_next_there_is_none(stamp: Timestamp) -> None:
    """A baseline stands just before the first event; a tick too early or too late loses one or doubts all."""
    time = ClusterTime.of(stamp)
    assert time.just_before.just_after == (time or ClusterTime(1))
    assert time == END_OF_TIME or time.just_after - time == 1


def test_the_ends_of_time_have_nothing_beyond() -> None:
    """Arithmetic beyond 64 bits would fail where a document is read that was stored long ago."""
    assert BEGINNING_OF_TIME.just_before == BEGINNING_OF_TIME
    assert END_OF_TIME.just_after == END_OF_TIME
    assert ClusterTime.end_of(2**32) == END_OF_TIME
    assert ClusterTime.start_of(-1) == BEGINNING_OF_TIME


def test_a_second_holds_its_own_times_and_no_others() -> None:
    """A wall-clock bound that leaves out the last increment hides an event."""
    assert ClusterTime.start_of(7) == ClusterTime.of(Timestamp(7, 0))
    assert ClusterTime.end_of(7).just_after == ClusterTime.start_of(8)


@pytest.mark.parametrize("payload", [b"", bytes(7), bytes(9)])
def test_what_is_no_timestamp_is_no_time(payload: bytes) -> None:
    """An event whose `clusterTime` is something else is rejected, not recorded at a time of its own."""
    with pytest.raises(ValueError, match="8 bytes"):
        ClusterTime.from_payload(payload)
