"""What a MongoDB user must be allowed to do, as roles and users: printed as commands for `mongosh`, and as documents.

What is in them is said by `needs`. Roles and users are documents of `db.adminCommand`, too. A password is never among
them.
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
"""For each purpose the name of a user, and the roles that it has."""
_ADMIN = 'db.getSiblingDB("admin")'
MORE = "watcherMore"
"""The role that a user is given for what it lacks, if it has none of ours."""
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def documents(needs: Iterable[Need]) -> list[dict[str, Any]]:
    """Needs as the `privileges` of a role: one document for each resource."""
    actions: dict[Resource, list[str]] = {}
    for need in needs:
        actions.setdefault(need.resource, []).append(need.action)
    return [{"resource": resource.document(), "actions": list(dict.fromkeys(a))} for resource, a in actions.items()]


class Role(NamedTuple):
    """A role, to be made in the database `admin`.

    Attributes:
        name: of the role.
        about: what it may do, in words.
        deployment: where: `watched` or `history`.
        needs: what it consists of.
    """

    name: str
    about: str
    deployment: str
    needs: tuple[Need, ...]


class User(NamedTuple):
    """A user, to be made in the database `admin`.

    Attributes:
        name: of the user.
        purpose: one of `PURPOSES`.
        roles: their names.
    """

    name: str
    purpose: str
    roles: tuple[str, ...]


class Grants(NamedTuple):
    """What one deployment is to be given: first the roles, then the users.

    Attributes:
        deployment: `watched` or `history`; `watched` also where it keeps the history.
        roles: its roles.
        users: its users.
    """

    deployment: str
    roles: tuple[Role, ...]
    users: tuple[User, ...]


def is_elsewhere(settings: Settings) -> bool:
    """Whether history is kept by another deployment, or by another user of the same."""
    return settings.history_uri is not None and settings.history_uri != settings.mongodb_uri


def roles(settings: Settings, scope: Scope) -> tuple[Role, ...]:
    """Every role there is.

    Args:
        settings: say what is done, and where history is kept.
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
    """What each deployment is to be given.

    Args:
        settings: say what is done, and where history is kept.
        purposes: of `PURPOSES`, those wanted.
        minimal: leave out what can be done without.
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
    """The command that makes a role, for `db.adminCommand`."""
    return {"createRole": role.name, "privileges": documents(role.needs), "roles": []}


def user_document(user: User) -> dict[str, Any]:
    """The command that makes a user, for `db.adminCommand`; `pwd` is still to be added."""
    return {"createUser": user.name, "roles": list(user.roles)}


def make_role(role: Role, *, update: bool = False) -> str:
    """The command that makes a role, or changes one that is there, with what each privilege is for."""
    name = "" if update else f"\n  role: {literal(role.name)},"
    call = f"updateRole({literal(role.name)}, {{" if update else "createRole({"
    lines = "".join(_privilege_text(each, role.needs) for each in documents(role.needs))
    return f"// {role.about}\n{_ADMIN}.{call}{name}\n  privileges: [{lines}\n  ],\n  roles: [],\n}})"


def make_user(user: User) -> str:
    """The command that makes a user and asks for its password."""
    names = literal(list(user.roles))
    return f"{_ADMIN}.createUser({{ user: {literal(user.name)}, pwd: passwordPrompt(), roles: {names} }})"


def grant(user: str, database: str, held: Sequence[str], needs: Iterable[Need]) -> str:
    """The commands that give a user what it lacks, by a role that it has already or by a new one.

    Args:
        user: its name.
        database: where it is defined; `$external` of one that a certificate names.
        held: names of roles of ours that it has, the fittest first.
        needs: what it lacks.
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
    """A value as JavaScript; names of fields without quotes where they can do without."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)}: {literal(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value)


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else json.dumps(name)


def _privilege_text(document: dict[str, Any], needs: Iterable[Need]) -> str:
    """One privilege, and above it what its actions are for."""
    here = [need for need in needs if need.resource.document() == document["resource"]]
    uses: dict[tuple[str, bool], list[str]] = {}
    for need in here:
        uses.setdefault((need.use, need.essential), []).append(need.action)
    words = (
        f"\n    // {', '.join(actions)}: {use}{'' if essential else ' (can be left out)'}"
        for (use, essential), actions in uses.items()
    )
    return "".join(words) + f"\n    {literal(document)},"
