"""Which event a leaf has its value from: the wrong one would accuse somebody who did not do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from change_history.blame import leaves
from change_history.blame.backwards import NeedsAllError, setters
from change_history.bson import raw
from change_history.bson.image import Image
from change_history.bson.values import to_python, to_raw
from change_history.diff import images
from change_history.reconstruct.fold import DoesNotApplyError, Entry
from change_history.stored.changes import Change, encode
from tests.support.generated.raw_values import versions

if TYPE_CHECKING:
    from change_history.bson.paths import Path


def written(document: dict[str, Any]) -> bytes:
    """The document as BSON."""
    return to_raw(document)[1]


def inserted(document: dict[str, Any]) -> Entry:
    """The event of an insert."""
    return Entry(b"insert", whole(written(document)), None)


def updated(*changes: Change) -> Entry:
    """The event of an update."""
    return Entry(b"update", list(changes), None)


def to(*path: Any, **value: Any) -> Change:
    """A path set to `new`, cut to `size`, or removed."""
    keys = tuple(key.encode() if isinstance(key, str) else key for key in path)
    new = to_raw(value["new"]) if "new" in value else None
    return Change(keys, None, new, truncated_to=value.get("size"))


def blamed(*entries: Entry) -> dict[str, tuple[Any, int]]:
    """Value and event of every leaf after some events, the first of which has number 0."""
    known: tuple[leaves.Blame | None, bytes | None] = None, None
    for number, entry in enumerate(entries):
        known = leaves.after(*known, entry, number)
    set_by, document = known
    assert document is not None
    assert set_by is not None
    return {named(path): (to_python(value), event) for path, value, event in leaves.leaves(document, set_by)}


def named(path: Path) -> str:
    """A path to read."""
    return ".".join(str(key) if isinstance(key, int) else key.decode() for key in path)


BEGINNING = {"_id": 1, "name": "Ada", "address": {"city": "Rome", "zip": 1}, "tags": ["a", "b"], "items": [
    {"_id": 1, "qty": 1}, {"_id": 2, "qty": 2}], "none": {}}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (to("name", new="Eve"), {"name"}),
        (to("address", "city", new="Oslo"), {"address.city"}),
        (to("address", new={"city": "Oslo", "zip": 1}), {"address.city"}),  # the zip was only stated once more
        (to("address", new={"zip": 1, "city": "Rome"}), set()),
        (to("address", new="Rome"), {"address"}),
        (to("address", "city"), set()),
        (to("tags", 1, new="c"), {"tags.1"}),
        (to("tags", 4, new="c"), {"tags.2", "tags.3", "tags.4"}),  # the nulls between are of the same event
        (to("tags", size=1), set()),
        (to("tags", size=0), {"tags"}),
        (to("tags", new=["c", "a", "b"]), {"tags.0"}),  # pushed to the front: the others only moved
        (to("tags", new=["b", "a"]), {"tags.0"}),  # one of the two stayed
        (to("tags", new=[]), {"tags"}),
        (to("items", new=[{"_id": 2, "qty": 2}]), set()),
        (to("items", new=[{"_id": 2, "qty": 9}, {"_id": 1, "qty": 1}]), {"items.0.qty"}),
        (to("items", 0, "qty", new=1.0), {"items.0.qty"}),  # another type is another value
        (to("none", "x", new=1), {"none.x"}),
        (to("new", new={"a": [1, {}]}), {"new.a.0", "new.a.1"}),
    ],
    ids=lambda value: repr(sorted(value) if isinstance(value, set) else value)[:60],
)
def test_an_event_is_blamed_for_what_it_changed_and_for_nothing_else(change: Change, expected: set[str]) -> None:
    """Nor for what it states again, or moves."""
    found = blamed(inserted(BEGINNING), updated(change))

    assert {field for field, (_, event) in found.items() if event == 1} == expected


def test_what_comes_back_is_of_the_event_that_brought_it() -> None:
    """A field that was removed, a document that was deleted: the old value is no excuse."""
    removed = updated(to("name"))
    back = updated(to("name", new="Ada"))
    gone = Entry(b"delete", [Change((b"_id",), to_raw(1), None)], None)

    assert blamed(inserted(BEGINNING), removed, back)["name"] == ("Ada", 2)
    assert blamed(inserted(BEGINNING), gone, inserted(BEGINNING))["name"] == ("Ada", 2)


def test_an_element_keeps_its_event_wherever_others_push_it() -> None:
    """Through several whole arrays in a row, and changes of it at its new place."""
    found = blamed(
        inserted({"_id": 1, "l": [1, 2, 3]}),
        updated(to("l", new=[0, 1, 2, 3])),
        updated(to("l", new=[2, 3])),
        updated(to("l", 1, new=4)),
    )

    assert found == {"_id": (1, 0), "l.0": (2, 0), "l.1": (4, 3)}


def test_two_changes_of_one_array_in_one_event_are_both_of_it() -> None:
    """A truncation and what is put beyond it."""
    found = blamed(inserted({"_id": 1, "l": [1, 2, 3]}), updated(to("l", size=1), to("l", 1, new=2)))

    assert found == {"_id": (1, 0), "l.0": (1, 0), "l.1": (2, 1)}


def test_what_a_backfill_finds_as_it_was_keeps_its_event() -> None:
    """A whole document, stated again after a gap or by a replacement without a pre-image."""
    stated = whole(written({**BEGINNING, "name": "Eve"}))

    for operation in (b"baseline", b"replace", b"reconcile"):
        found = blamed(inserted(BEGINNING), Entry(operation, stated, None))
        assert {field for field, (_, event) in found.items() if event == 1} == {"name"}


def test_a_key_that_is_a_number_is_no_index() -> None:
    """Paths are told by what the document has there."""
    found = blamed(
        inserted({"_id": 1, "a": {"0": 1, "1": 2}}), updated(to("a", "0", new=5)), updated(to("a", 1, new=6))
    )

    assert found == {"_id": (1, 0), "a.0": (5, 1), "a.1": (6, 2)}


def test_an_event_that_does_not_fit_is_not_guessed_at() -> None:
    """History before it is incomplete."""
    with pytest.raises(DoesNotApplyError):
        blamed(inserted({"_id": 1}), updated(to("a", "b", new=1)))


@settings(max_examples=60)
@given(versions())
def test_outside_of_arrays_it_is_the_last_event_that_changed_the_value(documents: list[bytes]) -> None:
    """Compared with looking at every version; within arrays, with an event that changed something."""
    known: tuple[leaves.Blame | None, bytes | None] = None, None
    for number, (before, document) in enumerate(zip([None, *documents], documents, strict=False)):
        found, order = images.diff(before, document) if before is not None else (whole(document), None)
        known = leaves.after(*known, Entry(b"insert" if before is None else b"update", found, order), number)
    set_by, folded = known
    assert folded == documents[-1]
    assert set_by is not None
    for path, value, event in leaves.leaves(documents[-1], set_by):
        if not any(isinstance(key, int) for key in path):
            assert event == last_change(documents, path, value)
        assert not event or documents[event] != documents[event - 1]


@settings(max_examples=200)
@given(documents=versions(), first=st.sampled_from(["insert", "baseline"]), asks=st.booleans())
def test_read_from_the_newest_entry_on_it_is_the_same_or_not_told(
    *, documents: list[bytes], first: str, asks: bool
) -> None:
    """Whatever happened to the document, arrays included: the shorter way is left rather than guessed on."""
    known: tuple[leaves.Blame | None, bytes | None] = None, None
    stored = []
    for number, (before, document) in enumerate(zip([None, *documents], documents, strict=False)):
        found, order = images.diff(before, document) if before is not None else (whole(document), None)
        operation = first if before is None else "update"
        known = leaves.after(*known, Entry(operation.encode(), found, order), number)
        changes = raw.from_items((raw.DOCUMENT, encode(change)) for change in found)
        fields = {b"_id": to_raw(bytes([number] * 16)), b"operation": to_raw(operation)}
        stored.append(fields | {b"changes": (raw.ARRAY, changes)})
    set_by, _ = known
    assert set_by is not None
    expected = list(leaves.leaves(documents[-1], set_by))
    paths = [(path, value) for path, value, _ in expected]
    try:
        told = setters(
            paths, lambda _: reversed(stored), bytes([len(stored) - 1] * 16), lambda: stored[0] if asks else None
        )
    except NeedsAllError:
        return

    assert told == [bytes([event] * 16) for _, _, event in expected]


AN_UPDATE = {"update": [Change((b"a", b"b"), to_raw(1), to_raw(2))], "append": [Change((b"l", 2), None, to_raw(3))]}


@pytest.mark.parametrize("kind", AN_UPDATE)
def test_what_ordinary_updates_did_is_told_from_the_newest_entry_on(kind: str) -> None:
    """Else every answer would read and fold the whole history of the document."""
    document = {"_id": 1, "a": {"b": 1, "c": 1}, "l": [1, 2]}
    entries = [(b"insert", whole(written(document))), (b"update", AN_UPDATE[kind])]
    stored = []
    for number, (operation, changes) in enumerate(entries):
        array = raw.from_items((raw.DOCUMENT, encode(change)) for change in changes)
        fields = {b"_id": to_raw(bytes([number] * 16)), b"operation": (raw.STRING, raw.string(operation))}
        stored.append(fields | {b"changes": (raw.ARRAY, array)})
    set_by, after = leaves.after(0, written(document), Entry(b"update", AN_UPDATE[kind], None), 1)
    assert set_by is not None
    assert after is not None
    expected = list(leaves.leaves(after, set_by))

    told = setters(
        [(path, value) for path, value, _ in expected], lambda _: reversed(stored), bytes([1] * 16), lambda: None
    )

    assert told == [bytes([event] * 16) for _, _, event in expected]
    assert bytes([1] * 16) in told


def whole(document: bytes) -> list[Change]:
    """A document as the changes of its fields."""
    return [Change((key,), None, value) for key, value in raw.fields(document).items()]


def last_change(documents: list[bytes], path: Path, value: raw.Value) -> int:
    """The number of the version since which a path has a value."""
    since = len(documents) - 1
    while since and Image(documents[since - 1]).get(path) == value:
        since -= 1
    return since
