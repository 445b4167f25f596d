"""Checks whether the compiled parts of this installation are in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from change_history.bson import quick
from change_history.seals import records
from watcher.doctor.finding import ok, warning
from watcher.events import fast_path, folding

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from watcher.doctor.finding import Finding
    from watcher.doctor.subject import Subject

NAME = "compiled parts"


class Part(NamedTuple):
    """A module that is compiled when this is installed.

    Attributes:
        name: name of the module.
        in_use: whether it exists and was built from the present sources.
        otherwise: the cost of not having it, as text.
    """

    name: str
    in_use: bool
    otherwise: str


PARTS = (
    Part("watcher.events._fast_path", fast_path.COMPILED, "recording takes over ten times as much CPU"),
    Part("watcher.events._folding", folding.COMPILED is not None, "history expires more slowly"),
    Part("change_history.bson._quick", quick.COMPILED is not None, "history is read more slowly"),
    Part("change_history.seals._hashing", records.COMPILED is not None, "sealing holds up other threads"),
    Part(
        "watcher.words._event_text",
        quick.compiled("watcher.words._event_text") is not None,
        "`watcher log` writes files more slowly",
    ),
)
"""All that `hatch_build.py` compiles."""


def judge(parts: Sequence[Part]) -> Finding:
    """Judge by which parts are in use."""
    missing = [part for part in parts if not part.in_use]
    if not missing:
        return ok(NAME, f"all {len(parts)} are in use", missing=[])
    return warning(
        NAME,
        f"not in use: {', '.join(f'{part.name} ({part.otherwise})' for part in missing)}; no function is missing",
        "Install a C compiler and Python's headers, on Debian and Ubuntu `apt-get install -y gcc python3-dev`, then "
        "install again: `pip install --force-reinstall --no-deps --no-cache-dir .`; in a checkout "
        "`make clean` before `make run`.",
        missing=[part.name for part in missing],
    )


def check(_patient: Subject) -> Iterator[Finding]:
    """The daemon that is installed here."""
    yield judge(PARTS)
