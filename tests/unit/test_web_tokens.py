"""The tokens file: whom it lets in, what it refuses, and what is kept of a token."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from watcher.cli.main import watcher
from watcher.web.tokens import TokensError, TokensFile, hash_of, load, new_token
from watcher.web.visitors import Visitor, everything

if TYPE_CHECKING:
    from pathlib import Path


def test_the_command_makes_an_entry_that_lets_in_and_keeps_no_token(tmp_path: Path) -> None:
    """Whoever reads the file cannot come in by it."""
    made = CliRunner().invoke(
        watcher, ["serve", "token", 'sup"port', "--read", "shop.*,crm.people", "--except", "shop.cards"]
    )
    assert made.exit_code == 0, made.output
    file = tmp_path / "tokens.toml"
    file.write_text(made.stdout)
    found = re.search(r"mcw_\S+", made.stderr)
    assert found is not None

    visitor = TokensFile(file).of_token(found[0])

    assert visitor == Visitor('sup"port', ("shop.*", "crm.people"), ("shop.cards",))
    assert found[0] not in made.stdout


def test_everything_that_is_wrong_with_the_file_is_said_at_once(tmp_path: Path) -> None:
    """With the place."""
    file = tmp_path / "tokens.toml"
    file.write_text(
        f"""
        tokens = 1
        [[token]]
        name = "a"
        hash = "secret in the clear"
        read = ["shop"]
        [[token]]
        hash = "{hash_of("x")}"
        read = []
        expires = 2027-01-01
        [[user]]
        name = "*"
        read = ["shop.*"]
        hsh = "x"
        """
    )
    with pytest.raises(TokensError) as caught:
        load(file)

    said = str(caught.value)
    for part in ("`tokens`", "number 1: `hash`", "no dot", "number 2: `name`", "`read` must", "`expires`", "`hsh`"):
        assert part in said, (part, said)


def test_a_file_that_anybody_can_write_to_is_refused(tmp_path: Path) -> None:
    """Or anybody could let themselves in."""
    file = tmp_path / "tokens.toml"
    file.write_text("")
    file.chmod(0o666)

    with pytest.raises(TokensError, match="chmod"):
        load(file)


def test_a_token_ends_when_it_is_said_to_and_a_file_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    """Neither waits for a restart."""
    file, now = tmp_path / "tokens.toml", datetime.now(UTC)
    entry = '[[token]]\nname = "a"\nhash = "{}"\nread = ["*.*"]\nexpires = {:%Y-%m-%dT%H:%M:%SZ}\n'
    old, new = new_token(), new_token()
    file.write_text(
        entry.format(hash_of(old), now - timedelta(hours=1)) + entry.format(hash_of(new), now + timedelta(hours=1))
    )
    tokens = TokensFile(file)

    assert tokens.of_token(old) is None
    assert tokens.of_token(new) == Visitor("a", ("*.*",))
    assert tokens.of_token("") is None
    os.unlink(file)  # noqa: PTH108 - a plain removal
    assert tokens.of_token(new) is None


@pytest.mark.parametrize(
    ("read", "besides", "may", "may_not"),
    [
        (("shop.*",), (), ["shop.orders", "shop.a.b", "shop"], ["shopping.orders", "crm.people", "crm"]),
        (("shop.*",), ("shop.cards*",), ["shop.orders"], ["shop.cards", "shop.cards_old", "shop"]),
        (("shop.orders",), (), ["shop.orders"], ["shop", "shop.order", "shop.orders2"]),
        (("*.*",), ("secret.*",), ["a.b", "a"], ["secret.x", "secret"]),
        (("*.orders",), (), ["a.orders"], ["a", "a.b"]),
    ],
)
def test_only_what_a_glob_covers_may_be_read(
    read: tuple[str, ...], besides: tuple[str, ...], may: list[str], may_not: list[str]
) -> None:
    """The name of a database, of a drop for example, only with all that is in it."""
    visitor = Visitor("x", read, besides)

    assert [name for name in may if not visitor.may_read(name)] == []
    assert [name for name in may_not if visitor.may_read(name)] == []
    assert everything("y").reads_everything
    assert not visitor.reads_everything
