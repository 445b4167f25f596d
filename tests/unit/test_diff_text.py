"""Differences on a terminal and in JSON: nothing that differs looks the same, nothing stored commands the terminal."""

from __future__ import annotations

import io
import re
from typing import Any, Literal

import pytest
from bson import Int64, json_util
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from change_history.bson import extended_json, raw
from change_history.bson.values import ABSENT, UNKNOWN, Undefined, to_raw
from change_history.diff.compare import Difference, DifferenceKind, Side, compare
from tests.support.generated.raw_values import pairs
from watcher.cli.rendering import diffs
from watcher.cli.rendering.lines import Drawn
from watcher.cli.rendering.terminal import PipedConsole

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def differences(old: Any, new: Any) -> list[Difference]:
    """Of two documents, given in Python; None: there is none."""
    before, after = (None if document is None else to_raw(document)[1] for document in (old, new))
    return compare(before, after)


def shown(
    found: list[Difference],
    width: int | None = None,
    *,
    full: bool = False,
    colours: Literal["auto", "standard"] | None = None,
) -> list[str]:
    """What is printed: whole, or as on a terminal of a width."""
    out = io.StringIO()
    console = PipedConsole(
        file=out, width=width or 80, force_terminal=True if width is not None else None, color_system=colours
    )
    diffs.show(Drawn(console, whole=full), found)
    return out.getvalue().splitlines()


def test_each_path_has_its_old_and_its_new_value() -> None:
    """As in a patch: what was, then what is; of one side only, that one."""
    old = {"_id": 1, "email": "a@x", "address": {"city": "Bonn"}, "old": True}
    new = {"_id": 1, "email": "b@x", "address": {"city": None, "zip code": 1}}

    assert shown(differences(old, new)) == [
        "- old: true",
        '- email: "a@x"',
        '+ email: "b@x"',
        '- address.city: "Bonn"',
        "+ address.city: null",
        '+ address."zip code": 1',
    ]


def test_elements_are_named_by_their_ids_else_by_their_indexes() -> None:
    """The reader looks for item 7, not for whatever stands at index 1."""
    old = {"items": [{"_id": 7, "qty": 1}, {"_id": "x y", "qty": 1}], "tags": ["a", "b"]}
    new = {"items": [{"_id": "x y", "qty": 1}, {"_id": 7, "qty": 2}], "tags": ["a", "c"]}

    assert shown(differences(old, new)) == [
        '~ items[_id: "x y"]: moved from [1] to [0]',
        "- items[_id: 7].qty: 1",
        "+ items[_id: 7].qty: 2",
        '- tags[1]: "b"',
        '+ tags[1]: "c"',
    ]


def test_absent_unknown_null_and_their_names_are_all_told_apart() -> None:
    """Law 4."""
    sides: list[Side] = [ABSENT, UNKNOWN, *map(to_raw, [None, "(unknown)", "null", Undefined()])]
    found = [shown([Difference(DifferenceKind.CHANGED, (b"a",), (b"a",), side, to_raw(1), (None,))]) for side in sides]

    assert found[:3] == [["+ a: 1"], ["- a: (unknown)", "+ a: 1"], ["- a: null", "+ a: 1"]]
    assert len({tuple(lines) for lines in found}) == len(sides)


def test_numbers_that_look_equal_show_their_types() -> None:
    """Otherwise the two lines of a change would be one text."""
    assert shown(differences({"n": 3}, {"n": Int64(3)})) == ["- n: 3", '+ n: Long("3")']


def test_a_new_order_of_keys_is_said() -> None:
    """Of the document and of a part of it."""
    assert shown(differences({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}})) == ["~ a: keys in another order: y, x"]
    assert shown(differences({"a": 1, "b": 2}, {"b": 2, "a": 1})) == ["~ keys in another order: b, a"]


def test_a_document_that_came_or_went_is_shown_field_by_field() -> None:
    """Not as one endless line; an empty one is not nothing."""
    assert shown(differences(None, {"_id": 1, "a": {"b": 2}})) == ["+ _id: 1", "+ a: {b: 2}"]
    assert shown(differences({"_id": 1}, None)) == ["- _id: 1"]
    assert shown(differences(None, {})) == ["+ {}"]
    unknown = Difference(DifferenceKind.CHANGED, (), (), UNKNOWN, to_raw({"a": 1}), ())
    assert shown([unknown]) == ["- what the document was is not known", "+ a: 1"]


def test_long_values_are_cut_on_a_terminal_unless_all_is_wanted() -> None:
    """Elsewhere never: `grep` must find what is there."""
    found = differences({"bio": "x" * 300 + "1", "l": []}, {"bio": "x" * 300 + "2", "l": ["y" * 300]})

    cut = shown(found, 60)
    assert all(cell_len(line) <= 60 for line in cut)
    assert cut[0] != cut[1].replace("+", "-", 1)
    assert '1"' in cut[0]
    assert "y" * 300 in shown(found, 60, full=True)[2]
    assert "y" * 300 in shown(found)[2]


def test_a_sorted_array_does_not_flood_the_terminal() -> None:
    """One line of it; each element is told where there is room or where it is asked for."""
    elements = [{"_id": number} for number in range(30)]
    found = differences({"items": elements, "n": 1}, {"items": elements[::-1], "n": 2})

    assert shown(found, 80) == ["~ items: 29 elements moved to other places", "- n: 1", "+ n: 2"]
    assert len(shown(found)) == len(shown(found, 80, full=True)) == 31


def test_colours_are_for_terminals() -> None:
    """No escape sequence in a file."""
    found = differences({"a": 1}, {"a": 2})

    assert "\x1b[31m" in shown(found, 80, colours="standard")[0]
    assert "\x1b[32m" in shown(found, 80, colours="standard")[1]
    assert shown(found, colours="auto") == ["- a: 1", "+ a: 2"]


@given(pairs(), st.sampled_from([None, 40, 100]))
def test_whatever_is_stored_stays_one_line_a_side(both: tuple[bytes, bytes], width: int | None) -> None:
    """Controls, marks that turn the writing around, bytes that are not UTF-8, wide characters."""
    found = compare(*both)
    for line in diffs.lines(found, width=width):
        assert not CONTROL.search(line.plain)
        assert "\n" not in line.plain
        assert width is None or cell_len(line.plain) <= width


@given(pairs())
def test_json_says_of_each_difference_all_there_is(both: tuple[bytes, bytes]) -> None:
    """Every type, and paths of every kind."""
    found = compare(*both)
    for one in found:
        line = diffs.json_line(one, to_raw(7))
        said = extended_json.loads(line)
        assert said["kind"] == one.kind
        assert to_raw(said["document_id"]) == to_raw(7)
        path = [key if isinstance(key, int) else key.decode("utf-8", "surrogateescape") for key in one.path]
        assert said["path"] == path
        assert ("old_value" in said) == (one.old is not ABSENT)
        assert ("new_value" in said) == (one.new is not ABSENT)


def test_json_names_elements_and_what_nobody_knows() -> None:
    """A program must not guess from indexes, nor take unknown for absent."""
    old, new = {"a": [{"_id": 1}, {"_id": 2, "n": 1}]}, {"a": [{"_id": 2, "n": None}]}
    gone, changed = (json_util.loads(diffs.json_line(one)) for one in differences(old, new))

    assert gone == {
        "kind": "removed",
        "field": "a.0",
        "path": ["a", 0],
        "elements": [{"path": ["a", 0], "_id": 1}],
        "old_value": {"_id": 1},
    }
    assert changed["old_path"] == ["a", 1, "n"]
    assert (changed["old_value"], changed["new_value"]) == (1, None)
    unknown = diffs.json_line(Difference(DifferenceKind.CHANGED, (), (), UNKNOWN, (raw.NULL, b""), ()))
    assert json_util.loads(unknown)["old_value_from"] == "unknown"
    assert "old_value" not in json_util.loads(unknown)


@pytest.mark.parametrize("width", [20, 1])
def test_a_very_narrow_terminal_is_no_error(width: int) -> None:
    """Somebody has one."""
    found = differences({"address": {"city": "x" * 50}}, {"address": {"city": "y" * 50}})

    assert all(cell_len(line) <= width for line in shown(found, width))
