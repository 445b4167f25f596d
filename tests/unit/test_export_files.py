"""Rows in files: nothing is lost unsaid, and a file that was cut off anywhere is gone on with as if it had not been."""

from __future__ import annotations

import csv
import io
import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, DatetimeMS, Int64, Timestamp, json_util
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from change_history.bson import extended_json, raw
from change_history.bson.values import document_to_python, to_raw
from change_history.export import part_file, tables
from change_history.export import writers as parquet_file
from change_history.export.tables import CHANGES, DOCUMENTS, EVENTS, ExportTable, Format
from change_history.export.writers import writer_of
from tests.support.generated.documents import every_type

if TYPE_CHECKING:
    from collections.abc import Iterator

WHEN = DatetimeMS(1_714_565_002_123)


def stored(number: int, *changes: dict[str, Any], **values: Any) -> bytes:
    """A history document."""
    event = {
        "_id": Binary(number.to_bytes(8, "big") * 2),
        "namespace": "shop.users",
        "document_id": 42,
        "operation": "update",
        "timestamp": WHEN,
        "cluster_time": Timestamp(1_714_565_002, number),
        "changes": list(changes),
        "resume_token": Binary(b"token"),
        "version": 1,
    }
    return to_raw(event | values)[1]


def change(field: str, **values: Any) -> dict[str, Any]:
    """A stored change."""
    return {"field": field, **values}


def written(chosen: Format, table: ExportTable, found: list[bytes], begun: bytes = b"") -> bytes:
    """A file with these rows, behind what it begins with."""
    file = io.BytesIO()
    file.write(begun)
    writer = writer_of(chosen, file, table, begun=bool(begun))
    for row in found:
        writer.write(row)
    writer.close()
    return file.getvalue()


def read_csv(data: bytes) -> list[dict[str, str]]:
    """The rows of a CSV file, as the standard library reads them."""
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_every_type_comes_back_from_every_format() -> None:
    """The values of a change, byte for byte."""
    document = every_type()
    event = stored(1, change("d", old_value=None, new_value=document_to_python(document)))
    line = written(Format.NDJSON, EVENTS, [event]).decode()
    (cells,) = read_csv(written(Format.CSV, CHANGES, [event]))
    (native,) = parquet.read_table(io.BytesIO(written(Format.PARQUET, CHANGES, [event]))).to_pylist()

    assert to_raw(extended_json.loads(line))[1] == event
    for found in (cells, native):
        assert to_raw(extended_json.loads(found["new_value"])) == (raw.DOCUMENT, document)
        assert found["old_value"] == "null"


def test_absent_null_and_unknown_are_three_things_in_a_table() -> None:
    """And none of them is the string of its name."""
    event = stored(
        1,
        change("a", new_value=1),
        change("a", old_value=None, new_value=1),
        change("a", old_value_from="unknown", new_value=1),
        change("a", old_value="null", new_value=1),
        change("a", old_value="", new_value=1),
    )
    cells = read_csv(written(Format.CSV, CHANGES, [event]))
    native = parquet.read_table(io.BytesIO(written(Format.PARQUET, CHANGES, [event]))).to_pylist()

    assert [(cell["old_value"], cell["old_value_from"]) for cell in cells] == [
        ("", ""),
        ("null", ""),
        ("", "unknown"),
        ('"null"', ""),
        ('""', ""),
    ]
    assert [row["old_value"] for row in native] == [None, "null", None, '"null"', '""']


def test_columns_have_types_where_the_format_has_them() -> None:
    """Times can be compared, numbers added, in whatever reads the file."""
    event = stored(7, change("l", truncated_to=2, at_end=True), transaction={"session": {"id": 1}, "number": Int64(3)})
    table = parquet.read_table(io.BytesIO(written(Format.PARQUET, CHANGES, [event])))
    (native,) = table.to_pylist()
    (cells,) = read_csv(written(Format.CSV, CHANGES, [event]))

    assert str(table.schema.field("timestamp").type) == "timestamp[ms, tz=UTC]"
    assert native["timestamp"].isoformat() == "2024-05-01T12:03:22.123000+00:00"
    assert (native["event"], native["truncated_to"], native["at_end"]) == ((7).to_bytes(8, "big") * 2, 2, True)
    assert native["cluster_time"] == cells["cluster_time"] == "1714565002:7"
    assert (native["transaction"], json_util.loads(native["session"])) == ("3", {"id": 1})
    assert cells["timestamp"] == "2024-05-01T12:03:22.123Z"
    assert (cells["event"], cells["truncated_to"], cells["at_end"]) == ("0000000000000007" * 2, "2", "true")


def test_an_event_without_changes_is_a_row_too() -> None:
    """A drop, a gap: an export of changes that lacks them would look whole."""
    event = stored(1, operation="drop", description={"a": 1})
    (row,) = tables.of_changes(event)

    assert document_to_python(row)["operation"] == "drop"
    assert document_to_python(row)["description"] == {"a": 1}
    (cells,) = read_csv(written(Format.CSV, CHANGES, [event]))
    assert (cells["operation"], cells["field"]) == ("drop", "")


@pytest.mark.parametrize("chosen", [Format.CSV, Format.PARQUET])
def test_a_field_that_has_no_column_is_not_lost(chosen: Format) -> None:
    """Of a later version; or one that has not the type of its column."""
    event = stored(1, change("a", new_value=1, why="x"), later="Ada", timestamp="never")
    data = written(chosen, CHANGES, [event])
    (found,) = read_csv(data) if chosen is Format.CSV else parquet.read_table(io.BytesIO(data)).to_pylist()

    assert json_util.loads(found["other"]) == {"timestamp": "never", "why": "x", "later": "Ada"}
    assert not found["timestamp"]


def test_what_is_lost_is_said() -> None:
    """One line; nothing where nothing is."""
    assert tables.loss(Format.NDJSON, EVENTS) is None
    assert tables.loss(Format.NDJSON, DOCUMENTS) is None
    assert tables.loss(Format.NDJSON, CHANGES) == "left out: resume_token, version"
    assert "canonical Extended JSON" in (tables.loss(Format.CSV, EVENTS) or "")
    assert "null is absent" in (tables.loss(Format.PARQUET, DOCUMENTS) or "")


def test_documents_keep_repeated_keys_and_those_that_cannot_be_told_say_why() -> None:
    """A dictionary in between would keep one."""
    one, two = (raw.INT32, raw.int32(1)), (raw.INT32, raw.int32(2))
    document = raw.from_fields([(b"a", one), (b"a", two)])
    found = [tables.of_document(one, document, None), tables.of_document(two, None, "no baseline")]

    told, untold = read_csv(written(Format.CSV, DOCUMENTS, found))
    assert told["document"] == '{"a": {"$numberInt": "1"}, "a": {"$numberInt": "2"}}'
    assert untold == {"_id": '{"$numberInt": "2"}', "document": "", "unknown": "no baseline"}


def test_hostile_text_stays_in_its_cell() -> None:
    """Quotes, line ends, commas, and bytes that are not UTF-8, in names and values."""
    name = 'a",\r\nb\udcff'
    event = stored(1, change(name, new_value=name), namespace='shop."x",\n')
    (cells,) = read_csv(written(Format.CSV, CHANGES, [event]))
    (native,) = parquet.read_table(io.BytesIO(written(Format.PARQUET, CHANGES, [event]))).to_pylist()

    assert cells["namespace"] == native["namespace"] == 'shop."x",\n'
    assert cells["field"] == native["field"] == 'a",\r\nb\\xff'
    assert json.loads(cells["new_value"]) == name


def test_a_parquet_file_is_written_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many rows, or so many bytes: never the whole history in memory."""
    found = [tables.of_document(to_raw(number), b"\x05\x00\x00\x00\x00", None) for number in range(100)]

    monkeypatch.setattr(parquet_file, "ROWS_PER_GROUP", 30)
    assert groups(found) == [30, 30, 30, 10]
    monkeypatch.setattr(parquet_file, "BYTES_PER_GROUP", 10 * len(found[0]))
    assert groups(found) == [10] * 10


def groups(found: list[bytes]) -> list[int]:
    """The rows of each portion of a Parquet file."""
    data = written(Format.PARQUET, DOCUMENTS, found)
    metadata = parquet.ParquetFile(io.BytesIO(data)).metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


text = st.sampled_from(["a", 'q"', "x\r\ny", "\n", ",", "", "é"])


@st.composite
def histories(draw: Any) -> list[bytes]:
    """Events with no, one or several changes, their names and values full of what ends lines and cells."""
    changes = st.lists(st.builds(lambda name, value: change(name, new_value=value), text, text), max_size=3)
    return [stored(number, *draw(changes), namespace=draw(text)) for number in range(draw(st.integers(1, 3)))]


@settings(max_examples=20)
@given(histories(), st.sampled_from([Format.NDJSON, Format.CSV]), st.sampled_from([EVENTS, CHANGES]))
def test_cut_off_at_any_byte_and_gone_on_with_the_file_is_the_same(
    history: list[bytes], chosen: Format, table: ExportTable
) -> None:
    """No row twice, none missing, none torn; also where the cut is within a cell, a character or a line end."""
    whole = written(chosen, table, history)
    for size in range(len(whole) + 1):
        place = part_file.resume_point(io.BytesIO(whole[:size]), chosen, table)
        assert place.size <= size
        assert written(chosen, table, list(_from(history, place.event)), whole[: place.size]) == whole


def _from(history: list[bytes], event: bytes | None) -> Iterator[bytes]:
    """The events from one on."""
    begun = event is None
    for one in history:
        begun = begun or raw.fields(one)[b"_id"][1][5:] == event
        if begun:
            yield one


def test_going_on_repeats_no_more_than_the_last_event() -> None:
    """Otherwise it would be a restart."""
    history = [stored(number, change("a", new_value=1), change("b", new_value=1)) for number in range(50)]
    for chosen in (Format.NDJSON, Format.CSV):
        sizes = [len(written(chosen, CHANGES, history[:number])) for number in range(1, 50)]
        whole = written(chosen, CHANGES, history)
        for number, size in zip(count(1), sizes, strict=False):
            place = part_file.resume_point(io.BytesIO(whole[:size]), chosen, CHANGES)
            assert place.event == (number - 1).to_bytes(8, "big") * 2


@pytest.mark.parametrize("chosen", [Format.NDJSON, Format.CSV])
def test_a_file_of_something_else_is_not_gone_on_with(chosen: Format) -> None:
    """It would be overwritten from the middle."""
    with pytest.raises(part_file.NotResumableError):
        part_file.resume_point(io.BytesIO(b'{"a": 1}\r\nx,y\r\n'), chosen, CHANGES)
    other = written(chosen, DOCUMENTS, [tables.of_document(to_raw(1), b"\x05\x00\x00\x00\x00", None)])
    with pytest.raises(part_file.NotResumableError):
        part_file.resume_point(io.BytesIO(other), chosen, CHANGES)
