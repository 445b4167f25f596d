"""What of `watcher revert` contradicts itself is refused before any deployment is asked."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from watcher.cli import exit_codes
from watcher.cli.main import watcher


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to put back"),
        (["shop.users", "42"], "say what to put back"),
        (["--to", "1"], "name it: NS ID"),
        (["shop.users", "--to", "1"], "name it: NS ID"),
        (["shop.users", "42", "--to", "now"], "name an earlier point in time"),
        (["shop.users", "42", "--to", "1", "--partial"], "--partial is for --transaction"),
        (["shop.users", "42", "--transaction", "ffffffff:1"], "leave out NS and ID"),
        (["--to", "1", "--transaction", "ffffffff:1"], "leave one of them out"),
        (["shop.users", "42", "--to", "1", "--undelete"], "leave one of them out"),
        (["shop.users", "--undelete"], "name it: NS ID"),
        (["shop.users", "42", "--undelete", "--field", "a"], "leave out --field"),
        (["shop.users", "42"], "--undelete brings back a deleted one"),
        (["--transaction", "ffffffff:1", "--seen", "3", "--field", "a"], "leave out --field and --seen"),
    ],
)
def test_contradictions_are_refused(arguments: list[str], said: str) -> None:
    """`--yes` with half a wish could put back what nobody meant."""
    result = CliRunner().invoke(watcher, ["revert", *arguments, "--yes"])

    assert result.exit_code == exit_codes.USAGE
    assert said in result.stderr


def test_the_help_says_that_later_changes_are_undone() -> None:
    """Somebody relied on a promise that was not made, and lost the changes of a day."""
    text = " ".join(CliRunner().invoke(watcher, ["revert", "--help"]).stdout.split())

    assert "Going back undoes every later change that is recorded" in text
    assert "--undelete" in text
