"""Long work on a terminal: what is being done, for how long, how much of it. On standard error, and gone at the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")

_EVERY = 200
"""So many items pass between two looks at the clock."""


def counted(items: Iterable[Item], doing: str) -> Iterator[Item]:
    """Pass items on, and show how many there have been."""
    with _shown(doing) as progress:
        for count, item in enumerate(items, start=1):
            if count % _EVERY == 0:
                progress.update(progress.task_ids[0], count=f"{count:,}")
            yield item


@contextmanager
def working(doing: str) -> Iterator[None]:
    """Show that something is being done."""
    with _shown(doing):
        yield


@contextmanager
def step_by_step() -> Iterator[Callable[[str], None]]:
    """Show which of several steps is being done; the caller names each as it begins."""
    with _shown("") as progress:
        yield lambda step: progress.update(progress.task_ids[0], count=step)


@contextmanager
def _shown(doing: str) -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn(doing), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task("", total=None, count="")
        yield progress
