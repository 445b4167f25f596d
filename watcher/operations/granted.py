"""Whom a deployment takes us for, what it allows us, and what is to be typed for the rest."""

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
"""Our roles that a privilege for keeping history is granted to, the fittest first."""
WATCHERS = (privileges.WATCH_CHANGES, privileges.KEEP_HISTORY)
"""The same for watching."""

_UNUSUAL = "hostInfo"
"""An action that the daemon does not need: who is allowed it without having it, is asked for nothing at all."""


class Person(NamedTuple):
    """Whom a deployment takes us for.

    Attributes:
        name: of the user; empty: nobody has logged in.
        database: where the user is defined.
        roles: the names of its roles in `admin`, those that these contain not among them.
        privileges: what they come to.
        asked: whether the deployment asks for privileges at all.
    """

    name: str
    database: str
    roles: tuple[str, ...]
    privileges: tuple[dict[str, Any], ...]
    asked: bool

    def __str__(self) -> str:
        return f"user {self.name!r} of {self.database!r}" if self.name else "without a user"


def whoami(client: MongoClient[Any]) -> Person:
    """Ask a deployment whom it takes us for."""
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
    """What the daemon needs to keep this history: as `needs.keeping`, but no index is to be made that is there."""
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
    """The roles of ours that somebody has, the fittest first."""
    return [name for name in (*ours, privileges.MORE) if name in person.roles]


def lacking_text(person: Person, lacks: Iterable[Need]) -> str:
    """What somebody lacks, in words."""
    return f"{person} lacks " + "; ".join(f"{need.action} on {need.resource} ({need.use})" for need in lacks)


def remedy(person: Person, ours: Sequence[str], lacks: Iterable[Need]) -> str:
    """What an administrator is to type."""
    commands = privileges.grant(person.name, person.database, held(person, ours), lacks)
    return "As an administrator, in mongosh:\n" + commands


def check(settings: Settings, history: Database[Any]) -> None:
    """Refuse to begin without what recording needs: it would be found out later, in the middle of something.

    Args:
        history: the history database.

    Raises:
        watcher.errors.DeploymentRefusedError: something is missing; each by name, and what to type.
    """
    person = whoami(history.client)
    if not person.asked or not person.name:  # who has not logged in is told so by the first command
        return
    lacks = [need for need in missing(person.privileges, history_needs(settings, history)) if need.essential]
    if lacks:
        raise DeploymentRefusedError(
            f"The history cannot be kept: {lacking_text(person, lacks)}.", remedy(person, KEEPERS, lacks)
        )


def explained(
    settings: Settings, scope: Scope, watched: MongoClient[Any], history: Database[Any]
) -> DeploymentRefusedError | None:
    """After a refusal, what is missing; None: nothing that is known.

    Args:
        watched: client of the watched deployment.
        history: the history database.

    Raises:
        pymongo.errors.PyMongoError: a deployment does not say.
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
