"""The file that an export grows in, beside the one that it becomes when it is complete."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, BinaryIO, Self

from change_history.errors import HistoryError

if TYPE_CHECKING:
    from pathlib import Path


class BusyError(HistoryError, OSError):
    """Another export writes to the same file."""


class PartFile:
    """`FILE.part`, and `FILE.part.json`, which says what is being exported. Also a context manager, which closes it.

    What is there when the process ends without `finish` stays, to be gone on with.

    Args:
        path: the file that it is to become.

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
        """What was said of the export that is in it; None: nothing.

        Raises:
            OSError: it cannot be read.
        """
        try:
            found = json.loads(self._about.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def begin(self, about: dict[str, str]) -> None:
        """Empty it, and say what will be in it."""
        self.cut(0)
        self._about.write_text(json.dumps(about), "utf-8")

    def cut(self, size: int) -> None:
        """Keep so many bytes of it, and go on behind them."""
        self.file.truncate(size)
        self.file.seek(size)

    def finish(self) -> None:
        """Make it the file that it was to become, in place of one that may be there."""
        self.file.flush()
        os.fsync(self.file.fileno())  # or a power cut could leave an empty file under the final name
        self.path.replace(self._path)
        self._about.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove it: there was nothing to write."""
        self.path.unlink(missing_ok=True)
        self._about.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
