"""Lines of styled pieces, and their output: plain text into a file, styled on a terminal.

Long histories are written to files, so a line there is only written, without the import of `rich`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_COLOURS = {"FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}  # with these, rich treats a pipe as a terminal


class Line:
    """A line under construction."""

    __slots__ = ("_pieces",)

    def __init__(self, text: str = "", style: str = "") -> None:
        self._pieces = [(text, style)]

    def append(self, text: str, style: str = "") -> Self:
        """Add text at the end."""
        self._pieces.append((text, style))
        return self

    def append_line(self, line: Line) -> Self:
        """Add the pieces of another line at the end."""
        self._pieces += line._pieces
        return self

    def cut(self, width: int) -> None:
        """Shorten the line to a number of terminal cells, with an ellipsis at its end if something is cut."""
        from rich.cells import cell_len, set_cell_size

        if self.cell_len <= width:
            return
        pieces, self._pieces, room = self._pieces, [], width - 1
        for text, style in pieces:
            if (cells := cell_len(text)) > room:
                self.append(f"{set_cell_size(text, max(room, 0))}…", style)
                return
            self.append(text, style)
            room -= cells

    @property
    def plain(self) -> str:
        """The line without styles."""
        return "".join([text for text, _ in self._pieces])

    def __str__(self) -> str:
        return self.plain

    @property
    def cell_len(self) -> int:
        """The number of terminal cells of the line."""
        from rich.cells import cell_len

        return cell_len(self.plain)

    def drawn(self) -> Text:
        """The line as text of `rich`."""
        from rich.text import Text

        return Text.assemble(*self._pieces)


class Output(Protocol):
    """Where lines are printed.

    Attributes:
        width: cells of the terminal; None: there is none, and lines are not shortened.
    """

    width: int | None

    def print(self, line: Line) -> None:
        """Print a line."""

    def flush(self) -> None:
        """Let a reader see what is printed so far."""


class Plain:
    """A file or a pipe.

    Args:
        file: where text is written.
    """

    def __init__(self, file: TextIO) -> None:
        self.width: int | None = None
        self._file = file

    def print(self, line: Line) -> None:
        """Write a line."""
        self._file.write(f"{line.plain}\n")

    def write(self, text: str) -> None:
        """Write a line that has no pieces."""
        self._file.write(f"{text}\n")

    def flush(self) -> None:
        """Let a reader see what is printed so far."""
        self._file.flush()


class Drawn:
    """A terminal, or an output with colours like one.

    Args:
        console: the console of `rich`.
        whole: do not shorten lines to the terminal's width.
    """

    def __init__(self, console: Console, *, whole: bool = False) -> None:
        self.width = console.width if console.is_terminal and not whole else None
        self._console = console

    def print(self, line: Line) -> None:
        """Draw a line."""
        self._console.print(line.drawn(), soft_wrap=True, highlight=False)

    def flush(self) -> None:
        """Let a reader see what is printed so far."""
        self._console.file.flush()


def is_plain() -> bool:
    """Whether standard output gets text without colours, whatever its length."""
    return not sys.stdout.isatty() and not _COLOURS & os.environ.keys()


def standard_output() -> Output:
    """The output on which a command prints its answer."""
    if is_plain():
        return Plain(sys.stdout)
    from watcher.cli.rendering.terminal import PipedConsole

    return Drawn(PipedConsole())
