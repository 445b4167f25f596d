"""The daemon works with the privileges that `watcher roles` prints, and no others: else people grant `root`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from bson import Timestamp
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from change_history import server_codes
from config.settings import Settings
from tests.support.daemon import eventually, watcher
from tests.support.servers import KEPT, clean, daemon_of, give, live, secured
from watcher.cli import exit_codes
from watcher.errors import DeploymentRefusedError
from watcher.operations import granted, privileges
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pymongo.database import Database

    from tests.support.daemon import Daemon
    from tests.support.servers import Secured
    from watcher.operations.needs import Need


@pytest.fixture(scope="module")
def deployments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Secured, Secured]]:
    """Two replica sets that ask for privileges."""
    with secured(tmp_path_factory.mktemp("one")) as one, secured(tmp_path_factory.mktemp("other")) as other:
        yield one, other


@pytest.fixture
def one(deployments: tuple[Secured, Secured]) -> Iterator[Secured]:
    """The first, without users, roles and data of ours afterwards."""
    yield deployments[0]
    clean(deployments[0])


@pytest.fixture
def other(deployments: tuple[Secured, Secured]) -> Iterator[Secured]:
    """The second, likewise."""
    yield deployments[1]
    clean(deployments[1])


def test_a_daemon_needs_no_more_than_is_printed(one: Secured, tmp_path: Path) -> None:
    """One deployment, one user; and the doctor finds nothing to complain of."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    live(one, daemon)
    examined = watcher(daemon, "doctor", "--strict")

    assert examined.returncode == exit_codes.OK, examined.stdout


def test_history_elsewhere_needs_a_user_of_its_own(one: Secured, other: Secured, tmp_path: Path) -> None:
    """The one may not write at all, the other may not read what is watched."""
    daemon = daemon_of(one, tmp_path, other)
    give(daemon, one, other)
    live(one, daemon)
    examined = watcher(daemon, "doctor", "--strict")

    assert examined.returncode == exit_codes.OK, examined.stdout
    assert KEPT not in one.root.list_database_names()


@pytest.mark.parametrize("include", ["*.*", "shop.users"])
def test_wider_and_narrower_streams_have_roles_that_suffice(one: Secured, tmp_path: Path, include: str) -> None:
    """The stream of a deployment, and that of a single collection, are other resources to the server."""
    daemon = daemon_of(one, tmp_path, include=include)
    give(daemon, one)
    one.root.shop.users.insert_one({"_id": "old"})
    with daemon:
        daemon.ready()
        daemon.recorded("shop.users", "old")
        one.root.shop.users.insert_one({"_id": "new"})
        daemon.recorded("shop.users", "new")
        assert daemon.stop() == exit_codes.OK
    assert [line for line in daemon.log_lines() if line["level"] in {"warning", "error"}] == []
    examined = watcher(daemon, "doctor", "--strict")
    assert examined.returncode == exit_codes.OK, examined.stdout


def needed() -> list[tuple[str, Need]]:
    """All that is printed as essential, with the role that it is in."""
    (place,) = privileges.plan(
        Settings(include=("shop.*",)), Scope(("shop.*",), (), KEPT), [privileges.DAEMON], minimal=True
    )
    return [(role.name, need) for role in place.roles for need in role.needs]


def without(one: Secured, tmp_path: Path, role: str, need: Need) -> Daemon:
    """A daemon, not yet started, whose user lacks one privilege."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    one.root.admin.command("revokePrivilegesFromRole", role, privileges=privileges.documents([need]))
    one.root.shop.users.insert_one({"_id": "old"})
    return daemon


@pytest.mark.parametrize(
    "need",
    [pytest.param(need, id=need.action) for role, need in needed() if role == privileges.WATCH_CHANGES],
)
def test_without_an_essential_privilege_of_watching_the_daemon_ends_or_complains(
    one: Secured, tmp_path: Path, need: Need
) -> None:
    """Nothing is asked for that is not needed, and nothing that is needed is missed in silence."""
    daemon = without(one, tmp_path, privileges.WATCH_CHANGES, need)

    def complains() -> bool:
        return any("Unauthorized (13)" in json.dumps(line) for line in daemon.log_lines())

    with daemon:
        eventually(complains, f"a complaint\n{daemon.log()}")


def test_without_an_essential_privilege_of_keeping_the_daemon_ends_and_says_what_to_type(
    one: Secured, tmp_path: Path
) -> None:
    """It would be found out in the middle of something, perhaps in weeks, and waited for like a server that is away."""
    need = next(each for role, each in needed() if (each.resource.collection, each.action) == ("terms", "update"))
    daemon = without(one, tmp_path, privileges.KEEP_HISTORY, need)
    with daemon:
        assert daemon.wait() == exit_codes.FATAL, daemon.log()
    (last,) = [line for line in daemon.log_lines() if line["event"] == "cannot go on"]
    assert f"lacks {need.action} on {need.resource}" in last["reason"]
    (command,) = [line for line in last["advice"] if "grantPrivilegesToRole" in line]
    assert command == privileges.grant("watcher", "admin", [privileges.KEEP_HISTORY], [need])


def test_whichever_privilege_of_keeping_is_missing_is_named_before_anything_is_written(
    one: Secured, tmp_path: Path
) -> None:
    """One that is overlooked is a daemon that fails in the middle of the night."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    settings, admin = Settings(include=("shop.*",)), one.root.admin
    for need in (each for role, each in needed() if role == privileges.KEEP_HISTORY):
        documents = privileges.documents([need])
        admin.command("revokePrivilegesFromRole", privileges.KEEP_HISTORY, privileges=documents)
        with MongoClient[dict[str, Any]](one.uri("watcher")) as client:
            with pytest.raises(DeploymentRefusedError, match=f"lacks {need.action} on ") as refused:
                granted.check(settings, client[KEPT])
            assert privileges.literal(documents) in refused.value.remedy
            admin.command("grantPrivilegesToRole", privileges.KEEP_HISTORY, privileges=documents)
            granted.check(settings, client[KEPT])
    assert KEPT not in one.root.list_database_names()


def test_a_privilege_that_is_taken_away_while_the_daemon_runs_ends_it_by_name(one: Secured, tmp_path: Path) -> None:
    """Retried, it would look like a deployment that is away, until the oplog has passed the position."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    with daemon:
        daemon.ready()
        insert = [{"resource": {"db": KEPT, "collection": "history"}, "actions": ["insert"]}]
        one.root.admin.command("revokePrivilegesFromRole", privileges.KEEP_HISTORY, privileges=insert)
        one.root.shop.users.insert_one({"_id": "new"})
        assert daemon.wait() == exit_codes.FATAL, daemon.log()
    assert "lacks insert on change_history.history (record)" in daemon.log()


def test_who_has_the_recorders_password_cannot_say_that_history_was_erased(one: Secured, tmp_path: Path) -> None:
    """Nor that it has expired, nor seal or remove anything: `watcher verify` counts such things as done by right."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    live(one, daemon)
    tried = 0
    with MongoClient[dict[str, Any]](one.uri("watcher")) as client:
        kept = client[KEPT]
        for name in ("erasures", "horizons", "seals", "seal_leaves", "reverts", "anything"):
            for command in (
                {"insert": name, "documents": [{"_id": 1}]},
                {"update": name, "updates": [{"q": {"_id": 1}, "u": {"$set": {"n": 1}}, "upsert": True}]},
                {"delete": name, "deletes": [{"q": {}, "limit": 0}]},
                {"createIndexes": name, "indexes": [{"key": {"n": 1}, "name": "n", "expireAfterSeconds": 0}]},
                {"drop": name},
                {"renameCollection": f"{KEPT}.amendments", "to": f"{KEPT}.{name}"},
            ):
                tried += is_refused(client.admin if "renameCollection" in command else kept, command)
        for name in ("history", "history_parts", "amendments", "checkpoints"):
            by_age = {"keyPattern": {"_id": 1}, "expireAfterSeconds": 0}
            tried += is_refused(kept, {"collMod": name, "index": by_age})
            tried += is_refused(kept, {"drop": name})
        tried += is_refused(kept, {"delete": "history", "deletes": [{"q": {}, "limit": 0}]})
        tried += is_refused(kept, {"dropDatabase": 1})

    assert tried == 6 * 6 + 4 * 2 + 2
    assert one.root[KEPT].history.count_documents({})


def is_refused(database: Database[Any], command: dict[str, Any]) -> bool:
    """Whether the server does not allow a command; it fails if it was let through."""
    with pytest.raises(OperationFailure) as refused:
        database.command(command)
    return refused.value.code == server_codes.UNAUTHORIZED


def test_what_is_printed_suffices_to_seal_to_expire_and_to_name_users(one: Secured, tmp_path: Path) -> None:
    """And to take a baseline, to import, and to set aside: whatever these settings have the daemon and its user do."""
    daemon = daemon_of(
        one, tmp_path, seal="on", seal_interval_s=1, retention="shop.*=1s", actor_sessions="on", redact="shop.*:p=drop"
    )
    give(daemon, one)
    shop, kept = one.root.shop, one.root[KEPT]
    shop.users.insert_many([{"_id": 1, "n": 1, "log": [{"field": "n", "old_value": 0, "new_value": 1}]}, {"_id": 2}])
    with daemon:
        daemon.ready()
        daemon.recorded("shop.users", 2)
        for number in range(100):
            shop.users.update_one({"_id": 2}, {"$set": {"n": number, "large": "x" * 6_000_000 if not number else 1}})
        shop.users.insert_one({"_id": Timestamp(0, 0), "empty": True})
        eventually(lambda: kept.horizons.count_documents({"done": {"$exists": True}}), f"expiry\n{daemon.log()}")
        eventually(lambda: kept.seals.count_documents({}), f"a seal\n{daemon.log()}")
        eventually(lambda: kept.actors_known.count_documents({}), f"users\n{daemon.log()}")
        asked = watcher(daemon, "baseline", "shop.users", "1")
        assert asked.returncode == exit_codes.OK, asked.stderr + daemon.log()
        assert daemon.stop() == exit_codes.OK
    grave = [line for line in daemon.log_lines() if line["level"] in {"warning", "error"}]
    assert [line["event"] for line in grave if not line["event"].startswith("other rules of redaction")] == []
    examined = watcher(daemon, "doctor", "--json")
    found = {each["check"]: each for each in map(json.loads, examined.stdout.splitlines())}
    assert found["privileges, history"]["status"] == "ok", found["privileges, history"]


def test_indexes_that_are_there_need_no_privilege_to_make_them(one: Secured, tmp_path: Path) -> None:
    """Whoever may make one can have the server remove all history by its age; so the privilege can be taken away."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    with daemon:
        daemon.ready()
        assert daemon.stop() == exit_codes.OK
    for name in ("history", "snapshots"):
        making = [{"resource": {"db": KEPT, "collection": name}, "actions": ["createIndex"]}]
        one.root.admin.command("revokePrivilegesFromRole", privileges.KEEP_HISTORY, privileges=making)
    one.root.shop.users.insert_one({"_id": 1})
    with daemon:
        daemon.ready()
        daemon.recorded("shop.users", 1)
        assert daemon.stop() == exit_codes.OK
    examined = watcher(daemon, "doctor", "--strict")
    assert examined.returncode == exit_codes.OK, examined.stdout


def test_the_minimal_roles_suffice_to_record(one: Secured, tmp_path: Path) -> None:
    """What is marked as `can be left out` can be."""
    settings = Settings(include=("shop.*",))
    for place in privileges.plan(settings, Scope(("shop.*",), (), KEPT), [privileges.DAEMON], minimal=True):
        for role in place.roles:
            one.admin(privileges.role_document(role))
        for user in place.users:
            one.admin(privileges.user_document(user))
    one.root.shop.users.insert_one({"_id": "old"})
    with daemon_of(one, tmp_path) as daemon:
        daemon.ready()
        daemon.recorded("shop.users", "old")
        one.root.shop.users.insert_one({"_id": "new"})
        daemon.recorded("shop.users", "new")
        assert daemon.stop() == exit_codes.OK
