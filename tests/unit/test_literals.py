"""What `watcher` prints can be typed: values as the shell spells them, fields as they are shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from click.testing import CliRunner

from change_history.bson.values import DBPointer, Symbol, Undefined, to_raw
from watcher.cli import exit_codes
from watcher.cli.main import watcher
from watcher.cli.parsing import arguments
from watcher.cli.parsing.arguments import DocumentId
from watcher.words import literals
from watcher.words.value_text import text_of

PRINTED: list[Any] = [
    ObjectId("66f2a1c0e4b0d52a3c9f1e77"),
    Binary.from_uuid(UUID("12345678-1234-5678-1234-567812345678")),
    Int64(3),
    Int64(-(2**63)),
    Decimal128("19.99"),
    Decimal128("NaN"),
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC),
    DatetimeMS(-(10**15)),
    DatetimeMS(2**62),
    1,
    -7,
    2**40,
    1.5,
    -0.0,
    1e300,
    float("nan"),
    float("-inf"),
    True,
    None,
    "anna",
    'a "quoted" \\ text\n\t\x00\u200e\U0001f600 …',
    "\udc80",
    "",
    "2024-01-01T00:00:00.000Z",
    b"bytes",
    Binary(b"\x00\x01", 128),
    Binary(b"legacy uuid 1234", 3),
    Timestamp(1714564800, 3),
    MinKey(),
    MaxKey(),
    Undefined(),
    Symbol("s"),
    Code("function () { return 1 }"),
    Code("f()", {"a": 1}),
    DBPointer("shop.users", ObjectId("66f2a1c0e4b0d52a3c9f1e77")),
    {},
    {"a": 1, "b c": {"$oid": "x"}, "1": [Int64(2), None, "x"], "d": datetime(2024, 1, 1, tzinfo=UTC)},
    {"u": Binary.from_uuid(UUID(int=7)), "n": {"m": MinKey(), "t": Timestamp(1, 2), "x": float("inf")}},
]


@pytest.mark.parametrize("value", PRINTED, ids=str)
def test_an_id_copied_from_a_log_is_that_id(value: Any) -> None:
    """Not the string that it looks like, of which nothing is recorded."""
    assert to_raw(literals.document_id(text_of(value))) == to_raw(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ObjectId('66f2a1c0e4b0d52a3c9f1e77')", ObjectId("66f2a1c0e4b0d52a3c9f1e77")),
        ("ObjectId(66f2a1c0e4b0d52a3c9f1e77)", ObjectId("66f2a1c0e4b0d52a3c9f1e77")),  # a shell has taken the quotes
        ("NumberLong(7)", Int64(7)),
        ('NumberDecimal("7")', Decimal128("7")),
        ("Ordered(3)", "Ordered(3)"),
        ('ISODate("2024-01-01T00:00:00.000Z")', datetime(2024, 1, 1, tzinfo=UTC)),
        ('ISODate("2024-01-01")', datetime(2024, 1, 1, tzinfo=UTC)),
        ('new Date("2024-01-01T01:00:00+01:00")', datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01T00:00:00Z", datetime(2024, 1, 1, tzinfo=UTC)),
        ("2024-01-01", "2024-01-01"),
        ("Timestamp({t: 1, i: 2})", Timestamp(1, 2)),
        ("{_id: 'x', n: Int32(3)}", {"_id": "x", "n": 3}),
        ("[1, ObjectId('66f2a1c0e4b0d52a3c9f1e77')]", [1, ObjectId("66f2a1c0e4b0d52a3c9f1e77")]),
        ("Code of conduct (2024)", "Code of conduct (2024)"),
        ("nano", "nano"),
        ('"Long(3)"', "Long(3)"),
    ],
)
def test_what_looks_like_the_shell_is_read_so_and_nothing_else(text: str, expected: Any) -> None:
    """Whoever has such strings as ids can quote them."""
    assert to_raw(literals.value(text)) == to_raw(expected)


@pytest.mark.parametrize(
    "text",
    [
        *('ObjectId("66f2…")', 'ObjectId("")', 'UUID("x")', 'Long("1.5")', f'Long("{2**63}")', 'Decimal128("x")'),
        *('ISODate("x")', "Timestamp(1)", "Timestamp(1, x)", '{a: "b…', "{a: 1, b}", 'Binary(0, "%")'),
    ],
)
def test_an_id_that_was_cut_short_is_refused(text: str) -> None:
    """Taken for a string, it would be an id of which nothing is recorded."""
    with pytest.raises(click.BadParameter, match="is no document id"):
        DocumentId().convert(text, None, None)


@pytest.mark.parametrize(
    ("typed", "field"), [("address.*", "address"), ("address", "address"), (".*", ".*"), ("a.*.b", "a.*.b")]
)
def test_a_field_with_all_below_it_is_the_field(typed: str, field: str) -> None:
    """As `diff` and globs elsewhere have it."""
    assert arguments.Field().convert(typed, None, None) == field


@pytest.mark.parametrize("field", ["lines.$[].qty", "lines[_id: 2].qty", "lines[0].qty", "lines.$.qty"])
def test_elements_as_they_are_printed_are_answered_with_what_to_type(field: str) -> None:
    """`diff` prints `lines[_id: 2].qty`, `stats` `lines.$[].qty`; history knows indexes, and arrays."""
    said = arguments.element_hint(field) or ""

    assert "the array, lines," in said
    assert said.endswith("lines.0.qty.")


@pytest.mark.parametrize("field", ["lines.0.qty", "$set", "a.$price", "[0]"])
def test_ordinary_names_of_fields_are_no_elements(field: str) -> None:
    """A key may begin with a dollar."""
    assert arguments.element_hint(field) is None


@pytest.mark.parametrize(
    ("output", "said"),
    [("/nowhere/at/all.csv", "there is no directory /nowhere/at"), ("users.xlsx", "no format ends in .xlsx")],
)
def test_an_export_to_what_cannot_be_written_is_refused_at_once(output: str, said: str) -> None:
    """Not after an hour of reading, and not as NDJSON in a file that says it is something else."""
    result = CliRunner().invoke(watcher, ["export", "shop.users", "-o", output])

    assert result.exit_code == exit_codes.USAGE
    assert said in result.stderr
