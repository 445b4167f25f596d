"""The pure parts of reading: order within a cluster time, windows, conditions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from bson import DatetimeMS, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson.paths import dotted_text
from change_history.bson.values import document_to_python
from change_history.query import conditions
from change_history.query.selection import Selection
from change_history.reconstruct import point_in_time
from change_history.stored.event import Change, Event
from change_history.stored.order import in_stream_order
from models import ABSENT, UNKNOWN

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SECONDS = int(NOON.timestamp())


def event(operation: str = "update", /, **changes: Any) -> Event:
    """An event with one change for each keyword: a pair of old and new value, or a Change."""
    found = [
        change if isinstance(change, Change) else Change(field=name, old_value=change[0], new_value=change[1])
        for name, change in changes.items()
    ]
    return _event(operation, *found)


def _event(operation: str, *changes: Change) -> Event:
    return Event(
        id=bytes(16), operation=operation, timestamp=NOON, cluster_time=Timestamp(SECONDS, 1), changes=tuple(changes)
    )


def narrowed(happened: Event, field: str) -> list[tuple[str, Any, Any]]:
    """Field, old and new value of what concerns a field."""
    return [(c.field, c.old_value, c.new_value) for c in conditions.changes_of(happened, field)]


STORED = st.lists(
    st.tuples(st.integers(0, 3), st.binary(min_size=8, max_size=8), st.binary(min_size=1, max_size=6)),
    unique_by=(lambda e: e[:2], lambda e: e[2]),
)


@given(STORED)
def test_a_transaction_is_never_shown_out_of_order(events: list[tuple[int, bytes, bytes]]) -> None:
    """By cluster time, then by the token's bytes; not by the digest in `_id`, nor by the token's length first."""
    by_id = sorted(
        ({"_id": time.to_bytes(8, "big") + digest, "resume_token": token} for time, digest, token in events),
        key=lambda stored: stored["_id"],
    )

    ordered = list(in_stream_order(by_id))

    assert [(e["_id"][:8], e["resume_token"]) for e in ordered] == sorted(
        (e["_id"][:8], e["resume_token"]) for e in by_id
    )
    assert list(in_stream_order(by_id[::-1], newest_first=True)) == ordered[::-1]


def test_only_one_cluster_time_is_held_in_memory() -> None:
    """A log of a million events starts at once."""
    read = []

    def endless() -> Any:
        for time in range(10**9):
            read.append(time)
            yield {"_id": time.to_bytes(8, "big") + bytes(8), "resume_token": b"t"}

    first = next(in_stream_order(endless()))

    assert first["_id"] == bytes(16)
    assert read == [0, 1]


def test_a_window_of_cluster_times_includes_both_ends_exactly() -> None:
    """Every digest fits between the bounds; the neighbours do not."""
    bounds = point_in_time.id_bounds(Timestamp(5, 7), Timestamp(5, 7))

    inside = (5).to_bytes(4, "big") + (7).to_bytes(4, "big")
    assert bounds == {"$gte": inside + b"\x00" * 8, "$lte": inside + b"\xff" * 8}
    assert point_in_time.wall_bounds(Timestamp(5, 7), Timestamp(5, 7)) == {}


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone follows
    st.integers(-point_in_time.SLACK_SECONDS, point_in_time.SLACK_SECONDS),
    st.integers(0, 2**32 - 1),
)
def test_a_window_of_wall_times_loses_no_event_to_the_index(naive: datetime, drift: int, increment: int) -> None:
    """An event at either end is found though its cluster time is up to the slack away."""
    moment = naive.replace(tzinfo=UTC)
    seconds = int(moment.timestamp()) + drift
    stored = seconds.to_bytes(4, "big") + increment.to_bytes(4, "big") + b"\x80" * 8

    bounds = point_in_time.id_bounds(moment, moment)

    assert bounds["$gte"] <= stored <= bounds["$lte"]


def test_a_wall_time_finer_than_a_millisecond_is_not_rounded_outwards() -> None:
    """The first millisecond inside, and the last one."""
    since, until = NOON + timedelta(microseconds=1), NOON + timedelta(microseconds=1999)

    assert point_in_time.wall_bounds(since, until) == {
        "$gte": DatetimeMS(SECONDS * 1000 + 1),
        "$lte": DatetimeMS(SECONDS * 1000 + 1),
    }


@pytest.mark.parametrize("year", [1, 1969, 2107, 9999])
def test_a_window_beyond_cluster_time_is_cut_to_it(year: int) -> None:
    """Since the beginning of the calendar is not an error."""
    bounds = point_in_time.id_bounds(datetime(year, 1, 2, tzinfo=UTC), datetime(year, 1, 2, tzinfo=UTC))

    assert all(len(bound) == 16 for bound in bounds.values())


def test_a_time_without_zone_is_refused() -> None:
    """It would be taken for UTC."""
    with pytest.raises(ValueError, match="astimezone"):
        Selection("shop.users", since=datetime(2024, 5, 1))  # noqa: DTZ001 - that is the point


def test_an_id_that_looks_like_an_operator_is_a_value() -> None:
    """`{"$ne": 1}` as an id would otherwise select every other document."""
    query = document_to_python(Selection("shop.users", {"$ne": 1}).query())

    assert query["document_id"] == {"$eq": {"$ne": 1}}


def test_a_null_id_is_not_the_absence_of_one() -> None:
    """Collection events have no id; MongoDB's null matches them."""
    assert document_to_python(Selection("a.b", None).query())["document_id"] == {"$eq": None, "$exists": True}
    assert "document_id" not in document_to_python(Selection("a.b", ABSENT).query())


def test_a_field_includes_what_is_below_it() -> None:
    """And not its namesakes."""
    happened = event("update", **{"address.city": ("a", "b"), "addresses": (1, 2), "address.geo.0": (1, 2)})

    assert [field for field, *_ in narrowed(happened, "address")] == ["address.city", "address.geo.0"]


def test_one_key_with_a_dot_is_not_below_its_first_half() -> None:
    """`path` says it exactly."""
    happened = event(a=Change(field="a.b", path=["a.b"], old_value=1, new_value=2))

    assert narrowed(happened, "a") == []
    assert narrowed(happened, "a.b") == [("a.b", 1, 2)]


def test_a_change_above_the_field_counts_only_if_the_field_changed() -> None:
    """`$set: {address: …}` may leave the city as it was."""
    happened = event(address=({"city": "a", "zip": 1}, {"city": "a", "zip": 2}))

    assert narrowed(happened, "address.city") == []
    assert narrowed(happened, "address.zip") == [("address.zip", 1, 2)]


def test_below_an_insert_the_field_is_found_through_arrays_and_dotted_keys() -> None:
    """Inserts are recorded by top-level conditions."""
    happened = event("insert", items=(ABSENT, [{"qty": 1}]), doc=(ABSENT, {"a.b": {"c": 2}}))

    assert narrowed(happened, "items.0.qty") == [("items.0.qty", ABSENT, 1)]
    assert narrowed(happened, "doc.a.b.c") == [("doc.a.b.c", ABSENT, 2)]
    assert narrowed(happened, "items.1") == []


def test_unknown_is_shown_for_every_field_and_never_as_absent() -> None:
    """A delete or a replacement without a pre-image may have taken the field away."""
    whole = Change(field="", path=[], old_value=UNKNOWN, old_value_from="unknown")
    kept = Change(field="name", old_value=UNKNOWN, new_value="x", old_value_from="unknown")

    assert narrowed(event("delete", whole=whole), "email") == [("", UNKNOWN, ABSENT)]
    assert narrowed(event("replace", kept=kept), "email") == [("email", UNKNOWN, ABSENT)]
    assert narrowed(event("replace", kept=kept), "name") == [("name", UNKNOWN, "x")]
    assert narrowed(event("update", kept=kept), "email") == []


PATHS = st.lists(st.one_of(st.sampled_from(["a", "b", "a.b", "0", "1"]), st.integers(0, 1)), min_size=1, max_size=4)


@given(PATHS, st.sampled_from(["a", "a.b", "a.0", "a.b.a", "b.1.a", "0"]))
def test_the_server_lets_through_whatever_concerns_the_field(path: list[str | int], field: str) -> None:
    """The exact decision is made here, so the condition sent must never be the narrower one."""
    name = dotted_text(tuple(path))
    change = Change(field=name, path=path, old_value=ABSENT, new_value=1)
    if not narrowed(_event("update", change), field):
        return
    above, at_or_below = conditions.of_field(field)["$or"][0]["changes"]["$elemMatch"]["$or"]

    at, below = at_or_below["$or"]
    assert (
        name in above["field"]["$in"] or name == at["field"] or below["field"]["$gte"] <= name < below["field"]["$lt"]
    )


def test_ordered_runs_are_pairwise_ascending() -> None:
    """Tokens of unequal length, the case BinData comparison gets wrong."""
    stored = [
        {"_id": bytes(8) + bytes([i]) * 8, "resume_token": t} for i, t in enumerate([b"\x82\x00", b"\x81\x00\x00"])
    ]

    tokens = [e["resume_token"] for e in in_stream_order(stored)]

    assert all(a < b for a, b in pairwise(tokens))
