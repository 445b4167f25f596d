"""`watcher config show`: what is in force, neither cut nor taken for markup, and no secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from click.testing import CliRunner

from watcher.cli.main import watcher

if TYPE_CHECKING:
    import pytest


def test_a_setting_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets are markup to a terminal library; swallowed, more would seem to be watched than is."""
    monkeypatch.setenv("WATCHER_INCLUDE", "shop.[abc]*,crm.x")
    folder = "/" + "long/" * 30 + "end"
    monkeypatch.setenv("WATCHER_EMBEDDED_DIR", folder)
    shown = CliRunner().invoke(watcher, ["config", "show"])

    assert shown.exit_code == 0
    assert "shop.[abc]*,crm.x" in shown.output
    assert folder in shown.output


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table and as JSON."""
    monkeypatch.setenv("WATCHER_MONGODB_URI", "mongodb://ada:s3cret@db1,db2/?replicaSet=rs0")
    for arguments in (["config", "show"], ["config", "show", "--json"]):
        shown = CliRunner().invoke(watcher, arguments)

        assert shown.exit_code == 0
        assert "s3cret" not in shown.output
        assert "db1" in shown.output
    rows = [json.loads(line) for line in shown.output.splitlines()]
    assert {"setting", "value", "source"} == set(rows[0])
