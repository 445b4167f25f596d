"""With authentication on, a user who lacks one privilege is told of exactly that one, whichever it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from config.settings import Settings
from models import indexes
from tests.support.servers import secured
from watcher.cli import exit_codes
from watcher.cli.main import watcher
from watcher.doctor import installation
from watcher.operations import privileges
from watcher.operations.needs import CLUSTER, OPLOG, Need, keeping, missing, watching
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Secured

KEPT = "change_history"
INCLUDES = ("*.*", "shop.*", "shop.users", "shop.users,shop.o*,crm.*")
NOT_SEEN = {
    (str(OPLOG), "find"): {"oplog"},
    (str(CLUSTER), "getClusterParameter"): {"pre-images are kept"},
}
"""Checks that cannot be done without a privilege, though recording can."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A replica set that asks for privileges, with two documents."""
    with secured(tmp_path_factory.mktemp("secured")) as found:
        found.root.shop.users.insert_one({"_id": 1})
        found.root.crm.leads.insert_one({"_id": 1})
        yield found


def needs(include: str) -> list[Need]:
    """All that the daemon needs, watching and keeping."""
    globs = tuple(include.split(","))
    settings = Settings(include=globs, history_database=KEPT)
    watched = watching(settings, Scope.of(settings))
    return [*watched, *keeping(settings)]


def examined(monkeypatch: pytest.MonkeyPatch, uri: str, include: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of the doctor, and what it found, but for what it says of the installation."""
    monkeypatch.setenv("WATCHER_MONGODB_URI", uri)
    monkeypatch.setenv("WATCHER_INCLUDE", include)
    found = CliRunner().invoke(watcher, ["doctor", "--json"])
    findings = [json.loads(line) for line in found.stdout.splitlines()]
    return found.exit_code, [each for each in findings if each["check"] != installation.NAME]


@pytest.mark.parametrize("include", INCLUDES)
def test_who_has_all_of_them_is_told_of_none(
    deployment: Secured, monkeypatch: pytest.MonkeyPatch, include: str
) -> None:
    """And every check can be done with them."""
    uri = deployment.user("whole", privileges.documents(needs(include)))
    code, findings = examined(monkeypatch, uri, include)

    assert code == exit_codes.OK, findings
    assert {each["status"] for each in findings if each["check"] != "pre-images"} == {"ok"}
    assert all(each["facts"]["missing"] == [] for each in findings if each["check"].startswith("privileges"))


@pytest.mark.parametrize(
    ("include", "lacked"),
    [
        pytest.param(include, lacked, id=f"{include}-{lacked.action} on {lacked.resource}")
        for include in INCLUDES
        for lacked in needs(include)
        if include == INCLUDES[0] or lacked.resource.database != KEPT
    ],
)
def test_the_one_that_is_missing_is_named(
    deployment: Secured, monkeypatch: pytest.MonkeyPatch, include: str, lacked: Need
) -> None:
    """Nothing else is said to be missing, the exit code tells how bad it is, and granting it as told mends it."""
    rest = [need for need in needs(include) if need != lacked]
    uri = deployment.user("lacking", privileges.documents(rest))
    granted = not missing(privileges.documents(rest), [lacked])  # find on all of it is find on the history
    code, findings = examined(monkeypatch, uri, include)
    named = [each for each in findings if each["facts"].get("missing")]
    if granted:
        assert named == []
        return

    assert [each["facts"]["missing"] for each in named] == [privileges.documents([lacked])]
    assert [each["status"] for each in named] == ["problem" if lacked.essential else "warning"]
    assert f"{lacked.action} on {lacked.resource}" in named[0]["said"]
    unchecked = {each["check"] for each in findings if each["status"] == "unchecked"}
    if lacked.essential:
        assert code == exit_codes.UNHEALTHY
    else:
        assert unchecked == NOT_SEEN.get((str(lacked.resource), lacked.action), unchecked)
        assert code == (exit_codes.UNCHECKED if unchecked else exit_codes.OK)

    role = named[0]["facts"]["role"]
    deployment.root.admin.command("grantPrivilegesToRole", "role of lacking", privileges=role["privileges"])
    _, findings = examined(monkeypatch, uri, include)
    assert not [each for each in findings if each["facts"].get("missing")]


def test_who_may_nothing_at_all_is_told_everything_at_once(
    deployment: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One privilege after the other, with an administrator in between, takes a week."""
    code, findings = examined(monkeypatch, deployment.user("nobody", []), "shop.*")
    missing = [privilege for each in findings for privilege in each["facts"].get("missing", ())]
    named = {(str(each["resource"]), action) for each in missing for action in each["actions"]}

    assert code == exit_codes.UNHEALTHY
    assert named == {(str(need.resource.document()), need.action) for need in needs("shop.*")}
    assert {"oplog", "history indexes", "server version"} <= {
        each["check"] for each in findings if each["status"] == "unchecked"
    }


def test_roles_of_the_servers_own_are_understood(deployment: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come as privileges on any resource, on all databases, on the server's own collections by name."""
    wide = ["readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor"]
    deployment.root.admin.command("createUser", "wide", pwd="word", roles=wide)
    expiry = [{"resource": {"cluster": True}, "actions": ["getClusterParameter"]}]  # in no role but root, as of 6.0
    for user, lacks in (("root", []), ("wide", [expiry])):
        _, findings = examined(monkeypatch, deployment.uri(user), "*.*")

        assert [each["facts"]["missing"] for each in findings if each["facts"].get("missing")] == lacks
        unchecked = ["pre-images are kept"] if lacks else []
        assert [each["check"] for each in findings if each["status"] == "unchecked"] == unchecked


def test_a_wrong_password_is_a_problem_and_nothing_else_is_asked(
    deployment: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account may be locked by asking once for every check."""
    code, findings = examined(monkeypatch, deployment.uri("root").replace(":word@", ":wrong@"), "*.*")

    assert code == exit_codes.UNHEALTHY
    assert [each["check"] for each in findings if each["status"] == "problem"] == ["watched deployment"]
    assert "AuthenticationFailed (18)" in findings[0]["said"]
    assert {each["status"] for each in findings[1:]} == {"unchecked"}
    assert "wrong" not in json.dumps(findings)


def test_who_has_not_logged_in_is_told_so(deployment: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection string without a user connects all the same."""
    port = deployment.server.port
    code, findings = examined(monkeypatch, f"mongodb://127.0.0.1:{port}/?replicaSet=rs0", "*.*")

    assert code == exit_codes.UNHEALTHY
    assert any("nobody has logged in" in each["said"] for each in findings)


def test_a_role_of_an_earlier_version_suffices_and_is_told_what_it_has_too_much(
    deployment: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It let whoever has the recorder's password say that history was erased; nobody prints roles again unasked."""
    everywhere = {
        "resource": {"db": KEPT, "collection": ""},
        "actions": [
            "find", "insert", "update", "createIndex", "listCollections", "createCollection", "collMod", "listIndexes",
        ],
    }  # fmt: skip
    removes = ("snapshots", "rejected", "history_parts", "checkpoints", "baselines", "amendments", "seal_leaves")
    watched = [need for need in needs("shop.*") if need.resource.database != KEPT]
    root = deployment.root.admin
    former = [everywhere, *({"resource": {"db": KEPT, "collection": each}, "actions": ["remove"]} for each in removes)]
    root.command("createRole", "keepHistory", privileges=former, roles=[])
    try:
        uri = deployment.user("former", privileges.documents(watched))
        root.command("grantRolesToUser", "former", roles=["keepHistory"])
        code, findings = examined(monkeypatch, uri, "shop.*")
        (found,) = [each for each in findings if each["check"] == "privileges, history"]
        allowed = {
            (each["resource"]["collection"], action) for each in found["facts"]["excess"] for action in each["actions"]
        }

        assert code == exit_codes.OK
        assert (found["status"], found["facts"]["missing"]) == ("warning", [])
        assert {("erasures", "insert"), ("horizons", "update"), ("history", "collMod"), ("seals", "insert")} <= allowed
        assert not {each for each in allowed if each[0] == "checkpoints"} - {("checkpoints", "collMod")}
        assert "watcher roles daemon --update" in found["remedy"]
        root.command("updateRole", "keepHistory", privileges=privileges.documents(
            [need for need in needs("shop.*") if need.resource.database == KEPT]
        ))  # fmt: skip
        _, findings = examined(monkeypatch, uri, "shop.*")
        assert [each["status"] for each in findings if each["check"] == "privileges, history"] == ["ok"]
    finally:
        root.command("dropRole", "keepHistory")


def test_who_may_make_no_indexes_needs_none_once_they_are_there(
    deployment: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taking that privilege away after the first start is advised, and no fault then."""
    without = [
        need for need in needs("shop.*") if (need.action, need.resource.collection) != ("createIndex", "history")
    ]
    uri = deployment.user("tied", privileges.documents(without))
    _, findings = examined(monkeypatch, uri, "shop.*")
    assert [each["status"] for each in findings if each["check"] == "privileges, history"] == ["problem"]
    for meta in indexes.METAS:
        for spec in meta["index_specs"]:
            options = {key: value for key, value in spec.items() if key not in {"fields", "cls"}}
            deployment.root[KEPT][meta["collection"]].create_index([*map(tuple, spec["fields"])], **options)
    try:
        _, findings = examined(monkeypatch, uri, "shop.*")
        assert [each["status"] for each in findings if each["check"] == "privileges, history"] == ["ok"]
    finally:
        deployment.root.drop_database(KEPT)
