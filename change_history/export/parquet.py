"""Rows as a Parquet file, with `pyarrow`, which the extra `export` brings.

A Parquet file is complete only with its end, so one that was cut off is begun anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from change_history.errors import HistoryError
from change_history.export import tables
from change_history.export.tables import Form

if TYPE_CHECKING:
    from change_history.bson.raw import Value
    from change_history.export.tables import Table

ROWS_PER_GROUP = 20_000
BYTES_PER_GROUP = 32 * 1024 * 1024
"""So much is held in memory before it is written: the first of both that is reached."""


class NoParquetError(HistoryError, ImportError):
    """`pyarrow` is not installed."""


class ParquetWriter:
    """Writes a Parquet file, compressed with Zstandard.

    Args:
        file: where to; need not be one in which one can go back.
        table: the columns.

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
