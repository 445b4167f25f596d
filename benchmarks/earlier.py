"""An earlier build of this project, made from its commit, as a peer of today's."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from benchmarks.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "d1d6c01"
"""The last one before every event of a document was compiled."""


class NoEarlierBuildError(Exception):
    """The build cannot be made here."""


def build(commit: str = COMMIT) -> Path:
    """Make a build from its commit, once, in `.venv-bench`; its checkout.

    Raises:
        NoEarlierBuildError: the commit is not known here, or cannot be installed.
    """
    folder = ROOT / ".venv-bench" / commit
    made = folder / ".venv" / ".installed"
    if made.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        tree = subprocess.run(
            ["git", "archive", commit],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        subprocess.run(["tar", "-x"], cwd=folder, input=tree, check=True)
        subprocess.run(["make", "--silent", ".venv/.installed"], cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoEarlierBuildError(f"no build of {commit}: {error}") from error
    return folder
