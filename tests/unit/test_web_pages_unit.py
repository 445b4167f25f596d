"""What stands in an address is read as just what was meant, and what is drawn is all there is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Int64, ObjectId, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from change_history.bson import raw
from change_history.bson.redacted import How, Redacted
from change_history.bson.values import ABSENT, document_to_python, to_raw
from change_history.diff.compare import compare
from change_history.stored.event import Change, Event
from tests.support.generated.documents import documents, every_type
from watcher.web.pages import links, references, values
from watcher.web.pages.chosen_point import unseen_changes
from watcher.web.pages.tree import Marks, Tree, changed, flat, marks
from watcher.words import literals


def _is_read_back(document_id: Any) -> bool:
    if isinstance(document_id, list):  # no document has one
        return True
    text = links.id_text(document_id)
    return text is None or to_raw(literals.document_id(text)) == to_raw(document_id)


@given(documents())
def test_an_id_in_an_address_is_never_another_one(document: dict[str, Any]) -> None:
    """17, "17", `Int64(17)` and 17.0 are four."""
    assert all(map(_is_read_back, document.values()))


@pytest.mark.parametrize(
    "document_id", [17, "17", Int64(17), 17.0, "017", "null", None, "", " ", "{", '"', ObjectId(), "a" * 24]
)
def test_ids_that_look_alike_have_addresses_of_their_own(document_id: Any) -> None:
    """Each can be written."""
    assert links.id_text(document_id) is not None
    assert _is_read_back(document_id)


def test_every_type_is_read_back_or_named_by_its_event() -> None:
    """None is taken for another."""
    assert all(map(_is_read_back, document_to_python(every_type()).values()))
    assert links.id_text("x" * 10_000) is None
    assert links.id_text(ABSENT) is None


@given(st.lists(st.text(max_size=8) | st.integers(0, 2**40), max_size=5).map(tuple))
def test_a_path_in_an_address_is_read_back(path: tuple[str | int, ...]) -> None:
    """Also with quotes, dots and lone surrogates."""
    assert links.path(links.path_text(path)) == path


@given(documents(), documents())
def test_each_difference_is_drawn_once(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Nothing that changed is left out, and nothing else is marked."""
    before, after = to_raw(one)[1], to_raw(other)[1]
    differences = compare(before, after)
    tree = Tree(Marks(differences), lines=10_000).document(after)
    marked = [node for node in changed(tree) if not (node.mark == "mov" or node.note)]
    expected = [each for each in differences if each.path and each.kind not in {"moved", "reordered"}]
    assert len(marked) == len(expected)
    kept = [node for depth, node in flat(tree) if depth == 0 and node.mark != "del"]
    assert [node.key for node in kept] == list(other)


@given(st.text() | st.binary().map(lambda data: Binary(data, 0)))
def test_no_value_has_markup_or_what_cannot_be_seen(value: Any) -> None:
    """Whatever its characters."""
    shown = values.value(value)
    inside = shown.removeprefix('<bdi class="v s">').removeprefix('<bdi class="v o">').removesuffix("</bdi>")
    assert "<" not in inside
    assert ">" not in inside
    assert inside.isprintable()


@pytest.mark.parametrize("text", ["a.b:c→d.e", "a.b:c->d.e", " a.b : c.d → d.e "])
def test_a_reference_is_read(text: str) -> None:
    """With either arrow."""
    found = references.read(text)
    assert (found.source, found.target) == ("a.b", "d.e")


@pytest.mark.parametrize("text", ["a.b", "a.b:c", "a.b→d.e", "a:c→d.e", "a.b:→d.e", "a.b:c→d"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    """And says what one is."""
    with pytest.raises(ValueError, match=r"shop\.orders:customer"):
        references.read(text)


def test_a_withheld_value_that_changed_is_marked_as_changed() -> None:
    """Before and after look the same; a page without a mark would say that nothing happened."""
    dropped, hashed = Redacted(How.DROP), Redacted(How.HASH, raw.STRING, bytes(18))
    changes = (
        Change(field="password", old_value=dropped, new_value=dropped),
        Change(field="ssn", old_value=hashed, new_value=hashed),  # equal digests: it was set to what it was
        Change(field="pin", old_value=ABSENT, new_value=dropped),  # can be seen
    )
    event = Event(
        operation="update",
        changes=changes,
        cluster_time=Timestamp(5, 6),
        namespace="shop.users",
        document_id=1,
        timestamp=datetime(2024, 5, 1, tzinfo=UTC),
        id=bytes(16),
    )
    state = to_raw({"password": 1})[1]
    found = marks(state, state, unseen_changes(event))
    assert found is not None
    assert list(found.at) == [(b"password",)]
