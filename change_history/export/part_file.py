"""The partial file of an export, which is renamed when it is complete, and the point from which to resume it."""

from __future__ import annotations

import base64
import csv
import fcntl
import json
import os
import re
import sys
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

from change_history.errors import HistoryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from change_history.export.tables import ExportTable, Format


class BusyError(HistoryError, OSError):
    """Another export writes to the same file."""


class PartFile:
    """`FILE.part`, and `FILE.part.json`, which says what is being exported. Also a context manager, which closes it.

    If the process ends without `finish`, the files stay, so that the export can be resumed.

    Args:
        path: the final file.

    Raises:
        BusyError: another process has it open.
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.path = path.with_name(path.name + ".part")
        self._about = path.with_name(path.name + ".part.json")
        self.file: BinaryIO = self.path.open("ab+")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.file.close()
            raise BusyError(f"another export writes to {self.path}") from error

    def about(self) -> dict[str, str] | None:
        """The description of the export in progress; None: there is none.

        Raises:
            OSError: it cannot be read.
        """
        try:
            found = json.loads(self._about.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def begin(self, about: dict[str, str]) -> None:
        """Empty it, and store the description of the export."""
        self.cut(0)
        self._about.write_text(json.dumps(about), "utf-8")

    def cut(self, size: int) -> None:
        """Truncate it to a size in bytes, and continue there."""
        self.file.truncate(size)
        self.file.seek(size)

    def finish(self) -> None:
        """Rename it to the final file, replacing an existing one."""
        self.file.flush()
        os.fsync(self.file.fileno())  # otherwise a power cut could leave an empty file under the final name
        self.path.replace(self._path)
        self._about.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove it, because there was nothing to write."""
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


_EVENT = re.compile(rb'\{"(?:_id|event)": \{"\$binary": \{"base64": "([A-Za-z0-9+/]{22}==)"')
_HEX_DIGITS = 32


class NotResumableError(HistoryError, ValueError):
    """The file is not from an interrupted export of this kind."""


class ResumePoint(NamedTuple):
    """The point from which to resume an export.

    Attributes:
        size: bytes of the file that are kept.
        event: `_id` of the event whose rows come next, 16 bytes; None: start with the header and the first event.
    """

    size: int
    event: bytes | None


def resume_point(file: BinaryIO, chosen: Format, table: ExportTable) -> ResumePoint:
    """Find the last event that has a complete row. Its rows are dropped and written again, since some may be missing.

    The file is read from beginning to end, without being held in memory.

    Args:
        file: open for reading.
        chosen: its format; not Parquet.

    Raises:
        NotResumableError: its rows are not of such an export.
        OSError: it cannot be read.
    """
    file.seek(0)
    found = ResumePoint(0, None)
    rows = _csv_rows(file, table) if chosen.is_csv else _ndjson_rows(file)
    for start, event in rows:
        if event != found.event:
            found = ResumePoint(start, event)
    return found


def _ndjson_rows(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The offset of each complete row, and the `_id` of its event."""
    start = 0
    for line in file:
        if not line.endswith(b"\n"):
            return
        event = _EVENT.match(line)
        if event is None:
            raise NotResumableError(f"the line at byte {start} is not of an export of history")
        yield start, base64.b64decode(event[1])
        start += len(line)


def _csv_rows(file: BinaryIO, table: ExportTable) -> Iterator[tuple[int, bytes]]:
    """The offset of each complete row, and the `_id` of its event; a cell may contain line ends."""
    csv.field_size_limit(sys.maxsize)  # a value may have sixteen megabytes
    lines = _Lines(file)
    rows = csv.reader(lines, strict=True)
    start = 0
    while True:
        try:
            row = next(rows, None)
        except csv.Error:  # cut off within a quoted cell
            return
        if row is None or not lines.complete:
            return
        if not start and row != [column.name for column in table.columns]:
            raise NotResumableError("its header has other columns")
        if start:
            if len(row[0]) != _HEX_DIGITS or len(row) != len(table.columns):
                raise NotResumableError(f"the row at byte {start} is not of an export of history")
            yield start, bytes.fromhex(row[0])
        start = lines.read


class _Lines:
    """The lines of a file as text, and how far they have been read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read = 0
        self.complete = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        self.read += len(line)
        self.complete = line.endswith(b"\n")
        return line.decode("utf-8", "replace")
