"""One check that fails hides nothing of the others, whatever it fails of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from config.settings import load
from watcher.doctor import examination
from watcher.doctor.examination import Check, examine
from watcher.doctor.finding import Status
from watcher.doctor.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest
    from pymongo.database import Database

    from watcher.doctor.finding import Finding
    from watcher.embedded.mongod import Mongod


def nothing(_: Any) -> None:
    """Nobody is told."""


def test_a_server_that_goes_away_in_between_is_asked_no_more(own_server: Callable[..., Mongod]) -> None:
    """What was found before stays; the rest is not known, after one time-out instead of ten."""
    server = own_server()
    uri = f"{server.uri}?serverSelectionTimeoutMS=500"

    def at_work(check: str) -> None:
        if check == "server version":
            server.kill()

    with Subject(load(mongodb_uri=uri), uri, uri) as subject:
        findings = list(examine(subject, at_work))
    at = [each.check for each in findings].index("server version")

    assert {each.status for each in findings[:at]} == {Status.OK}
    assert "stopped answering" in findings[at].said
    assert {(each.status, each.said) for each in findings[at + 1 :]} == {
        (Status.UNCHECKED, "the watched deployment cannot be asked"),
        (Status.UNCHECKED, "the history deployment cannot be asked"),
    }


def test_a_defect_of_ours_is_one_line_of_the_report(replica_set_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback instead of it."""

    def broken(_: Subject) -> Iterator[Finding]:
        raise KeyError("surprise")

    monkeypatch.setattr(examination, "CHECKS", (Check("broken", (), broken), *examination.CHECKS))
    with Subject(load(mongodb_uri=replica_set_uri), replica_set_uri, replica_set_uri) as subject:
        findings = list(examine(subject, nothing))
    (found,) = [each for each in findings if each.check == "broken"]

    assert (found.status, found.remedy) == (Status.UNCHECKED, "Please report this.")
    assert "surprise" in found.said
    assert {each.check for each in findings} > {"replica set", "completeness"}


def test_a_rule_that_withholds_a_password_is_not_said_to_withhold_nothing(
    replica_set_uri: str, database: Database[Any]
) -> None:
    """Whoever believed that would take the right rule out, or write another one."""
    database.create_collection("users")
    name = database.name
    settings = load(
        mongodb_uri=replica_set_uri, include=f"{name}.*", redact=f"{name}.users:password=drop", retention=f"{name}.*=2y"
    )
    with Subject(settings, replica_set_uri, replica_set_uri) as subject:
        found = [each.said for each in examine(subject, nothing) if each.check == "rules"]

    assert found == []
