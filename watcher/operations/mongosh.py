"""Roles and users as commands for `mongosh`, and as documents of `db.adminCommand`. A password is never among them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from watcher.operations import privileges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from watcher.operations.privileges import Need
    from watcher.operations.roles import Role, User

_ADMIN = 'db.getSiblingDB("admin")'
MORE = "watcherMore"
"""The role that a user is given for what it lacks, if it has none of ours."""

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def role_document(role: Role) -> dict[str, Any]:
    """The command that makes a role, for `db.adminCommand`."""
    return {"createRole": role.name, "privileges": privileges.documents(role.needs), "roles": []}


def user_document(user: User) -> dict[str, Any]:
    """The command that makes a user, for `db.adminCommand`; `pwd` is still to be added."""
    return {"createUser": user.name, "roles": list(user.roles)}


def make_role(role: Role, *, update: bool = False) -> str:
    """The command that makes a role, or changes one that is there, with what each privilege is for."""
    name = "" if update else f"\n  role: {literal(role.name)},"
    call = f"updateRole({literal(role.name)}, {{" if update else "createRole({"
    lines = "".join(_privilege(each, role.needs) for each in privileges.documents(role.needs))
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
    wanted = literal(privileges.documents(needs))
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


def _privilege(document: dict[str, Any], needs: Iterable[Need]) -> str:
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
