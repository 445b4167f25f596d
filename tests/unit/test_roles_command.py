"""`watcher roles`: what is printed can be pasted, follows the settings, and holds no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.daemon import ROOT
from watcher.cli.main import watcher
from watcher.operations.privileges import PURPOSES

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def _deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_MONGODB_URI", f"mongodb://ada:{SECRET}@db1,db2/?replicaSet=rs0")


def printed(*arguments: str) -> str:
    """What the command prints."""
    found = CliRunner().invoke(watcher, ["roles", *arguments])
    assert found.exit_code == 0, found.output
    return found.stdout


def commands(*arguments: str) -> list[tuple[str, dict[str, Any]]]:
    """The deployments and the commands for them."""
    lines = [json.loads(line) for line in printed(*arguments, "--json").splitlines()]
    return [(line["deployment"], line["command"]) for line in lines]


def test_no_password_is_printed() -> None:
    """Neither the one of the connection string nor one of our own making: mongosh asks."""
    for arguments in ((), ("--update",), ("--json",)):
        assert SECRET not in printed(*arguments)
        assert "ada" not in printed(*arguments)
    assert printed().count("pwd: passwordPrompt()") == len(PURPOSES)


def test_one_deployment_has_one_user_for_the_daemon() -> None:
    """Two of the same name would be refused, and the daemon without half of its privileges."""
    found = [command for _, command in commands("daemon")]

    assert [each.get("createRole") or each["createUser"] for each in found] == [
        "watchChanges",
        "keepHistory",
        "watcher",
    ]
    assert found[-1] == {"createUser": "watcher", "roles": ["watchChanges", "keepHistory"]}


def test_history_elsewhere_has_users_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes history must not be able to read what is watched, and the other way round."""
    monkeypatch.setenv("WATCHER_HISTORY_URI", "mongodb://ada:other@db3/")
    found = {}
    for deployment, command in commands():
        if "createUser" in command:
            found[deployment, command["createUser"]] = command["roles"]

    assert found == {
        ("watched", "watcher"): ["watchChanges"],
        ("watched", "reverter"): ["revertChanges"],
        ("history", "watcher"): ["keepHistory"],
        ("history", "reader"): ["readHistory"],
        ("history", "eraser"): ["readHistory", "eraseHistory"],
        ("history", "reverter"): ["readHistory", "noteReverts"],
        ("history", "sealer"): ["readHistory", "sealHistory"],
    }


def test_the_history_database_of_the_settings_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role for another database would be found out by the first write."""
    monkeypatch.setenv("WATCHER_HISTORY_DATABASE", "kept")

    ((_, role), _) = commands("reader")
    assert {each["resource"]["db"] for each in role["privileges"]} == {"kept"}


def test_minimal_leaves_out_what_is_marked() -> None:
    """An administrator who grants less must know what is lost by it."""
    needed = {
        each["resource"].get("collection"): each["actions"]
        for _, role in commands("daemon", "--minimal")
        for each in role.get("privileges", ())
        if each["resource"].get("db") == "change_history"
    }

    assert needed == {
        "": ["find"],
        "history": ["insert", "update", "createIndex"],
        "history_parts": ["insert"],
        "rejected": ["insert", "update"],
        "checkpoints": ["insert", "update"],
        "terms": ["insert", "update"],
        "amendments": ["insert"],
        "snapshots": ["insert", "update", "remove", "createIndex"],
    }
    assert "(can be left out)" in printed("daemon")
    assert "(can be left out)" not in printed("daemon", "--minimal")


def test_update_changes_roles_and_makes_no_users() -> None:
    """After a change of the settings; the users are there, and have their passwords."""
    assert [next(iter(command)) for _, command in commands("--update")] == ["updateRole"] * 7
    assert "createUser" not in printed("--update")
    assert 'updateRole("watchChanges", {' in printed("--update")


def test_hostile_names_stay_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection may be named like the end of a string."""
    monkeypatch.setenv("WATCHER_INCLUDE", 'shop.a"})')

    assert r'collection: "a\"})"' in printed("daemon")


def test_the_documentation_shows_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what an administrator reads before granting anything."""
    monkeypatch.setenv("WATCHER_INCLUDE", "shop.*")
    shown = printed("daemon").partition("\n\n")[2].rstrip()

    assert shown in (ROOT / "docs" / "deployment.md").read_text()
