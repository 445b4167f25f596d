"""A name in the log that would command a terminal: escaped for people, and the same name still for machines."""

from __future__ import annotations

import io
import json

import pytest
import structlog

from config import log

HOSTILE = "\x1b[31mred\x07\x9b2J\u202eevil\nline 😀 \U000e0041"


@pytest.mark.parametrize("fmt", ["console", "json"])
def test_no_name_commands_the_terminal(fmt: str) -> None:
    """Neither by escape sequences nor by marks that turn the writing around; nor does it forge a second line."""
    out = io.StringIO()
    log.configure("info", fmt, out)
    structlog.get_logger("watcher.test").info("pre-images switched on", namespace=HOSTILE, list=[HOSTILE])

    (line,) = out.getvalue().splitlines()
    assert line.isprintable()
    assert "😀" in line
    if fmt == "json":
        assert json.loads(line)["namespace"] == HOSTILE
        assert json.loads(line)["list"] == [HOSTILE]
