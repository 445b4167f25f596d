"""Documents in typed columns: each value is in its cell or in the column beside it, whatever program reads the file."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import bson
import duckdb
import pandas as pd
import polars as pl
import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from change_history.bson import extended_json, raw
from change_history.bson.values import to_python, to_raw
from change_history.export import typed
from change_history.export.inference import MOST_FIELDS, Field, List, Scalar, Shape, Struct
from tests.support.generated.documents import documents, every_type

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from change_history.bson.raw import Value


def as_bytes(document: dict[str, Any] | bytes) -> bytes:
    """A document as the server has it."""
    return document if isinstance(document, bytes) else to_raw(document)[1]


def table(found: Sequence[dict[str, Any] | bytes], *, flat: bool = False) -> tuple[bytes, typed.TypedRow]:
    """The documents as a Parquet file, and what is known of its columns."""
    every = [as_bytes(each) for each in found]
    shape = Shape()
    for document in every:
        shape.observe_document(document)
    row = typed.TypedRow(shape.fields(flat=flat), flat=flat)
    file = io.BytesIO()
    writer = typed.TypedParquetWriter(file, row, others=shape.has_others)
    for document in every:
        writer.write(raw.NULL_VALUE, document, None)
    writer.close()
    return file.getvalue(), row


def rows(data: bytes) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    found: list[dict[str, Any]] = parquet.read_table(io.BytesIO(data)).to_pylist()
    return found


def check(value: Value, cell: Any, kind: Any) -> None:
    """Compare a cell with the value, by other means than those that made it."""
    expected = to_python(value)
    if isinstance(kind, List):
        assert value[0] == raw.ARRAY
        for item, inner in zip(raw.items(value[1]), cell, strict=True):
            if item[0] == raw.NULL:
                assert inner is None
            else:
                check(item, inner, kind.item)
    elif isinstance(kind, Struct):
        assert value[0] == raw.DOCUMENT
        check_fields(raw.fields(value[1]), cell, kind.fields)
    elif isinstance(cell, Decimal):
        assert cell == (expected.to_decimal() if isinstance(expected, Decimal128) else Decimal(expected))
    elif isinstance(cell, float):
        assert (math.isnan(cell) and math.isnan(expected)) or cell == expected
        assert math.copysign(1, cell) == math.copysign(1, expected) or math.isnan(cell)
    elif kind.name == "objectId":
        assert ObjectId(cell) == expected
    elif kind.name == "uuid":
        assert uuid.UUID(cell).bytes == bytes(expected)
    else:
        assert cell == expected
        assert not isinstance(expected, (str, bytes, bool)) or type(cell) is type(expected)


def check_fields(found: dict[bytes, Value], row: dict[str, Any], fields: Sequence[Field]) -> None:
    """Compare the cells of a document with it: each field in its cell, or beside it, or absent."""
    assert found.keys() <= {field.key for field in fields}
    for field in fields:
        cell, beside = row[field.name], row.get(field.beside) if field.beside is not None else None
        if field.key not in found:
            assert (cell, beside) == (None, None)
        elif beside is not None:
            assert cell is None
            assert to_raw(extended_json.loads(beside)) == found[field.key]
        else:
            assert cell is not None
            check(found[field.key], cell, field.type)


@settings(max_examples=60)
@given(st.lists(documents(), min_size=1, max_size=6))
def test_every_value_is_in_its_cell_or_beside_it(found: list[dict[str, Any]]) -> None:
    """Dropped, turned into null or rounded, an analyst would never see that it was there."""
    data, row = table(found)
    for document, cells in zip(found, rows(data), strict=True):
        check_fields(raw.fields(as_bytes(document)), cells, row.fields)


@settings(max_examples=60)
@given(st.lists(documents(), min_size=1, max_size=6))
def test_spread_columns_lose_nothing(found: list[dict[str, Any]]) -> None:
    """With dotted columns a document can be put together again: from its cells and from what is beside them."""
    data, row = table(found, flat=True)
    for document, cells in zip(found, rows(data), strict=True):
        expected, seen = dict(_leaves(raw.fields(as_bytes(document)))), set()
        for path, field in row.columns:
            cell, beside = cells.get(field.name), cells.get(field.beside or "")
            if beside is not None:
                for below, value in _leaves({path[-1]: to_raw(extended_json.loads(beside))}):
                    assert expected[path[:-1] + below] == value
                    seen.add(path[:-1] + below)
            elif cell is not None:
                check(expected[path], cell, field.type)
                seen.add(path)
        assert seen == expected.keys()


def _leaves(found: dict[bytes, Value], prefix: tuple[bytes, ...] = ()) -> list[tuple[tuple[bytes, ...], Value]]:
    leaves: list[tuple[tuple[bytes, ...], Value]] = []
    for key, value in found.items():
        path = (*prefix, key)
        inner = raw.fields(value[1]) if value[0] == raw.DOCUMENT else {}
        leaves += _leaves(inner, path) if inner else [(path, value)]
    return leaves


MIXED: list[Any] = [
    *[to_python(value) for value in raw.fields(every_type()).values()],
    1,
    Int64(2**53 + 1),
    Decimal128("1E+400"),
    Decimal128("123456789012345678.1234567890123456"),
    Decimal128("0.1"),
    Decimal128("-0"),
    DatetimeMS(-62_167_219_200_000),
    DatetimeMS(568_971_820_800_000),
    dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    dt.datetime(9999, 12, 31, 23, 59, tzinfo=dt.UTC),
    [],
    [1, "a", None],
    [[1], ["x"]],
    [{"a": 1}, {"a": "x", "b": []}],
    {},
]


def hostile() -> list[dict[str, Any] | bytes]:
    """What readers stumble over: all types in one column, names that are alike, names of our own, 5,000 fields."""
    mixed = [{"_id": number, "v": value, "only": {"v": value}, "l": [value]} for number, value in enumerate(MIXED)]
    names: dict[str, Any] = {"name": 1, "Name": "x", "NAME": 2.5, "name__json": 1, "__unknown": 3, "__other": None}
    names |= {"a.b": 1, "a": {"b": "x", "B": 3}, "": 4, "quote\"'`": 5, "sp ace": 6, "é\n": 7}
    wide = {f"f{number}": number for number in range(5_000)}
    typed_only = [
        {
            "d": Decimal128(text),
            "when": dt.datetime(2026, 1, day, tzinfo=dt.UTC),
            "n": Int64(2**62 + day),
            "k": ObjectId(),
        }
        for day, text in enumerate(["1.10", "-3", "99999999.999"], start=1)
    ]
    return [*mixed, names, wide, *typed_only, every_type()]


@pytest.mark.parametrize("flat", [False, True])
def test_no_reader_fails_and_all_read_the_same(tmp_path: Path, *, flat: bool) -> None:
    """The year 20000 in one cell must not cost an analyst the file."""
    data, _ = table(hostile(), flat=flat)
    file = tmp_path / "documents.parquet"
    file.write_bytes(data)
    native = parquet.read_table(file)
    expected = [list(row.values()) for row in native.to_pylist()]

    relation = duckdb.sql(f"SELECT * FROM '{file}'")
    assert relation is not None
    assert relation.columns == native.column_names
    assert _plain(relation.fetchall()) == _plain(expected)
    frame = pl.read_parquet(file)
    assert frame.columns == native.column_names
    assert _plain(frame.rows()) == _plain(expected)
    columns = pd.read_parquet(file, dtype_backend="pyarrow")
    assert list(columns.columns) == native.column_names
    assert _plain(zip(*(columns[name].tolist() for name in columns), strict=True)) == _plain(expected)


@pytest.mark.parametrize("flat", [False, True])
def test_an_analyst_finds_nan_by_a_condition(tmp_path: Path, *, flat: bool) -> None:
    """DuckDB believes the statistics of a file, in which NaN is left out: it would print rows and not count them."""
    found = [{"f": f, "a.b": f, "in": {"f": f, "n": n}} for n, f in enumerate((0.0, math.nan, 1.0))]
    file = tmp_path / "documents.parquet"
    data, _ = table(found, flat=flat)
    file.write_bytes(data)

    for column in ("f", '"a.b"', '"in.f"' if flat else '"in".f'):
        relation = duckdb.sql(f"SELECT max({column}), count(*) FILTER (isnan({column})) FROM '{file}'")
        matching = duckdb.sql(f"SELECT count(*) FROM '{file}' WHERE {column} > 1")
        assert relation is not None
        assert matching is not None
        assert str(relation.fetchall()) == "[(nan, 1)]"
        assert matching.fetchall() == [(1,)]
    kept = [leaf for leaf in range(len(parquet.ParquetFile(file).schema)) if _has_statistics(file, leaf)]
    assert kept  # those of whole numbers and texts, which readers skip row groups by


def _has_statistics(file: Path, leaf: int) -> bool:
    return bool(parquet.ParquetFile(file).metadata.row_group(0).column(leaf).is_stats_set)


def _plain(value: Any) -> Any:
    """Rows of one reader as of the others: what each calls missing, and its own containers."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, bytes):
        return value
    if hasattr(value, "__iter__") and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def types(*values: Any) -> Any:
    """The type of the column of these values, as a schema file has it."""
    shape = Shape()
    for value in values:
        shape.observe_document(to_raw({"v": value})[1])
    (field,) = shape.fields()
    return typed.written(field.type), field.beside is not None


def test_the_narrowest_type_that_holds_every_value_is_taken() -> None:
    """A price column of strings cannot be added up."""
    assert types(1, 2) == ("int32", False)
    assert types(1, Int64(2**40)) == ("int64", False)
    assert types(1, 2.5) == ("double", False)
    assert types(1, 2.5, 3.5, Int64(2**53 + 1)) == ("double", True)
    assert types(Decimal128("1.10"), Decimal128("22.5"), 7) == ("decimal(12,2)", False)
    assert types(Decimal128("1E+400"), Decimal128("1")) == ("decimal(1,0)", True)
    assert types("a", "b", 1) == ("string", True)
    assert types(*[True, None]) == ("boolean", True)
    assert types([1, None], []) == (["int32"], False)
    assert types([1, "a"]) == (["int32"], True)
    assert types({"a": 1}, {"b": "x"}, {}) == ({"a": "int32", "b": "string"}, False)
    assert types([{"a": 1}, {"a": 2.5}]) == ([{"a": "double"}], False)
    assert types(bson.Regex("a")) == ("string", True)
    assert types(uuid.UUID(int=3).bytes, b"x") == ("binary", False)


def test_a_document_with_a_key_twice_is_kept_beside_the_columns() -> None:
    """A column holds one of them."""
    twice = raw.from_fields([(b"a", (raw.INT32, raw.int32(1))), (b"a", (raw.INT32, raw.int32(2)))])
    data, row = table([{"a": 1}, twice, {"a": 3, "b": {"x": 1}}])
    first, second, _ = rows(data)

    assert (first["a"], first["__other"]) == (1, None)
    assert (second["a"], second["__other"]) == (None, '{"a": {"$numberInt": "1"}, "a": {"$numberInt": "2"}}')
    assert "1 documents have fields without a column" in " ".join(row.remarks())


def test_keys_that_are_data_do_not_become_columns() -> None:
    """Ten thousand columns are the most; a map of user to score would have a column for each user."""
    many = {f"u{number}": number for number in range(3_000)}
    data, row = table([{"scores": many}, {"scores": {"u1": 1}}])
    assert row.columns[0][1].type == Scalar("string")
    assert [json.loads(found["scores__json"])["u1"] for found in rows(data)] == [{"$numberInt": "1"}] * 2

    wide = {f"f{number}": 1 for number in range(MOST_FIELDS + 2)}
    (found,) = rows(table([wide])[0])
    assert json.loads(found["__other"]).keys() == {f"f{MOST_FIELDS}", f"f{MOST_FIELDS + 1}"}


def test_what_did_not_fit_is_counted_and_said() -> None:
    """Nulls are no surprise, so they are not counted."""
    data, row = table([{"price": 1}, {"price": 2}, {"price": "three"}, {"price": None}, {}])

    assert [found["price__json"] for found in rows(data)] == [None, None, '"three"', "null", None]
    assert list(row.remarks()) == ["price: 1 values do not fit int32; price__json has them as Extended JSON"]


def test_a_schema_is_read_as_it_is_written_and_all_its_faults_are_told() -> None:
    """The same columns every night, whatever a night's documents have."""
    shape = Shape()
    for document in ({"a": 1, "b": {"c": Decimal128("1.5")}, "l": [{"x": "y"}], "n": None}, {"a": 2}):
        shape.observe_document(to_raw(document)[1])
    text = typed.dump_schema(shape.fields())
    assert json.loads(text) == {"a": "int32", "b": {"c": "decimal(2,1)"}, "l": [{"x": "string"}], "n": "string"}
    assert typed.dump_schema(typed.load_schema(text)) == text

    row = typed.TypedRow(typed.load_schema(text))
    file = io.BytesIO()
    writer = typed.TypedParquetWriter(file, row)
    writer.write(raw.NULL_VALUE, to_raw({"a": "x", "z": 1, "b": {"c": 1, "more": 2}})[1], None)
    writer.write((raw.INT32, raw.int32(7)), None, "no baseline")
    writer.close()
    told, untold = rows(file.getvalue())
    assert (told["a"], told["a__json"], json.loads(told["__other"])) == (None, '"x"', {"z": {"$numberInt": "1"}})
    assert json.loads(told["b__json"]) == {"c": {"$numberInt": "1"}, "more": {"$numberInt": "2"}}
    assert (untold["__unknown"], untold["a"]) == ("no baseline", None)

    with pytest.raises(typed.SchemaError) as error:
        typed.load_schema('{"a": "int", "b": {"c": "decimal(50,2)"}, "l": []}')
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == ["a", "b.c", "l"]
    with pytest.raises(typed.SchemaError, match="not JSON"):
        typed.load_schema("{")
    with pytest.raises(typed.SchemaError, match="not a JSON object"):
        typed.load_schema("[]")


def csv_of(found: list[dict[str, Any]], **options: bool) -> list[dict[str, str]]:
    """Documents as CSV, read by the standard library."""
    shape = Shape()
    for document in found:
        shape.observe_document(to_raw(document)[1])
    file = io.BytesIO()
    row = typed.TypedRow(shape.fields(flat=True, csv=True), flat=True)
    writer = typed.TypedCsvWriter(file, row, others=shape.has_others, **options)
    for document in found:
        writer.write(raw.NULL_VALUE, to_raw(document)[1], None)
    return list(csv.DictReader(io.StringIO(file.getvalue().decode(), newline="")))


def test_no_cell_is_a_formula_and_numbers_stay_numbers() -> None:
    """A customer's name must not run in the spreadsheet of whoever opens the export."""
    found: list[dict[str, Any]] = [{"name": '=HYPERLINK("x")', "n": -5, "a": {"b": "@x"}, "d": Decimal128("-1.50")}]
    (cells,) = csv_of(found)
    (as_is,) = csv_of(found, raw_cells=True)

    assert (cells["name"], cells["n"], cells["a.b"], cells["d"]) == ('\'=HYPERLINK("x")', "-5", "'@x", "-1.50")
    assert (as_is["name"], as_is["a.b"]) == ('=HYPERLINK("x")', "@x")


def test_an_empty_string_null_and_absent_are_three_things_in_csv() -> None:
    """An empty cell is all that a table has for them."""
    empty, null, absent, text = csv_of([{"a": ""}, {"a": None}, {}, {"a": "x"}])

    assert [(row["a"], row["a__json"]) for row in (empty, null, absent, text)] == [
        ("", '""'),
        ("", "null"),
        ("", ""),
        ("x", ""),
    ]


def test_cells_of_csv_are_what_people_read() -> None:
    """No braces where none are needed."""
    when = dt.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=dt.UTC)
    (cells,) = csv_of([{"t": when, "b": True, "x": b"\x01", "l": [1, 2], "o": [{"s": "a", "d": Decimal128("1.5")}]}])

    assert (cells["t"], cells["b"], cells["x"]) == ("2026-01-02T03:04:05.678Z", "true", "01")
    assert (json.loads(cells["l"]), json.loads(cells["o"])) == ([1, 2], [{"s": "a", "d": "1.5"}])
