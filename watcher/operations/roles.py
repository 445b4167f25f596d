"""The roles and users that a deployment is to be given, by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from watcher.operations import privileges

if TYPE_CHECKING:
    from collections.abc import Collection

    from config.settings import Settings
    from watcher.operations.privileges import Need
    from watcher.targets.scope import Scope

WATCHED, HISTORY = "watched", "history"
DAEMON, READER, REVERT = PURPOSES = ("daemon", "reader", "revert")

WATCH_CHANGES, KEEP_HISTORY = "watchChanges", "keepHistory"
READ_HISTORY, REVERT_CHANGES, NOTE_REVERTS = "readHistory", "revertChanges", "noteReverts"

_USERS = {
    DAEMON: ("watcher", (WATCH_CHANGES, KEEP_HISTORY)),
    READER: ("reader", (READ_HISTORY,)),
    REVERT: ("reverter", (REVERT_CHANGES, READ_HISTORY, NOTE_REVERTS)),
}
"""For each purpose the name of a user, and the roles that it has."""


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


class Place(NamedTuple):
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
        scope: what they say is watched.
    """
    kept = settings.history_database
    return (
        Role(
            WATCH_CHANGES, "follows what is watched, writes no document", WATCHED, privileges.watching(settings, scope)
        ),
        Role(KEEP_HISTORY, f"writes {kept}", HISTORY, privileges.keeping(kept)),
        Role(READ_HISTORY, f"reads {kept}: log, show, diff, blame, stats, export", HISTORY, privileges.reading(kept)),
        Role(REVERT_CHANGES, "puts documents back", WATCHED, privileges.reverting(scope)),
        Role(NOTE_REVERTS, f"writes down in {kept} what was put back", HISTORY, privileges.noting_reverts(kept)),
    )


def plan(
    settings: Settings, scope: Scope, purposes: Collection[str] = PURPOSES, *, minimal: bool = False
) -> tuple[Place, ...]:
    """What each deployment is to be given.

    Args:
        settings: say what is done, and where history is kept.
        scope: what they say is watched.
        purposes: of `PURPOSES`, those wanted.
        minimal: leave out what can be done without.
    """
    wanted = {name for purpose in purposes for name in _USERS[purpose][1]}
    chosen = [role for role in roles(settings, scope) if role.name in wanted]
    if minimal:
        chosen = [role._replace(needs=tuple(need for need in role.needs if need.essential)) for role in chosen]
    if not is_elsewhere(settings):
        chosen = [role._replace(deployment=WATCHED) for role in chosen]
    places = []
    for deployment in (WATCHED, HISTORY):
        there = tuple(role for role in chosen if role.deployment == deployment)
        if there:
            places.append(Place(deployment, there, _users(purposes, {role.name for role in there})))
    return tuple(places)


def _users(purposes: Collection[str], there: set[str]) -> tuple[User, ...]:
    found = []
    for purpose in PURPOSES:
        name, named = _USERS[purpose]
        if purpose in purposes and (its := tuple(role for role in named if role in there)):
            found.append(User(name, purpose, its))
    return tuple(found)
