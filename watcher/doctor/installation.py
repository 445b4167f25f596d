"""Is this installation as fast as it can be?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from watcher.doctor.finding import ok, warning
from watcher.events import fast_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

NAME = "fast path"


def judge(*, compiled: bool) -> Finding:
    """Judge by whether the fast path is there."""
    if compiled:
        return ok(NAME, "compiled", compiled=True)
    return warning(
        NAME,
        "not compiled: nothing is missing, but recording takes over ten times as much CPU",
        "Install a C compiler and Python's headers, on Debian and Ubuntu `apt-get install -y gcc python3-dev`, then "
        "install again: `pip install --force-reinstall --no-deps --no-cache-dir .`; in a checkout "
        "`make clean` before `make run`.",
        compiled=False,
    )


def check(_patient: Subject) -> Iterator[Finding]:
    """The daemon that is installed here."""
    yield judge(compiled=fast_path.COMPILED)
