"""What becomes of a document that is put back: nobody's change is overwritten, and what can be put back is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.image import Image
from change_history.bson.values import ABSENT, Missing, to_python, to_raw
from change_history.diff.compare import DifferenceKind, compare
from change_history.revert.merge import InsideArrayError, paths_of, plan
from tests.support.generated.raw_values import edited, pairs

if TYPE_CHECKING:
    from change_history.bson.paths import Path
    from change_history.revert.merge import Merged
    from tests.support.generated.documents import Draw


@st.composite
def triples(draw: Draw) -> tuple[bytes, bytes, bytes]:
    """What is there, what history says, what it is to be; each made out of another."""
    expected, target = draw(pairs())
    actual = edited(draw, (raw.DOCUMENT, expected))
    return actual[1] if actual[0] == raw.DOCUMENT else raw.EMPTY_DOCUMENT, expected, target


def at(document: bytes | None, path: Path) -> raw.Value | Missing:
    """What a document has at a path."""
    found = Image(document).get(path) if document is not None else None
    return found if found is not None else ABSENT


def keys_of(path: Path) -> Path:
    """A path as far as it leads through documents: arrays are wholes."""
    return path[: next((depth for depth, key in enumerate(path) if isinstance(key, int)), len(path))]


def changed(old: bytes, new: bytes) -> set[Path]:
    """The paths of fields that are not the same; the order of keys is none."""
    return {
        keys_of(found.path)
        for found in compare(old, new)
        if found.kind != DifferenceKind.REORDERED or keys_of(found.path) != found.path
    }


@settings(max_examples=120)
@given(triples())
def test_no_field_that_somebody_else_has_changed_is_overwritten(three: tuple[bytes, bytes, bytes]) -> None:
    """Whatever they made of it: set, removed, added, within a sub-document or an array."""
    actual, expected, target = three
    for undo in (False, True):
        found = plan(actual, expected, target, undo=undo)

        for path in changed(expected, actual):
            assert at(found.document, path) == at(actual, path)


@settings(max_examples=120)
@given(triples())
def test_what_is_not_put_back_is_listed_with_what_each_of_the_documents_has_there(
    three: tuple[bytes, bytes, bytes],
) -> None:
    """A field that silently stayed as it is would be taken for one that was put back."""
    actual, expected, target = three
    found = plan(actual, expected, target)

    assert found.document is not None
    for path in changed(found.document, target):
        assert any(path[: len(c.path)] == c.path for c in found.conflicts)
    for path, believed, there, wanted in found.conflicts:
        if path:
            assert (believed, there, wanted) == tuple(at(document, path) for document in (expected, actual, target))
        assert there not in (believed, wanted)


@settings(max_examples=80)
@given(triples())
def test_a_document_that_is_what_history_says_becomes_what_it_was_to_the_byte(
    three: tuple[bytes, bytes, bytes],
) -> None:
    """The order of its keys, repeated keys, every type."""
    actual, expected, target = three

    for undo in (False, True):
        assert plan(expected, expected, target, undo=undo) == (target, (), ())
    assert plan(actual, expected, actual) == (actual, (), ())
    assert plan(actual, expected, expected, undo=True) == (actual, (), ())
    forced = plan(actual, expected, target, force=True)
    assert (forced.document, forced.conflicts) == (target, ())
    assert forced.overwritten == plan(actual, expected, target).conflicts


@settings(max_examples=80)
@given(triples(), st.data())
def test_with_fields_nothing_else_is_touched(three: tuple[bytes, bytes, bytes], data: st.DataObject) -> None:
    """Also where the chosen field lies deep, its document is not there, or something else stands in its place."""
    actual, expected, target = three
    paths = sorted(changed(expected, target), key=repr)
    chosen = data.draw(st.sets(st.sampled_from(paths), max_size=2)) if paths else set()
    if () in chosen:
        return  # it repeats a key, so it has no fields
    force = data.draw(st.booleans())
    found = plan(actual, expected, target, only=chosen, force=force)

    assert found.document is not None
    for path in changed(actual, found.document):
        may_be_made = force or at(actual, path) is ABSENT
        assert any(path[: len(c)] == c or (c[: len(path)] == path and may_be_made) for c in chosen)
    for path in chosen:
        listed = any(path[: len(c.path)] == c.path or c.path[: len(path)] == path for c in found.conflicts)
        assert listed or at(found.document, path) == at(target, path)


def doc(**fields: Any) -> bytes:
    """A document."""
    return to_raw(fields)[1]


def shown(found: Merged) -> tuple[Any, list[str]]:
    """The document, and where the conflicts are."""
    document = to_python((raw.DOCUMENT, found.document)) if found.document is not None else None
    return document, [b".".join(c.path).decode() for c in found.conflicts]  # type: ignore[arg-type]


def test_a_document_is_deleted_only_if_it_is_wholly_what_history_says() -> None:
    """One more field, and somebody uses it."""
    there, more = doc(_id=1, a=1), doc(_id=1, a=1, b=2)

    assert plan(there, there, None) == (None, (), ())
    assert shown(plan(more, there, None)) == ({"_id": 1, "a": 1, "b": 2}, [""])
    assert plan(more, there, None, force=True).document is None
    assert plan(None, there, None) == (None, (), ())


def test_a_document_is_brought_back_only_where_there_is_none() -> None:
    """Somebody may have made another one with the same id."""
    was, other = doc(_id=1, a=1), doc(_id=1, c=3)

    assert plan(None, None, was) == (was, (), ())
    assert shown(plan(other, None, was)) == ({"_id": 1, "c": 3}, [""])
    assert plan(other, None, was, force=True).document == was
    assert shown(plan(None, was, other)) == (None, [""])  # history does not know yet that it is gone


def test_an_undone_transaction_leaves_alone_what_it_did_not_change() -> None:
    """A later change of another field is none of its business, not even as a conflict."""
    before, after = doc(_id=1, a=1, b=1, gone=0), doc(_id=1, a=2, b=1)
    now = doc(_id=1, a=2, b=5, new=7)

    assert shown(plan(now, after, before, undo=True)) == ({"_id": 1, "a": 1, "b": 5, "new": 7, "gone": 0}, [])
    assert shown(plan(doc(_id=1, a=3, b=1), after, before, undo=True)) == ({"_id": 1, "a": 3, "b": 1, "gone": 0}, ["a"])


def test_one_field_of_a_document_that_repeats_a_key_stays_and_is_said_to() -> None:
    """It was not put back without a word, or, if it was forced, all fields beside it were lost."""
    plain, other = doc(_id=1, a=1), doc(_id=1, a=2)
    twice = raw.from_fields([*raw.fields(doc(_id=1, a=3, b=1)).items(), *raw.fields(doc(b=2)).items()])
    for force in (False, True):
        for three in ((twice, plain, other), (plain, plain, twice), (plain, twice, other), (twice, twice, plain)):
            found = plan(*three, only={(b"a",)}, force=force)

            assert found.document == three[0]
            assert [conflict.path for conflict in found.conflicts] == [()]
        assert plan(twice, plain, twice, only={(b"a",)}, force=force) == (twice, (), ())


def test_an_array_is_a_whole() -> None:
    """An index means another element once one came before it."""
    expected, target = doc(l=[{"n": 1}, {"n": 2}]), doc(l=[{"n": 0}, {"n": 2}])

    assert shown(plan(doc(l=[{"n": 9}, {"n": 1}, {"n": 2}]), expected, target))[1] == ["l"]


def test_a_field_is_made_with_what_leads_to_it() -> None:
    """As `$set` does; its neighbours there are not asked for."""
    target = doc(_id=1, a={"b": {"c": 1, "d": 2}, "e": 3})

    assert shown(plan(doc(_id=1), doc(_id=1), target, only=[(b"a", b"b", b"c")])) == (
        {"_id": 1, "a": {"b": {"c": 1}}},
        [],
    )
    in_the_way = doc(_id=1, a=7)
    assert shown(plan(in_the_way, in_the_way, target, only=[(b"a", b"b", b"c")])) == ({"_id": 1, "a": 7}, ["a"])


def test_a_dotted_field_means_every_path_that_it_can_mean() -> None:
    """A key with a dot is a field too."""
    both = to_raw({"a.b": 1, "a": {"b": 2, "b.c": 3}, "l": [{"x": 1}]})[1]

    assert paths_of(b"a.b", [both, None]) == {(b"a.b",), (b"a", b"b")}
    assert paths_of(b"a.b.c", [both]) == {(b"a", b"b.c")}
    assert paths_of(b"l", [both]) == {(b"l",)}
    assert paths_of(b"none", [both]) == set()
    with pytest.raises(InsideArrayError):
        paths_of(b"l.0.x", [both])
