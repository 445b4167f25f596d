"""The daemon works with the privileges that `watcher roles` prints, and no others: else people grant `root`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from config.settings import Settings
from tests.support.daemon import eventually, watcher
from tests.support.servers import KEPT, clean, daemon_of, give, live, secured
from watcher.cli import exit_codes
from watcher.operations import privileges
from watcher.targets.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Secured
    from watcher.operations.privileges import Need


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


@pytest.mark.parametrize(("role", "need"), [pytest.param(*each, id=f"{each[0]}-{each[1].action}") for each in needed()])
def test_without_an_essential_privilege_the_daemon_ends_or_complains(
    one: Secured, tmp_path: Path, role: str, need: Need
) -> None:
    """Nothing is asked for that is not needed, and nothing that is needed is missed in silence."""
    daemon = daemon_of(one, tmp_path)
    give(daemon, one)
    one.root.admin.command("revokePrivilegesFromRole", role, privileges=privileges.documents([need]))
    one.root.shop.users.insert_one({"_id": "old"})

    def complains() -> bool:
        return any("Unauthorized (13)" in json.dumps(line) for line in daemon.log_lines())

    with daemon:
        eventually(complains, f"a complaint\n{daemon.log()}")


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
