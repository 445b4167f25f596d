"""The user of a connection, its privileges, and the commands that grant the missing ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo.errors import OperationFailure

from models import indexes
from watcher.errors import UNAUTHORIZED, DeploymentRefusedError
from watcher.operations import privileges
from watcher.operations.needs import Need, keeping, missing, watching

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pymongo import MongoClient
    from pymongo.database import Database

    from config.settings import Settings
    from watcher.targets.scope import Scope

KEEPERS = (privileges.KEEP_HISTORY, privileges.WATCH_CHANGES)
"""Roles of the program that a missing privilege for keeping history is granted to, in order of preference."""
WATCHERS = (privileges.WATCH_CHANGES, privileges.KEEP_HISTORY)
"""The same for privileges for watching."""

_UNUSUAL = "hostInfo"
"""An action that no role of the daemon grants. If the server allows it although the user has no such privilege, the
deployment does not enforce privileges."""


class Person(NamedTuple):
    """The user of a connection.

    Attributes:
        name: name of the user; empty: not authenticated.
        database: database that the user is defined in.
        roles: names of its roles in `admin`, without inherited ones.
        privileges: all privileges that these grant.
        asked: whether the deployment enforces privileges at all.
    """

    name: str
    database: str
    roles: tuple[str, ...]
    privileges: tuple[dict[str, Any], ...]
    asked: bool

    def __str__(self) -> str:
        return f"user {self.name!r} of {self.database!r}" if self.name else "without a user"


def whoami(client: MongoClient[Any]) -> Person:
    """The user of a connection, as the deployment reports it."""
    info = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    users = info["authenticatedUsers"]
    granted = tuple(info["authenticatedUserPrivileges"])
    may = any(_UNUSUAL in each["actions"] for each in granted)
    return Person(
        users[0]["user"] if users else "",
        users[0]["db"] if users else "",
        tuple(role["role"] for role in info["authenticatedUserRoles"] if role["db"] == "admin"),
        granted,
        may or not _allowed_all_the_same(client),
    )


def history_needs(settings: Settings, history: Database[Any]) -> tuple[Need, ...]:
    """The needs for keeping this history: `needs.keeping`, without the creation of indexes that exist already."""
    needs = keeping(settings)
    try:
        there = not indexes.wrong(history)
    except OperationFailure as error:
        if error.code not in UNAUTHORIZED:
            raise
        there = False
    made = {meta["collection"] for meta in indexes.METAS} if there else set()
    return tuple(need for need in needs if need.action != "createIndex" or need.resource.collection not in made)


def held(person: Person, ours: Sequence[str]) -> list[str]:
    """The roles of the program that a user has, in order of preference."""
    return [name for name in (*ours, privileges.MORE) if name in person.roles]


def lacking_text(person: Person, lacks: Iterable[Need]) -> str:
    """The privileges that a user lacks, as text."""
    return f"{person} lacks " + "; ".join(f"{need.action} on {need.resource} ({need.use})" for need in lacks)


def remedy(person: Person, ours: Sequence[str], lacks: Iterable[Need]) -> str:
    """The commands that an administrator has to run, as text."""
    commands = privileges.grant(person.name, person.database, held(person, ours), lacks)
    return "As an administrator, in mongosh:\n" + commands


def check(settings: Settings, history: Database[Any]) -> None:
    """Check the privileges that recording needs, so that the daemon does not fail later, in the middle of its work.

    Args:
        history: the history database.

    Raises:
        watcher.errors.DeploymentRefusedError: privileges are missing; the message names each, and the commands.
    """
    person = whoami(history.client)
    if not person.asked or not person.name:  # without authentication, the first command fails
        return
    lacks = [need for need in missing(person.privileges, history_needs(settings, history)) if need.essential]
    if lacks:
        raise DeploymentRefusedError(
            f"The history cannot be kept: {lacking_text(person, lacks)}.", remedy(person, KEEPERS, lacks)
        )


def explained(
    settings: Settings, scope: Scope, watched: MongoClient[Any], history: Database[Any]
) -> DeploymentRefusedError | None:
    """After a refusal, an error that names the missing privileges; None: none are known to be missing.

    Args:
        watched: client of the watched deployment.
        history: the history database.
    """
    for client, needs, ours in (
        (watched, watching(settings, scope), WATCHERS),
        (history.client, history_needs(settings, history), KEEPERS),
    ):
        person = whoami(client)
        lacks = [need for need in missing(person.privileges, needs) if need.essential]
        if lacks and person.asked and person.name:
            return DeploymentRefusedError(
                f"MongoDB refuses: Unauthorized (13): {lacking_text(person, lacks)}.", remedy(person, ours, lacks)
            )
    return None


def _allowed_all_the_same(client: MongoClient[Any]) -> bool:
    try:
        client.admin.command(_UNUSUAL)
    except OperationFailure:
        return False
    return True
