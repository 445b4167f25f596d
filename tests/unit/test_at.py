"""Moments and filters on the command line, and what a wrong one is told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click
import pytest
from bson import ObjectId, Timestamp
from click.testing import CliRunner, Result

from watcher.cli import exit_codes
from watcher.cli.main import watcher
from watcher.cli.parsing.arguments import At, Query


def run(*arguments: str) -> Result:
    """A command line that is wrong, or asks for help; nothing is connected to."""
    return CliRunner().invoke(watcher, arguments)


@pytest.mark.parametrize(
    ("text", "expected"), [("3", 3), ("-1", -1), ("+2", 2), ("now", None), ("1714564800:3", Timestamp(1714564800, 3))]
)
def test_a_moment_is_a_time_a_version_or_now(text: str, expected: Any) -> None:
    """A number is never a date: 2024 is the two thousand and twenty-fourth version."""
    assert At().convert(text, None, None) == expected
    assert isinstance(At().convert("2024-05-01T14:00Z", None, None), datetime)


@pytest.mark.parametrize("text", ["3", "-1"])
def test_a_collection_has_no_versions(text: str) -> None:
    """Taken for one, 3 would be any moment."""
    with pytest.raises(click.BadParameter, match="only a document has"):
        At(versions=False).convert(text, None, None)


def test_a_filter_is_extended_json() -> None:
    """With the types that a filter needs, and no shell code."""
    text = '{"owner": {"$oid": "66f2a1c0e4b0d52a3c9f1e77"}, "qty": {"$gt": {"$numberLong": "5"}}}'

    assert Query().convert(text, None, None) == {"owner": ObjectId("66f2a1c0e4b0d52a3c9f1e77"), "qty": {"$gt": 5}}
    for wrong in ("{qty: 1}", "[1]", "5", "{", '{"a": {"$oid": 1}}'):
        with pytest.raises(click.BadParameter, match="is no filter"):
            Query().convert(wrong, None, None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "shop.users", "--at", "3"], "only a document has"),
        (["show", "shop.users", "--at", "-1"], "only a document has"),
        (["show", "shop.users", "42", "--query", "{}"], "leave it out, or the ID"),
        (["show", "shop.users", "42", "--at", "yesterdat"], "is no time"),
        (["diff", "shop.users", "42", "now"], "write NS ID A B for a document"),
        (["diff", "shop.users", "42"], "write NS ID A B for a document"),
        (["diff", "shop.users", "42", "1", "2", "3"], "not 4"),
        (["diff", "shop.users", "1", "2", "--json", "--patch"], "leave one of them out"),
        (["blame", "shop.users"], "Missing argument 'ID'"),
    ],
)
def test_a_wrong_question_is_told_how_to_ask(arguments: list[str], told: str) -> None:
    """Before anything is connected to."""
    result = run(*arguments)

    assert result.exit_code == exit_codes.USAGE
    assert told in result.output


@pytest.mark.parametrize("command", ["show", "diff", "blame"])
def test_the_help_says_what_a_moment_is_and_what_the_exit_status_means(command: str) -> None:
    """A newcomer finds the forms, the exact bounds and the versions there."""
    result = run(command, "--help")

    assert result.exit_code == exit_codes.OK
    words = " ".join(result.output.split())
    for said in (
        "2h ago",
        "seconds:increment",
        "what happened at it is included",
        "-1 its last",
        "10 history cannot",
    ):
        assert said in words
