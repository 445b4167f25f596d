"""Rows as the text of NDJSON and CSV, or as Parquet with `pyarrow`, which the extra `export` brings.

The first two can be cut at the end of any row and gone on with. A Parquet file is complete only with its end, so one
that was cut off is begun anew.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from change_history.bson import extended_json
from change_history.errors import HistoryError
from change_history.export import tables
from change_history.export.tables import Form, Format

if TYPE_CHECKING:
    from change_history.bson.raw import Value
    from change_history.export.tables import Table


class Writer(Protocol):
    """Writes rows into an open file."""

    def write(self, row: bytes) -> None:
        """Write one row, a BSON document."""

    def close(self) -> None:
        """Write what is left. The file stays open."""


class NdjsonWriter:
    """One canonical Extended JSON document a line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, row: bytes) -> None:
        """Write one line."""
        self._file.write(extended_json.dumps_document(row).encode() + b"\n")

    def close(self) -> None:
        """Nothing is held back."""


class CsvWriter:
    """Comma-separated values as RFC 4180 has them, in UTF-8, with a header.

    Args:
        header: whether the header is still to be written.
    """

    def __init__(self, file: BinaryIO, table: Table, *, header: bool = True) -> None:
        self._table = table
        self._csv = csv.writer(_Utf8(file))
        if header:
            self._csv.writerow(column.name for column in table.columns)

    def write(self, row: bytes) -> None:
        """Write one row; what is absent is an empty cell."""
        pairs = zip(tables.cells(self._table, row), self._table.columns, strict=True)
        self._csv.writerow("" if value is None else tables.text(value, column.form) for value, column in pairs)

    def close(self) -> None:
        """Nothing is held back."""


class _Utf8:
    """Lets `csv` write into a binary file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


def writer_of(chosen: Format, file: BinaryIO, table: Table, *, begun: bool = False) -> Writer:
    """The writer of a format.

    Args:
        file: open for writing, at its end.
        table: the columns; NDJSON writes rows whole.
        begun: the file has rows already.

    Raises:
        NoParquetError: what Parquet needs is not installed.
    """
    if chosen is Format.NDJSON:
        return NdjsonWriter(file)
    if chosen is Format.CSV:
        return CsvWriter(file, table, header=not begun)
    return ParquetWriter(file, table)


ROWS_PER_GROUP = 20_000
BYTES_PER_GROUP = 32 * 1024 * 1024
"""So much is held in memory before it is written: the first of both that is reached."""


class NoParquetError(HistoryError, ImportError):
    """`pyarrow` is not installed."""


class ParquetWriter:
    """Writes a Parquet file, compressed with Zstandard.

    Args:
        file: where to; need not be one in which one can go back.

    Raises:
        NoParquetError: `pyarrow` is not installed.
    """

    def __init__(self, file: BinaryIO, table: Table) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise NoParquetError("Parquet files are written by pyarrow, which is not installed") from error

        types = {
            Form.TIME: pa.timestamp("ms", tz="UTC"),
            Form.BYTES: pa.binary(),
            Form.NUMBER: pa.int64(),
            Form.FLAG: pa.bool_(),
        }
        self._pa = pa
        self._table = table
        self._schema = pa.schema([(name, types.get(form, pa.string())) for name, form in table.columns])
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._columns: list[list[Any]] = [[] for _ in table.columns]
        self._held = 0

    def write(self, row: bytes) -> None:
        """Hold one row, and write those held once they are enough for a row group."""
        values = tables.cells(self._table, row)
        for held, value, column in zip(self._columns, values, self._table.columns, strict=True):
            held.append(None if value is None else _native(value, column.form))
        self._held += len(row)
        if len(self._columns[0]) >= ROWS_PER_GROUP or self._held >= BYTES_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._flush()
        self._writer.close()

    def __del__(self) -> None:
        """Leave a file that was cut off as it is: pyarrow's own would write its end, into a file that is closed."""
        if hasattr(self, "_writer"):
            self._writer.is_open = False

    def _flush(self) -> None:
        if self._columns[0]:
            fields = zip(self._columns, self._schema, strict=True)
            arrays = [self._pa.array(held, type=field.type) for held, field in fields]
            self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))
        self._columns = [[] for _ in self._columns]
        self._held = 0


def _native(value: Value, form: Form) -> Any:
    """A cell in the type of its column."""
    if form in {Form.TIME, Form.NUMBER}:
        return tables.number(value)
    if form is Form.BYTES:
        return value[1][5:]
    if form is Form.FLAG:
        return value[1] == b"\x01"
    return tables.text(value, form)
