"""The roles and users that a deployment needs, as commands for `mongosh`, and as documents for `db.adminCommand`.

The privileges come from `needs`. Passwords are never included.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from watcher.operations.needs import (
    Need,
    Resource,
    erasing,
    keeping,
    noting_reverts,
    reading,
    reverting,
    sealing,
    watching,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from config.settings import Settings
    from watcher.targets.scope import Scope

WATCHED, KEEPER = "watched", "history"
DAEMON, READER, REVERT, ERASER, SEALER = PURPOSES = ("daemon", "reader", "revert", "eraser", "sealer")
WATCH_CHANGES, KEEP_HISTORY = "watchChanges", "keepHistory"
ERASE_HISTORY, SEAL_HISTORY = "eraseHistory", "sealHistory"
READ_HISTORY, REVERT_CHANGES, NOTE_REVERTS = "readHistory", "revertChanges", "noteReverts"
_USERS = {
    DAEMON: ("watcher", (WATCH_CHANGES, KEEP_HISTORY)),
    READER: ("reader", (READ_HISTORY,)),
    REVERT: ("reverter", (REVERT_CHANGES, READ_HISTORY, NOTE_REVERTS)),
    ERASER: ("eraser", (READ_HISTORY, ERASE_HISTORY)),
    SEALER: ("sealer", (READ_HISTORY, SEAL_HISTORY)),
}
"""For each purpose, the name of a user and its roles."""
_ADMIN = 'db.getSiblingDB("admin")'
MORE = "watcherMore"
"""The role that is created for a user's missing privileges, if it has none of the program's roles."""
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def documents(needs: Iterable[Need]) -> list[dict[str, Any]]:
    """Needs as the `privileges` of a role: one document per resource."""
    actions: dict[Resource, list[str]] = {}
    for need in needs:
        actions.setdefault(need.resource, []).append(need.action)
    return [{"resource": resource.document(), "actions": list(dict.fromkeys(a))} for resource, a in actions.items()]


class Role(NamedTuple):
    """A role, to be created in the database `admin`.

    Attributes:
        name: name of the role.
        about: what it allows, as text.
        deployment: where it is needed: `watched` or `history`.
        needs: its privileges.
    """

    name: str
    about: str
    deployment: str
    needs: tuple[Need, ...]


class User(NamedTuple):
    """A user, to be created in the database `admin`.

    Attributes:
        name: name of the user.
        purpose: one of `PURPOSES`.
        roles: names of its roles.
    """

    name: str
    purpose: str
    roles: tuple[str, ...]


class Grants(NamedTuple):
    """The roles and users to create in one deployment.

    Attributes:
        deployment: `watched` or `history`; `watched` also if that deployment keeps the history.
        roles: its roles.
        users: its users.
    """

    deployment: str
    roles: tuple[Role, ...]
    users: tuple[User, ...]


def is_elsewhere(settings: Settings) -> bool:
    """Whether history is kept in another deployment, or by another user of the same deployment."""
    return settings.history_uri is not None and settings.history_uri != settings.mongodb_uri


def roles(settings: Settings, scope: Scope) -> tuple[Role, ...]:
    """All roles.

    Args:
        settings: determine the needs, and where history is kept.
        scope: the watched namespaces.
    """
    kept = settings.history_database
    return (
        Role(WATCH_CHANGES, "follows what is watched, writes no document", WATCHED, watching(settings, scope)),
        Role(KEEP_HISTORY, f"writes {kept}", KEEPER, keeping(settings)),
        Role(READ_HISTORY, f"reads {kept}: log, show, diff, blame, stats, export", KEEPER, reading(kept)),
        Role(REVERT_CHANGES, "puts documents back", WATCHED, reverting(settings, scope)),
        Role(ERASE_HISTORY, f"removes values and expired history from {kept}", KEEPER, erasing(kept)),
        Role(SEAL_HISTORY, f"seals {kept}, and can change nothing in it", KEEPER, sealing(kept)),
        Role(NOTE_REVERTS, f"writes down in {kept} what was put back", KEEPER, noting_reverts(kept)),
    )


def plan(
    settings: Settings, scope: Scope, purposes: Collection[str] = PURPOSES, *, minimal: bool = False
) -> tuple[Grants, ...]:
    """The roles and users for each deployment.

    Args:
        settings: determine the needs, and where history is kept.
        scope: the watched namespaces.
        purposes: those of `PURPOSES` that are wanted.
        minimal: omit privileges that are not essential.
    """
    wanted = {name for purpose in purposes for name in _USERS[purpose][1]}
    chosen = [role for role in roles(settings, scope) if role.name in wanted]
    if minimal:
        chosen = [role._replace(needs=tuple(need for need in role.needs if need.essential)) for role in chosen]
    if not is_elsewhere(settings):
        chosen = [role._replace(deployment=WATCHED) for role in chosen]
    grants = []
    for deployment in (WATCHED, KEEPER):
        there = tuple(role for role in chosen if role.deployment == deployment)
        if there:
            grants.append(Grants(deployment, there, _users(purposes, {role.name for role in there})))
    return tuple(grants)


def _users(purposes: Collection[str], there: set[str]) -> tuple[User, ...]:
    found = []
    for purpose in PURPOSES:
        name, named = _USERS[purpose]
        if purpose in purposes and (its := tuple(role for role in named if role in there)):
            found.append(User(name, purpose, its))
    return tuple(found)


def role_document(role: Role) -> dict[str, Any]:
    """The command that creates a role, for `db.adminCommand`."""
    return {"createRole": role.name, "privileges": documents(role.needs), "roles": []}


def user_document(user: User) -> dict[str, Any]:
    """The command that creates a user, for `db.adminCommand`; `pwd` has to be added."""
    return {"createUser": user.name, "roles": list(user.roles)}


def make_role(role: Role, *, update: bool = False) -> str:
    """The mongosh command that creates a role, or updates an existing one, with comments on each privilege's use."""
    name = "" if update else f"\n  role: {literal(role.name)},"
    call = f"updateRole({literal(role.name)}, {{" if update else "createRole({"
    lines = "".join(_privilege_text(each, role.needs) for each in documents(role.needs))
    return f"// {role.about}\n{_ADMIN}.{call}{name}\n  privileges: [{lines}\n  ],\n  roles: [],\n}})"


def make_user(user: User) -> str:
    """The mongosh command that creates a user and prompts for its password."""
    names = literal(list(user.roles))
    return f"{_ADMIN}.createUser({{ user: {literal(user.name)}, pwd: passwordPrompt(), roles: {names} }})"


def grant(user: str, database: str, held: Sequence[str], needs: Iterable[Need]) -> str:
    """The mongosh commands that grant a user the missing privileges, by a role that it has or by a new one.

    Args:
        user: name of the user.
        database: database that it is defined in; `$external` for a user of a certificate.
        held: the program's roles that it has, in order of preference.
        needs: the missing privileges.
    """
    wanted = literal(documents(needs))
    if held:
        return f"{_ADMIN}.grantPrivilegesToRole({literal(held[0])}, {wanted})"
    return (
        f"{_ADMIN}.createRole({{ role: {literal(MORE)}, privileges: {wanted}, roles: [] }})\n"
        f"db.getSiblingDB({literal(database)}).grantRolesToUser({literal(user)}, "
        f'[{{ role: {literal(MORE)}, db: "admin" }}])'
    )


def literal(value: Any) -> str:
    """A value as JavaScript; keys are quoted only if necessary."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)}: {literal(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value)


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name)


def _privilege_text(document: dict[str, Any], needs: Iterable[Need]) -> str:
    """One privilege, preceded by comments on the use of its actions."""
    here = [need for need in needs if need.resource.document() == document["resource"]]
    uses: dict[tuple[str, bool], list[str]] = {}
    for need in here:
        uses.setdefault((need.use, need.essential), []).append(need.action)
    words = (
        f"\n    // {', '.join(actions)}: {use}{'' if essential else ' (can be left out)'}"
        for (use, essential), actions in uses.items()
    )
    return "".join(words) + f"\n    {literal(document)},"
