"""The Delta Lake table: its rows, its commits, its files.

A row is a change as `watcher export` writes it (`change_history.export.change_rows`), in the order of history, with its
index within its event; the first row of each event also has the stored history document.

The library's application transactions are not used: it records their version, but appends the same version again.
"""

from __future__ import annotations

import os
import re
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from change_history.errors import HistoryError
from change_history.export import change_rows, tables
from change_history.export.writers import schema_of
from watcher.lake import position as positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from deltalake import CommitProperties, DeltaTable

    from watcher.lake.position import LakePosition

_POSITION, _WRITER = "watcher.position", "watcher.writer"
_LOOKED_BACK = (20, 1000, None)
"""Numbers of recent commits that are searched for one of this program: others may compact the table, too."""
_FORGIVEN = 2
"""How often the first commit may conflict with another one, which an exporter that was killed may have made."""
_IN_ONE_PREDICATE = 500
_TARGET_BYTES = 128 * 1024 * 1024
_CONFIGURATION = {
    # No statistics of values: they would be in the log, where erasure does not reach them.
    "delta.dataSkippingStatsColumns": "event,ordinal,namespace,operation,timestamp",
    "delta.checkpointInterval": "100",
    "delta.logRetentionDuration": "interval 30 days",
}
_DAY = next(index for index, column in enumerate(tables.CHANGES.columns) if column.name == "day")


class LakeError(HistoryError):
    """A table cannot be used as it is; the message says what to do."""


class OtherWriterError(LakeError):
    """Another exporter writes to the table."""


class StoreError(HistoryError):
    """The store does not reply, or a commit was not made. Reading the table again shows its position."""


class NoDeltaError(HistoryError, ImportError):
    """`deltalake` is not installed."""


def rows_of(stored: bytes) -> list[list[Any]]:
    """The rows of a stored history document."""
    rows = change_rows.rows(stored)
    if rows[0][_DAY] is None:
        day = datetime.fromtimestamp(int.from_bytes(rows[0][0][:4], "big"), UTC).date()
        for row in rows:
            row[_DAY] = day
    return [[*row, number, stored if number == 0 else None] for number, row in enumerate(rows)]


class LakeTable:
    """A table that one exporter appends to.

    Every method raises `StoreError` if the store does not reply, and `OtherWriterError` if another exporter writes.

    Args:
        uri: a folder, or `s3://bucket/path`, or any other URI that `deltalake` supports.
        options: storage options of `deltalake`; it also reads the environment (`AWS_…`).

    Raises:
        NoDeltaError: `deltalake` is not installed.
    """

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        os.environ.setdefault("RUST_LOG", "error")  # or the library's warnings would be shown first
        try:
            import deltalake
            import pyarrow as pa
        except ImportError as error:
            raise NoDeltaError("Delta Lake tables are written by deltalake, which is not installed") from error
        self._deltalake, self._pa = deltalake, pa
        self.uri = uri
        self._options = dict(options)
        self._writer = uuid.uuid4().hex
        columns = [*schema_of(tables.CHANGES), pa.field("ordinal", pa.int32()), pa.field("entry", pa.binary())]
        self._schema = pa.schema(columns)
        self._names = [column.name for column in columns]
        # Statistics ignore NaN: DuckDB and the library itself would not find it, or show it as another number.
        without = deltalake.ColumnProperties(statistics_enabled="NONE")
        doubles = {column.name: without for column in columns if column.type == pa.float64()}
        self._files = deltalake.WriterProperties(compression="ZSTD", column_properties=doubles)
        self._table: DeltaTable | None = None
        self._wrote = False
        self._conflicts = 0

    def open(self) -> LakePosition | None:
        """Read the table's position; None: it has none, or there is no table yet, which `create` makes.

        Raises:
            LakeError: it is not a table of a history.
        """
        with self._store():
            try:
                self._table = self._deltalake.DeltaTable(self.uri, storage_options=self._options)
            except self._deltalake.exceptions.TableNotFoundError:
                self._table = None
                return None
            found = {field.name for field in self._table.schema().fields}
            if missing := [name for name in ("day", "event", "ordinal", "entry") if name not in found]:
                raise LakeError(
                    f"{self.uri} is a table of something else: it has no column {missing[0]}. Name another table."
                )
            return self._position()

    @property
    def exists(self) -> bool:
        """Whether the table exists; known after `open`."""
        return self._table is not None

    @property
    def version(self) -> int:
        """The table's version, as of this program's last commit."""
        return int(self._opened.version())

    def create(self, position: LakePosition) -> None:
        """Create the table."""
        with self._store():
            self._table = self._deltalake.DeltaTable.create(
                self.uri,
                schema=self._schema,
                partition_by=["day"],
                configuration=_CONFIGURATION,
                storage_options=self._options,
                commit_properties=self._properties(position),
            )

    def append(self, stored: Iterable[bytes], position: LakePosition) -> int:
        """Append the rows of history documents, and with them the position that they reach.

        Returns:
            Number of rows.

        Raises:
            OtherWriterError: another exporter writes.
            StoreError: the store does not reply; the commit may have been made.
        """
        data = self._data(row for document in stored for row in rows_of(document))
        self._commit(lambda table, how: self._write(table, data, how), position)
        return int(data.num_rows)

    def replace(self, documents: Mapping[bytes, bytes | None], position: LakePosition) -> None:
        """Replace the rows of events. Idempotent.

        Args:
            documents: the new history documents by `_id`; None: delete the event's rows.
            position: the present position of the table.
        """
        ids = sorted(documents)
        for start in range(0, len(ids), _IN_ONE_PREDICATE):
            some = ids[start : start + _IN_ONE_PREDICATE]
            data = self._data(row for each in some if (kept := documents[each]) is not None for row in rows_of(kept))
            predicate = f"event IN ({', '.join(map(_literal, some))})"
            self._commit(lambda table, how: self._write(table, data, how, predicate), position)  # noqa: B023 - called now

    def entries(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        """The stored history documents of events, by `_id`; events that it does not have are missing."""
        found: dict[bytes, bytes] = {}
        for start in range(0, len(ids), _IN_ONE_PREDICATE):
            some = ids[start : start + _IN_ONE_PREDICATE]
            among = f"event IN ({', '.join(map(_literal, some))})"
            within = f"event BETWEEN {_literal(min(some))} AND {_literal(max(some))}"
            rows = self.select(["event", "entry"], f"ordinal = 0 AND {within} AND {among}")
            found |= {row["event"]: row["entry"] for row in rows}
        return found

    def newest(self) -> bytes:
        """The greatest `_id` of an event; empty: the table has none."""
        (row,) = self.select(["max(event) AS newest"])
        return bytes(row["newest"] or b"")

    def select(self, columns: Sequence[str], condition: str = "TRUE") -> list[dict[str, Any]]:
        """Run an SQL query.

        Args:
            columns: SQL expressions.
            condition: SQL condition on the rows; its values must be quoted.
        """
        return list(self.rows(columns, condition))

    def rows(self, columns: Sequence[str], condition: str = "TRUE") -> Iterator[dict[str, Any]]:
        """Run a query as `select` does, with only some of the rows in memory at a time."""
        with self._store():
            builder = self._deltalake.QueryBuilder().register("lake", self._opened)
            reader = builder.execute(f"SELECT {', '.join(columns)} FROM lake WHERE {condition}")  # noqa: S608 - see Args
            for batch in self._pa.RecordBatchReader.from_stream(reader):
                yield from batch.to_pylist()

    def compact(self, position: LakePosition) -> int:
        """Compact small files; rows keep their order. Returns by how many the number of files decreased."""
        counts: list[int] = []

        def optimize(table: DeltaTable, how: CommitProperties) -> None:
            found = table.optimize.compact(
                target_size=_TARGET_BYTES, commit_properties=how, writer_properties=self._files
            )
            counts.append(found["numFilesRemoved"] - found["numFilesAdded"])

        self._commit(optimize, position)
        return counts[0]

    def vacuum(self, hours: int) -> int:
        """Delete files that no version of the last hours needs. Returns how many."""
        with self._store():
            gone = self._opened.vacuum(retention_hours=hours, enforce_retention_duration=False, dry_run=False)
            return len(gone)

    def files(self) -> tuple[int, int]:
        """Number of files, and their size in bytes."""
        with self._store():
            sizes = self._pa.table(self._opened.get_add_actions(flatten=True)).column("size_bytes").to_pylist()
            return len(sizes), sum(sizes)

    @property
    def _opened(self) -> DeltaTable:
        if self._table is None:
            raise LakeError(f"{self.uri} has no table yet; `watcher lake once --to {self.uri}` makes it.")
        return self._table

    def _position(self) -> LakePosition | None:
        for limit in _LOOKED_BACK:
            for commit in self._opened.history(limit):
                if text := commit.get(_POSITION):
                    return positions.load(text)
        return None

    def _commit(self, change: Callable[[DeltaTable, CommitProperties], None], position: LakePosition) -> None:
        with self._store():
            change(self._opened, self._properties(position))
            self._wrote = True

    @contextmanager
    def _store(self) -> Iterator[None]:
        failures = (self._deltalake.exceptions.DeltaError, OSError)
        try:
            yield
        except self._deltalake.exceptions.CommitFailedError as error:
            self._conflicts += 1
            if (self._wrote or self._conflicts > _FORGIVEN) and self._is_of_another():
                raise OtherWriterError(f"another exporter writes to {self.uri}; one at a time.") from error
            raise StoreError(_first_line(error)) from error
        except failures as error:
            raise StoreError(_first_line(error)) from error

    def _is_of_another(self) -> bool:
        try:
            newest = self._deltalake.DeltaTable(self.uri, storage_options=self._options)
            writers = (commit[_WRITER] for commit in newest.history(_LOOKED_BACK[0]) if _WRITER in commit)
            return next(writers, self._writer) != self._writer
        except (self._deltalake.exceptions.DeltaError, OSError):
            return False

    def _properties(self, position: LakePosition) -> CommitProperties:
        # No retries: a commit has to be made on the version that was read, or fail.
        about = {_POSITION: position.dump(), _WRITER: self._writer}
        return self._deltalake.CommitProperties(custom_metadata=about, max_commit_retries=0)

    def _data(self, rows: Iterable[list[Any]]) -> Any:
        columns = list(zip(*rows, strict=True)) or [()] * len(self._names)
        arrays = [self._pa.array(held, type=field.type) for held, field in zip(columns, self._schema, strict=True)]
        return self._pa.Table.from_arrays(arrays, schema=self._schema)

    def _write(self, table: DeltaTable, data: Any, how: CommitProperties, predicate: str | None = None) -> None:
        write: Any = self._deltalake.write_deltalake  # its types tell the two modes apart
        write(
            table,
            data,
            schema_mode="merge",
            commit_properties=how,
            writer_properties=self._files,
            **({"mode": "append"} if predicate is None else {"mode": "overwrite", "predicate": predicate}),
        )


def quoted(text: str) -> str:
    """A string as an SQL literal."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def _literal(data: bytes) -> str:
    return f"X'{data.hex()}'"


def _first_line(error: Exception) -> str:
    """The library's error message in one line, without terminal colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return " ".join(text.split())[:300]
