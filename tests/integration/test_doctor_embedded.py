"""The embedded default is examined too: before the first look, and beside the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import json_util
from click.testing import CliRunner

from watcher.cli import exit_codes
from watcher.cli.main import watcher
from watcher.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def examined() -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and the findings by their check."""
    found = CliRunner().invoke(watcher, ["doctor", "--json"])
    findings = [json_util.loads(line) for line in found.stdout.splitlines()]
    return found.exit_code, {each["check"]: each for each in findings}


def test_a_server_that_does_not_run_yet_is_no_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_port: int
) -> None:
    """It is started by the daemon; the disk is looked at all the same. Once it runs, so is everything else."""
    monkeypatch.setenv("WATCHER_EMBEDDED_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WATCHER_EMBEDDED_PORT", str(free_port))
    code, findings = examined()

    assert code == exit_codes.UNCHECKED
    assert findings["watched deployment"]["remedy"].endswith("watcher run")
    assert findings["disk of the embedded server"]["facts"]["free_bytes"] > 0
    assert findings["embedded server"]["status"] == "ok"
    assert not (tmp_path / "data").exists()

    with EmbeddedServer(tmp_path / "data", free_port):
        code, findings = examined()
    assert code == exit_codes.OK
    assert {each["status"] for each in findings.values()} <= {"ok", "warning"}
    assert "asks for no privileges" in findings["privileges, history"]["said"]
