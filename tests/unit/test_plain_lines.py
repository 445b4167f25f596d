"""Events in a file: written without a terminal's machinery, they say what it would have said, to the byte."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from bson import Timestamp
from bson.raw_bson import RawBSONDocument
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from change_history.bson import raw
from change_history.bson.values import to_python, to_raw
from change_history.diff.compare import compare
from change_history.query.conditions import same
from change_history.stored import changes
from change_history.stored.event import Event, to_event
from tests.support.generated.raw_values import pairs, plain
from watcher.cli.rendering import diffs
from watcher.cli.rendering.events import Renderer
from watcher.cli.rendering.lines import Drawn, Line, Plain
from watcher.cli.rendering.terminal import PipedConsole

WHEN = datetime(2024, 5, 1, 12, 3, 22, 123000, tzinfo=UTC)
VALUES = pairs().flatmap(lambda both: st.sampled_from([(raw.DOCUMENT, both[0]), (raw.DOCUMENT, both[1])]))


def stored_event(before: bytes, after: bytes, operation: str) -> RawBSONDocument:
    """An event that changes every field of one document into that of the same place in another."""
    old, new = raw.elements(before), raw.elements(after)
    found = [
        changes.encode(changes.Change((key,), (kind, payload), (other, value)))
        for (key, kind, payload), (_, other, value) in zip(old, new, strict=False)
    ]
    fields = {
        "_id": bytes(16),
        "namespace": "shop.orders",
        "document_id": 1,
        "operation": operation,
        "timestamp": WHEN,
        "cluster_time": Timestamp(5, 6),
    }
    contents = {**raw.fields(to_raw(fields)[1]), b"changes": (raw.ARRAY, raw.from_items((3, one) for one in found))}
    return RawBSONDocument(raw.from_fields(contents.items()))


def printed(event: Event, stored: RawBSONDocument | None, *, drawn: bool, oneline: bool) -> str:
    """What goes into a file, by either way."""
    out = io.StringIO()
    output = Drawn(PipedConsole(file=out, force_terminal=False)) if drawn else Plain(out)
    renderer = Renderer(output, zone=UTC, with_ids=True, with_namespaces=True)
    (renderer.oneline if oneline else renderer.event)(event, stored)
    return out.getvalue()


@given(pairs(), st.sampled_from(["insert", "update", "delete"]), st.booleans())
def test_a_file_says_what_a_console_would_have_written(
    both: tuple[bytes, bytes],
    operation: str,
    oneline: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Also if the values come from the event's own bytes instead of being encoded again."""
    stored = stored_event(*both, operation)
    event = to_event(stored)
    expected = printed(event, stored, drawn=True, oneline=oneline)

    assert printed(event, stored, drawn=False, oneline=oneline) == expected
    if all(plain((raw.DOCUMENT, each))[1] == each for each in both):  # else the bytes know more
        assert printed(event, None, drawn=False, oneline=oneline) == expected


@given(pairs())
def test_differences_in_a_file_are_those_of_a_console(both: tuple[bytes, bytes]) -> None:
    """They are compared by scripts."""
    drawn, written = io.StringIO(), io.StringIO()
    diffs.show(Drawn(PipedConsole(file=drawn, force_terminal=False)), compare(*both))
    diffs.show(Plain(written), compare(*both))

    assert written.getvalue() == drawn.getvalue()


@given(VALUES, VALUES)
def test_values_are_the_same_exactly_if_their_bytes_are(one: raw.Value, other: raw.Value) -> None:
    """Or a change would be shown as moved, or a number of another type as no change."""
    old, new = to_python(one), to_python(other)

    assert same(old, new) == (to_raw(old) == to_raw(new))
    for key in old.keys() & new.keys():
        assert same(old[key], new[key]) == (to_raw(old[key]) == to_raw(new[key]))


@pytest.mark.parametrize("width", [1, 5, 6, 9, 10, 11, 40])
def test_a_line_is_cut_where_a_terminal_would_cut_it(width: int) -> None:
    """Between two pieces, within one, and through a character that takes two cells."""
    line = Line("名前: ", "bold").append("名前").append("", "red").append("x" * 9, "green")
    expected = Text(line.plain)
    expected.truncate(width, overflow="ellipsis")
    line.cut(width)

    assert line.plain == expected.plain
    assert line.cell_len <= width
