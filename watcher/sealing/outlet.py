"""Writes seals outside the database: to a file or standard output, one line of JSON each."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from change_history.seals.seal import read_line
from change_history.seals.store import read_stored
from watcher.errors import FatalError

if TYPE_CHECKING:
    from change_history.seals.seal import Sealed
    from change_history.seals.store import Store

STANDARD_OUTPUT = Path("-")
_TAIL = 64 * 1024


class SealFileError(FatalError):
    """The seal file cannot be written."""


class Outlet:
    """Appends each seal to a file, or to standard output.

    Args:
        place: path of the file; `-`: standard output.

    Raises:
        SealFileError: it cannot be appended to.
    """

    def __init__(self, place: Path) -> None:
        self._file = None if place == STANDARD_OUTPUT else place
        if self._file is not None:
            self._write("")

    def catch_up(self, store: Store, sealed: Sealed) -> None:
        """Append a seal, and before it those that are missing because a daemon was killed before it wrote them.

        Raises:
            SealFileError: the file cannot be read or appended to.
            ValueError: a seal cannot be read.
        """
        if self._file is None:
            self.put(sealed)
            return
        for found in store.each(after=self._last()):
            self._write(read_stored(found).line + "\n")

    def put(self, sealed: Sealed) -> None:
        """Append a seal. Raises as `catch_up` does."""
        if self._file is None:
            sys.stdout.write(sealed.line + "\n")
            sys.stdout.flush()
        else:
            self._write(sealed.line + "\n")

    def _write(self, text: str) -> None:
        assert self._file is not None  # noqa: S101 - for mypy
        try:
            torn = text and self._file.exists() and _is_torn(self._file)
            with self._file.open("a", encoding="ascii") as opened:
                opened.write(f"\n{text}" if torn else text)
                opened.flush()
                os.fsync(opened.fileno())
        except OSError as error:
            raise SealFileError(
                f"Seals cannot be appended to {self._file}: {error.strerror}.",
                "Let WATCHER_SEAL_FILE name a file that this user may write, or leave it out.",
            ) from error

    def _last(self) -> int:
        """The number of the last seal in the file; 0: none."""
        assert self._file is not None  # noqa: S101 - for mypy
        with self._file.open("rb") as opened:
            opened.seek(max(0, self._file.stat().st_size - _TAIL))
            lines = opened.read().decode("ascii", "replace").splitlines()
        for line in reversed(lines):
            try:
                return read_line(line).seal.number
            except ValueError:
                continue
        return 0


def _is_torn(file: Path) -> bool:
    """Whether the last line has no newline: its writer was killed."""
    with file.open("rb") as opened:
        if not opened.seek(0, os.SEEK_END):
            return False
        opened.seek(-1, os.SEEK_END)
        return opened.read(1) != b"\n"
