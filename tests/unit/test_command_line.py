"""How arguments are read, whichever Click is installed, and how a command ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from watcher.cli import exit_codes
from watcher.cli.main import watcher

WATCHER = [sys.executable, "-m", "watcher"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["log", "shop", "--limit", "-5", "--since", "never"], ["--limit", "--since", "'[NS]'"]),
        (["log", "--limit", "x", "--since", "zz"], ["'x' is not a valid whole number", "'zz' is no time"]),
        (["blame"], ["Missing argument 'NS'", "Missing argument 'ID'"]),
        (["show", "shop", "-5", "-6"], ["'NS'", "unexpected extra argument (-6)"]),
        (["export", "shop", "-1", "--since", "zz", "--until", "yy"], ["'zz' is no time", "'yy' is no time", "'NS'"]),
    ],
)
def test_no_mistake_is_kept_back_until_the_first_is_mended(arguments: list[str], said: list[str]) -> None:
    """Somebody ran a command four times to learn of four mistakes."""
    result = CliRunner().invoke(watcher, arguments)

    assert result.exit_code == exit_codes.USAGE
    assert [each for each in said if each not in result.stderr] == []
    assert "\0" not in result.stderr


@pytest.mark.parametrize("number", ["-5", "-1.5", "-2e10"])
def test_a_number_below_zero_is_not_taken_for_an_option(number: str) -> None:
    """A document whose id is -5 could not be asked for."""
    result = CliRunner().invoke(watcher, ["blame", "shop.users", number, "--at", "nonsense"])

    assert result.exit_code == exit_codes.USAGE
    assert "--at" in result.stderr
    assert "No such option" not in result.stderr


def test_an_option_that_does_not_exist_is_still_refused() -> None:
    """Taking unknown options for arguments would hide a mistyped one."""
    result = CliRunner().invoke(watcher, ["log", "shop.users", "-5", "--sinse", "2h ago"])

    assert result.exit_code == exit_codes.USAGE
    assert "--sinse" in result.stderr


@pytest.mark.parametrize(
    "group", ["checkpoint", "config", "lake", "rejected", "retention", "seal", "serve", "snapshots"]
)
def test_no_list_of_commands_breaks_off_in_the_middle_of_a_sentence(group: str) -> None:
    """`seal --help` ended with "to be kept where the..."."""
    _, found, listed = CliRunner().invoke(watcher, [group, "--help"]).output.partition("Commands:")

    assert found
    assert "..." not in listed


@pytest.mark.parametrize("command", ["log", "show", "blame", "gaps", "stats"])
def test_help_does_not_wait_for_the_driver(command: str) -> None:
    """`--help` took as long as an answer."""
    heavy = "pymongo", "mongoengine", "rich", "pydantic", "importlib.metadata"
    code = (
        "import sys; from watcher.cli.main import watcher; watcher([sys.argv[1], '--help'], standalone_mode=False); "
        f"print('imported:', [name for name in {heavy} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True, check=True)

    assert ended.stdout.endswith("imported: []\n")


def test_leaving_at_once_keeps_the_exit_status_and_what_was_said(tmp_path: Path) -> None:
    """A script went on as if all were well, or the reason was lost in a buffer."""
    nowhere = os.environ | {"WATCHER_MONGODB_URI": "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=10"}
    with (tmp_path / "said").open("wb") as said:
        ended = subprocess.run([*WATCHER, "gaps"], env=nowhere, stderr=said, check=False)

    assert ended.returncode == exit_codes.UNREACHABLE
    assert "does not answer" in (tmp_path / "said").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_no_success() -> None:
    """A full disk cut the answer off, and the status was 0."""
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run([*WATCHER, "log", "--help"], stdout=full, stderr=subprocess.PIPE, check=False)

    assert ended.returncode != 0
    assert ended.stderr
