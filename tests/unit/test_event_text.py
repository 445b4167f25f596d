"""Events in a file, by the compiled way: it says what the readable one says, whatever it is given."""

from __future__ import annotations

import io
import random
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from bson import DatetimeMS, Int64, Timestamp
from bson.raw_bson import RawBSONDocument
from hypothesis import given, settings
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.values import to_raw
from change_history.stored import changes
from change_history.stored.event import to_event
from tests.support.generated.raw_values import pairs
from watcher.cli.rendering.events import Renderer
from watcher.cli.rendering.lines import Plain
from watcher.cli.rendering.plain_events import COMPILED, PlainEvents

if TYPE_CHECKING:
    from collections.abc import Iterable

compiled = pytest.mark.skipif(COMPILED is None, reason="installed without a C compiler")

WHEN = datetime(2024, 5, 1, 12, 3, 22, 123000, tzinfo=UTC)
USUAL = {
    "_id": bytes(16),
    "namespace": "shop.orders",
    "document_id": 1,
    "operation": "update",
    "timestamp": WHEN,
    "cluster_time": Timestamp(5, 6),
}
MORE: list[dict[str, Any]] = [
    {},
    {"actor": {"id": "alice", "provenance": "context", "reason": "ticket 7"}},
    {"transaction": {"session": {"id": bytes(16)}, "number": Int64(3)}},
    {"resume_token": b"t", "version": 2},
    {"description": {"horizon": True}},
    {"document_id": "ä\n", "namespace": "shop.\x1bé"},
    {"timestamp": DatetimeMS(10**15)},
    {"timestamp": datetime(1969, 12, 31, 23, 59, 59, 7000, UTC)},
    {"operation": "delete"},
    {"operation": "insert"},
    {"operation": "baseline", "key_order": ["a"]},
    {"operation": "replace"},
]
ZONE = timezone(timedelta(hours=5, minutes=45))


def stored_event(told: Iterable[changes.Change], more: dict[str, Any]) -> bytes:
    """A history document, its fields in their order: what may be said beside the changes stands behind them."""
    contents = raw.fields(to_raw({**USUAL, **{name: more[name] for name in USUAL.keys() & more.keys()}})[1])
    contents[b"changes"] = (raw.ARRAY, raw.from_items((raw.DOCUMENT, changes.encode(one)) for one in told))
    contents |= raw.fields(to_raw({name: value for name, value in more.items() if name not in USUAL})[1])
    return raw.from_fields(contents.items())


def by_both(stored: bytes, *, with_ids: bool = True, with_namespaces: bool = True) -> tuple[str | None, str]:
    """What the compiled way writes, None where it leaves it to the readable one, and what that writes."""
    out = io.StringIO()
    options: dict[str, Any] = {"zone": ZONE, "with_ids": with_ids, "with_namespaces": with_namespaces}
    renderer = Renderer(Plain(out), **options)
    quick = PlainEvents(renderer.heading, **options).text(stored)
    renderer.event(to_event(stored), RawBSONDocument(stored))
    return quick, out.getvalue()


@st.composite
def events(draw: Any) -> bytes:
    """An event of every kind, whose values are those of two documents that have much in common."""
    old, new = (raw.elements(each) for each in draw(pairs()))
    told = []
    for (key, kind, payload), (_, other, value) in zip(old, new, strict=False):
        before, after = draw(st.sampled_from([(True, True), (True, True), (False, True), (True, False)]))
        told.append(
            changes.Change(
                (key, 0) if draw(st.integers(0, 5)) == 0 else (key,),
                (kind, payload) if before else None,
                (other, value) if after else None,
                draw(st.sampled_from([None, None, None, changes.HISTORY, changes.UNKNOWN])),
                at_end=draw(st.integers(0, 9)) == 0,
            )
        )
    return stored_event(told, draw(st.sampled_from(MORE)))


@compiled
@settings(deadline=None, max_examples=400)
@given(events(), st.booleans(), st.booleans())
def test_an_event_is_written_alike(stored: bytes, with_ids: bool, with_namespaces: bool) -> None:  # noqa: FBT001
    """Every type, repeated keys, strange names; values that are unknown, or moved; who did it."""
    quick, readable = by_both(stored, with_ids=with_ids, with_namespaces=with_namespaces)
    assert quick is None or quick == readable


@compiled
@pytest.mark.parametrize("more", MORE)
def test_what_most_of_a_history_is_needs_no_decoding(more: dict[str, Any]) -> None:
    """Each document a long way round made the log of a long history five times as slow."""
    values = [1, -1, Int64(7), 1.5, 1e300, "s", 'a "b"', "ä", None, True, WHEN, DatetimeMS(-(10**15)), {"a": [1]}, [2]]
    told = [
        changes.Change((b"f%d" % number,), None if more.get("operation") in {"insert", "baseline"} else to_raw(3), None)
        if more.get("operation") == "delete"
        else changes.Change((b"f%d" % number,), None, to_raw(value))
        for number, value in enumerate(values)
    ]
    quick, readable = by_both(stored_event(told, more))
    assert quick == readable


@compiled
def test_the_dates_of_all_years_are_written() -> None:
    """Leap years, centuries, the first and the last day."""
    days = [datetime(year, month, 28, 23, 59, 59, 999000, UTC) for year in range(1, 9999, 7) for month in (1, 2, 12)]
    days += [day + timedelta(days=1) for day in days]
    told = [changes.Change((b"d",), to_raw(day), to_raw(day + timedelta(milliseconds=1))) for day in days]
    quick, readable = by_both(stored_event(told, {}))
    assert quick == readable


@compiled
@pytest.mark.parametrize("seed", range(2))
def test_no_bytes_are_understood_otherwise_however_damaged(seed: int) -> None:
    """Half understood, they would be a wrong line that nobody notices; read beyond its end, no process at all."""
    dice = random.Random(seed)
    inner = {"_id": 7, "name": "anna", "d": {"x": 1.5}, "l": [None, True, Int64(1)], "t": Timestamp(1, 2)}
    told = [
        changes.Change((b"a", b"b"), to_raw(inner), to_raw("new")),
        changes.Change((b"c",), None, to_raw(WHEN)),
        changes.Change((b"e",), to_raw(b"bin"), None, changes.HISTORY),
    ]
    data = stored_event(told, MORE[seed])
    for _ in range(2000):
        damaged = bytearray(data)
        for _ in range(dice.randrange(1, 3)):
            damaged[dice.randrange(len(data))] = dice.choice([0, 1, 2, 3, 4, 5, 255, 127, dice.randrange(256)])
        try:
            quick, readable = by_both(bytes(damaged[: dice.randrange(len(data))] if dice.random() < 0.1 else damaged))
        except Exception:  # noqa: BLE001 - it is no history document any more, which no server stores
            continue
        assert quick is None or quick == readable, bytes(damaged)
