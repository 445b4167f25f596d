"""An application with versions that are too old is told so."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("mongoengine", "0.28.2", "needs mongoengine 0.29.1 or newer, and this is 0.28.2"),
        ("mongoengine", "0.29.0", "pip install 'mongoengine>=0.29.1'"),
        ("pymongo", "4.3.3", "needs pymongo 4.10 or newer, and this is 4.3.3"),
    ],
)
def test_a_version_that_is_too_old_is_named_with_the_way_out(name: str, version: str, said: str) -> None:
    """Instead of whatever import fails first."""
    program = (
        "from importlib import metadata; found = metadata.version; "
        f"metadata.version = lambda name: {version!r} if name == {name!r} else found(name); "
        "import change_history.mongoengine"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert said in ended.stderr.splitlines()[-1]
