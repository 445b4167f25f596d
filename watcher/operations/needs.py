"""The privileges that the settings require: the single list that `roles` prints, and `doctor` and the daemon check.

Actions are those of https://www.mongodb.com/docs/manual/reference/privilege-actions/, resources those of
https://www.mongodb.com/docs/manual/reference/resource-document/. Matching of resources follows the server's
`buildResourceSearchList` (src/mongo/db/auth/authorization_session_impl.cpp).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from change_history import globs
from change_history.stored.names import (
    ACTORS_KNOWN,
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
    TERMS,
)
from config.settings import ActorSessions, Baseline, OnGap, PreImages, RetentionBy, Seal
from models.changes_view import NAME as VIEW
from watcher.targets.scope import is_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from config.settings import Settings
    from watcher.targets.scope import Scope

_APART = ("local", "config")
"""Databases that a privilege on all databases does not include."""


class Resource(NamedTuple):
    """The resource of a privilege.

    Attributes:
        database: name of the database; empty: any.
        collection: name of the collection; empty: any that is not a system collection.
        cluster: the resource is the deployment as a whole.
    """

    database: str = ""
    collection: str = ""
    cluster: bool = False

    def document(self) -> dict[str, Any]:
        """The resource document, as used in roles."""
        return {"cluster": True} if self.cluster else {"db": self.database, "collection": self.collection}

    def __str__(self) -> str:
        return "the cluster" if self.cluster else f"{self.database or '*'}.{self.collection or '*'}"


CLUSTER = Resource(cluster=True)
OPLOG = Resource("local", "oplog.rs")


class Need(NamedTuple):
    """One action on one resource.

    Attributes:
        resource: the resource.
        action: MongoDB's name of the action.
        use: what it is needed for, as text.
        essential: without it, the daemon cannot do what the settings require.
    """

    resource: Resource
    action: str
    use: str
    essential: bool = True


def watching(settings: Settings, scope: Scope) -> tuple[Need, ...]:
    """The daemon's needs on the watched deployment. None of them allows changing a document.

    Args:
        settings: determine what the daemon does.
        scope: the watched namespaces.
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


_COLLECTIONS = (
    HISTORY,
    PARTS,
    SNAPSHOTS,
    REJECTED,
    IMPORTED,
    ERASURES,
    HORIZONS,
    AMENDMENTS,
    SEALS,
    SEAL_LEAVES,
    REVERTS,
    CHECKPOINTS,
    TERMS,
    BASELINES,
    ACTORS_KNOWN,
)
"""All collections of the history database, those with the most sensitive contents first."""


class _Kept(NamedTuple):
    """The actions needed on one collection of the history database."""

    collection: str
    actions: tuple[str, ...]
    use: str
    essential: bool = True


_INSERT, _UPDATE, _REMOVE = ("insert",), ("update",), ("remove",)
_PUT = _INSERT + _UPDATE
"""The actions that an upsert needs."""
_RECORDING = (
    _Kept(HISTORY, _INSERT, "record"),
    _Kept(HISTORY, _UPDATE, "add who made a change, and of a gap that it is reconciled; blank what is erased"),
    _Kept(PARTS, _INSERT, "record what is larger than a document may be"),
    _Kept(REJECTED, _PUT, "set aside what cannot be recorded"),
    _Kept(CHECKPOINTS, _PUT, "save the position, and who leads"),
    _Kept(TERMS, _PUT, "let nobody write who leads no more"),
    _Kept(AMENDMENTS, _INSERT, "note what changes history beside the stream"),
    _Kept(SNAPSHOTS, _PUT + _REMOVE, "keep documents as they were now and then, and forget those that are wrong"),
    *(_Kept(name, ("createIndex",), "make the indexes of the history") for name in (HISTORY, SNAPSHOTS)),
)
"""Needed by every daemon."""
_BESIDE = (
    _Kept(HISTORY, ("createCollection",), "make the history, well compressed", essential=False),
    _Kept(VIEW, ("createCollection", "collMod"), "make the view of the changes, and keep it right", essential=False),
    _Kept(REJECTED, _REMOVE, "forget rejected events that were brought in", essential=False),
    _Kept(PARTS, _REMOVE, "forget the chunks of rejected events that were brought in", essential=False),
    _Kept(CHECKPOINTS, _REMOVE, "split a stream in another way", essential=False),
    _Kept(BASELINES, _PUT + _REMOVE, "ask for baselines, and take them", essential=False),
    _Kept(IMPORTED, (*_PUT, "createIndex"), "`watcher import`", essential=False),
)
"""Not needed for recording: without it, only commands are refused."""
_UNSEALED = (_Kept(AMENDMENTS, _REMOVE, "forget notes that nobody seals", essential=False),)
_EXPIRING = (
    *(_Kept(name, _REMOVE, "expire history by WATCHER_RETENTION") for name in (HISTORY, PARTS, REJECTED, IMPORTED)),
    _Kept(HORIZONS, _PUT, "say before which time history has expired"),
)
_NAMING = (_Kept(ACTORS_KNOWN, _PUT, "keep the names of database users"),)


def keeping(settings: Settings) -> tuple[Need, ...]:
    """The daemon's needs on the history deployment: to read the history, and to record.

    They do not allow removing history, or noting that anything was erased or has expired, unless the daemon is to
    expire history.

    Args:
        settings: determine what the daemon does.
    """
    database = settings.history_database
    there = Resource(database)
    sessions, seals = settings.actor_sessions is ActorSessions.ON, settings.seal is Seal.ON
    kept = (*_RECORDING, *(_NAMING if sessions else ()), *(_EXPIRING if expires(settings) else ()), *_BESIDE)
    needs = (
        Need(there, "find", "know what is recorded"),
        Need(there, "listCollections", "look whether the view of the changes is there", essential=False),
        Need(there, "listIndexes", "look whether the indexes are there", essential=False),
        *_needs(database, kept),
        *(sealing(database, leads=True) if seals else _needs(database, _UNSEALED)),
    )
    each_once = {(need.resource, need.action): need for need in reversed(needs)}  # the first one counts
    return tuple(reversed(each_once.values()))


def _needs(database: str, kept: Iterable[_Kept]) -> Iterator[Need]:
    for each in kept:
        for action in each.actions:
            yield Need(Resource(database, each.collection), action, each.use, each.essential)


def expires(settings: Settings) -> bool:
    """Whether the daemon is to expire history by age."""
    return bool(settings.retention) and settings.retention_by is RetentionBy.DAEMON


def erasing(database: str) -> tuple[Need, ...]:
    """The needs of `watcher erase` and `watcher retention run`, in addition to reading history."""
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
        Need(Resource(database, REVERTS), "update", "forget which document was put back"),
        Need(Resource(database, BASELINES), "remove", "forget for which document a baseline was asked"),
        Need(Resource(database), "listCollections", "look for a value in every collection"),
    )


def sealing(database: str, *, leads: bool = False) -> tuple[Need, ...]:
    """The needs of `watcher seal`, in addition to reading history. They do not allow changing history.

    Args:
        leads: for the daemon, which also deletes its unfinished seals.
    """
    seals, leaves, notes = (Resource(database, name) for name in (SEALS, SEAL_LEAVES, AMENDMENTS))
    return (
        *(Need(resource, "createIndex", "make the indexes of the seals") for resource in (seals, leaves)),
        Need(seals, "insert", "put a seal after the last one"),
        *(Need(leaves, action, "keep what seals were made of, and forget salts") for action in ("insert", "update")),
        *([Need(leaves, "remove", "put right what was sealed in part")] if leads else []),
        *(Need(notes, action, "settle the notes of changes by right") for action in ("update", "remove")),
    )


def reading(database: str) -> tuple[Need, ...]:
    """The needs of commands that only read history."""
    return (
        Need(Resource(database), "find", "read the history"),
        Need(Resource(database, HISTORY), "changeStream", "`watcher log --follow`", essential=False),
    )


def reverting(settings: Settings, scope: Scope) -> tuple[Need, ...]:
    """The needs of `watcher revert --yes` on the watched deployment, in addition to reading history."""
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
    """The needs of `watcher revert --yes` on the history deployment, in addition to reading history."""
    return tuple(
        Need(Resource(database, REVERTS), action, "write down what was put back")
        for action in ("insert", "update", "remove")
    )


def missing(granted: Sequence[Mapping[str, Any]], needs: Iterable[Need]) -> tuple[Need, ...]:
    """The needs that no privilege covers.

    Args:
        granted: privileges as `connectionStatus` returns them: `{resource, actions}`.
        needs: the needs to check.
    """
    return tuple(
        need
        for need in needs
        if not any(need.action in each["actions"] and reaches(each["resource"], need.resource) for each in granted)
    )


def excess(granted: Sequence[Mapping[str, Any]], needs: Sequence[Need], database: str) -> tuple[Need, ...]:
    """The actions on the collections of a history that the privileges allow, but that are not needed.

    Args:
        granted: privileges as `connectionStatus` returns them.
        needs: the needs of the user.
        database: name of the history database.
    """
    needed = [{"resource": need.resource.document(), "actions": [need.action]} for need in needs]
    return tuple(
        Need(resource, action, "")
        for resource in (Resource(database, name) for name in _COLLECTIONS)
        for action in ("insert", "update", "remove", "collMod", "dropCollection")
        if missing(needed, [Need(resource, action, "")]) and not missing(granted, [Need(resource, action, "")])
    )


def reaches(granted: Mapping[str, Any], wanted: Resource) -> bool:
    """Whether a privilege on one resource includes another resource.

    Args:
        granted: the resource document of a privilege.
        wanted: the resource that is needed.
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
    """The watched collections, as narrowly as resources can express them."""
    return _widest(
        Resource() if is_pattern(database) else Resource(database, "" if is_pattern(collection) else collection)
        for database, collection in map(globs.split, scope.include)
    )


def _widest(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """The resources without duplicates, and without those that another one includes."""
    all_of_them = tuple(dict.fromkeys(resources))
    return tuple(
        one for one in all_of_them if not any(other != one and reaches(other.document(), one) for other in all_of_them)
    )
