"""Rows as the text of NDJSON and CSV, or as Parquet with `pyarrow`, which the extra `export` brings.

The first two can be cut after any row and continued. A Parquet file is complete only with its footer, so an
interrupted one is written anew.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from change_history.bson import extended_json
from change_history.errors import HistoryError
from change_history.export import change_rows, tables
from change_history.export.tables import ColumnType, Format

if TYPE_CHECKING:
    from change_history.export.tables import ExportTable


class Writer(Protocol):
    """Writes rows into an open file."""

    def write(self, source: bytes) -> int:
        """Write the rows of a BSON document; in `tables.CHANGES`, it is an event and has a row for each change.

        Returns:
            The number of rows.
        """

    def close(self) -> None:
        """Write what is buffered. The file stays open."""


class NdjsonWriter:
    """One canonical Extended JSON document per line."""

    def __init__(self, file: BinaryIO, table: ExportTable) -> None:
        self._file = file
        self._table = table

    def write(self, source: bytes) -> int:
        """Write its lines."""
        rows = list(tables.of_changes(source)) if self._table is tables.CHANGES else [source]
        for row in rows:
            self._file.write(extended_json.dumps_document(row).encode() + b"\n")
        return len(rows)

    def close(self) -> None:
        """Nothing is held back."""


class CsvWriter:
    """CSV with a header; what is absent is an empty cell.

    Args:
        header: whether the header is still to be written.
        raw_cells: leave a text as it is that a spreadsheet would take for a formula.
    """

    def __init__(self, file: BinaryIO, table: ExportTable, *, header: bool = True, raw_cells: bool = False) -> None:
        self._table = table
        self._rows = CsvRows(file)
        self._may_be_formula = [column.type is ColumnType.TEXT and not raw_cells for column in table.columns]
        if header:
            self._rows.write([column.name for column in table.columns])

    def write(self, source: bytes) -> int:
        """Write its rows."""
        rows = _rows_of(self._table, source)
        for row in rows:
            cells = zip(row, self._table.columns, self._may_be_formula, strict=True)
            self._rows.write([_cell(value, column_type, guard=guard) for value, (_, column_type), guard in cells])
        return len(rows)

    def close(self) -> None:
        """Nothing is held back."""


def _cell(value: Any, column_type: ColumnType, *, guard: bool) -> str:
    if value is None:
        return ""
    text = tables.native_text(value, column_type)
    return harmless(text) if guard else text


def harmless(text: str) -> str:
    """A text that no spreadsheet reads as a formula: an apostrophe precedes a leading sign of one.

    Source: https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _rows_of(table: ExportTable, source: bytes) -> list[list[Any]]:
    return change_rows.rows(source) if table is tables.CHANGES else [tables.row_of(table, source)]


class CsvRows:
    """Comma-separated values (RFC 4180) in UTF-8."""

    def __init__(self, file: BinaryIO) -> None:
        self._row = csv.writer(_Utf8(file)).writerow

    def write(self, cells: list[str]) -> None:
        """Write one row."""
        self._row(cells)


class _Utf8:
    """Lets `csv` write into a binary file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


def writer_of(
    chosen: Format, file: BinaryIO, table: ExportTable, *, begun: bool = False, raw_cells: bool = False
) -> Writer:
    """The writer of a format.

    Args:
        file: open for writing, at its end.
        table: the columns; NDJSON writes rows whole.
        begun: the file has rows already.
        raw_cells: in CSV, do not escape texts that a spreadsheet would read as formulas.

    Raises:
        NoParquetError: `pyarrow`, which Parquet needs, is not installed.
    """
    if chosen is Format.NDJSON:
        return NdjsonWriter(file, table)
    if chosen.is_csv:
        return CsvWriter(file, table, header=not begun, raw_cells=raw_cells)
    return ParquetWriter(file, table)


ROWS_PER_GROUP = 20_000
BYTES_PER_GROUP = 32 * 1024 * 1024
"""Limits of the buffer; it is written when the first of them is reached."""


class NoParquetError(HistoryError, ImportError):
    """`pyarrow` is not installed."""


def arrow() -> tuple[Any, Any]:
    """The modules `pyarrow` and `pyarrow.parquet`.

    Raises:
        NoParquetError: they are not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise NoParquetError("Parquet files are written by pyarrow, which is not installed") from error
    return pa, parquet


def schema_of(table: ExportTable) -> Any:
    """The Arrow schema of a table.

    Raises:
        NoParquetError: `pyarrow` is not installed.
    """
    pa, _ = arrow()
    types = {
        ColumnType.TIME: pa.timestamp("ms", tz="UTC"),
        ColumnType.BYTES: pa.binary(),
        ColumnType.NUMBER: pa.int64(),
        ColumnType.FLAG: pa.bool_(),
        ColumnType.DOUBLE: pa.float64(),
        ColumnType.DAY: pa.date32(),
    }
    return pa.schema([(name, types.get(column_type, pa.string())) for name, column_type in table.columns])


class ColumnWriter:
    """Collects rows by column, and writes them into a Parquet file in row groups, compressed with Zstandard.

    Args:
        file: the output; it need not be seekable.
        schema: the Arrow schema.

    Raises:
        NoParquetError: `pyarrow` is not installed.
    """

    def __init__(self, file: BinaryIO, schema: Any) -> None:
        self._pa, parquet = arrow()
        self._schema = schema
        kept = _with_statistics(parquet, schema)
        self._writer = parquet.ParquetWriter(file, schema, compression="zstd", write_statistics=kept)
        self._rows: list[list[Any]] = []
        self._held = 0

    def add(self, rows: list[list[Any]], size: int) -> None:
        """Buffer rows, and write the buffer when it is enough for a row group.

        Args:
            size: approximate size of the rows in bytes.
        """
        self._rows += rows
        self._held += size
        if len(self._rows) >= ROWS_PER_GROUP or self._held >= BYTES_PER_GROUP:
            self._flush()

    def close(self) -> None:
        """Write the buffer and the footer."""
        self._flush()
        self._writer.close()

    def __del__(self) -> None:
        """Leave an interrupted file as it is: pyarrow's own method would write the footer into a closed file."""
        if hasattr(self, "_writer"):
            self._writer.is_open = False

    def _flush(self) -> None:
        if self._rows:
            columns = zip(zip(*self._rows, strict=True), self._schema, strict=True)
            arrays = [self._pa.array(held, type=field.type) for held, field in columns]
            self._writer.write_table(self._pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []
        self._held = 0


def _with_statistics(parquet: Any, schema: Any) -> list[str]:
    """The paths of all columns except doubles: statistics leave NaN out, so that DuckDB would not find it."""
    probe = io.BytesIO()
    parquet.write_metadata(schema, probe)
    leaves = list(parquet.ParquetFile(probe).schema)
    doubles = {leaf.path for leaf in leaves if leaf.physical_type == "DOUBLE"}
    return [leaf.path for leaf in leaves if leaf.path not in doubles]


class ParquetWriter:
    """Writes the rows of a table into a Parquet file.

    Raises:
        NoParquetError: `pyarrow` is not installed.
    """

    def __init__(self, file: BinaryIO, table: ExportTable) -> None:
        self._table = table
        self._columns = ColumnWriter(file, schema_of(table))
        self.close = self._columns.close

    def write(self, source: bytes) -> int:
        """Buffer its rows, and write the buffer when it is enough for a row group."""
        rows = _rows_of(self._table, source)
        self._columns.add(rows, len(source))
        return len(rows)
