"""What a MongoDB user must be allowed to do, by the settings: the one list that `roles` prints and `doctor` checks.

Actions are those of https://www.mongodb.com/docs/manual/reference/privilege-actions/, resources those of
https://www.mongodb.com/docs/manual/reference/resource-document/. What matches what follows the server's
`buildResourceSearchList` (src/mongo/db/auth/authorization_session_impl.cpp). Roles and users are printed as commands
for `mongosh`, and as documents of `db.adminCommand`. A password is never among them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from change_history import globs
from change_history.stored.names import (
    AMENDMENTS,
    BASELINES,
    CHECKPOINTS,
    ERASURES,
    HISTORY,
    HORIZONS,
    IMPORTED,
    PARTS,
    REJECTED,
    REVERTS,
    SEAL_LEAVES,
    SEALS,
    SNAPSHOTS,
)
from config.settings import ActorSessions, Baseline, OnGap, PreImages, RetentionBy
from watcher.targets.scope import is_pattern

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from config.settings import Settings
    from watcher.targets.scope import Scope

_APART = ("local", "config")
"""Databases that a privilege on all databases does not reach."""


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


class Resource(NamedTuple):
    """What an action is done to.

    Attributes:
        database: empty: any.
        collection: empty: any that is not the server's own.
        cluster: the deployment as a whole instead.
    """

    database: str = ""
    collection: str = ""
    cluster: bool = False

    def document(self) -> dict[str, Any]:
        """The resource as roles name it."""
        return {"cluster": True} if self.cluster else {"db": self.database, "collection": self.collection}

    def __str__(self) -> str:
        return "the cluster" if self.cluster else f"{self.database or '*'}.{self.collection or '*'}"


CLUSTER = Resource(cluster=True)
OPLOG = Resource("local", "oplog.rs")


class Need(NamedTuple):
    """One action on one resource.

    Attributes:
        resource: on what.
        action: MongoDB's name of it.
        use: what it is needed for.
        essential: without it, what the settings ask for is not done.
    """

    resource: Resource
    action: str
    use: str
    essential: bool = True


def watching(settings: Settings, scope: Scope) -> tuple[Need, ...]:
    """What the daemon needs on the watched deployment. None of it can change a document.

    Args:
        settings: say what it is to do.
    """
    stream = Resource(scope.database or "", scope.collection or "")
    enables = settings.pre_images is PreImages.ENABLE
    reads = settings.baseline is Baseline.INITIAL or settings.on_gap is OnGap.RECONCILE
    needs = [
        Need(stream, "changeStream", "follow the change stream"),
        Need(stream, "find", "follow the change stream, read existing documents"),
        *(
            Need(each, "listCollections", "know which collections there are", enables or reads)
            for each in _databases(scope)
        ),
    ]
    if scope.widened:
        beside = Resource(scope.database or "")
        use = "read context documents, which lie beside what is watched"
        needs += [Need(beside, action, use, essential=False) for action in ("changeStream", "find")]
    if enables:
        needs += [Need(resource, "collMod", "switch pre-images on") for resource in _collections(scope)]
    if settings.pre_images is not PreImages.OFF:
        needs.append(Need(CLUSTER, "getClusterParameter", "know how long pre-images are kept", essential=False))
    tells_users = settings.actor_sessions is ActorSessions.ON
    if tells_users:
        needs += [
            Need(CLUSTER, "viewUser", "know the names of database users"),
            Need(OPLOG, "find", "know the sessions of what is written outside of transactions"),
        ]
    return (
        *needs,
        Need(
            CLUSTER, "replSetGetConfig", "bind positions to this very replica set, not only its name", essential=False
        ),
        Need(OPLOG, "find", "know how long it takes until the oplog overtakes the position", essential=False),
    )


_REMOVED = {
    SNAPSHOTS: "forget snapshots that late history has made wrong",
    REJECTED: "forget rejected events that were brought in",
    PARTS: "forget the chunks of rejected events that were brought in",
    CHECKPOINTS: "split a stream in another way",
    BASELINES: "forget baselines that were asked for and taken",
    AMENDMENTS: "forget notes that were sealed",
    SEAL_LEAVES: "put right what was sealed in part",
}
"""What who records must be allowed to remove; not history."""
_RECORDING = {SNAPSHOTS, HISTORY}
"""Without the others, recording goes on, and commands are refused."""


def keeping(database: str, *, expires: bool = False) -> tuple[Need, ...]:
    """What the daemon needs on the deployment that keeps the history.

    Args:
        expires: whether it is to expire history: only then may it remove any.
    """
    there = Resource(database)
    essential = {
        "find": "know what is recorded",
        "insert": "record",
        "update": "save the position",
        "createIndex": "make the indexes of the history",
    }
    useful = {
        "listCollections": "look whether the view of the changes is there",
        "createCollection": "make the history, well compressed, and the view of the changes",
        "collMod": "bring the view of the changes up to date",
        "listIndexes": "let `watcher doctor` look at the indexes",
    }
    removed = {**_REMOVED, **({HISTORY: "expire history by WATCHER_RETENTION"} if expires else {})}
    return (
        *(Need(there, action, use) for action, use in essential.items()),
        *(Need(Resource(database, name), "remove", use, name in _RECORDING) for name, use in removed.items()),
        *(Need(there, action, use, essential=False) for action, use in useful.items()),
    )


def expires(settings: Settings) -> bool:
    """Whether the daemon is to remove history by age."""
    return bool(settings.retention) and settings.retention_by is RetentionBy.DAEMON


def erasing(database: str) -> tuple[Need, ...]:
    """What `watcher erase` and `watcher retention run` need, beside reading history."""
    changed = (HISTORY, PARTS, SNAPSHOTS, REJECTED, IMPORTED)
    return (
        *(
            Need(Resource(database, name), action, "erase and expire what is recorded")
            for name in changed
            for action in ("insert", "update", "remove")
        ),
        *(
            Need(Resource(database, name), action, "write down what was erased, and that it changes history")
            for name in (ERASURES, HORIZONS, AMENDMENTS)
            for action in ("insert", "update")
        ),
        Need(Resource(database), "listCollections", "look for a value in every collection"),
    )


def sealing(database: str) -> tuple[Need, ...]:
    """What `watcher seal` needs, beside reading history, none of which it can change."""
    seals, leaves, notes = (Resource(database, name) for name in (SEALS, SEAL_LEAVES, AMENDMENTS))
    return (
        *(Need(place, "createIndex", "make the indexes of the seals") for place in (seals, leaves)),
        Need(seals, "insert", "put a seal after the last one"),
        *(Need(leaves, action, "keep what seals were made of, and forget salts") for action in ("insert", "update")),
        *(Need(notes, action, "settle the notes of changes by right") for action in ("update", "remove")),
    )


def reading(database: str) -> tuple[Need, ...]:
    """What the commands need that only read history."""
    return (
        Need(Resource(database), "find", "read the history"),
        Need(Resource(database, HISTORY), "changeStream", "`watcher log --follow`", essential=False),
    )


def reverting(settings: Settings, scope: Scope) -> tuple[Need, ...]:
    """What `watcher revert --yes` needs on the watched deployment, beside reading history."""
    watched = _collections(scope)
    needs = [
        Need(resource, action, "put documents back")
        for resource in watched
        for action in ("find", "insert", "update", "remove")
    ]
    contexts = [Resource(each.database, settings.context_collection) for each in watched if each.collection]
    if settings.context_collection:
        needs += [Need(each, "insert", "say who reverts", essential=False) for each in dict.fromkeys(contexts)]
    return tuple(needs)


def noting_reverts(database: str) -> tuple[Need, ...]:
    """What `watcher revert --yes` needs on the deployment that keeps the history, beside reading it."""
    return tuple(
        Need(Resource(database, REVERTS), action, "write down what was put back")
        for action in ("insert", "update", "remove")
    )


def documents(needs: Iterable[Need]) -> list[dict[str, Any]]:
    """Needs as the `privileges` of a role: one document for each resource."""
    actions: dict[Resource, list[str]] = {}
    for need in needs:
        actions.setdefault(need.resource, []).append(need.action)
    return [{"resource": resource.document(), "actions": list(dict.fromkeys(a))} for resource, a in actions.items()]


def missing(granted: Sequence[Mapping[str, Any]], needs: Iterable[Need]) -> tuple[Need, ...]:
    """The needs that no privilege covers.

    Args:
        granted: privileges as `connectionStatus` gives them: `{resource, actions}`.
        needs: what is needed.
    """
    return tuple(
        need
        for need in needs
        if not any(need.action in each["actions"] and reaches(each["resource"], need.resource) for each in granted)
    )


def reaches(granted: Mapping[str, Any], wanted: Resource) -> bool:
    """Whether a privilege on one resource is one on another.

    Args:
        granted: the resource of a privilege.
        wanted: where something is to be done.
    """
    if granted.get("anyResource"):
        return True
    if wanted.cluster or "db" not in granted or "collection" not in granted:
        return bool(wanted.cluster and granted.get("cluster"))
    database, collection = granted["db"], granted["collection"]
    if (database, collection) == (wanted.database, wanted.collection):
        return True
    ordinary = not wanted.collection.startswith("system.")
    if not collection:  # a whole database, or all of them
        same = database == wanted.database if database else bool(wanted.database) and wanted.database not in _APART
        return same and ordinary
    return not database and collection == wanted.collection


def _databases(scope: Scope) -> tuple[Resource, ...]:
    return _widest(Resource("" if is_pattern(name) else name) for name, _ in map(globs.split, scope.include))


def _collections(scope: Scope) -> tuple[Resource, ...]:
    """What is watched, as narrow as resources can say it."""
    return _widest(
        Resource() if is_pattern(database) else Resource(database, "" if is_pattern(collection) else collection)
        for database, collection in map(globs.split, scope.include)
    )


def _widest(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """Each once, and none that another one reaches."""
    all_of_them = tuple(dict.fromkeys(resources))
    return tuple(
        one for one in all_of_them if not any(other != one and reaches(other.document(), one) for other in all_of_them)
    )


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
        Role(KEEP_HISTORY, f"writes {kept}", KEEPER, keeping(kept, expires=expires(settings))),
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
