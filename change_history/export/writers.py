"""Rows as text: NDJSON and CSV. Both can be cut at the end of any row and gone on with."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, BinaryIO, Protocol

from change_history.bson import extended_json
from change_history.export import tables
from change_history.export.tables import Format

if TYPE_CHECKING:
    from change_history.export.tables import Table


class Writer(Protocol):
    """Writes rows into an open file."""

    def write(self, row: bytes) -> None:
        """Write one row, a BSON document."""

    def close(self) -> None:
        """Write what is left. The file stays open."""


class NdjsonWriter:
    """One canonical Extended JSON document a line.

    Args:
        file: where to.
    """

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
        file: where to.
        table: the columns.
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
        chosen: the format.
        file: open for writing, at its end.
        table: the columns; NDJSON writes rows whole.
        begun: the file has rows already.

    Raises:
        change_history.export.parquet.NoParquetError: what Parquet needs is not installed.
    """
    if chosen is Format.NDJSON:
        return NdjsonWriter(file)
    if chosen is Format.CSV:
        return CsvWriter(file, table, header=not begun)
    from change_history.export.parquet import ParquetWriter

    return ParquetWriter(file, table)
