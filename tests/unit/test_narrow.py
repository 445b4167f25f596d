"""History on a terminal of 80 columns: what is asked for is there, and nothing runs over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, ObjectId, Timestamp
from rich.cells import cell_len

from change_history.blame.recorded import Leaf
from change_history.stored.event import Change, Event, Transaction
from watcher.cli.rendering import events
from watcher.cli.rendering.blame import lines as leaf_lines

NAME = "6b04bf1a0000000265ab"
OBJECT_ID = ObjectId("66f2a1c0e4b0d52a3c9f1e77")
WHEN = datetime(2024, 5, 1, 12, 3, 22, 123000, tzinfo=UTC)
COLUMNS = 80


def event(operation: str = "update", **more: Any) -> Event:
    """An event of shop.orders."""
    return Event(
        id=Binary(bytes.fromhex(NAME).ljust(16, b"\0")),
        operation=operation,
        namespace="shop.orders",
        document_id=OBJECT_ID,
        timestamp=WHEN,
        cluster_time=Timestamp(5, 6),
        changes=(Change(field="qty", old_value=1, new_value=2),),
        **more,
    )


def line(width: int | None, happened: Event | None = None, *, with_namespaces: bool = False) -> str:
    """An event on one line."""
    happened = happened or event()
    return events.one_line(
        happened, happened.changes, zone=UTC, width=width, with_ids=True, with_namespaces=with_namespaces
    ).plain


def test_a_narrow_line_has_the_whole_id_and_the_field() -> None:
    """Cut to `ObjectId("66f2a1…` it could not be typed, and what changed was not to be seen."""
    assert line(COLUMNS) == f"{NAME[:16]}  2024-05-01 12:03:22  update  {OBJECT_ID}  qty"


def test_a_wide_line_and_a_file_have_everything() -> None:
    """Scripts cut their own lines."""
    whole = f'{NAME}  2024-05-01 12:03:22.123+00:00  update  ObjectId("{OBJECT_ID}")  qty'

    assert line(None) == whole
    assert line(120) == whole


@pytest.mark.parametrize("width", [20, 40, 79, 80, 99, 100, 119, 120])
@pytest.mark.parametrize("with_namespaces", [False, True])
def test_no_line_runs_over(width: int, with_namespaces: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """It would be two lines, and `git log` has one."""
    transaction = Transaction(session={"id": Binary(bytes(16), 4)}, number=7)

    assert cell_len(line(width, event(transaction=transaction), with_namespaces=with_namespaces)) <= width


def blamed(*leaves: tuple[str, Any], width: int = COLUMNS) -> list[str]:
    """The lines of blame, of leaves that one event has set."""
    found = [Leaf(tuple(field.split(".")), field, value, event("baseline")) for field, value in leaves]
    return [text.plain for text in leaf_lines(found, UTC, width)]


def test_blame_says_field_and_value_first_on_one_line() -> None:
    """A table folds them into columns three characters wide."""
    assert blamed(("status", "paid"), ("items.0.qty", 3)) == [
        f'status: "paid"  2024-05-01 12:03:22  baseline  {NAME[:16]}',
        f"items.0.qty: 3  2024-05-01 12:03:22  baseline  {NAME[:16]}",
    ]


def test_blame_gives_a_long_value_a_line_of_its_own() -> None:
    """And its event stands where the others do."""
    first, second, third = blamed(("n", 1), ("text", "x" * 200))

    assert first == f"n: 1  2024-05-01 12:03:22  baseline  {NAME[:16]}"
    assert second.startswith('text: "xxx')
    assert second.endswith("…")
    assert third == f"      2024-05-01 12:03:22  baseline  {NAME[:16]}"


@pytest.mark.parametrize("width", [80, 100, 119])
def test_no_line_of_blame_runs_over(width: int) -> None:
    """Whatever is long."""
    found = blamed(("a" * 300, "x" * 300), ("b", "y" * 40), ("c" * 60, 1), width=width)

    assert max(map(cell_len, found)) <= width


def test_blame_of_nothing_is_nothing() -> None:
    """An empty document has no leaves."""
    assert blamed() == []


def test_an_event_shown_in_a_debugger_says_what_it_is_and_no_values() -> None:
    """`Event object` says nothing, and values are large or secret."""
    happened = event()

    assert str(happened) == f"shop.orders {OBJECT_ID!r}: update at 2024-05-01 12:03:22.123+00:00, 1 change"
    assert repr(happened) == f"<Event: {happened}>"
