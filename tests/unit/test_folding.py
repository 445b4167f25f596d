"""A document that is followed quickly is what the readable way makes of its entries, or it is left to that."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import Binary, DatetimeMS, Int64, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.cluster_time import ClusterTime
from change_history.reconstruct.entries import Following
from change_history.reconstruct.trust import Unknown
from change_history.stored.changes import Change, encode
from tests.support.generated.raw_values import pairs
from watcher.events import folding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from watcher.events._folding import Folded

pytestmark = pytest.mark.skipif(folding.COMPILED is None, reason="installed without a C compiler")
FUZZED = int(os.environ.get("WATCHER_TEST_FUZZED_EVENTS", "2000"))
END = 1 << 63

KEYS = st.sampled_from([b"a", b"b", b"c", b"0", b"1", b"01", b"", b"a.b", b"$x"])
VALUES = st.recursive(
    st.sampled_from([1, "x", None, 1.5]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS.map(bytes.decode), inner, max_size=4),
    max_leaves=8,
)


def value_of(value: Any) -> raw.Value:
    """A value, as BSON."""
    return raw.fields(bson.encode({"v": value}))[b"v"]


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """A change that may fit a document, or not."""
    path = tuple(draw(st.lists(KEYS | st.integers(0, 4), min_size=1, max_size=4)))
    kind = draw(st.sampled_from(["set", "set", "set", "end", "remove", "truncate"]))
    if kind == "truncate":
        return Change(path, None, None)._replace(truncated_to=draw(st.integers(0, 4)))
    new = None if kind == "remove" else value_of(draw(VALUES))
    return Change(path, draw(st.none() | VALUES.map(value_of)), new)._replace(at_end=kind == "end")


def entry(number: int, operation: str, told: Sequence[Change], **more: Any) -> bytes:
    """A stored history document of document 7, the so-manieth of its."""
    top = {
        "_id": Binary(ClusterTime((1000 << 32) | number).prefix + bytes(8)),
        "namespace": "shop.users",
        "document_id": 7,
        "operation": operation,
        "timestamp": DatetimeMS(1000 * number),
        "cluster_time": Timestamp(1000, number),
    }
    contents = raw.elements(bson.encode(top))
    each = raw.from_items((raw.DOCUMENT, encode(change)) for change in told)
    contents.append((b"changes", raw.ARRAY, each))
    contents += raw.elements(bson.encode(more))
    return raw.from_fields((key, (kind, payload)) for key, kind, payload in contents)


def inserted(document: bytes, number: int = 1, operation: str = "insert") -> bytes:
    """The entry that tells a document whole."""
    told = [Change((key,), None, (kind, payload)) for key, kind, payload in raw.elements(document)]
    return entry(number, operation, told)


def followed(stored: Sequence[bytes]) -> Folded:
    """What the quick way makes of entries; it fails where the readable one says something else."""
    assert folding.COMPILED is not None
    quick: Folded = folding.COMPILED.Folded(END)
    readable = Following(None)
    for each in stored:
        assert quick.take(each)
        if quick.is_odd:
            return quick
        readable.add(raw.fields(each))
        found = readable.reconstructed()
        assert quick.document() == found.document
        assert quick.base == found.base
        assert quick.ids[-1] == found.last
    assert len(quick.ids) == len(stored)
    return quick


@settings(deadline=None, max_examples=500)
@given(
    st.dictionaries(KEYS.map(bytes.decode), VALUES, max_size=5), st.lists(st.lists(changes(), max_size=3), max_size=4)
)
def test_changes_give_the_document_that_folding_gives(document: dict[str, Any], updates: list[list[Change]]) -> None:
    """Else a base at the horizon would tell for ever what never was."""
    first = inserted(bson.encode({"_id": 7, **document}))

    followed([first, *(entry(number, "update", told) for number, told in enumerate(updates, 2))])


@settings(deadline=None)
@given(pairs(), st.sampled_from(["insert", "baseline", "delete", "replace", "reconcile"]))
def test_documents_of_every_type_and_key_are_told_alike(both: tuple[bytes, bytes], operation: str) -> None:
    """Repeated keys and empty ones, too."""
    one, other = both

    followed([inserted(one), inserted(other, 2, operation), entry(3, "update", [Change((b"a",), None, value_of(1))])])


def test_usual_updates_are_not_left_to_the_readable_way() -> None:
    """Else expiry takes the time of the stream, and nobody notices."""
    document = bson.encode({"_id": 7, "a": {"b": [1, {"c": 2}, 3]}, "d": "x", "e": Int64(1)})
    updates = [
        Change((b"d",), None, value_of("longer than before")),
        Change((b"a", b"b", 1, b"c"), value_of(2), value_of({"deeper": [1]})),
        Change((b"a", b"b", 1, b"c", b"deeper", 1), None, value_of(None)),
        Change((b"a", b"b"), None, None)._replace(truncated_to=2),
        Change((b"d",), value_of("longer than before"), value_of(1))._replace(at_end=True),
        Change((b"e",), value_of(Int64(1)), None),
        Change((b"a", b"new"), None, value_of([])),
    ]
    found = followed([inserted(document), *(entry(number, "update", [each]) for number, each in enumerate(updates, 2))])

    assert not found.is_odd
    assert found.wall == 1000 * (len(updates) + 1)
    after = found.document()
    assert after is not None
    assert list(bson.decode(after).items()) == [
        ("_id", 7),
        ("a", {"b": [1, {"c": {"deeper": [1, None]}}], "new": []}),
        ("d", 1),
    ]


def test_a_base_is_judged_by_what_it_relies_on() -> None:
    """Else what was rejected before the last horizon would be forgotten."""
    relied = Binary(bytes(range(16)))
    base = entry(1, "baseline", [Change((b"_id",), None, value_of(7))], description={"horizon": 1, "base": relied})

    found = followed([base, entry(2, "update", [Change((b"a",), None, value_of(1))])])

    assert (found.is_odd, found.base) == (False, bytes(relied))


@pytest.mark.parametrize(
    "odd",
    [
        [entry(1, "update", [])],
        [inserted(bson.encode({"_id": 7})), inserted(bson.encode({"_id": 7}), 1)],
        [inserted(bson.encode({"_id": 7})), entry(2, "update", [], parts=[])],
        [inserted(bson.encode({"_id": 7})), entry(2, "update", [], key_order=["_id"])],
        [inserted(bson.encode({"_id": 7})), entry(2, "update", [Change((), None, None)])],
        [inserted(bson.encode({"_id": 7})), entry(2, "delete", []), entry(3, "update", [])],
    ],
    ids=["not whole", "one cluster time", "parts", "key order", "no value", "not there"],
)
def test_what_is_not_usual_is_left_to_the_readable_way(odd: list[bytes]) -> None:
    """Whatever comes after it; and another document is not taken for it."""
    found = followed(odd)

    assert found.is_odd
    assert found.take(entry(9, "update", []))
    assert not found.take(
        entry(9, "update", []).replace(
            raw.element(b"document_id", (raw.INT32, raw.int32(7))),
            raw.element(b"document_id", (raw.INT32, raw.int32(8))),
        )
    )


@pytest.mark.parametrize("seed", range(2))
def test_no_bytes_are_understood_otherwise_however_damaged(seed: int) -> None:
    """Read beyond its end, there would be no process at all."""
    assert folding.COMPILED is not None
    dice = random.Random(seed)
    document = bson.encode({"_id": 7, "a": {"b": [1, {"c": 2}, 3]}, "d": "x"})
    change = Change((b"a", b"b", 1, b"c"), value_of(2), value_of("longer"))
    whole = [inserted(document), entry(2, "update", [change]), entry(3, "update", [change])]
    for _ in range(FUZZED):
        damaged = [bytearray(each) for each in whole]
        for _ in range(dice.randrange(1, 4)):
            one = dice.choice(damaged)
            one[dice.randrange(4, len(one))] = dice.choice([0, 1, 3, 4, 5, 127, 255, dice.randrange(256)])
        quick = folding.COMPILED.Folded(END)
        readable = Following(None)
        for each in map(bytes, damaged):
            if not quick.take(each) or quick.is_odd:
                break
            try:
                readable.add(raw.fields(each))
                told = readable.reconstructed().document
            except (raw.MalformedBSON, KeyError, ValueError):
                told = Unknown("it is malformed")
            if not isinstance(told, Unknown):
                assert quick.document() == told
